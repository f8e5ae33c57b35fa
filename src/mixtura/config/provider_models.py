"""Models of a provider by their names: the address, the key and what is known of them are found."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypedDict, Unpack

import msgspec

from mixtura.catalog import providers
from mixtura.catalog.providers import Quirks
from mixtura.config.model_builder import ModelBuilder
from mixtura.config.model_table_checks import find_value_mistakes
from mixtura.config.schema import ModelTable
from mixtura.core.arguments import (
    check_count,
    check_kind,
    check_optional,
    check_text,
    wrong_kind,
)
from mixtura.core.errors import ConfigError
from mixtura.core.model_info import ModelInfo, UsagePrice
from mixtura.core.quantities import POSITIVE_COUNT
from mixtura.core.redaction import Redactor
from mixtura.core.text import unknown_name_message
from mixtura.models import anthropic, openai
from mixtura.models.hosted import HostedModel
from mixtura.transport.base import Transport
from mixtura.transport.client import Secret
from mixtura.transport.timeouts import CallTimeouts


class ModelSettings(TypedDict, total=False):
    """The settings of a hosted model that `OpenAI` and `Anthropic` take by name."""

    name: str | None
    """What it is called here, if not as the endpoint calls it."""
    timeouts: CallTimeouts | None
    headers: Mapping[str, str] | None
    """Sent with each request."""
    extra: Mapping[str, Any] | None
    """Fields that are put into the body of each request."""
    key_header: str | None
    """The header that takes the key, if it is not the API's own."""
    largest: int | None
    """Bytes of an answer, at most."""
    context_window: int | None
    """Tokens that it takes in."""
    supports_images: bool | None
    price: UsagePrice | None
    quirks: Quirks | None
    redactor: Redactor | None
    transport: Transport | None
    """The HTTP client that asks it."""


class _NamedModel(HostedModel):
    """A provider's model by its name: its address, key and settings are found."""

    _provider: ClassVar[str]

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        api_key: str | Secret | None = None,
        **settings: Unpack[ModelSettings],
    ) -> None:
        provider, kind = self._provider, type(self).__name__
        _check_settings(kind, base_url, settings)
        url, key = _resolve_address(provider, kind, model, base_url, api_key)
        super().__init__(
            model, url, api_key=key, **_model_settings(provider, model, base_url, settings)
        )


class OpenAI(_NamedModel, openai.OpenAI):
    """
    A model of OpenAI's API, or of any endpoint that speaks chat completions.

    The key is *api_key*, else ``OPENAI_API_KEY``. With a *base_url* (what stands before
    ``/chat/completions``) only *api_key* is used: a key for OpenAI goes to no one else.
    *settings*: ``name`` (what it is called here), ``timeouts`` (a `CallTimeouts`), ``headers``,
    ``extra`` (fields of each request's body), ``key_header``, ``largest`` (bytes of an answer),
    ``context_window`` (tokens), ``supports_images``, ``price`` (a `Price`), ``transport``; what is
    left out, the catalogue knows by the model's name. Raises ConfigError without a key and for
    settings that are none, TypeError for an unknown one.
    """

    _provider = "openai"


class Anthropic(_NamedModel, anthropic.Anthropic):
    """
    A model of Anthropic's API, or of any endpoint that speaks its messages.

    The key is *api_key*, else ``ANTHROPIC_API_KEY``. With a *base_url* (what stands before
    ``/messages``) only *api_key* is used. *settings* are those of `OpenAI`. Raises ConfigError
    without a key and for settings that are none, TypeError for an unknown one.
    """

    _provider = "anthropic"


_KEY = re.compile(r"[\x21-\x7e]+")
"""What a header can carry."""
_SETTING_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "name": (str, "a text"),
    "timeouts": (CallTimeouts, "a CallTimeouts, as in CallTimeouts(total=60)"),
    "headers": (Mapping, "a dict of texts"),
    "extra": (Mapping, "a dict"),
    "key_header": (str, "the name of a header"),
    "supports_images": (bool, "True or False"),
    "quirks": (Quirks, "a Quirks"),
    "redactor": (Redactor, "a Redactor"),
}


