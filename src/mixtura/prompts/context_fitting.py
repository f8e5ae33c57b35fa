"""Fits proposals into a model's context window, by estimated token counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mixtura.core.errors import ContextOverflowError
from mixtura.core.token_estimate import (
    DEFAULT_ANSWER_TOKENS,
    count_request_tokens,
    estimate_tokens,
)
from mixtura.core.types import Completion, Request
from mixtura.prompts.synthesis import Synthesis

TRUNCATION_MARK = "\n[… a part of this draft is left out here …]\n"
"""Replaces the middle of a truncated proposal."""
MIN_ANSWER_TOKENS = 256
"""Tokens that are always left free for the answer."""
PROPOSAL_OVERHEAD_TOKENS = 24
"""Tokens around a proposal."""
MIN_PROPOSAL_TOKENS = 16
"""Tokens that are left of a proposal at least."""


def tokens_left(request: Request, window: int) -> int:
    """
    Tokens left for proposals in a context window of *window* tokens.

    The window less the conversation and the answer (max_tokens, else a quarter of the window up
    to 4,096; half of what the conversation leaves where that is less). Negative when the
    conversation alone does not fit.
    """
    return tokens_left_beside(count_request_tokens(request), request, window)


def tokens_left_beside(asked: int, request: Request, window: int) -> int:
    """``tokens_left`` for a conversation that is known to have *asked* tokens."""
    most = request.sampling.max_tokens or min(window // 4, DEFAULT_ANSWER_TOKENS)
    left = window - asked
    answer = most if most <= left else left // 2
    return left - max(answer, MIN_ANSWER_TOKENS)


def fit_and_render(
    synthesis: Synthesis, request: Request, proposals: Sequence[Completion], window: int | None
) -> Request:
    """
    The request with *proposals* in it, truncated to fit a context window of *window* tokens.

    *window* None: unknown, nothing is truncated. Raises ContextOverflowError when the
    conversation alone does not fit.
    """
    if window is None:
        return synthesis(request, proposals)
    blank = [replace(p, message=replace(p.message, content="")) for p in proposals]
    space = tokens_left(synthesis(request, blank), window)
    if space < 0:
        needed = window - space
        raise ContextOverflowError(
            f"the conversation needs about {needed} tokens with its answer,"
            f" the model's window has {window}"
        )
    return synthesis(request, truncate_proposals(proposals, space))


def truncate_proposals(proposals: Sequence[Completion], space: int) -> Sequence[Completion]:
    """
    Truncate the proposals to *space* tokens in all.

    Each has an equal share; what short ones leave over goes to the longer ones. A proposal
    longer than its share loses its middle and gets the finish reason "length".
    """
    sizes = [estimate_tokens(p.text) + PROPOSAL_OVERHEAD_TOKENS for p in proposals]
    if sum(sizes) <= space:
        return proposals
    share = _fair_share(sizes, space)
    return [
        p
        if size <= share
        else _truncate_proposal(p, max(share - PROPOSAL_OVERHEAD_TOKENS, MIN_PROPOSAL_TOKENS))
        for p, size in zip(proposals, sizes, strict=True)
    ]


def _fair_share(sizes: Sequence[int], space: int) -> int:
    """The largest size per proposal with which all of them fit into *space* tokens."""
    left, remaining = space, len(sizes)
    for size in sorted(sizes):
        cap = left // remaining
        if size > cap:
            return cap
        left -= size
        remaining -= 1
    return max(sizes)


def _truncate_proposal(proposal: Completion, most: int) -> Completion:
    text = proposal.text
    room = most - estimate_tokens(TRUNCATION_MARK)
    keep = max(len(text) * room // estimate_tokens(text), 0)
    shortened = _without_middle(text, keep)
    while keep and estimate_tokens(shortened) > most:  # what is kept may be denser than the rest
        keep = keep * 9 // 10
        shortened = _without_middle(text, keep)
    return replace(
        proposal, message=replace(proposal.message, content=shortened), finish_reason="length"
    )


def _without_middle(text: str, keep: int) -> str:
    """*keep* characters of a text, two thirds of them from its beginning."""
    return text[: keep * 2 // 3] + TRUNCATION_MARK + text[len(text) - keep // 3 :]
