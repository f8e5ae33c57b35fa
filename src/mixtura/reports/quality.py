"""The paper's questions of quality: whether, in which layers, how many and in what role."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from mixtura.evals.answers import Contender
from mixtura.reports.rows import Row, named, paired
from mixtura.reports.runs import RANK, Runs, Team, by_prompt, depth, score, uniform

SEVERAL, ONE = "several models", "one model"


# ---- 1: collaborativeness


def collaborativeness(runs: Runs) -> list[Row]:
    """
    Each model alone, and as the aggregator of answers that others wrote, once for each set of
    others: the run with the fewest proposals.
    """
    rows = {
        (row["model"], row["others"]): row
        for model in sorted(runs.alone, key=lambda name: -runs.alone_scores.get(name, 0.0))
        for one in sorted(runs.mixtures(), key=lambda one: len(one.layers[0]), reverse=True)
        if one.aggregator == model and depth(one) == 2 and (row := _helped(runs, model, one))
    }
    return list(rows.values())


def _helped(runs: Runs, model: str, helped: Contender) -> Row | None:
    others = sorted(set(helped.layers[0]) - {model})
    alone = runs.alone[model]
    gain = paired(by_prompt(helped), by_prompt(alone))
    if not others or gain is None:
        return None
    return {
        "model": model,
        "others": ", ".join(others),
        "others_are": _standing(runs.alone_scores, model, others),
        **named("alone", score(alone)),
        **named("with_others", score(helped)),
        **named("gain", gain),
        "prompts": gain.prompts,
    }


def _standing(scores: Mapping[str, float], model: str, others: Iterable[str]) -> str:
    """How those whose answers it reads are alone, beside it."""
    known = [scores.get(other) for other in others]
    own = scores.get(model)
    if own is None or None in known:
        return "unknown"
    better = {value > own for value in known if value is not None and value != own}
    if len(better) != 1 or own in known:
        return "mixed"
    return "all better" if True in better else "all worse"


# ---- 2: layers


def layers(runs: Runs) -> list[Row]:
    """The score after each layer, for each aggregator of the same team, and for the ranker."""
    team = runs.team()
    return [] if team is None else [*_aggregated(runs, team), *_ranked(runs, team)]


def _aggregated(runs: Runs, team: Team) -> Iterator[Row]:
    deeper = [one for one in runs.mixtures() if uniform(one) == team]
    for name in dict.fromkeys(one.aggregator or "" for one in deeper):
        first = [runs.alone[name]] if name in runs.alone else []
        own = [one for one in deeper if one.aggregator == name]
        yield from (_at(name, one) for one in sorted([*first, *own], key=depth))


def _ranked(runs: Runs, team: Team) -> Iterator[Row]:
    for one in sorted(runs.mixtures(RANK), key=depth):
        if uniform(one) == team:
            yield _at(f"ranker ({one.aggregator} picks)", one)


def _at(name: str, contender: Contender) -> Row:
    found = score(contender)
    return {
        "aggregator": name,
        "picks": contender.pattern == RANK,
        "layer": depth(contender),
        **named("score", found),
        "prompts": found.prompts if found else 0,
    }


# ---- 4: how many proposers


def proposers(runs: Runs) -> list[Row]:
    """Two layers with 1, 2, 3, … proposals: of as many models, or all of one."""
    two = [one for one in runs.mixtures() if depth(one) == 2]
    by_aggregator = Counter(one.aggregator for one in two)
    if not two:
        return []
    own = [one for one in two if one.aggregator == by_aggregator.most_common(1)[0][0]]
    singles = [one for one in own if len(set(one.layers[0])) == 1]
    usual = Counter(one.layers[0][0] for one in singles).most_common(1)
    return [
        *_growing(SEVERAL, (one for one in own if _evenly(one))),
        *_growing(ONE, (one for one in singles if one.layers[0][0] == usual[0][0])),
    ]


def _evenly(contender: Contender) -> bool:
    """Whether each proposer has as many proposals; a single one is of several and of one."""
    times = Counter(contender.layers[0])
    return len(set(times.values())) == 1 and (len(times) > 1 or times.total() == 1)


def _growing(kind: str, contenders: Iterable[Contender]) -> list[Row]:
    """One for each number of proposals, the first that was tried."""
    found: dict[int, Row] = {}
    for one in contenders:
        found.setdefault(len(one.layers[0]), _counted(kind, one))
    return [found[number] for number in sorted(found)]


def _counted(kind: str, contender: Contender) -> Row:
    found = score(contender)
    return {
        "kind": kind,
        "proposals": len(contender.layers[0]),
        "proposers": ", ".join(dict.fromkeys(contender.layers[0])),
        "aggregator": contender.aggregator,
        **named("score", found),
        "prompts": found.prompts if found else 0,
    }


# ---- 5: roles


def roles(runs: Runs) -> list[Row]:
    """Each model alone, as the only proposer, and as the aggregator of the whole team."""
    team = runs.team()
    two = [one for one in runs.mixtures() if depth(one) == 2]
    proposed = [one for one in two if len(set(one.layers[0])) == 1]
    fixed = Counter(one.aggregator for one in proposed).most_common(1)
    writing = {one.aggregator: one for one in two if team and uniform(one) == team}
    proposing = _largest(one for one in proposed if fixed and one.aggregator == fixed[0][0])
    models = [name for name in runs.alone if name in writing or name in proposing]
    rows = [
        {
            "model": model,
            **named("alone", score(runs.alone[model])),
            **_role("as_proposer", proposing.get(model)),
            **_role("as_aggregator", writing.get(model)),
            "fixed_aggregator": fixed[0][0] if fixed else None,
        }
        for model in models
    ]
    return sorted(rows, key=lambda row: -(row["as_aggregator"] or 0.0))


def _largest(contenders: Iterable[Contender]) -> dict[str, Contender]:
    """By the only proposer, the one with the most draws of it."""
    found: dict[str, Contender] = {}
    for one in sorted(contenders, key=lambda one: len(one.layers[0])):
        found[one.layers[0][0]] = one
    return found


def _role(name: str, contender: Contender | None) -> Row:
    return named(name, score(contender) if contender else None)
