"""What came of an evaluation, as data: its score, what is missing and why, and what it took."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import msgspec
from inspect_ai.event import InfoEvent, ModelEvent
from inspect_ai.log import EvalLog, EvalSample

from mixtura.evals import inspect_provider, log_reader
from mixtura.evals.agreement_figures import (
    AgreementFigures,
    score_by_agreement,
    summarize_agreement,
)
from mixtura.evals.findings import Findings, JudgeBias, TableRow
from mixtura.evals.kept_calls import RequestTally, unfinished_notes
from mixtura.evals.statistics import intervals

_BUDGET_ERROR = "BudgetExceededError"


class MissingScore(NamedTuple):
    """A sample without a score, and why."""

    sample: str
    error: str


class LogUsage(NamedTuple):
    """What every call in a log took, failed ones included; an unknown cost is None."""

    cost_usd: float | None
    prompt_tokens: int
    completion_tokens: int
    calls: int


@dataclass(frozen=True, slots=True)
class EvalResult:
    """
    What came of it. *score*, from 0 to 1, lies between *low* and *high* with 95 %; None where
    too few samples have one. *n* of *samples* have a score, *missing* the rest. *calls*, cost and
    tokens are those of every call that was begun, failed ones and those of earlier runs included,
    also of a killed one; an unknown cost is None.
    """

    task: str
    model: str
    judge: str | None
    score: float | None
    low: float | None
    high: float | None
    n: int
    samples: int
    missing: tuple[MissingScore, ...]
    capped: int
    """So many were not asked because of the cap."""
    figures: Mapping[str, float]
    """Other scores of the same answers, in the task's own scale."""
    most: float
    """What a full score is called in the task's own scale."""
    tables: Mapping[str, tuple[TableRow, ...]]
    """The score by category, skill and the like, in the task's own scale: name, mean, samples."""
    bias: JudgeBias | None
    """How far the judge can be trusted."""
    notes: tuple[str, ...]
    """What a reader of the score must know."""
    cost_usd: float | None
    prompt_tokens: int
    completion_tokens: int
    calls: int
    refused: int
    """So many requests more ended before an answer had begun: they cost nothing."""
    seconds: float
    reused: int
    """So many were answered in an earlier run and not asked again."""
    degraded: int
    """So many answers were made with less than the whole mixture."""
    agreement: AgreementFigures | None
    """Where the proposals agree, of an evaluation with `--agreement`."""
    log: str
    """Inspect's log: `inspect view` shows it."""

    def to_json(self) -> dict[str, Any]:
        """The same as plain data, every group of figures under its names."""
        whole = cast(dict[str, Any], msgspec.to_builtins(self))
        return whole | {
            "tables": {name: [row._asdict() for row in rows] for name, rows in self.tables.items()},
            "bias": _to_plain(self.bias) if self.bias else None,
            "agreement": self.agreement._asdict() if self.agreement else None,
        }


def _to_plain(value: Any) -> Any:
    """Tuples with names as objects, all the way down."""
    if isinstance(value, JudgeBias):
        return {name: _to_plain(getattr(value, name)) for name in JudgeBias.__slots__}
    if fields := getattr(value, "_fields", None):
        return {name: _to_plain(getattr(value, name)) for name in fields}
    return value


class EvalContext(NamedTuple):
    """What is known of an evaluation besides its log."""

    task: str
    model: str
    judge: str | None
    seconds: float
    reused: int
    total: int
    priced: bool
    """Whether the price of every model is known."""


def build_result(
    log: EvalLog,
    context: EvalContext,
    findings: Findings,
    tally: RequestTally,
    notes: Iterable[str] = (),
) -> EvalResult:
    """The result that a log, its findings and the tally of its calls come to."""
    samples = log.samples or []
    rows: dict[str, list[float | None]] = {}
    missing: list[MissingScore] = []
    for sample in samples:
        value, why = log_reader.score_or_reason(sample)
        rows.setdefault(str(sample.id), []).append(value)
        if value is None:
            missing.append(MissingScore(str(sample.id), why))
    low, value, high = intervals.mean_interval(list(rows.values()))
    return EvalResult(
        task=context.task,
        model=context.model,
        judge=context.judge,
        score=value,
        low=low,
        high=high,
        n=len(samples) - len(missing),
        samples=context.total,
        missing=tuple(missing),
        # A log has errors as texts: their names are all there is to know them by.
        capped=sum(one.error.startswith(_BUDGET_ERROR) for one in missing),
        figures=findings.figures,
        most=findings.most,
        tables={**findings.tables, **_agreement_table(samples, findings.most)},
        bias=findings.bias,
        notes=(
            *notes,
            *findings.notes,
            *unfinished_notes(tally),
            *_score_warnings(samples, value, context.total),
        ),
        cost_usd=tally.cost_usd if context.priced else None,
        prompt_tokens=tally.prompt_tokens,
        completion_tokens=tally.completion_tokens,
        calls=tally.calls,
        refused=tally.refused,
        seconds=context.seconds,
        reused=context.reused,
        agreement=summarize_agreement(samples),
        degraded=sum(bool((one.output.metadata or {}).get("left_out")) for one in samples),
        log=log.location.removeprefix("file://"),
    )


def _agreement_table(samples: Sequence[EvalSample], most: float) -> dict[str, tuple[TableRow, ...]]:
    rows = score_by_agreement(samples, most)
    return {"agreement": rows} if rows else {}


def _score_warnings(samples: Sequence[EvalSample], score: float | None, total: int) -> list[str]:
    """What makes a score doubtful: answers cut off, none that scored, prompts that are equal."""
    warnings: list[str] = []
    if cut := sum(map(log_reader.is_truncated, samples)):
        warnings.append(log_reader.truncation_note(cut, len(samples)))
    if score == 0 and total > 1:
        warnings.append(log_reader.NOTHING_SCORED)
    asked = {str(one.id): log_reader.whole_question(one.input, one.metadata) for one in samples}
    return [*warnings, *log_reader.repetition_notes(asked.values())]


# ---- what it took


def log_usage(samples: Sequence[EvalSample]) -> LogUsage:
    """Dollars as far as prices are known."""
    usage = [used for sample in samples for used in sample.model_usage.values()]
    lost = [bill for sample in samples for bill in _failed_call_charges(sample)]
    dollars = [*(used.total_cost for used in usage), *(bill.get("cost_usd") for bill in lost)]
    return LogUsage(
        math.fsum(amount for amount in dollars if amount),
        sum(map(_input_tokens, usage)) + _sum_field(lost, "prompt_tokens"),
        sum(used.output_tokens for used in usage) + _sum_field(lost, "completion_tokens"),
        sum(map(_count_calls, samples)) + _sum_field(lost, "calls"),
    )


def _failed_call_charges(sample: EvalSample) -> list[dict[str, Any]]:
    """The bills of calls that failed, of earlier attempts, too."""
    # What an attempt cost that was made again is paid, too.
    retries = [event for retry in sample.error_retries or () for event in retry.events or ()]
    return [
        cast(dict[str, Any], event.data)
        for event in (*sample.events, *retries)
        if isinstance(event, InfoEvent) and event.source == inspect_provider.LOG_SOURCE
    ]


def _count_calls(sample: EvalSample) -> int:
    outputs = [event.output for event in sample.events if isinstance(event, ModelEvent)]
    return sum(int((output.metadata or {}).get("calls", 0)) for output in outputs)


def _input_tokens(usage: Any) -> int:
    apart = (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
    return int(usage.input_tokens + apart)


def _sum_field(bills: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(int(bill[name]) for bill in bills)
