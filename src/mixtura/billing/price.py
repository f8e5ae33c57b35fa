"""Prices: tokens to dollars, and to the work that they are for the hardware."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mixtura.core.arguments import NumberField, check_number_fields
from mixtura.core.quantities import DOLLARS
from mixtura.core.types import Charge, Usage

MILLION = 1_000_000

Pricer = Callable[[str, Usage], float | None]
"""Dollars for *usage* of the model of that name; ``None`` where no one knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """
    Dollars per million tokens.

    Cached prompt tokens cost *cached*, those written to a cache *cache_write*; where
    they are not given, the price of *input*. Reasoning tokens are output. Raises TypeError and
    ValueError for what is no price.
    """

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached", "cache_write"):
            check_number_fields(self, NumberField(name, DOLLARS, optional=name.startswith("cache")))

    def __call__(self, usage: Usage) -> float:
        cached = self.input if self.cached is None else self.cached
        written = self.input if self.cache_write is None else self.cache_write
        plain = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
        dollars = (
            # An upstream's counts may contradict each other: no part of a price is negative.
            max(plain, 0) * self.input
            + usage.cached_tokens * cached
            + usage.cache_write_tokens * written
            + usage.completion_tokens * self.output
        )
        return dollars / MILLION


FREE_PRICE = Price(input=0.0, output=0.0)
"""A model that runs on the user's own machine sends no bill."""


def total_cost(charges: Iterable[Charge], pricer: Pricer) -> float | None:
    """Dollars for a ledger; ``None`` when a part of it has no known price."""
    dollars = 0.0
    for charge in charges:
        part = pricer(charge.model, charge.usage)
        # A sum without one part would pass for the price of the whole.
        if part is None:
            return None
        dollars += part
    return dollars


# ---- work


class CallWork(NamedTuple):
    """A call as work: billions of parameters that take part, tokens read, tokens written."""

    active: float
    read: float
    written: float


def estimate_tflops(layers: Iterable[Sequence[CallWork]], *, prefill: bool) -> float:
    """
    Trillions of operations one after another: of every layer, the most that one member takes.

    Two for each active parameter and token (Wang et al. 2024, arXiv 2406.04692, figure 5). The
    paper counts the tokens that are written; with *prefill*, those that are read, too, which a
    long list of proposals makes the larger part.
    """
    return sum(max(_call_tflops(call, prefill) for call in calls) for calls in layers if calls)


def _call_tflops(call: CallWork, prefill: bool) -> float:
    return 2 * call.active * (call.written + call.read * prefill) / 1000
