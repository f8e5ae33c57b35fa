"""Checks of a model's settings that need no network and no key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from mixtura.catalog import providers
from mixtura.catalog.command_tools import command_tools, is_command_provider
from mixtura.catalog.transports import check_transport_name
from mixtura.commands.environment import is_secret_name
from mixtura.config.schema import ModelTable
from mixtura.core.credentials import looks_like_key
from mixtura.core.errors import ConfigError
from mixtura.core.text import unknown_name_message
from mixtura.transport.address import HEADER_NAME

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
    "redact",
    "search",
)
_NOT_FOR_PROGRAMS = tuple(
    key for key in _HOSTED_ONLY if key not in ("largest_megabytes", "retries", "redact")
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


def find_model_mistakes(table: ModelTable) -> Iterator[ConfigError]:
    """What is wrong on every machine, each with its setting's name."""
    if table.command is not None or is_command_provider(table.provider):
        yield from _command_mistakes(table)
        return
    if table.environment:
        why = "is for programs (`command`) and has no effect here"
        yield ConfigError(f"environment {why}", key="environment")
    if table.provider is None and table.base_url is None:
        why = "is for hosted models and has no effect on a local one"
        yield from _useless_settings(table, _HOSTED_ONLY, why)
        for clock in _HOSTED_TIMEOUTS:
            if table.timeouts.explicit_seconds(clock) is not None:
                yield ConfigError(f"timeouts: {clock} {why}", key="timeouts")
        return
    if not table.model:
        yield ConfigError("`model` is missing: the name that the endpoint gives the model")
    elif looks_like_key(table.model):
        yield ConfigError(
            "model: this is an API key, not the name that the endpoint gives the model", key="model"
        )
    known = providers.providers()
    if table.provider is not None and not (
        providers.bridge_provider(table.provider) or table.provider in known
    ):
        yield ConfigError(unknown_name_message("provider", table.provider, known), key="provider")
    yield from find_value_mistakes(table)
    yield from _transport_mistakes(table)
    why = "is for local models and has no effect here"
    yield from _useless_settings(table, _LOCAL_ONLY, why)
    if table.timeouts.explicit_seconds("load") is not None:
        yield ConfigError(f"timeouts: load {why}", key="timeouts")


def find_value_mistakes(table: ModelTable) -> Iterator[ConfigError]:
    """What is wrong whatever else the table says, each with its setting's name."""
    if table.api_key_env is not None:
        yield from _variable_mistakes(table.api_key_env)
    if table.base_url is not None:
        yield from _address_mistakes(table.base_url)
    yield from _header_mistakes(table.headers)
    yield from _extra_mistakes(table.extra)


def _command_mistakes(table: ModelTable) -> Iterator[ConfigError]:
    """What is wrong with a program that answers."""
    tool = command_tools().get(table.provider or "")
    if table.provider is not None and tool is None:
        said = (
            "provider: leave it out beside `command`, or name a known tool:"
            f" {', '.join(command_tools())}"
        )
        yield ConfigError(said, key="provider")
    if table.command is not None and not (table.command and table.command[0].strip()):
        said = 'command: the program is missing, as in command = ["my-model", "--quiet"]'
        yield ConfigError(said, key="command")
    if any(looks_like_key(word) for word in table.command or ()):
        said = "command: this holds an API key: keys go into the environment, never into this file"
        yield ConfigError(said, key="command")
    if table.model is not None and tool is None:
        said = "model has no effect beside `command`: write the model's name among its arguments"
        yield ConfigError(said, key="model")
    elif table.model is None and tool is not None and tool.needs_model:
        said = f"`model` is missing: which model `{tool.program}` should run"
        yield ConfigError(said)
    if table.base_url is not None:
        yield ConfigError(
            "base_url: a model is a program or at an address, not both", key="base_url"
        )
    why = "has no effect on a program"
    yield from _useless_settings(table, (*_LOCAL_ONLY, *_NOT_FOR_PROGRAMS), why)
    for clock in (*_HOSTED_TIMEOUTS[:2], "progress", "load"):
        if table.timeouts.explicit_seconds(clock) is not None:
            said = f"timeouts: {clock} {why}: `total` is how long its answer may take"
            yield ConfigError(said, key="timeouts")
    for variable in table.environment:
        if not _VARIABLE_PATTERN.fullmatch(variable) or looks_like_key(variable):
            said = "environment: these are names of variables, such as OLLAMA_HOST, not values"
            yield ConfigError(said, key="environment")
        elif is_secret_name(variable):
            said = (
                f"environment: {variable} names a secret: no program gets one. It would bill by"
                " token, and what it reads could reach its answer"
            )
            yield ConfigError(said, key="environment")


def _address_mistakes(url: str) -> Iterator[ConfigError]:
    if not url.startswith(("http://", "https://")):
        shown = f"'{url}'" if _PLAIN_HOST_PATTERN.fullmatch(url) else "the address"
        right = f", as in 'http://{url}'" if _PLAIN_HOST_PATTERN.fullmatch(url) else ""
        said = f"base_url: {shown} must begin with http:// or https://{right}"
        yield ConfigError(said, key="base_url")
    elif not _is_url_with_host(url):
        said = "base_url: this is not the address of a server, such as http://127.0.0.1:8000/v1"
        yield ConfigError(said, key="base_url")


def _is_url_with_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # The port is read here, which raises for one that is none. A space is a slip of the hand,
        # which urlsplit drops in some places and keeps in others.
        return bool(parts.netloc) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        return False


def _useless_settings(table: ModelTable, keys: tuple[str, ...], why: str) -> Iterator[ConfigError]:
    """Settings that this kind of model would ignore."""
    for key in keys:
        if getattr(table, key) != getattr(_DEFAULT_TABLE, key):
            yield ConfigError(f"{key} {why}", key=key)


def _transport_mistakes(table: ModelTable) -> Iterator[ConfigError]:
    if providers.bridge_provider(table.provider):
        why = "has no effect here: a bridge: model is called through its provider's own library"
        yield from _useless_settings(table, _TRANSPORT_SETTINGS, why)
    if table.transport is not None:
        try:
            check_transport_name(table.transport)
        except ConfigError as error:
            yield error
    if table.client_key is not None and table.client_certificate is None:
        said = "client_key: its certificate is missing: set client_certificate, too"
        yield ConfigError(said, key="client_key")


def _extra_mistakes(extra: Mapping[str, object]) -> Iterator[ConfigError]:
    for name in _RESERVED_FIELDS:
        if name in extra:
            said = f"extra: '{name}' is set by Mixtura: budgets and the protocol depend on it"
            yield ConfigError(said, key="extra")


def _variable_mistakes(name: str) -> Iterator[ConfigError]:
    if not _VARIABLE_PATTERN.fullmatch(name) or looks_like_key(name):
        yield ConfigError(
            "api_key_env: this is not the name of an environment variable, such as OPENAI_API_KEY:"
            " the key itself goes into the environment, never into this file",
            key="api_key_env",
        )


def _header_mistakes(headers: Mapping[str, str]) -> Iterator[ConfigError]:
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name) and name.isprintable():
            shown = "a name" if looks_like_key(name) else repr(name)
            yield ConfigError(f"headers: {shown} is not the name of a header", key="headers")
        if not (name + value).isprintable():
            shown = repr(name) if _HEADER_PATTERN.fullmatch(name) else "one"
            said = f"headers: {shown} holds a line end or a character that no header may have"
            yield ConfigError(said, key="headers")
