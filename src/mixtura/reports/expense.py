"""What answers took in recorded runs: dollars, tokens, work, and where the time went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import cast

from mixtura.evals.answers import Answer, Call, Contender
from mixtura.reports.cost import Spoken, work
from mixtura.reports.rows import Interval, Row, interval, named
from mixtura.reports.runs import Runs, depth, score, short, staged

# ---- 6: budget


def budgets(runs: Runs) -> list[Row]:
    """Quality and what it takes, of everything tried; the cheapest first."""
    rows = [_budget(one) for one in runs.contenders if score(one)]
    axis = price_axis(rows)
    front = {id(row) for row in pareto(rows, axis)}
    ordered = sorted(rows, key=lambda row: row[axis] if row[axis] is not None else float("inf"))
    return [row | {"front": id(row) in front} for row in ordered]


def _budget(contender: Contender) -> Row:
    answered = [one for one in contender.answers if one.answered]
    runs = [[_spoken(layer) for layer in staged(answer)] for answer in answered]
    return {
        "who": short(contender),
        "pattern": contender.pattern,
        "layers": depth(contender),
        **named("score", score(contender)),
        **named("cost_usd", _whole(answer.cost_usd for answer in answered)),
        **named("tokens", interval(answer.tokens for answer in answered)),
        **named("tflops_paper", _whole(work(run, prefill=False) for run in runs)),
        **named("tflops_with_prefill", _whole(work(run, prefill=True) for run in runs)),
        **named("seconds", interval(answer.seconds for answer in answered)),
        "calls": fmean(len(list(one.leaves())) for one in answered) if answered else None,
    }


def _spoken(layer: Sequence[Call]) -> list[Spoken]:
    return [Spoken(call.model, call.prompt_tokens, call.completion_tokens) for call in layer]


def _whole(values: Iterable[float | None]) -> Interval | None:
    """Nothing where one of them is unknown: a sum with a hole is no sum."""
    known = list(values)
    return None if None in known else interval(known)


def price_axis(rows: Sequence[Row]) -> str:
    """Dollars where every price is known and one is above nothing, else tokens."""
    dollars = [row["cost_usd"] for row in rows]
    return "cost_usd" if None not in dollars and any(dollars) else "tokens"


def pareto(rows: Sequence[Row], axis: str) -> list[Row]:
    """Those that nothing both as cheap and better, or cheaper and as good, stands beside."""
    known = [row for row in rows if row[axis] is not None and row["score"] is not None]
    best = float("-inf")
    front: list[Row] = []
    for row in sorted(known, key=lambda row: (row[axis], -row["score"])):
        if row["score"] > best:
            front.append(row)
            best = row["score"]
    return front


def tokens_by_layer(runs: Runs) -> list[Row]:
    """Tokens read and written in each layer of each mixture, for an answer."""
    return [
        {"who": short(one), "layer": layer, "read": read, "written": written}
        for one in runs.contenders
        for layer, (read, written) in _tokens(one).items()
    ]


def _tokens(contender: Contender) -> Mapping[int, tuple[float, float]]:
    found: dict[int, list[tuple[int, int]]] = {}
    for answer in contender.answers:
        for layer, calls in enumerate(staged(answer), 1):
            read = sum(call.prompt_tokens for call in calls)
            found.setdefault(layer, []).append((read, sum(c.completion_tokens for c in calls)))
    return {
        layer: (fmean(r for r, _ in pairs), fmean(w for _, w in pairs))
        for layer, pairs in sorted(found.items())
    }


# ---- 8: latency


def latencies(runs: Runs) -> list[Row]:
    """
    Each layer's part of the critical path, and how much of it is the wait for the last member.

    The straggler's seconds are those that the slowest took longer than the one before it.
    """
    return [
        {"who": short(one), "layer": layer, "layers": depth(one), **row}
        for one in runs.contenders
        for layer, row in _waits(one.answers).items()
    ]


def _waits(answers: Iterable[Answer]) -> Mapping[int, Row]:
    slowest: dict[int, list[float]] = {}
    waited: dict[int, list[float]] = {}
    last: dict[int, list[str]] = {}
    for answer in answers:
        for layer, calls in enumerate(staged(answer), 1):
            times = sorted(calls, key=lambda call: call.seconds)
            slowest.setdefault(layer, []).append(times[-1].seconds)
            before = times[-2].seconds if len(times) > 1 else times[-1].seconds
            waited.setdefault(layer, []).append(times[-1].seconds - before)
            last.setdefault(layer, []).append(times[-1].model)
    return {
        layer: {
            **named("seconds", interval(seconds)),
            **named("straggler", interval(waited[layer])),
            "slowest": max(set(last[layer]), key=last[layer].count),
            "slowest_share": max(map(last[layer].count, set(last[layer]))) / len(last[layer]),
            "answers": len(seconds),
        }
        for layer, seconds in sorted(slowest.items())
    }


# ---- 7: skills


def skills(runs: Runs) -> list[Row]:
    """FLASK: the mean score from 1 to 5 in each skill, of every model and mixture."""
    rows: list[Row] = []
    for one in runs.contenders:
        by_skill: dict[str, list[float]] = {}
        for answer in one.answers:
            for skill, points in _graded(answer.graded.get("skills")).items():
                by_skill.setdefault(skill, []).append(points)
        rows += [
            {"who": short(one), "skill": skill, **named("score", interval(points, (1.0, 5.0))),
             "answers": len(points)}
            for skill, points in by_skill.items()
        ]  # fmt: skip
    return rows


def _graded(given: object) -> Mapping[str, float]:
    """Points by skill; what is no such table (only the names of skills) has none."""
    if not isinstance(given, Mapping):
        return {}
    points = cast(Mapping[str, object], given)
    return {name: float(n) for name, n in points.items() if isinstance(n, int | float)}
