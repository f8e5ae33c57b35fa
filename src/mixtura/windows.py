"""How long a conversation may be: the context sizes of models, and what drafts leave of them."""

from __future__ import annotations

from collections.abc import Sequence

from mixtura.budget import AROUND_A_DRAFT, AROUND_DRAFTS, LONGEST_ANSWER
from mixtura.model import Model, unwrapped, window
from mixtura.prompts import tokens
from mixtura.roles import Composite, Planned


def conversation_window(model: Model) -> int | None:
    """
    Tokens that a conversation and its answer may have: the smallest window among the members,
    less the drafts that each of them reads. None where no member's window is known.

    Drafts count as long as they may be, but with no more than half of a window: they are
    shortened to fit.
    """
    inner = unwrapped(model)
    if not isinstance(inner, Composite):
        return window(model)
    calls = inner.planned()
    sizes = [
        size - min(_around(call, calls), size // 2)
        for call in calls
        if (size := conversation_window(call.model)) is not None
    ]
    return min(sizes, default=None)


def _around(call: Planned, calls: Sequence[Planned]) -> int:
    """Tokens that a call reads besides the conversation, at most."""
    persona = tokens(call.persona) if call.persona else 0
    if not call.reads:
        return persona
    drafts = [calls[i].sampling.max_tokens or LONGEST_ANSWER for i in call.reads]
    return persona + AROUND_DRAFTS + sum(drafts) + AROUND_A_DRAFT * len(drafts)
