"""What evaluations left in their logs: every answer, its score, and each call behind it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalLog, EvalSample, list_eval_logs, read_eval_log
from inspect_ai.model import ChatMessage

from mixtura.config.calibrations import describe_settings
from mixtura.config.plan import MixtureSpec
from mixtura.core.agreement import Agreement, Support
from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count, to_one_line

SINGLE_MODEL = "model"
"""The pattern of a model that is asked alone."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
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
    inner: tuple[RecordedCall, ...] = ()
    """The calls of the mixture, or of the choice, that is made in this seat."""

    def leaf_calls(self) -> Iterator[RecordedCall]:
        """The calls to models that are no mixtures: itself, or those inside."""
        if not self.inner:
            yield self
        for call in self.inner:
            yield from call.leaf_calls()


@dataclass(frozen=True, slots=True)
class SampleAnswer:
    """One sample answered once. *score* 0 to 1, None where there is none."""

    sample: str
    epoch: int
    question: str
    target: str
    text: str
    score: float | None
    missing: str
    """Why it has no score."""
    calls: tuple[RecordedCall, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the task knows of the sample: a category, its skills."""
    graded: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the scorer wrote beside the score: FLASK's grade of each skill."""
    cut: bool = False
    """The limit of tokens ended it."""
    support: Support | None = None
    """How much of what its pattern counted stands behind it."""
    agreement: float | None = None
    """The agreement number of its proposals, where the evaluation asked for it and it has one."""

    def leaf_calls(self) -> Iterator[RecordedCall]:
        for call in self.calls:
            yield from call.leaf_calls()

    @property
    def has_answer(self) -> bool:
        return bool(self.calls) and not self.calls[-1].failed

    @property
    def cost_usd(self) -> float | None:
        """
        As if no answer had come from a cache, and without an agreement report, which is no part of
        the answer; None where a price is unknown.
        """
        dollars = [call.cost_usd for call in self.leaf_calls()]
        return None if None in dollars else math.fsum(d for d in dollars if d is not None)

    @property
    def total_tokens(self) -> int:
        return sum(call.prompt_tokens + call.completion_tokens for call in self.leaf_calls())

    @property
    def duration_seconds(self) -> float:
        """The critical path: of every layer its slowest call."""
        return critical_path_seconds(self.calls)


@dataclass(frozen=True, slots=True)
class LoggedEvaluation:
    """A mixture or a model, and all that it answered in one evaluation."""

    name: str
    task: str
    layers: tuple[tuple[str, ...], ...]
    """The proposer layers, by the models' names, one for each call."""
    aggregator: str | None
    """Who has the last seat; None for a model alone, and where no model has it."""
    pattern: str
    answers: tuple[SampleAnswer, ...]
    log: str = ""
    seed: int | None = None
    settings: Mapping[str, Any] | None = None
    """The pattern's own that are not the usual ones; None in logs of earlier versions."""


def critical_path_seconds(calls: Sequence[RecordedCall]) -> float:
    """
    Seconds that calls take when those of a layer run at once, and layers and the judges of what
    they wrote follow each other.
    """

    def order(call: RecordedCall) -> tuple[int, bool]:
        return call.layer, call.role == "judge"

    layers = groupby(sorted(calls, key=order), key=order)
    return sum(max(_call_duration(call) for call in layer) for _, layer in layers)


def _call_duration(call: RecordedCall) -> float:
    return critical_path_seconds(call.inner) if call.inner else call.seconds


# ---- written down with an evaluation, and read back


def describe_plan(plan: MixtureSpec) -> dict[str, Any]:
    """What a log says of who answered."""
    layers = [[seat.model for seat in row for _ in range(seat.samples)] for row in plan.layers]
    alone = not plan.layers
    return {
        "name": plan.name,
        "layers": layers,
        "aggregator": plan.aggregator if plan.has_final_model and not alone else None,
        "pattern": SINGLE_MODEL if alone else plan.pattern.kind,
        "settings": describe_settings(plan),
    }


def read_logs(folder: Path) -> list[LoggedEvaluation]:
    """Every evaluation of ours in a folder of logs; of the same one only the newest log.

    Raises ConfigError for a damaged log.
    """
    evaluations: dict[str, LoggedEvaluation] = {}
    for info in list_eval_logs(str(folder)) if folder.is_dir() else []:
        head = open_log(info.name, header_only=True)
        identity = (head.eval.metadata or {}).get("identity")
        if identity and identity not in evaluations:  # the newest come first
            evaluations[identity] = parse_log(open_log(info.name))
    return list(evaluations.values())


def open_log(location: str, *, header_only: bool = False) -> EvalLog:
    """The log of an evaluation. Raises ConfigError for what is no log, or only a part of one."""
    try:
        return read_eval_log(location, header_only=header_only)
    # Inspect has no error of its own for a damaged log: these come from zip, JSON and pydantic.
    except (ValueError, LookupError, OSError, BadZipFile) as error:
        file = location.removeprefix("file://")
        raise ConfigError(f"{file} is not a complete log of an evaluation: remove it") from error


def load_evaluation(location: str) -> LoggedEvaluation:
    """What the log at an address says."""
    return parse_log(read_eval_log(location))


def parse_log(log: EvalLog) -> LoggedEvaluation:
    """What one log of ours says."""
    about: Mapping[str, Any] = (log.eval.metadata or {})["contender"]
    return LoggedEvaluation(
        name=about["name"],
        task=log.eval.task.rpartition("/")[2],
        layers=tuple(tuple(row) for row in about["layers"]),
        aggregator=about["aggregator"],
        pattern=about["pattern"],
        answers=tuple(map(_parse_sample, log.samples or ())),
        log=log.location.removeprefix("file://"),
        seed=log.eval.model_generate_config.seed,
        settings=about.get("settings"),
    )


def _parse_sample(sample: EvalSample) -> SampleAnswer:
    value, why = score_or_reason(sample)
    runs = list(_answer_runs(sample))
    score = next(iter((sample.scores or {}).values()), None)
    return SampleAnswer(
        sample=str(sample.id),
        epoch=sample.epoch,
        question=_question_text(sample),
        target=sample.target if isinstance(sample.target, str) else " | ".join(sample.target),
        text=sample.output.completion,
        score=value,
        missing=why,
        calls=tuple(
            _parse_call(row) for run in runs for row in run["calls"] if row["role"] != "reporter"
        ),
        metadata=sample.metadata,
        graded=(score.metadata if score else None) or {},
        cut=is_truncated(sample),
        # Several runs are no one answer: a dialogue, or several choices.
        support=_parse_support(runs[0].get("support")) if len(runs) == 1 else None,
        agreement=agreement.number if (agreement := _parse_agreement(runs)) else None,
    )


def _parse_support(row: Mapping[str, Any] | None) -> Support | None:
    return Support(row["source"], row["value"]) if row else None


def sample_agreement(sample: EvalSample) -> Agreement | None:
    """Where the proposals behind an answer agree; None where that was not asked for."""
    return _parse_agreement(list(_answer_runs(sample)))


def _parse_agreement(runs: Sequence[Mapping[str, Any]]) -> Agreement | None:
    if len(runs) != 1:
        return None
    row: Mapping[str, Any] | None = runs[0].get("agreement")
    return Agreement(row["number"], row["report"], row["reason"]) if row else None


def is_truncated(sample: EvalSample) -> bool:
    """Whether the limit of tokens ended the answer."""
    return bool(sample.output.choices) and sample.output.stop_reason in TRUNCATED_REASONS


TRUNCATED_REASONS = ("max_tokens", "model_length")


NOTHING_SCORED = (
    "No answer scored a point. Check the targets, --scoring and the prompts before you trust this"
    " result"
)
"""The warning of a score of 0 for everyone: the file may be wrong, not the models."""


def whole_question(asked: str | list[ChatMessage], about: Mapping[str, Any] | None) -> str:
    """All that a sample asks, as a text that is equal where that is; *about*: its metadata."""
    if later := (about or {}).get("turns"):  # what a dialogue asks after its first turn
        return json.dumps(later)
    if isinstance(asked, str):
        return asked
    # Pictures, too: two rows with the same words may ask about two of them.
    rows = [one.model_dump(include={"role", "content"}, mode="json") for one in asked]
    texts = [row["content"] for row in rows if row["role"] == "user"]
    if len(texts) == len(rows) == 1 and isinstance(texts[0], str):
        return texts[0]
    return json.dumps(rows, sort_keys=True)


def repetition_notes(questions: Collection[str]) -> list[str]:
    """What is to be said where some prompts, of which *questions* has one for each, are equal."""
    repeated = len(questions) - len(set(questions))
    if not repeated:
        return []
    said = (
        f"{repeated:,} of {pluralize_count(len(questions), 'prompt')} ask the same as an earlier"
        " one: the interval takes them for different prompts, and is too narrow"
    )
    return [said]


def truncation_note(cut: int, total: int, whose: str = "") -> str:
    """What is to be said of answers that the limit of tokens cut off."""
    of = f" of {whose}" if whose else ""
    return (
        f"{cut:,} of {pluralize_count(total, 'answer')}{of} were cut off at the token limit and are"
        " scored as they are: is max_tokens too low?"
    )


def score_or_reason(sample: EvalSample) -> tuple[float | None, str]:
    """The sample's score; None and the reason where it has none."""
    if sample.error is not None:
        return None, _format_error(sample.error.message)
    score = next(iter((sample.scores or {}).values()), None)
    if score is None:
        return None, "it was not scored"
    value = score.as_float()
    return (None, score.explanation or "") if math.isnan(value) else (value, "")


def _format_error(error: str) -> str:
    """An exception as Inspect writes it down, in a line a person can read."""
    written = re.fullmatch(r"(\w+)\((['\"])(.*)\2\)", error, re.DOTALL)
    return to_one_line(f"{written[1]}: {written[3]}" if written else error)


def _question_text(sample: EvalSample) -> str:
    if isinstance(sample.input, str):
        return sample.input
    return "\n\n".join(message.text for message in sample.input)


def _answer_runs(sample: EvalSample) -> Iterable[Mapping[str, Any]]:
    """The records of the runs that made the answer; a judge's runs have a role."""
    for event in sample.events:
        if isinstance(event, ModelEvent) and event.role is None and event.call:
            response = cast(Mapping[str, Any], event.call.response)
            yield from response.get("runs", ())


def _parse_call(row: Mapping[str, Any]) -> RecordedCall:
    # Out of a cache the call took nothing; what it took when it was paid is what compares.
    took: Mapping[str, Any] = row.get("recalled") or row
    usage = took["usage"]
    return RecordedCall(
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
        inner=tuple(map(_parse_call, row.get("calls", ()))),
    )
