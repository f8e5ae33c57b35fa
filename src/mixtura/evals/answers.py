"""What evaluations left in their logs: every answer, its score, and each call behind it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalLog, EvalSample, list_eval_logs, read_eval_log

from mixtura.errors import ConfigError
from mixtura.plan import Plan
from mixtura.text import one_line, plural

ALONE = "model"
"""The pattern of a model that is asked alone."""


@dataclass(frozen=True, slots=True)
class Call:
    """
    One member asked once. Tokens, dollars and seconds are what it takes when it is paid for:
    where a cache answered, what the call had taken then.
    """

    role: str
    layer: int
    """From 1, in the paper's count."""
    index: int
    model: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    seconds: float
    first_token_seconds: float | None
    failed: bool
    inner: tuple[Call, ...] = ()
    """The calls of the mixture, or of the choice, that is made in this seat."""

    def leaves(self) -> Iterator[Call]:
        """The calls to models that are no mixtures: itself, or those inside."""
        if not self.inner:
            yield self
        for call in self.inner:
            yield from call.leaves()


@dataclass(frozen=True, slots=True)
class Answer:
    """One sample answered once. *score* 0 to 1, None where there is none."""

    sample: str
    epoch: int
    question: str
    target: str
    text: str
    score: float | None
    missing: str
    """Why it has no score."""
    calls: tuple[Call, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the task knows of the sample: a category, its skills."""
    graded: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the scorer wrote beside the score: FLASK's grade of each skill."""
    cut: bool = False
    """The limit of tokens ended it."""

    def leaves(self) -> Iterator[Call]:
        for call in self.calls:
            yield from call.leaves()

    @property
    def answered(self) -> bool:
        return bool(self.calls) and not self.calls[-1].failed

    @property
    def cost_usd(self) -> float | None:
        """As if no answer had come from a cache; None where a price is unknown."""
        dollars = [call.cost_usd for call in self.leaves()]
        return None if None in dollars else math.fsum(d for d in dollars if d is not None)

    @property
    def tokens(self) -> int:
        return sum(call.prompt_tokens + call.completion_tokens for call in self.leaves())

    @property
    def seconds(self) -> float:
        """The critical path: of every layer its slowest call."""
        return critical_path(self.calls)


@dataclass(frozen=True, slots=True)
class Contender:
    """A mixture or a model, and all that it answered in one evaluation."""

    name: str
    task: str
    layers: tuple[tuple[str, ...], ...]
    """The proposer layers, by the models' names, one for each call."""
    aggregator: str | None
    """Who has the last seat; None for a model alone, and where no model has it."""
    pattern: str
    answers: tuple[Answer, ...]
    log: str = ""
    seed: int | None = None


def critical_path(calls: Sequence[Call]) -> float:
    """Seconds that calls take when those of a layer run at once and layers follow each other."""
    layers = groupby(sorted(calls, key=lambda call: call.layer), key=lambda call: call.layer)
    return sum(max(_lasting(call) for call in layer) for _, layer in layers)


def _lasting(call: Call) -> float:
    return critical_path(call.inner) if call.inner else call.seconds


# ---- written down with an evaluation, and read back


def described(plan: Plan) -> dict[str, Any]:
    """What a log says of who answered."""
    layers = [[seat.model for seat in row for _ in range(seat.samples)] for row in plan.layers]
    alone = not plan.layers
    return {
        "name": plan.name,
        "layers": layers,
        "aggregator": None if alone or plan.voted else plan.aggregator,
        "pattern": ALONE if alone else plan.pattern.kind,
    }


def read(folder: Path) -> list[Contender]:
    """Every evaluation of ours in a folder of logs; of the same one only the newest log."""
    found: dict[str, Contender] = {}
    for info in list_eval_logs(str(folder)) if folder.is_dir() else []:
        head = opened(info.name, header_only=True)
        identity = (head.eval.metadata or {}).get("identity")
        if identity and identity not in found:  # the newest come first
            found[identity] = contender(opened(info.name))
    return list(found.values())


def opened(location: str, *, header_only: bool = False) -> EvalLog:
    """Raises ConfigError for a file that is no log, or only a part of one."""
    try:
        return read_eval_log(location, header_only=header_only)
    except (ValueError, LookupError, OSError, BadZipFile) as error:
        file = location.removeprefix("file://")
        raise ConfigError(f"{file} is no whole log of an evaluation: take it away") from error


def of_log(location: str) -> Contender:
    """What the log at an address says."""
    return contender(read_eval_log(location))


def contender(log: EvalLog) -> Contender:
    """What one log of ours says."""
    about: Mapping[str, Any] = (log.eval.metadata or {})["contender"]
    return Contender(
        name=about["name"],
        task=log.eval.task.rpartition("/")[2],
        layers=tuple(tuple(row) for row in about["layers"]),
        aggregator=about["aggregator"],
        pattern=about["pattern"],
        answers=tuple(map(_answer, log.samples or ())),
        log=log.location.removeprefix("file://"),
        seed=log.eval.model_generate_config.seed,
    )


def _answer(sample: EvalSample) -> Answer:
    value, why = scored(sample)
    score = next(iter((sample.scores or {}).values()), None)
    return Answer(
        sample=str(sample.id),
        epoch=sample.epoch,
        question=_asked(sample),
        target=sample.target if isinstance(sample.target, str) else " | ".join(sample.target),
        text=sample.output.completion,
        score=value,
        missing=why,
        calls=tuple(_call(row) for run in _runs(sample) for row in run["calls"]),
        metadata=sample.metadata,
        graded=(score.metadata if score else None) or {},
        cut=is_cut(sample),
    )


def is_cut(sample: EvalSample) -> bool:
    """Whether the limit of tokens ended the answer."""
    return bool(sample.output.choices) and sample.output.stop_reason in CUT_OFF


CUT_OFF = ("max_tokens", "model_length")


def cut_note(cut: int, total: int, whose: str = "") -> str:
    """What is to be said of answers that the limit of tokens cut off."""
    of = f" of {whose}" if whose else ""
    return (
        f"{cut:,} of {plural(total, 'answer')}{of} were cut off by the limit of tokens, and are"
        " scored as far as they go: is max_tokens too low?"
    )


def scored(sample: EvalSample) -> tuple[float | None, str]:
    """The sample's score; None and the reason where it has none."""
    if sample.error is not None:
        return None, _said(sample.error.message)
    score = next(iter((sample.scores or {}).values()), None)
    if score is None:
        return None, "it was not scored"
    value = score.as_float()
    return (None, score.explanation or "") if math.isnan(value) else (value, "")


def _said(error: str) -> str:
    """An exception as Inspect writes it down, in a line a person can read."""
    written = re.fullmatch(r"(\w+)\((['\"])(.*)\2\)", error, re.DOTALL)
    return one_line(f"{written[1]}: {written[3]}" if written else error)


def _asked(sample: EvalSample) -> str:
    if isinstance(sample.input, str):
        return sample.input
    return "\n\n".join(message.text for message in sample.input)


def _runs(sample: EvalSample) -> Iterable[Mapping[str, Any]]:
    """The records of the runs that made the answer; a judge's runs have a role."""
    for event in sample.events:
        if isinstance(event, ModelEvent) and event.role is None and event.call:
            response = cast(Mapping[str, Any], event.call.response)
            yield from response.get("runs", ())


def _call(row: Mapping[str, Any]) -> Call:
    took: Mapping[str, Any] = row.get("recalled") or row
    usage = took["usage"]
    return Call(
        role=row["role"],
        layer=row["layer"],
        index=row["index"],
        model=row["model"],
        text=row["text"],
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
        cost_usd=took["cost_usd"],
        seconds=took["seconds"] or 0.0,
        first_token_seconds=took["first_token_seconds"],
        failed=row["error"] is not None,
        inner=tuple(map(_call, row.get("calls", ()))),
    )
