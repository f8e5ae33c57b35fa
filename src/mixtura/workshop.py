"""Names and settings to models, wrapped in what was asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from mixtura import catalog, gguf, hub, toml
from mixtura.credentials import looks_like_key
from mixtura.errors import ConfigError
from mixtura.model import Model
from mixtura.models.cached import Answers, Cached
from mixtura.models.hedged import Hedged
from mixtura.models.limited import Gate, Limited, Limits
from mixtura.models.metered import Metered
from mixtura.models.retrying import Retrying
from mixtura.plan import Environment
from mixtura.quantities import window_size
from mixtura.redaction import Redactor
from mixtura.schema import ModelTable
from mixtura.upstream import Secret, looked_up


class Endpoint(NamedTuple):
    """Where a model is served, and how to be let in there."""

    base_url: str
    key: Secret | None = None
    prefix: str = ""
    """What stands before the names of its models."""
    dialect: Literal["openai", "anthropic"] = "openai"
    key_header: str | None = None

    def called(self, model: str) -> str:
        """What is served there as *model*."""
        return model if "/" in model else self.prefix + model

    def headers(self) -> dict[str, str]:
        """What lets a request in that is not a model's."""
        if self.key is None:
            return {}
        key = self.key.reveal()
        if self.dialect == "anthropic":
            return {"x-api-key": key, "anthropic-version": "2023-06-01"}
        return {self.key_header: key} if self.key_header else {"Authorization": f"Bearer {key}"}


