"""
What is known of providers and models by name: addresses, keys, prices, windows, sizes.

These are defaults. What counts for one model object, its ``ModelInfo`` says.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import msgspec

from mixtura.billing.price import Price
from mixtura.catalog.command_tools import command_tools
from mixtura.catalog.entry_points import find_entry_points, load_entry_point
from mixtura.catalog.model_strength import model_strengths
from mixtura.core.types import Usage
from mixtura.transport.timeouts import CallTimeouts


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place that serves models."""

    base_url: str = ""
    dialect: str = "openai"
    """The API that it speaks: the name of an adapter (`config/adapters`)."""
    keys: tuple[str, ...] = ()
    key_header: str | None = None
    """The header that the key goes into; by default the dialect's own."""
    address: str | None = None
    """An environment variable that says where it listens."""
    path: str = "/v1"
    """What follows that address."""
    local: bool = False
    """It runs on the user's own machine: no key needed, no bill."""
    prices: str | None = None
    prefix: str = ""
    usual: tuple[str, ...] = ()
    aggregator: str | None = None
    also: tuple[str, ...] = ()
    """What other tools call it."""
    bare: tuple[str, ...] = ()
    """Patterns of the models that only it serves: their names need no provider before them."""

    def upstream_model_name(self, model: str) -> str:
        """What the provider itself calls *model*."""
        return model if "/" in model else self.prefix + model


class Quirks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model's name tells of it."""

    models: tuple[str, ...] = ()
    refuses: frozenset[str] = frozenset()
    """Parameters that it answers with an error."""
    reasoning: bool = False
    """It may be silent for minutes before its first word."""
    inside: bool = False
    """Its chat template opens the thought, so that its text only closes it."""
    most_tokens: int | None = None
    """Tokens of its longest answer."""


ENTRY_POINT_GROUP = "mixtura.providers"
BRIDGE_PREFIX = "bridge:"
"""Before the name of a provider that is not ours but of the bridge's library."""

REASONING_TIMEOUTS = CallTimeouts(first_token=300.0, progress=300.0, total=1800.0)
"""Clocks for models that think before they speak."""


@cache
def providers() -> Mapping[str, Provider]:
    """
    Every provider that `provider/model` may name: ours, and those that other packages add.

    Raises ConfigError for a package that cannot be loaded: with its provider, it would not be
    known which variables hold secrets.
    """
    text = (resources.files("mixtura") / "presets" / "providers.toml").read_text("utf-8")
    known = msgspec.convert(tomllib.loads(text), dict[str, Provider])
    for name in sorted(find_entry_points(ENTRY_POINT_GROUP)):
        if found := load_entry_point(ENTRY_POINT_GROUP, name, Provider):
            known.setdefault(name, found)
    return known


