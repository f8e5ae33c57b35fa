"""How long a conversation may be: the context sizes of models, and what drafts leave of them."""

from __future__ import annotations

from collections.abc import Sequence

from mixtura.billing.forecast import DRAFT_OVERHEAD_TOKENS, ENVELOPE_OVERHEAD_TOKENS
from mixtura.core.model import Model, get_model_info, unwrap_model
from mixtura.core.roles import Composite, PlannedCall
from mixtura.core.token_estimate import DEFAULT_ANSWER_TOKENS, estimate_tokens


def conversation_window(model: Model) -> int | None:
    """
    Tokens that a conversation and its answer may have: the smallest window among the members,
    less the drafts that each of them reads. None where no member's window is known.

    Drafts count as long as they may be, but with no more than half of a window: they are
    shortened to fit.
    """
    inner = unwrap_model(model)
    if not isinstance(inner, Composite):
        return get_model_info(model).context_window
    calls = inner.planned_calls()
    sizes = [
        size - min(_tokens_beside_conversation(call, calls), size // 2)
        for call in calls
        if (size := conversation_window(call.model)) is not None
    ]
    return min(sizes, default=None)


def _tokens_beside_conversation(call: PlannedCall, calls: Sequence[PlannedCall]) -> int:
    """Tokens that a call reads besides the conversation, at most."""
    persona = estimate_tokens(call.persona) if call.persona else 0
    if not call.reads:
        return persona
    drafts = [calls[i].sampling.max_tokens or DEFAULT_ANSWER_TOKENS for i in call.reads]
    return persona + ENVELOPE_OVERHEAD_TOKENS + sum(drafts) + DRAFT_OVERHEAD_TOKENS * len(drafts)
