"""ModelBuilder: from one model's settings to its adapter inside rate limit, retries, cache."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mixtura.catalog import downloads, local_models, providers
from mixtura.catalog.batch_terms import find_batch_terms
from mixtura.catalog.command_tools import command_tools
from mixtura.catalog.transports import DEFAULT_TRANSPORT, create_transport
from mixtura.config.adapters import find_adapter
from mixtura.config.embedded_model import EmbeddedArguments, embedded_settings
from mixtura.config.model_prices import table_price
from mixtura.config.ollama import ollama_url
from mixtura.config.plan import Environment
from mixtura.config.redact_settings import check_stand_in, find_redact_table, with_redaction
from mixtura.config.schema import LimitsTable, ModelTable, RedactTable, SearchToolTable
from mixtura.config.search_settings import SearchSettings
from mixtura.core.credentials import header_secrets
from mixtura.core.errors import ConfigError, NotAvailableHereError
from mixtura.core.model import Model
from mixtura.core.quantities import parse_context_window
from mixtura.core.redaction import Redactor
from mixtura.llama import gguf
from mixtura.models.hosted import HostedModel
from mixtura.models.wrappers.budget_per_attempt import BudgetedPerAttempt
from mixtura.models.wrappers.hedge import Hedged
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
from mixtura.models.wrappers.retry import Retrying
from mixtura.transport.base import Transport
from mixtura.transport.client import Secret

AnswerKeeper = Callable[[Model, str], Model]
"""Wraps a model so that its answers are kept. The text is what the model is, wherever it is called
something else: its address, its name there, its settings."""

_CONVENTIONAL_PATTERN = re.compile(r"(?!(?:.*\d){4})[A-Z]{1,12}(?:_[A-Z0-9]{1,16})*")
"""The name of a variable that cannot be a key: it may be shown."""


class ModelEndpoint(NamedTuple):
    """Where a model is served, and with which API key."""

    base_url: str
    key: Secret | None = None
    prefix: str = ""
    """Stands before the names of its models."""
    dialect: str = "openai"
    """Which API it is asked in: the name of an adapter (`config/adapters`)."""
    key_header: str | None = None
    transport: Transport | None = None
    """What sends requests to it; None for our own client."""

    def upstream_model_name(self, model: str) -> str:
        """The name of *model* at this endpoint."""
        return model if "/" in model else self.prefix + model

    def auth_headers(self) -> dict[str, str]:
        """The headers that authorize a request which no adapter sends."""
        if self.key is None:
            return {}
        key = self.key.reveal()
        if self.dialect == "anthropic":
            return {"x-api-key": key, "anthropic-version": "2023-06-01"}
        return {self.key_header: key} if self.key_header else {"Authorization": f"Bearer {key}"}


class ModelBuilder:
    """
    Builds models from their settings.

    *keep_answers* wraps each of them, outermost, None where no answers are kept; *redactor* hides
    secrets in what they answer.
    *transport*: the name of the HTTP client of the models whose settings name none. *redact*: what
    those that are not on this machine are not shown, where theirs say nothing.
    """

    def __init__(
        self,
        environ: Environment,
        models_folder: Path,
        keep_answers: AnswerKeeper | None = None,
        redactor: Redactor | None = None,
        transport: str = DEFAULT_TRANSPORT,
        redact: bool | RedactTable | None = None,
        search: SearchToolTable | None = None,
    ) -> None:
        self._search = SearchSettings(search, environ)
        self._redact = redact
        self._redactor = redactor
        self._transport = transport
        self._environ = environ
        self._folder = models_folder
        self._keep_answers = keep_answers
        self.keep_calls: AnswerKeeper | None = None
        """Wraps each model inside what keeps answers."""
        self._limiters: dict[tuple[str, str | None], RateLimiter] = {}

    def rate_limiters(self) -> dict[str, RateLimiter]:
        """
        Those of the endpoints that were built by now, by names that are the same in every process.
        """
        # A key is told by its digest: it has more bits than anyone can try.
        return {
            f"{url} {blake2b((key or '').encode(), digest_size=16).hexdigest()}": limiter
            for (url, key), limiter in self._limiters.items()
        }

    def share_rate_limiters(self, other: ModelBuilder) -> None:
        """Count calls at an endpoint together with those of *other*'s models."""
        self._limiters = other._limiters

    def build_local(self, name: str, file: str, table: ModelTable) -> Model:
        """A model of llama.cpp; *file*: a known name or a path. Raises ConfigError."""
        from mixtura.models.llama_cpp import Local

        try:
            path = downloads.resolve_path(file, self._folder)
        except ConfigError as error:
            raise type(error)(str(error), key="model") from None
        known, own = local_models.known_models().get(file), embedded_settings()
        model = Local(
            path,
            name=name,
            context=table.context,
            threads=table.threads,
            context_window=table.window or _local_context_window(path, known, table.context),
            load_limit=table.timeouts.explicit_seconds("load"),
            progress=table.timeouts.explicit_seconds("progress"),
            **(own.model_settings() if file == own.model else EmbeddedArguments()),
        )
        limited = self._with_rate_limit(BudgetedPerAttempt(model), table, (str(path), None))
        limited.limiter.of_one_process = True
        twice = Retrying(limited, attempts=2)  # small models say nothing at all now and then
        return self._with_kept_answers(twice, f"{path.name} {table.context}")

    def build_command(self, name: str, table: ModelTable) -> Model:
        """A program that reads a prompt and writes an answer. Raises ConfigError."""
        from mixtura.models.command import DEFAULT_SECONDS, CommandModel

        tool = command_tools().get(table.provider or "")
        command = list(table.command or ())
        if tool is not None:
            command = [*(command or [tool.program]), *tool.build_arguments(table.model)]
        model = CommandModel(
            command,
            name=name,
            tool=tool,
            seconds=table.timeouts.explicit_seconds("total") or DEFAULT_SECONDS,
            largest=int(table.largest_megabytes * 1024**2),
            passed=table.environment,
            context_window=table.window,
            price=table_price(table),
            environ=self._environ,
            redactor=self._redactor,
        )
        model = with_redaction(model, find_redact_table(table, self._redact))
        model = self._with_rate_limit(BudgetedPerAttempt(model), table, (command[0], None))
        if table.limits == LimitsTable():
            # A subscription is one person's: side by side its calls would wait for each other.
            model.limiter.default_concurrency = 1
        if table.retries:
            model = Retrying(model, attempts=table.retries + 1)
        return self._with_kept_answers(model, "\0".join(command))

    def build_hosted(
        self,
        name: str,
        table: ModelTable,
        elsewhere: Model | None = None,
        *,
        headers_at: str | None = None,
    ) -> Model:
        """
        A model at an endpoint; *elsewhere*: the model for hedged calls; *headers_at*: file and
        line of its headers. Raises ConfigError.
        """
        place = self.resolve_endpoint(table)
        base_url = place.base_url
        upstream = place.upstream_model_name(table.model or "")
        terms = self._search.find_provider_terms(table)
        if terms is not None and terms.extra:
            table = msgspec.structs.replace(table, extra={**terms.extra, **table.extra})
        model = _build_adapter(name, upstream, place, table, self._redactor)
        if isinstance(model, HostedModel) and headers_at and header_secrets(table.headers):
            model.key_origin = f"the API key came from `headers` in {headers_at}"
        if isinstance(model, HostedModel):
            model.batch_terms = find_batch_terms(table.provider)
        redact = find_redact_table(table, self._redact)
        if redact is not None:
            check_stand_in(elsewhere)
        if terms is not None and terms.tools:
            model = self._search.with_provider_tools(model, terms)
        model = with_redaction(model, redact)
        key = place.key.reveal() if place.key else None
        model = self._with_rate_limit(BudgetedPerAttempt(model), table, (base_url.rstrip("/"), key))
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
        if table.search and terms is None:
            model = self._search.with_search_tool(model)
        extra = msgspec.json.encode(table.extra, order="deterministic").decode()
        identity = f"{base_url} {upstream} {extra}" + (" search" if table.search else "")
        return self._with_kept_answers(model, identity)

    def _with_rate_limit(
        self, model: Model, table: ModelTable, place: tuple[str, str | None]
    ) -> Limited:
        """Models at one address with one key share a rate limiter, as the endpoint counts them."""
        limits = RateLimits(**msgspec.structs.asdict(table.limits))
        limiter = self._limiters.get(place)
        if limiter is None:
            limiter = self._limiters[place] = RateLimiter(limits)
        elif limiter.stated_limits == RateLimits():
            limiter.stated_limits = limits
        elif limits not in (RateLimits(), limiter.stated_limits):
            said = _limits_conflict_message(limits, limiter.stated_limits)
            raise ConfigError(said, key="limits")
        return Limited(model, limiter)

    def _with_kept_answers(self, model: Model, identity: str) -> Model:
        if self.keep_calls:
            model = self.keep_calls(model, identity)
        return self._keep_answers(model, identity) if self._keep_answers else model

    def resolve_endpoint(self, table: ModelTable) -> ModelEndpoint:
        """Where a table's model is served, and what sends to it. Raises ConfigError."""
        place = self._resolve_address(table)
        if providers.bridge_provider(table.provider):
            return place
        certificate, key = table.client_certificate, table.client_key
        transport = create_transport(
            table.transport or self._transport,
            Path(certificate) if certificate else None,
            Path(key) if key else None,
        )
        return place._replace(transport=transport)

    def _resolve_address(self, table: ModelTable) -> ModelEndpoint:
        """Where a table's model is served, from its provider or the file."""
        if table.provider is None:
            return ModelEndpoint(table.base_url or "", self._read_key(table.api_key_env))
        if providers.bridge_provider(table.provider):
            url = table.base_url or table.provider
            return ModelEndpoint(url, self._read_key(table.api_key_env))
        provider = providers.providers()[table.provider]
        url = table.base_url or self._provider_url(table.provider, provider)
        place = ModelEndpoint(url, None, provider.prefix, provider.dialect, provider.key_header)
        if table.api_key_env:
            return place._replace(key=self._read_key(table.api_key_env))
        for variable in provider.keys:
            if self._environ.get(variable):
                return place._replace(key=self._read_key(variable))
        if provider.keys and not provider.local:
            names = " or ".join(provider.keys)
            raise NotAvailableHereError(
                f"{table.provider} needs an API key: {names} is not set in the environment",
                key="provider",
            )
        return place

    def _provider_url(self, name: str, provider: providers.Provider) -> str:
        listens = self._environ.get(provider.address) if provider.address else None
        if listens:
            url = (ollama_url(listens) if provider.local else listens.rstrip("/")) or ""
            if not url:
                raise ConfigError(f"{provider.address} is not the address of a server")
            whole = "?" in url  # as Azure shows a deployment's: it goes on as it is
            return url if whole else url.removesuffix(provider.path) + provider.path
        if not provider.base_url:
            raise NotAvailableHereError(
                f"{name} needs an address: {provider.address} is not set in the environment"
            )
        return provider.base_url

    def _read_key(self, variable: str | None) -> Secret | None:
        if variable is None:
            return None
        value = self._environ.get(variable)
        if not value:
            shown = (
                variable
                if _CONVENTIONAL_PATTERN.fullmatch(variable)
                else "the variable that it names"
            )
            raise NotAvailableHereError(
                f"the API key is missing: set {shown} in the environment"
                " (the file names the variable, never the key itself)",
                key="api_key_env",
            )
        if not value.isprintable():
            said = f"the key in {variable} holds a line end or another character that no key has"
            raise ConfigError(said, key="api_key_env")
        return Secret(value, variable)


