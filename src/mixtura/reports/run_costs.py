"""What answers took in recorded runs: dollars, tokens, work, and where the time went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import cast

from mixtura.evals.log_reader import LoggedEvaluation, RecordedCall, SampleAnswer
from mixtura.reports.file_costs import CallTokens, answer_tflops
from mixtura.reports.rows import Interval, Row, interval_columns, mean_interval
from mixtura.reports.runs import TaskRuns, calls_by_layer, contender_label, layer_count, mean_score

# ---- 6: budget


def cost_rows(runs: TaskRuns) -> list[Row]:
    """Quality and what it takes, of everything tried; the cheapest first (figure 5)."""
    rows = [_cost_row(one) for one in runs.contenders if mean_score(one)]
    axis = price_axis(rows)
    # By identity: rows are dicts, and two contenders may have the same figures.
    front = {id(row) for row in pareto_front(rows, axis)}
    ordered = sorted(rows, key=lambda row: row[axis] if row[axis] is not None else float("inf"))
    return [row | {"front": id(row) in front} for row in ordered]


def _cost_row(contender: LoggedEvaluation) -> Row:
    answered = [one for one in contender.answers if one.has_answer]
    runs = [[_call_tokens(layer) for layer in calls_by_layer(answer)] for answer in answered]
    return {
        "who": contender_label(contender),
        "pattern": contender.pattern,
        "layers": layer_count(contender),
        **interval_columns("score", mean_score(contender)),
        # Only answers that are there: a failed one costs, too, but no one gets anything for it.
        **interval_columns("cost_usd", _complete_interval(answer.cost_usd for answer in answered)),
        **interval_columns("tokens", mean_interval(answer.total_tokens for answer in answered)),
        **interval_columns(
            "tflops_paper", _complete_interval(answer_tflops(run, prefill=False) for run in runs)
        ),
        **interval_columns(
            "tflops_with_prefill",
            _complete_interval(answer_tflops(run, prefill=True) for run in runs),
        ),
        **interval_columns(
            "seconds", mean_interval(answer.duration_seconds for answer in answered)
        ),
        "calls": fmean(len(list(one.leaf_calls())) for one in answered) if answered else None,
    }


def _call_tokens(layer: Sequence[RecordedCall]) -> list[CallTokens]:
    return [CallTokens(call.model, call.prompt_tokens, call.completion_tokens) for call in layer]


def _complete_interval(values: Iterable[float | None]) -> Interval | None:
    """Nothing where one of them is unknown: a sum with a hole is no sum."""
    known = list(values)
    return None if None in known else mean_interval(known)


def price_axis(rows: Sequence[Row]) -> str:
    """The column of costs: dollars where every price is known and one is not zero, else tokens."""
    dollars = [row["cost_usd"] for row in rows]
    return "cost_usd" if None not in dollars and any(dollars) else "tokens"


def pareto_front(rows: Sequence[Row], axis: str) -> list[Row]:
    """The rows that no other dominates: none is better at the same cost, or as good at less."""
    known = [row for row in rows if row[axis] is not None and row["score"] is not None]
    best = float("-inf")
    front: list[Row] = []
    # Cheapest first, and of equals the best: then whatever is no better than the best so far is
    # dominated.
    for row in sorted(known, key=lambda row: (row[axis], -row["score"])):
        if row["score"] > best:
            front.append(row)
            best = row["score"]
    return front


def tokens_by_layer(runs: TaskRuns) -> list[Row]:
    """Tokens read and written in each layer of each mixture, for an answer."""
    return [
        {"who": contender_label(one), "layer": layer, "read": read, "written": written}
        for one in runs.contenders
        for layer, (read, written) in _mean_tokens_by_layer(one).items()
    ]


def _mean_tokens_by_layer(contender: LoggedEvaluation) -> Mapping[int, tuple[float, float]]:
    tokens: dict[int, list[tuple[int, int]]] = {}
    for answer in contender.answers:
        for layer, calls in enumerate(calls_by_layer(answer), 1):
            read = sum(call.prompt_tokens for call in calls)
            tokens.setdefault(layer, []).append((read, sum(c.completion_tokens for c in calls)))
    return {
        layer: (fmean(r for r, _ in pairs), fmean(w for _, w in pairs))
        for layer, pairs in sorted(tokens.items())
    }


# ---- 8: latency


def latency_rows(runs: TaskRuns) -> list[Row]:
    """
    Each layer's part of the critical path, and how much of it is the wait for the last member.

    The straggler's seconds are those that the slowest took longer than the one before it.
    """
    return [
        {"who": contender_label(one), "layer": layer, "layers": layer_count(one), **row}
        for one in runs.contenders
        for layer, row in _latency_by_layer(one.answers).items()
    ]


def _latency_by_layer(answers: Iterable[SampleAnswer]) -> Mapping[int, Row]:
    slowest: dict[int, list[float]] = {}
    waited: dict[int, list[float]] = {}
    last: dict[int, list[str]] = {}
    for answer in answers:
        for layer, calls in enumerate(calls_by_layer(answer), 1):
            times = sorted(calls, key=lambda call: call.seconds)
            slowest.setdefault(layer, []).append(times[-1].seconds)
            # Alone in its layer, a call is waited for by no other.
            before = times[-2].seconds if len(times) > 1 else times[-1].seconds
            waited.setdefault(layer, []).append(times[-1].seconds - before)
            last.setdefault(layer, []).append(times[-1].model)
    return {
        layer: {
            **interval_columns("seconds", mean_interval(seconds)),
            **interval_columns("straggler", mean_interval(waited[layer])),
            "slowest": max(set(last[layer]), key=last[layer].count),
            "slowest_share": max(map(last[layer].count, set(last[layer]))) / len(last[layer]),
            "answers": len(seconds),
        }
        for layer, seconds in sorted(slowest.items())
    }


# ---- 7: skills


def skill_rows(runs: TaskRuns) -> list[Row]:
    """FLASK: the mean score from 1 to 5 in each skill, of every model and mixture (figure 3)."""
    rows: list[Row] = []
    for one in runs.contenders:
        by_skill: dict[str, list[float]] = {}
        for answer in one.answers:
            for skill, points in _skill_points(answer.graded.get("skills")).items():
                by_skill.setdefault(skill, []).append(points)
        rows += [
            {"who": contender_label(one), "skill": skill,
             **interval_columns("score", mean_interval(points, (1.0, 5.0))),
             "answers": len(points)}
            for skill, points in by_skill.items()
        ]  # fmt: skip
    return rows


def _skill_points(grades: object) -> Mapping[str, float]:
    """Points by skill; what is no such table (only the names of skills) has none."""
    if not isinstance(grades, Mapping):
        return {}
    points = cast(Mapping[str, object], grades)
    return {name: float(n) for name, n in points.items() if isinstance(n, int | float)}
