"""An answer that was kept, as an example to train on; which are taken; a line of each form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from mixtura.core.types import JsonObject, Message, TextPart

Form = Literal["sft", "preferences"]
FORMS: tuple[Form, ...] = ("sft", "preferences")
WHOLE = ("stop", None)
"""Why an answer ended that is whole; None where nothing is known."""


class Preference(NamedTuple):
    """Two answers to the same prompt, and who has said which is better."""

    chosen: str
    rejected: str
    decided_by: JsonObject
    models: Sequence[str] = ()
    """That answered in one of the two, and not in the run."""


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """
    A question with its answer. *models*: that answered in it; *date*: when it began; *cost_usd*:
    None where it is unknown.
    """

    source: Literal["run", "batch"]
    id: str
    messages: Sequence[Message]
    answer: str
    mixture: str
    models: Sequence[str]
    date: datetime
    cost_usd: float | None
    degraded: Sequence[str] = ()
    finish_reason: str | None = None
    calls_tools: bool = False
    preferences: Sequence[Preference] = ()

    def provenance(self) -> JsonObject:
        """Where it comes from. Every example has the same fields: data sets have columns."""
        return {
            "source": self.source,
            "id": self.id,
            "mixture": self.mixture,
            "models": sorted(set(self.models)),
            "date": f"{self.date:%Y-%m-%dT%H:%M:%SZ}",
            "cost_usd": self.cost_usd,
            "degraded": list(self.degraded),
            "finish_reason": self.finish_reason,
        }


@dataclass(slots=True)
class ExampleFilter:
    """
    Which examples are taken; *left_out* counts the others by what is wrong with them.

    *mixtures*: of these only, where there are any; *since*: that began then or later;
    *judged*: only those with a preference.
    """

    mixtures: Sequence[str] = ()
    since: datetime | None = None
    degraded: bool = False
    incomplete: bool = False
    judged: bool = False
    left_out: Counter[str] = field(default_factory=Counter[str])

    def select(self, examples: Iterable[TrainingExample]) -> Iterator[TrainingExample]:
        """Those that are asked for, of which none would teach what nobody has answered."""
        for example in examples:
            if self.mixtures and example.mixture not in self.mixtures:
                continue
            if self.since is not None and example.date < self.since:
                continue
            if problem := self._find_problem(example):
                self.left_out[problem] += 1
                continue
            yield example

    def _find_problem(self, example: TrainingExample) -> str | None:
        if example.calls_tools or any(
            one.tool_calls or one.role == "tool" for one in example.messages
        ):
            return "with tools"
        if not all(map(_is_text, example.messages)):
            return "with pictures or files"
        if example.messages[-1].role == "assistant":
            return "continuing a given beginning"
        if not example.answer.strip():
            return "without a text"
        if example.degraded and not self.degraded:
            return "degraded"
        if example.finish_reason not in WHOLE and not self.incomplete:
            return "cut off"
        if self.judged and not example.preferences:
            return "without a verdict"
        return None


def _is_text(message: Message) -> bool:
    return isinstance(message.content, str) or all(
        isinstance(part, TextPart) for part in message.content
    )


def build_training_lines(example: TrainingExample, form: Form) -> list[JsonObject]:
    """
    The example as TRL's conversational data sets have it: ``messages``, or one line with
    ``prompt``, ``chosen`` and ``rejected`` for each preference.
    """
    prompt = _join_turns(example.messages)
    provenance = example.provenance()
    if form == "sft":
        answer = _message_line("assistant", example.answer)
        return [{"messages": [*prompt, answer], "provenance": provenance}]
    return [
        {
            "prompt": prompt,
            "chosen": [_message_line("assistant", pair.chosen)],
            "rejected": [_message_line("assistant", pair.rejected)],
            "provenance": provenance
            | {"models": sorted({*example.models, *pair.models}), "decided_by": pair.decided_by},
        }
        for pair in example.preferences
    ]


def _join_turns(messages: Sequence[Message]) -> list[JsonObject]:
    """Messages of one role that follow each other are one: chat templates want turns."""
    lines: list[JsonObject] = []
    for one in messages:
        line = _message_line(one.role, one.text)
        if lines and lines[-1]["role"] == line["role"]:
            texts = filter(None, (lines[-1]["content"], line["content"]))
            lines[-1]["content"] = "\n\n".join(texts)
        else:
            lines.append(line)
    return lines


def _message_line(role: str, text: str) -> JsonObject:
    # Chat templates know no developer: it is what OpenAI calls a system's message.
    return {"role": "system" if role == "developer" else role, "content": text}
