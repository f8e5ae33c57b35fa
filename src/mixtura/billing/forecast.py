"""The most that a request can cost: every call it leads to, with upper bounds of its tokens."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from mixtura.billing.price import Pricer
from mixtura.billing.spending_caps import Spend
from mixtura.core.model import Model, Wrapper, unwrap_model
from mixtura.core.roles import Composite
from mixtura.core.token_estimate import (
    DEFAULT_ANSWER_TOKENS,
    UPPER_BOUND,
    count_request_tokens,
    token_upper_bound,
)
from mixtura.core.types import Request, Sampling, Usage

DRAFT_OVERHEAD_TOKENS = 64
"""Tokens around a proposal, at most."""
ENVELOPE_OVERHEAD_TOKENS = 1536
"""Tokens of the instruction text around proposals and of the repeated question."""


class ExpectedCall(NamedTuple):
    """A call that a run would make, with the most tokens that it can use."""

    model: str
    usage: Usage


def forecast_calls(
    model: Model, request: Request, *, without: Collection[int] = ()
) -> list[ExpectedCall]:
    """
    Every call that an answer takes without retries, with its worst-case usage. *without*: planned
    calls, by their positions, whose answers are there already.
    """
    return _forecast_member_calls(
        model, count_request_tokens(request, UPPER_BOUND), request.sampling, without
    )


def _forecast_member_calls(
    model: Model, prompt: int, sampling: Sampling, without: Collection[int] = ()
) -> list[ExpectedCall]:
    inner = unwrap_model(model)
    if not isinstance(inner, Composite):
        return [
            ExpectedCall(model.name, Usage(prompt, sampling.max_tokens or DEFAULT_ANSWER_TOKENS))
        ]
    rows: list[ExpectedCall] = []
    sizes: list[int] = []
    for position, call in enumerate(inner.planned_calls()):
        drawn = sampling.with_defaults(call.sampling) if call.answers else call.sampling
        around = ENVELOPE_OVERHEAD_TOKENS if call.reads else 0
        read = (
            prompt
            + token_upper_bound(call.persona or "")
            + around
            + sum(sizes[i] for i in call.reads)
        )
        if position not in without:
            rows += _forecast_member_calls(call.model, read, drawn)
        sizes.append(_max_draft_tokens(drawn))
    return rows


def _max_draft_tokens(sampling: Sampling) -> int:
    """The most tokens that an answer adds to another prompt, as ``token_upper_bound`` counts."""
    return (sampling.max_tokens or DEFAULT_ANSWER_TOKENS) * 3 + DRAFT_OVERHEAD_TOKENS


def fallback_model_names(model: Model) -> list[str]:
    """
    The names of models that are called only when others fail or are late.

    A cap in dollars needs their prices, too.
    """
    found: list[Model] = []
    while isinstance(model, Wrapper):
        found += model.fallback_models
        model = model.inner_model
    names: list[str] = []
    if isinstance(model, Composite):
        found += model.fallback_models
        names += [
            name for call in model.planned_calls() for name in fallback_model_names(call.model)
        ]
    for spare in found:
        names += [
            row.model for row in _forecast_member_calls(spare, 0, Sampling())
        ] + fallback_model_names(spare)
    return names


def worst_case_spend(
    expected: Iterable[ExpectedCall], pricer: Pricer
) -> tuple[Spend, tuple[str, ...]]:
    """
    The most that *expected* calls can cost, and the models without a known price (whose calls
    count with their tokens and no dollars).
    """
    whole, unknown = Spend(), dict[str, None]()
    for row in expected:
        dollars = pricer(row.model, row.usage)
        if dollars is None:
            unknown[row.model] = None
        whole = whole.sum_with(Spend(dollars or 0.0, row.usage.total_tokens))
    return whole, tuple(unknown)