def _check_settings(kind: str, base_url: str | None, settings: Mapping[str, Any]) -> None:
    """
    Raises ConfigError, which names the argument of *kind*, for a setting that is none, and
    TypeError for one that does not exist.
    """
    for setting in settings:
        if setting not in ModelSettings.__annotations__:
            known = ModelSettings.__annotations__
            raise TypeError(f"{kind}: {unknown_name_message('argument', setting, known)}")
    given = {name: value for name, value in settings.items() if value is not None}
    if isinstance(transport := given.get("transport"), type):  # it has the methods, and no object
        raise wrong_kind("transport", f"an object, as in {transport.__name__}()", transport)
    try:
        check_optional("base_url", base_url, str, "an address as a text, or None")
        for setting, value in given.items():
            if setting in _SETTING_KINDS:
                check_kind(setting, value, *_SETTING_KINDS[setting])
        if "largest" in given:
            check_count("largest", given["largest"], POSITIVE_COUNT)
        headers = given.get("headers", {})
        for name, value in headers.items():
            check_text("headers", name)
            check_text(f"headers[{name!r}]", value)
        if (key_header := given.get("key_header")) is not None:
            headers = {**headers, key_header: ""}
        _check_json("extra", given.get("extra"))
        ModelInfo("model", context_window=given.get("context_window"), price=given.get("price"))
        told = ModelTable(base_url=base_url, headers=headers, extra=given.get("extra", {}))
        for mistake in find_value_mistakes(told):
            raise mistake
    except (ConfigError, TypeError, ValueError) as error:
        raise ConfigError(f"{kind}(…): {error}") from None


def _check_json(name: str, value: object) -> None:
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: this cannot be written as JSON: {error}") from None


def _resolve_address(
    provider: str, name: str, model: object, base_url: str | None, api_key: object
) -> tuple[str, Secret | None]:
    """The address and the key for a model of *provider*."""
    if not isinstance(model, str) or not model:
        raise ConfigError(f'{name}(model): a model\'s name is a text, as in {name}("some-model")')
    if api_key is not None and not isinstance(api_key, str | Secret):
        raise ConfigError(f"{name}(api_key=…): a key is a text, not {type(api_key).__name__}")
    key = Secret(api_key.strip(), "the argument api_key") if isinstance(api_key, str) else api_key
    if key is not None and not key.reveal():
        raise ConfigError(f"{name}(api_key=…): the key is empty")
    if key is not None and not _KEY.fullmatch(key.reveal()):
        raise ConfigError(f"{name}(api_key=…): a key has letters, digits and signs, and no blanks")
    if base_url is not None:
        return base_url, key
    if key is not None:
        return providers.providers()[provider].base_url, key
    builder = ModelBuilder(os.environ, Path())
    try:
        place = builder.resolve_endpoint(ModelTable(provider=provider, model=model))
    except ConfigError as error:
        raise ConfigError(f'{error}; or pass it: {name}("{model}", api_key=…)') from None
    return place.base_url, place.key


def _model_settings(
    provider: str, model: str, base_url: str | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What was set, and the catalogue's defaults for the model's name where nothing was."""
    whole = {name: value for name, value in settings.items() if value is not None}
    if "timeouts" not in whole:
        whole["timeouts"] = providers.default_timeouts(model)
    if "context_window" not in whole:
        whole["context_window"] = providers.default_context_window(provider, model)
    if "supports_images" not in whole:
        whole["supports_images"] = providers.default_image_support(model)
    if "price" not in whole and base_url is None:  # elsewhere, its list price says nothing
        whole["price"] = partial(providers.list_price, provider, model)
    return whole
