"""What is known of providers and models by name: addresses, keys, prices, windows."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any, Literal

import msgspec

from mixtura.types import Usage
from mixtura.upstream import Clocks


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place that serves models."""

    base_url: str = ""
    dialect: Literal["openai", "anthropic"] = "openai"
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

    def full(self, model: str) -> str:
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


BRIDGE = "bridge:"
"""Before the name of a provider that is not ours but of the bridge's library."""

REASONING = Clocks(first_token=300.0, progress=300.0, total=1800.0)
"""Clocks for models that think before they speak."""


@cache
def providers() -> Mapping[str, Provider]:
    """Every provider that `provider/model` may name."""
    text = (resources.files("mixtura") / "presets" / "providers.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Provider])


@cache
def _quirks() -> tuple[Quirks, ...]:
    text = (resources.files("mixtura") / "presets" / "quirks.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text)["quirks"], tuple[Quirks, ...])


def quirks(model: str) -> Quirks:
    """What is known of a model by its name, whoever serves it."""
    name = model.rpartition("/")[2].lower()
    for known in _quirks():
        if any(fnmatchcase(name, pattern) for pattern in known.models):
            return known
    return Quirks()


@cache
def _blind() -> tuple[str, ...]:
    text = (resources.files("mixtura") / "presets" / "quirks.toml").read_text("utf-8")
    return tuple(tomllib.loads(text)["blind"])


def sees(model: str) -> bool | None:
    """False for a model that is known to take no pictures; None where its name does not tell."""
    name = model.rpartition("/")[2].lower()
    return False if any(fnmatchcase(name, pattern) for pattern in _blind()) else None


@cache
def _families() -> tuple[tuple[str, re.Pattern[str]], ...]:
    text = (resources.files("mixtura") / "presets" / "families.toml").read_text("utf-8")
    rows = msgspec.convert(tomllib.loads(text), dict[str, list[str]])
    return tuple(
        (name, re.compile(rf"(?<![a-z0-9])(?:{'|'.join(map(re.escape, words))})(?![a-z])"))
        for name, words in rows.items()
    )


def family(model: str) -> str | None:
    """Who made a model, by its name: what follows the last slash counts before the rest."""
    whole = model.lower()
    for part in (whole.rpartition("/")[2], whole):
        for name, words in _families():
            if words.search(part):
                return name
    return None


def clocks(model: str) -> Clocks:
    """How long to wait for a model when no one says."""
    return REASONING if quirks(model).reasoning else Clocks()


def split(name: str) -> tuple[str, str] | None:
    """``provider/model`` to its two parts; None when the first is no provider's name."""
    provider, _, model = name.partition("/")
    served = provider in providers() or (provider.startswith(BRIDGE) and provider != BRIDGE)
    return (provider, model) if model and served else None


def bridged(provider: str | None) -> str | None:
    """What the bridge's library calls the provider; None for one of ours."""
    return provider.removeprefix(BRIDGE) if provider and provider.startswith(BRIDGE) else None


def _listed(provider: str, model: str) -> tuple[str, str] | None:
    """What genai-prices calls both; None where it lists no prices of the provider."""
    known = providers().get(provider)
    if known is None:
        return (name, model) if (name := bridged(provider)) else None
    return (known.prices, known.full(model)) if known.prices else None


def price(provider: str, model: str, usage: Usage) -> float | None:
    """
    Dollars for *usage* at the provider's list price; None where no price is known.

    From genai-prices, which brings its prices along and asks no network.
    """
    known = providers().get(provider)
    if known is not None and known.local:
        return 0.0
    if (listed := _listed(provider, model)) is None:
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


def window(provider: str, model: str) -> int | None:
    """Tokens of the model's context; None where it is not known."""
    if (listed := _listed(provider, model)) is None:
        return None
    from genai_prices import Usage as Priced
    from genai_prices import calc_price

    try:
        found = calc_price(Priced(input_tokens=1), model_ref=listed[1], provider_id=listed[0])
    except LookupError:
        return None
    return found.model.context_window
