"""What `import mixtura` offers of configuration: models by name or key, and whole files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

from mixtura.catalog import providers
from mixtura.config import config as configuration
from mixtura.config.model_builder import ModelBuilder
from mixtura.config.paths import find_config_file
from mixtura.config.plan import INLINE_MARKS
from mixtura.config.schema import ModelTable
from mixtura.core.errors import ConfigError
from mixtura.core.model import Model, get_model_info
from mixtura.core.types import Completion, Request, ask
from mixtura.models import anthropic, openai
from mixtura.models.hosted import HostedModel
from mixtura.transport.client import Secret


class _NamedModel(HostedModel):
    """A provider's model by its name: its address, key and settings are found."""

    _provider: ClassVar[str]

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        api_key: str | Secret | None = None,
        **settings: Any,
    ) -> None:
        provider = self._provider
        url, key = _resolve_address(provider, type(self).__name__, model, base_url, api_key)
        super().__init__(
            model, url, api_key=key, **_model_settings(provider, model, base_url, settings)
        )


class OpenAI(_NamedModel, openai.OpenAI):
    """
    A model of OpenAI's API, or of any endpoint that speaks chat completions.

    The key is *api_key*, else ``OPENAI_API_KEY``. With a *base_url* (what stands before
    ``/chat/completions``) only *api_key* is used: a key for OpenAI goes to no one else.
    *settings* are those of `mixtura.models.openai.OpenAI`. Raises ConfigError without a key.
    """

    _provider = "openai"


class Anthropic(_NamedModel, anthropic.Anthropic):
    """
    A model of Anthropic's API, or of any endpoint that speaks its messages.

    The key is *api_key*, else ``ANTHROPIC_API_KEY``. With a *base_url* (what stands before
    ``/messages``) only *api_key* is used. *settings* are those of
    `mixtura.models.anthropic.Anthropic`. Raises ConfigError without a key.
    """

    _provider = "anthropic"


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
    if base_url is not None:
        if not base_url.startswith(("http://", "https://")):
            raise ConfigError(f"{name}(base_url=…): it must begin with http:// or https://")
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


def load(
    path: str | Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    folder: str | Path | None = None,
) -> configuration.Config:
    """
    The configuration in the file at *path*: ``load("mixtura.toml").model("team")``.

    Without *path* it is found as by the command line: ``MIXTURA_CONFIG``, ``mixtura.toml`` in
    *folder* (by default the current one), the user's own. *environ* stands for the environment,
    from which the keys come. Raises ConfigError with the file and the line.
    """
    if path is not None and not isinstance(path, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"load(path): a path is a text or a Path, not {type(path).__name__}")
    return configuration.load(
        None if path is None else str(path),
        environ=os.environ if environ is None else environ,
        folder=Path(folder or Path.cwd()),
    )


def model(name: str) -> Model:
    """
    The model or mixture called *name*, as the command line understands it: ``openai/gpt-5.4``,
    the path of a ``.gguf`` file, a name of the configuration, ``a,b>c``.

    Models that are made so share their rate limits. Raises ConfigError for what is none.
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"model(name): a name is a text, not {type(name).__name__}")
    folder = Path.cwd()
    file = find_config_file(None, environ=os.environ, folder=folder)
    state = (str(file), file.stat().st_mtime_ns) if file else None
    config = _load_shared(folder, state, frozenset(os.environ.items()))
    if config.registry.is_known_name(name) and not any(mark in name for mark in INLINE_MARKS):
        return config.model(name)
    return config.build_mixture(config.mixture_spec(name))


@lru_cache(maxsize=4)
def _load_shared(
    folder: Path,
    state: object,  # noqa: ARG001 - another state of the file is another configuration
    environ: frozenset[tuple[str, str]],
) -> configuration.Config:
    """One configuration for as long as its file and the environment are the same."""
    return configuration.load(None, environ=dict(environ), folder=folder)


def answer_sync(model: Model | str, question: Request | str) -> Completion:
    """
    *model*'s answer to *question*, without ``await``: for notebooks and scripts.

    Also works where an event loop is running already (a notebook's): then the call runs in a
    thread with a loop of its own. Raises what the model raises.
    """
    one = resolve_model(model, "answer_sync(model, …)")
    request = ask(question) if isinstance(question, str) else question
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_complete(one, request))
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, _complete(one, request)).result()


async def _complete(model: Model, request: Request) -> Completion:
    return await model.complete(request)


def resolve_model(value: Model | str, place: str) -> Model:
    """
    *value* where it is a model, the model of that name where it is a text. Raises TypeError for
    anything else, and for a model whose ``info`` is none.
    """
    if isinstance(value, str):
        return model(value)
    if isinstance(value, Model):  # pyright: ignore[reportUnnecessaryIsInstance]
        get_model_info(value)
        return value
    raise TypeError(
        f"{place} wants a model or a model's name, not {type(value).__name__}: a model has a"
        " `name` and an `async complete(request, emit=None)`"
    )