@cache
def _load_quirks() -> tuple[Quirks, ...]:
    text = (resources.files("mixtura") / "presets" / "quirks.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text)["quirks"], tuple[Quirks, ...])


def model_quirks(model: str) -> Quirks:
    """What is known of a model by its name, whoever serves it."""
    name = model.rpartition("/")[2].lower()
    for known in _load_quirks():
        if any(fnmatchcase(name, pattern) for pattern in known.models):
            return known
    return Quirks()


@cache
def _text_only_patterns() -> tuple[str, ...]:
    text = (resources.files("mixtura") / "presets" / "quirks.toml").read_text("utf-8")
    return tuple(tomllib.loads(text)["blind"])


def default_image_support(model: str) -> bool | None:
    """False for a model that is known to take no pictures; None where its name does not tell."""
    name = model.rpartition("/")[2].lower()
    return False if any(fnmatchcase(name, pattern) for pattern in _text_only_patterns()) else None


@cache
def _family_patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    text = (resources.files("mixtura") / "presets" / "families.toml").read_text("utf-8")
    rows = msgspec.convert(tomllib.loads(text), dict[str, list[str]])
    return tuple(
        (name, re.compile(rf"(?<![a-z0-9])(?:{'|'.join(map(re.escape, words))})(?![a-z])"))
        for name, words in rows.items()
    )


def model_family(model: str) -> str | None:
    """Who made a model, by its name: what follows the last slash counts before the rest."""
    whole = model.lower()
    for part in (whole.rpartition("/")[2], whole):
        for name, words in _family_patterns():
            if words.search(part):
                return name
    return None


def default_timeouts(model: str) -> CallTimeouts:
    """How long to wait for a model when no one says."""
    return REASONING_TIMEOUTS if model_quirks(model).reasoning else CallTimeouts()


def split_model_name(name: str) -> tuple[str, str] | None:
    """
    ``provider/model`` to its two parts; None for what names no provider's model.

    Spellings of other tools and bare names that mean one model only are understood, too:
    ``openai:gpt-5.4``, ``gemini/gemini-3.8-flash``, ``models/gemini-3.8-flash``, ``GPT-5.4``.
    """
    provider, _, model = name.partition("/")
    if provider in command_tools():
        return None
    served = provider in providers() or (
        provider.startswith(BRIDGE_PREFIX) and provider != BRIDGE_PREFIX
    )
    if model and served:
        return None if has_stray_slash(model) else (provider, model)
    return _split_familiar_name(name)


def has_stray_slash(model: str) -> bool:
    """Whether a model's name has a slash with nothing before or behind it: no provider's has."""
    return not all(model.split("/"))


_OTHER_SPELLING = re.compile(r"([A-Za-z][\w.-]*)[:/]([^\s*,>]+)")
_BARE_NAME = re.compile(r"(?:models/)?([A-Za-z][\w.-]*(?::[\w.-]+)?)")


@cache
def _provider_spellings() -> Mapping[str, str]:
    known = providers()
    spellings = {other: name for name, provider in known.items() for other in provider.also}
    return spellings | {name: name for name in known}


@lru_cache(maxsize=1024)
def _split_familiar_name(name: str) -> tuple[str, str] | None:
    """The provider and the model of a name that other tools would understand."""
    if name.lower().endswith(".gguf"):
        return None
    if found := _OTHER_SPELLING.fullmatch(name):
        provider = _provider_spellings().get(found[1].lower())
        if provider is not None:
            bare = find_bare_model(found[2])
            return bare if bare and bare[0] == provider else (provider, found[2])
    return find_bare_model(name)


def find_bare_model(name: str) -> tuple[str, str] | None:
    """The one provider of a model that is named without one, and its own spelling of it."""
    if not (found := _BARE_NAME.fullmatch(name)):
        return None
    model = found[1].lower()
    for provider, known in providers().items():
        if any(fnmatchcase(model, pattern) for pattern in known.bare):
            listed = {one.partition("*")[0] for one in (*known.usual, known.aggregator or "")}
            listed |= set(model_strengths())
            dashes = model.replace(".", "-")  # claude-haiku-5.5, as its maker's pages say
            return provider, dashes if dashes in listed else model
    return None


def find_served_names(model: str) -> list[str]:
    """``provider/model`` for each provider that is known to serve a model of that bare name."""
    return [
        f"{name}/{one}"
        for name, provider in providers().items()
        for one in dict.fromkeys(
            each.partition("*")[0] for each in (*provider.usual, provider.aggregator or "")
        )
        if one.rpartition("/")[2].lower() == model.lower()
    ]


def bridge_provider(provider: str | None) -> str | None:
    """What the bridge's library calls the provider; None for one of ours."""
    return (
        provider.removeprefix(BRIDGE_PREFIX)
        if provider and provider.startswith(BRIDGE_PREFIX)
        else None
    )


def _price_list_names(provider: str, model: str) -> tuple[str, str] | None:
    """What genai-prices calls both; None where it lists no prices of the provider."""
    known = providers().get(provider)
    if known is None:
        return (name, model) if (name := bridge_provider(provider)) else None
    return (known.prices, known.upstream_model_name(model)) if known.prices else None


def list_price(provider: str, model: str, usage: Usage) -> float | None:
    """
    Dollars for *usage* at the provider's list price; None where no price is known.

    From genai-prices, which brings its prices along and asks no network.
    """
    known = providers().get(provider)
    if known is not None and known.local:
        return 0.0
    if (listed := _price_list_names(provider, model)) is None:
        return None
    try:
        from genai_prices import Usage as Priced
        from genai_prices import calc_price

        found: Any = calc_price(
            Priced(
                input_tokens=usage.prompt_tokens,
                cache_read_tokens=usage.cached_tokens or None,
                cache_write_tokens=usage.cache_write_tokens or None,
                output_tokens=usage.completion_tokens,
            ),
            model_ref=listed[1],
            provider_id=listed[0],
        )
    except (LookupError, ValueError):
        return None
    return float(found.total_price)


def default_context_window(provider: str, model: str) -> int | None:
    """Tokens of the context that the price list gives for a model; None where it has none."""
    if (listed := _price_list_names(provider, model)) is None:
        return None
    from genai_prices import Usage as Priced
    from genai_prices import calc_price

    try:
        found = calc_price(Priced(input_tokens=1), model_ref=listed[1], provider_id=listed[0])
    except LookupError:
        return None
    return found.model.context_window


# ---- sizes, and what the paper reckoned with


class PaperModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model as the paper reckons with it: its price, and how much of it works on a token."""

    price: Price
    active: float
    """Billions of parameters."""
    names: tuple[str, ...] = ()


class PaperCosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the paper's figure of costs rests on."""

    characters_per_token: float
    instruction_tokens: int
    """Of the instruction to bring proposals together, with what lies around them."""
    models: Mapping[str, PaperModel]

    def paper_name(self, model: str) -> str | None:
        """The paper's name for a model, whoever serves it; None for one that it has not."""
        name = model.rpartition("/")[2].lower()
        for own, known in self.models.items():
            if any(fnmatchcase(name, each) for each in (own.lower(), *known.names)):
                return own
        return None

    def find_model(self, model: str) -> PaperModel | None:
        own = self.paper_name(model)
        return None if own is None else self.models[own]


@cache
def paper_costs() -> PaperCosts:
    """The paper's prices and sizes, of the file that comes with its presets."""
    text = (resources.files("mixtura") / "presets" / "paper_2024.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), PaperCosts)


_ACTIVE_PATTERN = re.compile(r"-a(\d+(?:\.\d+)?)b\b")
_SIZE_PATTERN = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)(b|m)(?![a-z0-9])")


def active_parameters(model: str) -> float | None:
    """
    Billions of parameters that work on a token, as far as the model's name tells.

    ``30B-A3B`` are 3; without such a part, all of them work. None where no size is named.
    """
    if known := paper_costs().find_model(model):
        return known.active
    name = model.rpartition("/")[2].lower()
    for pattern, size in _active_parameter_rows():
        if fnmatchcase(name, pattern):
            return size
    if found := _ACTIVE_PATTERN.search(name):
        return float(found[1])
    if found := _SIZE_PATTERN.search(name):
        return float(found[1]) / (1 if found[2] == "b" else 1000)
    return None


@cache
def _active_parameter_rows() -> tuple[tuple[str, float], ...]:
    text = (resources.files("mixtura") / "presets" / "quirks.toml").read_text("utf-8")
    return tuple(tomllib.loads(text)["active"].items())
