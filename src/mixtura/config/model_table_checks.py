"""Checks of a model's settings that need no network and no key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from mixtura.catalog import providers
from mixtura.catalog.transports import check_transport_name
from mixtura.config.schema import ModelTable
from mixtura.core.credentials import looks_like_key
from mixtura.core.errors import ConfigError
from mixtura.core.text import unknown_name_message

_LOCAL_ONLY = ("context", "threads")
_HOSTED_TIMEOUTS = ("connect", "first_token", "total")
_HOSTED_ONLY = (
    "largest_megabytes",
    "hedge",
    "headers",
    "extra",
    "retries",
    "api_key_env",
    "vision",
    "transport",
    "client_certificate",
    "client_key",
)
_TRANSPORT_SETTINGS = ("transport", "client_certificate", "client_key")
_RESERVED_FIELDS = ("model", "messages", "stream", "n", "max_tokens", "max_completion_tokens")
_DEFAULT_TABLE = ModelTable()
_VARIABLE_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_HOST_PATTERN = re.compile(
    r"(?:localhost|[a-z-]{1,20}(?:\.[a-z0-9-]{1,20})+|\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5})?"
    r"(?:/[a-z0-9-]{0,20})*"
)
"""An address without a scheme that cannot be a key: it may be shown."""
_HEADER_PATTERN = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*")


def check_model_table(table: ModelTable) -> None:
    """Raises ConfigError, with the setting's name, for what is wrong on every machine."""
    if table.provider is None and table.base_url is None:
        why = "is for hosted models: it says nothing of a local one"
        _refuse_settings(table, _HOSTED_ONLY, why)
        for clock in _HOSTED_TIMEOUTS:
            if table.timeouts.explicit_seconds(clock) is not None:
                raise ConfigError(f"timeouts: {clock} {why}", key="timeouts")
        return
    if not table.model:
        raise ConfigError("`model` is missing: what the endpoint calls the model")
    if looks_like_key(table.model):
        raise ConfigError("model: that is a key, not what the endpoint calls a model", key="model")
    if table.api_key_env is not None:
        _check_variable(table.api_key_env)
    url = table.base_url
    if url is not None and not url.startswith(("http://", "https://")):
        shown = f"'{url}'" if _PLAIN_HOST_PATTERN.fullmatch(url) else "that"
        said = f"base_url: {shown} must begin with http:// or https://"
        raise ConfigError(said, key="base_url")
    if url is not None and not _is_url_with_host(url):
        raise ConfigError("base_url: that is no address of a server", key="base_url")
    known = providers.providers()
    if table.provider is not None and not (
        providers.bridge_provider(table.provider) or table.provider in known
    ):
        raise ConfigError(unknown_name_message("provider", table.provider, known), key="provider")
    _check_transport(table)
    _refuse_settings(table, _LOCAL_ONLY, "is for local models: it says nothing here")
    if table.timeouts.explicit_seconds("load") is not None:
        raise ConfigError(
            "timeouts: load is for local models: it says nothing here", key="timeouts"
        )
    _check_headers(table.headers)
    _check_extra(table.extra)


def _is_url_with_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).netloc)
    except ValueError:
        return False


def _refuse_settings(table: ModelTable, keys: tuple[str, ...], why: str) -> None:
    """Raises ConfigError for a setting that this kind of model would ignore."""
    for key in keys:
        if getattr(table, key) != getattr(_DEFAULT_TABLE, key):
            raise ConfigError(f"{key} {why}", key=key)


def _check_transport(table: ModelTable) -> None:
    if providers.bridge_provider(table.provider):
        why = "says nothing here: what is called bridge:… is asked by its provider's own library"
        _refuse_settings(table, _TRANSPORT_SETTINGS, why)
    if table.transport is not None:
        check_transport_name(table.transport)
    if table.client_key is not None and table.client_certificate is None:
        said = "client_key: the key of which certificate? client_certificate names it"
        raise ConfigError(said, key="client_key")


def _check_extra(extra: Mapping[str, object]) -> None:
    for name in _RESERVED_FIELDS:
        if name in extra:
            said = f"extra: '{name}' is Mixtura's own to say: budgets and the protocol need it"
            raise ConfigError(said, key="extra")


def _check_variable(name: str) -> None:
    if not _VARIABLE_PATTERN.fullmatch(name) or looks_like_key(name):
        raise ConfigError(
            "api_key_env: that is no name of an environment variable, such as OPENAI_API_KEY:"
            " the key itself belongs into the environment, never into this file",
            key="api_key_env",
        )


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not (name + value).isprintable():
            shown = repr(name) if _HEADER_PATTERN.fullmatch(name) else "one"
            said = f"headers: {shown} holds a line end or another character no header has"
            raise ConfigError(said, key="headers")