def _local_context_window(
    path: Path, known: local_models.KnownModel | None, context: int
) -> int | None:
    """Tokens of one conversation: what the model was trained for, at most *context*."""
    if known is not None:
        return min(known.context, context)
    try:
        trained = parse_context_window(gguf.read_header(path).architecture_value("context_length"))
    except ConfigError:  # loading the file reports what is wrong with it
        return None
    return None if trained is None else min(trained, context)


def _build_adapter(
    name: str, model: str, place: ModelEndpoint, table: ModelTable, redactor: Redactor | None
) -> Model:
    """The adapter for an endpoint's dialect."""
    settings: dict[str, Any] = {
        "name": name,
        "api_key": place.key,
        "timeouts": table.timeouts.with_defaults(providers.default_timeouts(model)),
        "headers": table.headers,
        "extra": table.extra,
        "redactor": redactor,
        "largest": int(table.largest_megabytes * 1024**2),
        "context_window": (
            table.window or providers.default_context_window(table.provider or "", model)
        ),
        "supports_images": (
            providers.default_image_support(model) if table.vision is None else table.vision
        ),
        "price": table_price(table),
    }
    if provider := providers.bridge_provider(table.provider):
        from mixtura.models.pydantic_ai import PydanticAI

        return PydanticAI(provider, model, base_url=table.base_url, **settings)
    adapter = find_adapter(place.dialect)
    return adapter(
        model,
        place.base_url,
        key_header=place.key_header,
        transport=place.transport,
        **settings,
    )


def _limits_conflict_message(mine: RateLimits, other: RateLimits) -> str:
    here, there = asdict(mine), asdict(other)
    name = next(key for key in here if here[key] != there[key])
    return (
        f"limits: {name} is {here[name]} here and {there[name]} for another model at the same"
        " address with the same key: they share one limit, so give both the same value"
    )
