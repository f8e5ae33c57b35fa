"""Does the aggregator follow the better proposals? Similarity of its answer against their scores.

As figures 4b and 6 of Wang et al. 2024 (arXiv 2406.04692), with a control that they do not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean

import numpy as np

from mixtura.evals.log_reader import LoggedEvaluation, SampleAnswer
from mixtura.reports.rows import (
    DIFFERENCE_RANGE,
    Row,
    interval_columns,
    mean_interval,
    paired_difference,
    spearman_correlation,
)
from mixtura.reports.runs import TaskRuns, layer_count, scores_by_prompt
from mixtura.reports.text_similarity import TextSimilarity

ProposalGrader = Callable[[str, str, str], float | None]
"""The score of a proposal: of that sample, by that model, with that text."""
RankCorrelations = dict[str, dict[str, float]]
"""By measure, then by prompt: how similarity and score go together."""


def influence_rows(runs: TaskRuns) -> list[Row]:
    """Spearman of similarity and score over the proposals of each prompt, averaged.

    Beside it the same of a control that read no proposal, and their difference, which is what
    reading them explains. Of mixtures of two layers: what a later layer proposes was never scored
    alone. The control's own proposals are left out.
    """
    return [
        row
        for one in runs.iter_mixtures()
        if layer_count(one) == 2 and len(one.layers[0]) > 1
        for row in _mixture_influence_rows(runs, one)
    ]


def _mixture_influence_rows(runs: TaskRuns, mixture: LoggedEvaluation) -> Iterator[Row]:
    control = _control_model(runs, mixture)
    if control is None:
        return
    read = [(answer, _first_layer_proposals(answer, control.name)) for answer in mixture.answers]
    control_texts = {answer.sample: answer.text for answer in control.answers}
    proposed = [text for _, proposals in read for _, text in proposals]
    similarity = TextSimilarity(
        [*proposed, *(answer.text for answer, _ in read), *control_texts.values()]
    )
    grade = create_grader(runs)
    ours = _rank_correlations(similarity, grade, [(a.sample, a.text, ps) for a, ps in read])
    theirs = _rank_correlations(
        similarity,
        grade,
        [(a.sample, control_texts[a.sample], ps) for a, ps in read if a.sample in control_texts],
    )
    for measure, orders in ours.items():
        # Two correlations between -1 and 1 differ by 2 at most.
        difference = paired_difference(orders, theirs.get(measure, {}), reach=(-2.0, 2.0))
        yield {
            "aggregator": mixture.aggregator,
            "proposers": ", ".join(mixture.layers[0]),
            "measure": measure,
            **interval_columns("rho", mean_interval(orders.values(), DIFFERENCE_RANGE)),
            "control": control.name,
            **interval_columns(
                "control_rho", mean_interval(theirs.get(measure, {}).values(), DIFFERENCE_RANGE)
            ),
            **interval_columns("difference", difference),
            "prompts": len(orders),
        }


def _control_model(runs: TaskRuns, mixture: LoggedEvaluation) -> LoggedEvaluation | None:
    """A model that answered alone: none of the proposers where there is one, else any."""
    proposers = {name for layer in mixture.layers for name in layer}
    outsiders = [one for name, one in runs.single_models.items() if name not in proposers]
    own = [one for name, one in runs.single_models.items() if name == mixture.aggregator]
    return next(iter([*outsiders, *own, *runs.single_models.values()]), None)


def _first_layer_proposals(answer: SampleAnswer, but: str) -> list[tuple[str, str]]:
    """Who proposed what; not the control itself."""
    return [
        (call.model, call.text)
        for call in answer.calls
        if call.layer == 1 and call.role == "proposer" and not call.failed and call.model != but
    ]


def create_grader(runs: TaskRuns) -> ProposalGrader:
    """
    A proposal's score: that of the same text where its model gave it alone, else the mean of
    the model's answers to the same prompt.
    """
    # A draft out of the cache has its own score; a fresh one is worth what its model usually is.
    exact: dict[tuple[str, str, str], float] = {}
    usual: dict[tuple[str, str], float] = {}
    for name, one in runs.single_models.items():
        usual |= {(sample, name): value for sample, value in scores_by_prompt(one).items()}
        for answer in one.answers:
            if answer.score is not None:
                exact[answer.sample, name, answer.text] = answer.score

    def grade_proposal(sample: str, model: str, text: str) -> float | None:
        return exact.get((sample, model, text), usual.get((sample, model)))

    return grade_proposal


def _rank_correlations(
    similarity: TextSimilarity,
    grade: ProposalGrader,
    answers: Sequence[tuple[str, str, Sequence[tuple[str, str]]]],
) -> RankCorrelations:
    correlations: dict[str, dict[str, list[float]]] = {}
    for sample, text, proposals in answers:
        known = [(p, g) for m, p in proposals if (g := grade(sample, m, p)) is not None]
        # One proposal has no order.
        if len(known) < 2:
            continue
        measured = similarity.all_measures([p for p, _ in known], [text] * len(known))
        for measure, values in measured.items():
            rho = spearman_correlation(values, np.array([g for _, g in known]))
            if rho is not None:
                # A list: with several epochs a prompt has an answer, and so an order, for each.
                correlations.setdefault(measure, {}).setdefault(sample, []).append(rho)
    return {m: {s: fmean(v) for s, v in rows.items()} for m, rows in correlations.items()}


def widest_mixture_rows(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows of the mixture that most prompts speak of, for a figure."""

    def mixture_key(row: Row) -> tuple[object, ...]:
        return (row["aggregator"], row["proposers"])

    counts: Mapping[tuple[object, ...], int] = {mixture_key(row): row["prompts"] for row in rows}
    best = max(counts, key=lambda one: counts[one], default=None)
    return [row for row in rows if mixture_key(row) == best]
