"""A judge is asked for a verdict; where none can be read it is asked again, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from mixtura.core.call_ledger import open_ledger
from mixtura.core.events import CallRestarted, Emit, Notice
from mixtura.core.model import Model, Wrapper
from mixtura.core.types import Charge, Completion, Message, Request
from mixtura.prompts.control_tokens import neutralize_text

T = TypeVar("T")

REMINDER = """Your verdict is missing, or not in the form that was asked for. Write it now, in that
form, and nothing else."""
EMPTY_REPLY_TEXT = "(nothing)"
ASKED_AGAIN = "no verdict can be read: asked again"


@dataclass(frozen=True, slots=True)
class JudgeReply(Generic[T]):
    """What a judge said in the end; *verdict* is None where nothing in it can be read as one."""

    verdict: T | None
    completion: Completion
    """Its last reply, with the charges of every attempt."""

    @property
    def reply_text(self) -> str:
        return self.completion.text

    @property
    def charges(self) -> tuple[Charge, ...]:
        return self.completion.charges


async def ask_for_verdict(
    judge: Model,
    request: Request,
    read: Callable[[Completion], T | None],
    emit: Emit | None = None,
) -> JudgeReply[T]:
    """
    What *read* finds in the judge's reply; without a verdict the judge is reminded, once.

    What the judge raises is raised.
    """
    with open_ledger() as ledger:
        found = await _ask_twice_at_most(judge, replace(request, draft=True), read, emit)
        return replace(found, completion=ledger.bill_answer(found.completion))


async def _ask_twice_at_most(
    judge: Model, request: Request, read: Callable[[Completion], T | None], emit: Emit | None
) -> JudgeReply[T]:
    with open_ledger() as first:
        said = first.bill_answer(await judge.complete(request, emit))
    if (found := read(said)) is not None:
        return JudgeReply(found, said)
    first.mark_outcome("retried")
    if emit:
        emit(Notice(judge.name, ASKED_AGAIN))
        emit(CallRestarted(judge.name, None))
    spoken = (
        Message("assistant", neutralize_text(said.text) or EMPTY_REPLY_TEXT),
        Message("user", REMINDER),
    )
    request = replace(request, messages=(*request.messages, *spoken))
    with open_ledger() as second:
        again = second.bill_answer(await judge.complete(request, emit))
    message = again.message if again.text else replace(again.message, content=said.text)
    return JudgeReply(read(again), replace(again, message=message))


class Judge(Wrapper, Generic[T]):
    """A Model that is asked for a verdict: *said* is what it said, once it was asked."""

    def __init__(self, model: Model, read: Callable[[Completion], T | None]) -> None:
        super().__init__(model)
        self._read = read
        self.said: JudgeReply[T] | None = None

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        self.said = await ask_for_verdict(self._model, request, self._read, emit)
        return self.said.completion
