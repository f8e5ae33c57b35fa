"""Proposals that were paid for already: a run that is given them asks for none of them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from mixtura.core.arguments import check_flag, check_kind, check_mapping, check_optional
from mixtura.core.call_ledger import open_ledger
from mixtura.core.context_values import hold_value
from mixtura.core.errors import ModelError
from mixtura.core.events import CallStarted, Emit, Failure, Notice, Position, Proposal
from mixtura.core.roles import Composite, Layer, find_proposers
from mixtura.core.types import Completion, Request

KEPT_NOTICE = "written in an earlier run: not asked and not paid for again"
NOT_ASKED = "not asked again"


@dataclass(frozen=True, slots=True)
class KeptDrafts:
    """
    The proposals of an earlier run, by their positions in its outermost mixture.

    *asks_missing*: proposers without one are asked; else the last step reads what is there.
    *instruction*: what the last step is told besides. Raises TypeError for what is no such thing.
    """

    proposals: Mapping[Position, Completion]
    asks_missing: bool = True
    instruction: str | None = None

    def __post_init__(self) -> None:
        check_mapping("proposals", self.proposals, "a dict of answers by Position")
        for position, answer in self.proposals.items():
            check_kind("proposals", position, Position, "a dict of answers by Position")
            check_kind("proposals", answer, Completion, "a dict of answers by Position")
        check_flag("asks_missing", self.asks_missing)
        check_optional("instruction", self.instruction, str, "a text, or None")

    def may_answer(self, position: Position) -> bool:
        """Whether a proposal of *position* is there or asked for."""
        return self.asks_missing or position in self.proposals

    def has_layer(self, depth: int) -> bool:
        """Whether a proposal of layer *depth* is there."""
        return any(position.layer == depth for position in self.proposals)

    def passes_over(self, depth: int) -> bool:
        """Whether nothing of layer *depth* was written, and nobody is asked for it."""
        return not self.asks_missing and not self.has_layer(depth)

    def find_calls_not_made(self, composite: Composite) -> list[int]:
        """The positions of *composite*'s planned calls that are not made and cost nothing."""
        proposers = find_proposers(composite, composite.planned_calls())
        return [
            number
            for number, seat in zip(proposers, list_seats(composite.layers), strict=False)
            if seat in self.proposals or not self.asks_missing
        ]


def list_seats(layers: Sequence[Layer]) -> list[Position]:
    """The seats of the proposers, in the order of a mixture's planned calls."""
    return [
        Position(depth, index, "proposer")
        for depth, layer in enumerate(layers, 1)
        for index in range(layer.call_count)
    ]


_DRAFTS: ContextVar[KeptDrafts | None] = ContextVar("kept_drafts", default=None)


def reuse_drafts(drafts: KeptDrafts | None) -> AbstractContextManager[None]:
    """
    A mixture that is run in this block takes *drafts* in place of asking for them. Raises TypeError
    for what is none.
    """
    if drafts is not None:
        check_kind("drafts", drafts, KeptDrafts, "a KeptDrafts, or None")
    return hold_value(_DRAFTS, drafts)


def current_drafts() -> KeptDrafts | None:
    """The proposals that are not asked for again."""
    return _DRAFTS.get()


async def give_kept_draft(
    drafts: KeptDrafts, position: Position, model: str, emit: Emit | None
) -> Completion | ModelError:
    """The kept proposal of *position*, or the ModelError that it is not asked for."""
    draft = drafts.proposals.get(position)
    model = draft.model if draft else model
    with open_ledger() as ledger:
        if emit:
            emit(CallStarted(model, Request(()), (position,), ledger))
        if draft is None:
            error = ModelError(NOT_ASKED, model=model)
            if emit:
                emit(Failure(model, error, (position,), ()))
            return error
        answer = replace(draft, charges=())
        if emit:
            emit(Notice(model, KEPT_NOTICE, (position,)))
            emit(Proposal(answer, (position,)))
        return answer
