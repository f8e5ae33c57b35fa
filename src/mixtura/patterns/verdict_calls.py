"""Calls of a judge: where no verdict can be read it is asked again, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from mixtura.core.call_ledger import open_ledger
from mixtura.core.errors import ModelError, QuorumNotMetError
from mixtura.core.events import CallRestarted, Emit, Notice
from mixtura.core.model import Model, Wrapper, ask_model
from mixtura.core.roles import Layer, Proposer
from mixtura.core.types import Charge, Completion, Message, Request, Sampling
from mixtura.engine.layer import run_proposer_layer
from mixtura.engine.prompt_builder import make_prompt_builder
from mixtura.prompts.control_tokens import neutralize_text
from mixtura.prompts.synthesis import Synthesis

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
        answer = first.bill_answer(await ask_model(judge, request, emit))
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
        again = second.bill_answer(await ask_model(judge, request, emit))
    # Nothing on the second call: a person still sees what it had said at first.
    message = again.message if again.text else replace(again.message, content=answer.text)
    return JudgeReply(read(again), replace(again, message=message))


class Judge(Wrapper, Generic[T]):
    """A Model that is asked for a verdict on *shown*; *reply* has it once it was called."""

    def __init__(
        self,
        model: Model,
        read: Callable[[Completion], T | None],
        shown: Sequence[Completion] = (),
    ) -> None:
        super().__init__(model)
        self._read = read
        self.shown = tuple(shown)
        self.reply: JudgeReply[T] | None = None

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """
        The judge's last reply, with the charges of both calls. Raises ModelError when it fails.
        """
        self.reply = await ask_for_verdict(self._model, request, self._read, emit)
        return self.reply.completion

    @property
    def verdict(self) -> T | None:
        """What its reply says; None before it was called, and where nothing can be read."""
        return self.reply.verdict if self.reply else None


async def ask_judges(
    judges: Sequence[Judge[T]],
    layout: Synthesis,
    request: Request,
    sampling: Sampling,
    emit: Emit | None,
    *,
    depth: int = 1,
) -> ModelError | None:
    """
    Ask all *judges* at once, each about what it is shown; the error of the first that failed.

    The others have their replies all the same. *emit* reports the calls as those of judges of
    layer *depth*: of what that layer wrote, where it is the run's own.
    """
    show = make_prompt_builder(layout, request)

    async def build_prompt(model: Model, _: Sequence[Completion], persona: str | None) -> Request:
        shown = next(judge.shown for judge in judges if judge is model)
        return await show(model, shown, persona)

    seats = tuple(Proposer(judge, sampling) for judge in judges)
    layer = Layer(seats, quorum=len(seats))  # no verdict stands in for another
    try:
        await run_proposer_layer(layer, build_prompt, (), depth=depth, emit=emit, role="judge")
    except QuorumNotMetError as error:
        return error.causes[0]
    return None
