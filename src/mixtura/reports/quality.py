"""Questions of quality: against the best model, whether, in which layers, how many, what role.

Wang et al. 2024 (arXiv 2406.04692), sections 2.1 and 3.3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean, stdev

from mixtura.evals.log_reader import SINGLE_MODEL, LoggedEvaluation
from mixtura.evals.statistics.intervals import detectable_difference
from mixtura.reports.rows import Row, interval_columns, paired_difference
from mixtura.reports.runs import (
    RANK,
    TaskRuns,
    Team,
    contender_label,
    layer_count,
    mean_score,
    scores_by_prompt,
    uniform_team,
)

SEVERAL, ONE = "several models", "one model"


# ---- 0: against the best model


def best_model_rows(runs: TaskRuns) -> list[Row]:
    """
    Every mixture against the model that is best alone, paired by prompt; the largest gain first.

    The last row is that model itself; one with less than half as many scored prompts as another is
    not taken for the best. Empty where no model or no mixture has scores.
    """
    prompts = {name: len(scores_by_prompt(one)) for name, one in runs.single_models.items()}
    most = max(prompts.values(), default=0)
    means = {
        name: mean for name, mean in runs.single_model_scores.items() if 2 * prompts[name] >= most
    }
    if not means:
        return []
    best = runs.single_models[max(means, key=lambda name: means[name])]
    mixtures = (one for one in runs.contenders if one.pattern != SINGLE_MODEL)
    rows = [row for one in mixtures if (row := _best_model_row(one, best))]
    rows.sort(key=lambda row: -row["gain"])
    return [*rows, _outcome_row(best) | {"best": best.name}] if rows else []


def _best_model_row(one: LoggedEvaluation, best: LoggedEvaluation) -> Row | None:
    ours, theirs = scores_by_prompt(one), scores_by_prompt(best)
    gain = paired_difference(ours, theirs)
    if gain is None:
        return None
    differences = [ours[prompt] - theirs[prompt] for prompt in ours if prompt in theirs]
    spread = stdev(differences) if len(differences) > 1 else 0.0
    return _outcome_row(one) | {
        "best": best.name,
        **interval_columns("gain", gain),
        "detectable": detectable_difference(spread, gain.prompts) if spread else None,
        "prompts": gain.prompts,
    }


def _outcome_row(one: LoggedEvaluation) -> Row:
    """The score of *one*, and the means over answers of what an answer takes."""
    answered = [answer for answer in one.answers if answer.has_answer]
    score = mean_score(one)
    dollars = [answer.cost_usd for answer in answered]
    known = [value for value in dollars if value is not None]
    return {
        "who": contender_label(one),
        **interval_columns("score", score),
        "prompts": score.prompts if score else 0,
        "answers": sum(answer.score is not None for answer in one.answers),
        "calls": _mean(len(list(answer.leaf_calls())) for answer in answered),
        "tokens": _mean(answer.total_tokens for answer in answered),
        "cost_usd": fmean(known) if known and len(known) == len(dollars) else None,
        "seconds": _mean(answer.duration_seconds for answer in answered),
    }


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return fmean(known) if known else None


# ---- 1: collaborativeness


def collaborativeness_rows(runs: TaskRuns) -> list[Row]:
    """
    Each model alone, and as the aggregator of answers that others wrote (figure 1).

    Once for each set of others: the run with the fewest proposals.
    """
    rows = {
        (row["model"], row["others"]): row
        for model in sorted(
            runs.single_models, key=lambda name: -runs.single_model_scores.get(name, 0.0)
        )
        # The fewest proposals last, so that they stay: the effect of reading others at all is asked
        # for, not of reading many.
        for one in sorted(runs.iter_mixtures(), key=lambda one: len(one.layers[0]), reverse=True)
        if one.aggregator == model
        and layer_count(one) == 2
        and (row := _collaboration_row(runs, model, one))
    }
    return list(rows.values())


def _collaboration_row(runs: TaskRuns, model: str, helped: LoggedEvaluation) -> Row | None:
    others = sorted(set(helped.layers[0]) - {model})
    alone = runs.single_models[model]
    gain = paired_difference(scores_by_prompt(helped), scores_by_prompt(alone))
    if not others or gain is None:
        return None
    return {
        "model": model,
        "others": ", ".join(others),
        "others_are": _compare_standing(runs.single_model_scores, model, others),
        **interval_columns("alone", mean_score(alone)),
        **interval_columns("with_others", mean_score(helped)),
        **interval_columns("gain", gain),
        "prompts": gain.prompts,
    }


def _compare_standing(scores: Mapping[str, float], model: str, others: Iterable[str]) -> str:
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


def layer_rows(runs: TaskRuns) -> list[Row]:
    """The score after each layer, for each aggregator of one team and the ranker (figure 4a)."""
    team = runs.main_team()
    return [] if team is None else [*_aggregator_rows(runs, team), *_ranker_rows(runs, team)]


def _aggregator_rows(runs: TaskRuns, team: Team) -> Iterator[Row]:
    deeper = [one for one in runs.iter_mixtures() if uniform_team(one) == team]
    for name in dict.fromkeys(one.aggregator or "" for one in deeper):
        # A model alone is its own first layer, from which the others are counted.
        first = [runs.single_models[name]] if name in runs.single_models else []
        own = [one for one in deeper if one.aggregator == name]
        yield from (_layer_row(name, one) for one in sorted([*first, *own], key=layer_count))


def _ranker_rows(runs: TaskRuns, team: Team) -> Iterator[Row]:
    for one in sorted(runs.iter_mixtures(RANK), key=layer_count):
        if uniform_team(one) == team:
            yield _layer_row(f"ranker ({one.aggregator} picks)", one)


def _layer_row(name: str, contender: LoggedEvaluation) -> Row:
    score = mean_score(contender)
    return {
        "aggregator": name,
        "picks": contender.pattern == RANK,
        "layer": layer_count(contender),
        **interval_columns("score", score),
        "prompts": score.prompts if score else 0,
    }


# ---- 4: how many proposers


def proposer_rows(runs: TaskRuns) -> list[Row]:
    """Two layers with 1, 2, 3, … proposals: of as many models, or all of one (table 3)."""
    two = [one for one in runs.iter_mixtures() if layer_count(one) == 2]
    by_aggregator = Counter(one.aggregator for one in two)
    if not two:
        return []
    # One aggregator for all: otherwise the number of proposals is not all that differs.
    own = [one for one in two if one.aggregator == by_aggregator.most_common(1)[0][0]]
    singles = [one for one in own if len(set(one.layers[0])) == 1]
    usual = Counter(one.layers[0][0] for one in singles).most_common(1)
    return [
        *_rows_by_count(SEVERAL, (one for one in own if _is_even_team(one))),
        *_rows_by_count(ONE, (one for one in singles if one.layers[0][0] == usual[0][0])),
    ]


def _is_even_team(contender: LoggedEvaluation) -> bool:
    """Whether each proposer has as many proposals; a single one is of several and of one."""
    times = Counter(contender.layers[0])
    return len(set(times.values())) == 1 and (len(times) > 1 or times.total() == 1)


def _rows_by_count(kind: str, contenders: Iterable[LoggedEvaluation]) -> list[Row]:
    """One for each number of proposals, the first that was tried."""
    rows: dict[int, Row] = {}
    for one in contenders:
        rows.setdefault(len(one.layers[0]), _proposal_count_row(kind, one))
    return [rows[number] for number in sorted(rows)]


def _proposal_count_row(kind: str, contender: LoggedEvaluation) -> Row:
    score = mean_score(contender)
    return {
        "kind": kind,
        "proposals": len(contender.layers[0]),
        "proposers": ", ".join(dict.fromkeys(contender.layers[0])),
        "aggregator": contender.aggregator,
        **interval_columns("score", score),
        "prompts": score.prompts if score else 0,
    }


# ---- 5: roles


def role_rows(runs: TaskRuns) -> list[Row]:
    """Each model alone, as the only proposer, and as the aggregator of the whole team (table 4)."""
    team = runs.main_team()
    two = [one for one in runs.iter_mixtures() if layer_count(one) == 2]
    proposed = [one for one in two if len(set(one.layers[0])) == 1]
    # As a proposer only under the aggregator that most were tried with: else the aggregators
    # differ, too.
    fixed = Counter(one.aggregator for one in proposed).most_common(1)
    writing = {one.aggregator: one for one in two if team and uniform_team(one) == team}
    proposing = _most_draws_by_model(
        one for one in proposed if fixed and one.aggregator == fixed[0][0]
    )
    models = [name for name in runs.single_models if name in writing or name in proposing]
    rows = [
        {
            "model": model,
            **interval_columns("alone", mean_score(runs.single_models[model])),
            **_role_columns("as_proposer", proposing.get(model)),
            **_role_columns("as_aggregator", writing.get(model)),
            "fixed_aggregator": fixed[0][0] if fixed else None,
        }
        for model in models
    ]
    return sorted(rows, key=lambda row: -(row["as_aggregator"] or 0.0))


def _most_draws_by_model(contenders: Iterable[LoggedEvaluation]) -> dict[str, LoggedEvaluation]:
    """By the only proposer, the one with the most draws of it."""
    widest: dict[str, LoggedEvaluation] = {}
    for one in sorted(contenders, key=lambda one: len(one.layers[0])):
        widest[one.layers[0][0]] = one
    return widest


def _role_columns(name: str, contender: LoggedEvaluation | None) -> Row:
    return interval_columns(name, mean_score(contender) if contender else None)