class Workshop:
    """
    Makes models. *answers* keeps what they said, where that is wanted; what *redactor* knows
    as secrets never comes out of one.
    """

    def __init__(
        self,
        environ: Environment,
        models_folder: Path,
        answers: Answers | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._redactor = redactor
        self._environ = environ
        self._folder = models_folder
        self._answers = answers
        self._gates: dict[tuple[str, str | None], Gate] = {}

    def local(self, name: str, file: str, table: ModelTable) -> Model:
        """A model file on this machine: a known name or a path."""
        from mixtura.models.local import Local

        try:
            path = hub.resolve(file, self._folder)
        except ConfigError as error:
            raise ConfigError(str(error), key="model") from None
        known = hub.known().get(file)
        model = Local(
            path,
            name=name,
            context=table.context,
            threads=table.threads,
            window=table.window or _local_window(path, known, table.context),
            load_limit=table.timeouts.seconds("load"),
            progress=table.timeouts.seconds("progress"),
        )
        limited = self._limited(Metered(model), table, (str(path), None))
        twice = Retrying(limited, attempts=2)  # small models say nothing at all now and then
        return self._kept(twice, f"{path.name} {table.context}")

    def hosted(self, name: str, table: ModelTable, elsewhere: Model | None = None) -> Model:
        """A model at an endpoint; *elsewhere* is where its second copies go."""
        place = self.endpoint(table)
        base_url = place.base_url
        upstream = place.called(table.model or "")
        model = _served(name, upstream, place, table, self._redactor)
        key = place.key.reveal() if place.key else None
        model = self._limited(Metered(model), table, (base_url.rstrip("/"), key))
        if hedge := table.hedge:
            model = Hedged(
                model,
                elsewhere=elsewhere,
                share=hedge.share,
                quantile=hedge.quantile,
                after=hedge.after,
            )
        if table.retries:
            model = Retrying(model, attempts=table.retries + 1)
        extra = msgspec.json.encode(table.extra, order="deterministic").decode()
        return self._kept(model, f"{base_url} {upstream} {extra}")

    def _limited(self, model: Model, table: ModelTable, place: tuple[str, str | None]) -> Model:
        """Every model at one address with one key waits at one gate: there may be a 429."""
        limits = Limits(**msgspec.structs.asdict(table.limits))
        gate = self._gates.get(place)
        if gate is None or gate.limits == Limits():
            gate = self._gates[place] = Gate(limits) if gate is None else gate.of(limits)
        elif limits not in (Limits(), gate.limits):
            raise ConfigError(_conflict(limits, gate.limits), key="limits")
        return Limited(model, gate)

    def _kept(self, model: Model, identity: str) -> Model:
        if self._answers is None:
            return model
        return Cached(model, self._answers, identity=identity, redactor=self._redactor)

    def endpoint(self, table: ModelTable) -> Endpoint:
        """Where a table's model is served, from its provider or the file. Raises ConfigError."""
        if table.provider is None:
            return Endpoint(table.base_url or "", self._key(table.api_key_env))
        if catalog.bridged(table.provider):
            url = table.base_url or table.provider
            return Endpoint(url, self._key(table.api_key_env))
        provider = catalog.providers()[table.provider]
        url = table.base_url or self._address(table.provider, provider)
        place = Endpoint(url, None, provider.prefix, provider.dialect, provider.key_header)
        if table.api_key_env:
            return place._replace(key=self._key(table.api_key_env))
        for variable in provider.keys:
            if self._environ.get(variable):
                return place._replace(key=self._key(variable))
        if provider.keys and not provider.local:
            names = " or ".join(provider.keys)
            raise ConfigError(
                f"{table.provider} needs a key: {names} is not set in the environment",
                key="provider",
            )
        return place

    def _address(self, name: str, provider: catalog.Provider) -> str:
        listens = self._environ.get(provider.address) if provider.address else None
        if listens:
            url = (ollama_url(listens) if provider.local else listens.rstrip("/")) or ""
            if not url:
                raise ConfigError(f"{provider.address} is no address of a server")
            whole = "?" in url  # as Azure shows a deployment's: it goes on as it is
            return url if whole else url.removesuffix(provider.path) + provider.path
        if not provider.base_url:
            raise ConfigError(f"{name} needs an address: {provider.address} is not set")
        return provider.base_url

    def _key(self, variable: str | None) -> Secret | None:
        if variable is None:
            return None
        value = self._environ.get(variable)
        if not value:
            shown = variable if _CONVENTIONAL.fullmatch(variable) else "the variable that it names"
            raise ConfigError(
                f"the key is not there: set {shown} in the environment"
                " (the file names the variable, never the key itself)",
                key="api_key_env",
            )
        if not value.isprintable():
            said = f"the key in {variable} holds a character that no key has (a line end?)"
            raise ConfigError(said, key="api_key_env")
        return Secret(value)


def _local_window(path: Path, known: hub.KnownModel | None, context: int) -> int | None:
    """Tokens of one conversation with a file: its model's own, as far as there is room for them."""
    if known is not None:
        return min(known.context, context)
    try:
        trained = window_size(gguf.read_header(path).of_architecture("context_length"))
    except ConfigError:  # what is wrong with the file is told when it is loaded
        return None
    return None if trained is None else min(trained, context)


def _served(
    name: str, model: str, place: Endpoint, table: ModelTable, redactor: Redactor | None
) -> Model:
    """The adapter for an endpoint's dialect."""
    clocks = table.timeouts.over(catalog.clocks(model))
    headers, extra = table.headers, table.extra
    largest = int(table.largest_megabytes * 1024**2)
    if provider := catalog.bridged(table.provider):
        from mixtura.models.bridge import Bridge

        return Bridge(
            provider, model, name=name, base_url=table.base_url, api_key=place.key,
            clocks=clocks, headers=headers, extra=extra, redactor=redactor, largest=largest,
        )  # fmt: skip
    window = table.window or catalog.window(table.provider or "", model)
    sees = catalog.sees(model) if table.vision is None else table.vision
    if place.dialect == "anthropic":
        from mixtura.models.anthropic import Anthropic

        return Anthropic(
            model, place.base_url, name=name, api_key=place.key, window=window, sees=sees,
            clocks=clocks, headers=headers, extra=extra, redactor=redactor, largest=largest,
        )  # fmt: skip
    from mixtura.models.openai import OpenAI

    return OpenAI(
        model, place.base_url, name=name, api_key=place.key, key_header=place.key_header,
        window=window, sees=sees, clocks=clocks, headers=headers, extra=extra, redactor=redactor,
        largest=largest,
    )  # fmt: skip


def _conflict(mine: Limits, other: Limits) -> str:
    here, there = asdict(mine), asdict(other)
    name = next(key for key in here if here[key] != there[key])
    return (
        f"limits: {name} is {here[name]} here and {there[name]} for another model at the same"
        " address with the same key: they share one gate, so give both the same"
    )


def check(table: ModelTable) -> None:
    """What is wrong with a table on any machine. Raises ConfigError with the setting's name."""
    if table.provider is None and table.base_url is None:
        why = "is for hosted models: it says nothing of a local one"
        _refuse(table, _HOSTED_ONLY, why)
        for clock in _HOSTED_CLOCKS:
            if table.timeouts.seconds(clock) is not None:
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
        shown = f"'{url}'" if _PLAIN_HOST.fullmatch(url) else "that"
        said = f"base_url: {shown} must begin with http:// or https://"
        raise ConfigError(said, key="base_url")
    if url is not None and not _is_address(url):
        raise ConfigError("base_url: that is no address of a server", key="base_url")
    known = catalog.providers()
    if table.provider is not None and not (
        catalog.bridged(table.provider) or table.provider in known
    ):
        raise ConfigError(toml.unknown("provider", table.provider, known), key="provider")
    _refuse(table, _LOCAL_ONLY, "is for local models: it says nothing here")
    if table.timeouts.seconds("load") is not None:
        raise ConfigError(
            "timeouts: load is for local models: it says nothing here", key="timeouts"
        )
    _check_headers(table.headers)
    _check_extra(table.extra)


def _is_address(url: str) -> bool:
    try:
        return bool(urlsplit(url).netloc)
    except ValueError:
        return False


_LOCAL_ONLY = ("context", "threads")
_HOSTED_CLOCKS = ("connect", "first_token", "total")
_HOSTED_ONLY = (
    "largest_megabytes",
    "hedge",
    "headers",
    "extra",
    "retries",
    "api_key_env",
    "vision",
)
_OURS = ("model", "messages", "stream", "n", "max_tokens", "max_completion_tokens")
_PLAIN = ModelTable()


def _refuse(table: ModelTable, keys: tuple[str, ...], why: str) -> None:
    """What a kind of model has no use for is refused by name, not ignored."""
    for key in keys:
        if getattr(table, key) != getattr(_PLAIN, key):
            raise ConfigError(f"{key} {why}", key=key)


def _check_extra(extra: Mapping[str, object]) -> None:
    for name in _OURS:
        if name in extra:
            said = f"extra: '{name}' is Mixtura's own to say: budgets and the protocol need it"
            raise ConfigError(said, key="extra")


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_HOST = re.compile(
    r"(?:localhost|[a-z-]{1,20}(?:\.[a-z0-9-]{1,20})+|\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5})?"
    r"(?:/[a-z0-9-]{0,20})*"
)
"""An address that lacks its beginning, and in which no one sees a key."""
_HEADER = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*")
_CONVENTIONAL = re.compile(r"(?!(?:.*\d){4})[A-Z]{1,12}(?:_[A-Z0-9]{1,16})*")
"""A variable's name that no one takes for a key: it may be shown."""


def _check_variable(name: str) -> None:
    if not _VARIABLE.fullmatch(name) or looks_like_key(name):
        raise ConfigError(
            "api_key_env: that is no name of an environment variable, such as OPENAI_API_KEY:"
            " the key itself belongs into the environment, never into this file",
            key="api_key_env",
        )


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not (name + value).isprintable():
            shown = repr(name) if _HEADER.fullmatch(name) else "one"
            said = f"headers: {shown} holds a line end or another character no header has"
            raise ConfigError(said, key="headers")


def ollama_url(listens: str) -> str | None:
    """
    OLLAMA_HOST as an address to call: it may lack scheme, host or port, and may be the
    address that a server binds to. None when it makes no sense.
    """
    scheme, sign, rest = listens.strip().rpartition("://")
    usual = {"http": 80, "https": 443}.get(scheme, 11434) if sign else 11434
    try:
        parts = urlsplit(f"//{rest}")
        port = parts.port or usual
    except ValueError:
        return None
    host = parts.hostname or "127.0.0.1"
    if not host.isprintable() or " " in host:
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    return f"{scheme or 'http'}://{host}:{port}{parts.path.rstrip('/')}"


def ollama_models(environ: Environment) -> list[str] | None:
    """What Ollama serves, the largest first; None when it does not answer at once."""
    provider = catalog.providers()["ollama"]
    listens = environ.get(provider.address or "")
    url = ollama_url(listens) if listens else provider.base_url.removesuffix("/v1")
    if url is None:
        return None
    found = looked_up(f"{url}/api/tags", _OllamaTags, seconds=0.5)
    if found is None:
        return None
    ranked = sorted(found.models, key=lambda m: m.size, reverse=True)
    return [m.name for m in ranked if "embed" not in m.name]


class _OllamaModel(msgspec.Struct):
    name: str
    size: int = 0


class _OllamaTags(msgspec.Struct):
    models: list[_OllamaModel] = []
