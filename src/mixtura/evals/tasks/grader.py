"""A judge inside a task: whatever model has that role in Inspect, as a Model of ours."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
    get_model,
)
from inspect_ai.model import Model as InspectModel

from mixtura.core.events import Emit
from mixtura.core.types import Completion, FinishReason, Json, Message, Request
from mixtura.evals import inspect_provider
from mixtura.evals.judges.pairwise import JudgeCall

JUDGE_ROLE = "grader"
"""The role that the judge has in Inspect: ``--model-role grader=mixtura/NAME``."""
OPPONENT_ROLE = "opponent"
"""The role of the model whose answers stand beside."""
JUDGED_MARK = "(judged)"
"""Reported in place of a model's name once a sample was judged."""

_SPOKEN = {
    "system": ChatMessageSystem,
    "developer": ChatMessageSystem,
    "user": ChatMessageUser,
    "assistant": ChatMessageAssistant,
}
_ENDED: dict[str, FinishReason] = {
    "stop": "stop",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}


class GraderModel:
    """
    The model in the judge's role. What it costs stands in Inspect's log, with the call; so the
    completions here bring no charges.
    """

    def __init__(self) -> None:
        self._model: InspectModel = get_model(role=JUDGE_ROLE, required=True)

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:  # noqa: ARG002
        """The judge's reply. Raises what the judge raises."""
        messages = [to_inspect_message(message) for message in request.messages]
        output = await self._model.generate(messages, config=_generate_config(request))
        return to_completion(output)


def to_inspect_message(message: Message) -> ChatMessage:
    """A message of ours as Inspect has it, its text alone."""
    return _SPOKEN[message.role](content=message.text)


def _generate_config(request: Request) -> GenerateConfig:
    drawn = request.sampling
    return GenerateConfig(
        temperature=drawn.temperature,
        top_p=drawn.top_p,
        max_tokens=drawn.max_tokens,
        seed=drawn.seed,
        **cast(dict[str, Any], request.extra),
    )


def to_completion(output: ModelOutput) -> Completion:
    """A completion of ours, without charges: Inspect's log has them."""
    choice = output.choices[0]
    rows: tuple[Json, ...] = ()
    if choice.logprobs:
        rows = tuple(row.model_dump() for row in choice.logprobs.content)
    # Whatever ended it otherwise, it is no whole reply, and only a whole one has a verdict.
    reason: FinishReason = _ENDED.get(choice.stop_reason, "length")
    return Completion(Message("assistant", output.completion), output.model, reason, logprobs=rows)


@contextmanager
def judging_scope() -> Generator[None]:
    """A block in which a scorer asks a judge; its end is reported to whoever counts samples."""
    failed = True
    try:
        yield
        failed = False
    finally:
        inspect_provider.notify_done(JUDGED_MARK, failed=failed)


def raise_judge_errors(calls: tuple[JudgeCall, ...]) -> None:
    """
    Raises MixturaError where a judge's call failed.

    The sample has failed with it, and is asked again when the evaluation goes on. A judge that gave
    no verdict has answered; it is not asked again.
    """
    for call in calls:
        if call.error is not None:
            raise call.error
