"""Which providers search the web for a model themselves: how that is asked for, and its price."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any

import msgspec


class WebSearchTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a provider is asked to search, and what a thousand searches cost in dollars."""

    source: str
    date: str
    """When the source was read."""
    tools: tuple[dict[str, Any], ...] = ()
    extra: dict[str, Any] = {}
    models: tuple[str, ...] = ("*",)
    price: float | None = None
    confirmed: bool = True


@cache
def web_search_terms() -> Mapping[str, WebSearchTerms]:
    """The terms of every provider that is known to search."""
    text = (resources.files("mixtura") / "presets" / "web_search.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, WebSearchTerms])


def find_web_search_terms(provider: str | None, model: str) -> WebSearchTerms | None:
    """How *model* of a provider is asked to search; None where it cannot be."""
    terms = web_search_terms().get(provider or "")
    if terms is None or not any(fnmatchcase(model, pattern) for pattern in terms.models):
        return None
    return terms
