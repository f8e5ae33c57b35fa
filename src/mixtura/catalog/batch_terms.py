"""Which providers take batches: in which form, of what size, at which share of the price."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

import msgspec


class BatchTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On which terms a provider takes batches."""

    form: str
    price: float
    """The share of the usual price that a call in a batch costs."""
    rows: int
    """Calls of one batch at most."""
    megabytes: float
    source: str
    date: str
    """When the source was read."""
    confirmed: bool = True
    lag: float = 15.0
    """Seconds by which its list of batches may be behind: what is not in it may still come."""


@cache
def provider_batch_terms() -> Mapping[str, BatchTerms]:
    """The terms of every provider that is known to take batches."""
    text = (resources.files("mixtura") / "presets" / "provider_batches.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, BatchTerms])


def find_batch_terms(provider: str | None) -> BatchTerms | None:
    """The terms of a provider; None where none are known."""
    return provider_batch_terms().get(provider) if provider else None
