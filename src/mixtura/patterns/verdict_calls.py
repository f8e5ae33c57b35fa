"""Calls of a judge: where no verdict can be read it is asked again, once."""

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
    """A judge's last reply; *verdict* is None where nothing in it can be read as one."""

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
    What *read* makes of the judge's reply; without a verdict the judge is reminded, once.

    Raises ModelError when the judge fails.
    """
    with open_ledger() as ledger:
        reply = await _ask_twice_at_most(judge, replace(request, draft=True), read, emit)
        return replace(reply, completion=ledger.bill_answer(reply.completion))


async def _ask_twice_at_most(
    judge: Model, request: Request, read: Callable[[Completion], T | None], emit: Emit | None
) -> JudgeReply[T]:
    with open_ledger() as first:
        answer = first.bill_answer(await judge.complete(request, emit))
    if (verdict := read(answer)) is not None:
        return JudgeReply(verdict, answer)
    # The reply was paid for and led to nothing: the bill shows it as a retry.
    first.mark_outcome("retried")
    if emit:
        emit(Notice(judge.name, ASKED_AGAIN))
        emit(CallRestarted(judge.name, None))
    reminder = (
        # Some endpoints refuse an assistant's message without a text.
        Message("assistant", neutralize_text(answer.text) or EMPTY_REPLY_TEXT),
        Message("user", REMINDER),
    )
    request = replace(request, messages=(*request.messages, *reminder))
    with open_ledger() as second:
        again = second.bill_answer(await judge.complete(request, emit))
    # Nothing on the second call: a person still sees what it had said at first.
    message = again.message if again.text else replace(again.message, content=answer.text)
    return JudgeReply(read(again), replace(again, message=message))


class Judge(Wrapper, Generic[T]):
    """A Model that is asked for a verdict; *reply* has it once it was called."""

    def __init__(self, model: Model, read: Callable[[Completion], T | None]) -> None:
        super().__init__(model)
        self._read = read
        self.reply: JudgeReply[T] | None = None

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """
        The judge's last reply, with the charges of both calls. Raises ModelError when it fails.
        """
        self.reply = await ask_for_verdict(self._model, request, self._read, emit)
        return self.reply.completion
