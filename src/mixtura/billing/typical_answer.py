"""What an answer to a typical question takes: calls, tokens, how long a chain, and dollars."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mixtura.billing.forecast import ExpectedCall
from mixtura.billing.price import Pricer
from mixtura.core.model import Model, unwrap_model
from mixtura.core.roles import Composite, PlannedCall
from mixtura.core.token_estimate import estimate_tokens
from mixtura.core.types import Sampling, Usage

QUESTION_TOKENS = 50
"""Of a question: those of AlpacaEval have 165 characters on average."""
ANSWER_TOKENS = 400
"""Of an answer: those of the models of Wang et al. 2024 have 1,400 to 2,000 characters there."""
VERDICT_TOKENS = 30
"""Of a reply to proposals that no model reads and that is not the answer: a choice, a score."""
ENVELOPE_TOKENS = 250
"""Of our words around proposals, with the question once more."""


class TypicalAnswer(NamedTuple):
    """Every call of an answer to a typical question, and the longest chain of them."""

    calls: tuple[ExpectedCall, ...]
    calls_in_chain: int
    """Calls that wait for one another: no answer comes sooner than so many."""
    chain_tokens: int
    """The tokens that the calls of the slowest chain write."""

    @property
    def usage(self) -> Usage:
        read = sum(call.usage.prompt_tokens for call in self.calls)
        return Usage(read, sum(call.usage.completion_tokens for call in self.calls))


class CallsPrice(NamedTuple):
    """Dollars for calls; None where the price of one is unknown, whose model is then named."""

    dollars: float | None
    unknown: tuple[str, ...]


class _Chain(NamedTuple):
    calls: int = 0
    tokens: int = 0


def estimate_typical_answer(model: Model) -> TypicalAnswer:
    """
    The calls of one answer, those of members that are mixtures included, at the sizes that the
    constants of this module name and a sampling's ``max_tokens`` cuts. Retries, fallbacks and
    thoughts are not included; a pattern that may stop early is counted to its end.
    """
    calls, chain = _estimate_calls(model, QUESTION_TOKENS, ANSWER_TOKENS, Sampling())
    return TypicalAnswer(tuple(calls), chain.calls, chain.tokens)


def _estimate_calls(
    model: Model, prompt: int, answer: int, sampling: Sampling
) -> tuple[list[ExpectedCall], _Chain]:
    inner = unwrap_model(model)
    if not isinstance(inner, Composite):
        wrote = min(answer, sampling.max_tokens or answer)
        return [ExpectedCall(model.name, Usage(prompt, wrote))], _Chain(1, wrote)
    planned = inner.planned_calls()
    read = {i for call in planned for i in call.reads}
    rows: list[ExpectedCall] = []
    chains: list[_Chain] = []
    sizes: list[int] = []
    for number, call in enumerate(planned):
        is_verdict = call.reads and number not in read and not call.answers
        size = VERDICT_TOKENS if is_verdict else ANSWER_TOKENS
        drawn = sampling.with_defaults(call.sampling) if call.answers else call.sampling
        own, chain = _estimate_calls(call.model, _prompt_size(prompt, call, sizes), size, drawn)
        rows += own
        waited = [chains[i] for i in (*call.reads, *call.after)]
        before = _longest_chain(waited)
        chains.append(_Chain(before.calls + chain.calls, before.tokens + chain.tokens))
        sizes.append(min(size, drawn.max_tokens or size))
    return rows, _longest_chain(chains)


def _prompt_size(prompt: int, call: PlannedCall, sizes: list[int]) -> int:
    around = ENVELOPE_TOKENS if call.reads else 0
    persona = estimate_tokens(call.persona) if call.persona else 0
    return prompt + persona + around + sum(sizes[i] for i in call.reads)


def _longest_chain(chains: Iterable[_Chain]) -> _Chain:
    """The most calls and the most tokens, which may be of two chains."""
    whole = list(chains)
    return _Chain(
        max((chain.calls for chain in whole), default=0),
        max((chain.tokens for chain in whole), default=0),
    )


def price_calls(calls: Iterable[ExpectedCall], pricer: Pricer) -> CallsPrice:
    """What *calls* cost. A model whose price is unknown leaves the whole unknown, never free."""
    prices = [(call.model, pricer(call.model, call.usage)) for call in calls]
    unknown = tuple(dict.fromkeys(name for name, dollars in prices if dollars is None))
    return CallsPrice(None if unknown else sum(dollars or 0.0 for _, dollars in prices), unknown)
