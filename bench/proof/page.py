"""The page of the proof, made of the results alone, so that it cannot say anything else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from bench.proof.figures import (
    Row,
    auroc,
    auroc_interval,
    confidences_by_item,
    oracle_share,
    row_of,
    scores_by_item,
)
from bench.proof.labels import BASE, SETS, Comparison, SetLabels
from bench.proof.results import Outcome, read_outcomes

from mixtura.evals.statistics.intervals import IntervalEstimate, paired_difference
from mixtura.evals.statistics.repeated_looks import look_alphas

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PAGE = ROOT / "docs" / "explanation" / "proof.md"
LOOKS = FOLDER / "looks.json"
_NOT_YET = (
    "Not measured yet. `python -m bench.proof draw {name}` draws the answers;"
    " `python -m bench.proof score {name}`, `look {name}` and `table` fill this in."
)


class Look(NamedTuple):
    """One look at the results of a set, planned or not: each of them is paid for."""

    fraction: float
    """Of the planned answers of the main comparison."""
    day: str


def results_file(name: str, folder: Path = FOLDER) -> Path:
    """Where the outcomes of a set are kept."""
    return folder / f"{name}.results.jsonl.xz"


def read_looks(file: Path = LOOKS) -> dict[str, list[Look]]:
    """The looks at each set, in their order."""
    if not file.exists():
        return {}
    found: Mapping[str, list[Any]] = json.loads(file.read_text("utf-8"))
    return {name: [Look(*one) for one in looks] for name, looks in found.items()}


def build_page(folder: Path = FOLDER) -> str:
    """The page as it follows from the results in *folder*."""
    looks = read_looks(folder / "looks.json")
    template = (folder / "page.md").read_text("utf-8")
    for name, labels in SETS.items():
        file = results_file(name, folder)
        text = (
            "\n".join(describe_set(labels, read_outcomes(file), looks.get(name, [])))
            if file.exists()
            else _NOT_YET.format(name=name)
        )
        template = template.replace(f"<!-- results of {name} -->", text)
    return template


def describe_set(
    labels: SetLabels, outcomes: Sequence[Outcome], looks: Sequence[Look]
) -> Iterator[str]:
    """The results of one set in words and tables."""
    alpha = look_alphas([look.fraction for look in looks])[-1] if looks else 0.05
    confidence = 1 - alpha
    rows = {
        name: row for name in labels.arms if (row := row_of(outcomes, name, BASE)) is not None
    }  # fmt: skip
    if not rows:
        yield "No item has all the answers yet that a row needs."
        return
    if labels.main is not None:
        yield from _main_sentence(labels, labels.main, outcomes, looks, confidence)
        yield ""
    yield from _table(labels, rows)
    yield ""
    if missing := [label for name, label in labels.arms.items() if name not in rows]:
        yield f"Still to be drawn: {'; '.join(missing)}."
        yield ""
    yield from _oracles(labels, outcomes)
    yield from _equal_resources(labels, outcomes, rows)
    if labels.main is not None:
        yield from _losses(labels, rows)
    yield from _confidence_lines(labels, outcomes)


def _main_sentence(
    labels: SetLabels,
    ours: str,
    outcomes: Sequence[Outcome],
    looks: Sequence[Look],
    confidence: float,
) -> Iterator[str]:
    main = compare(outcomes, ours, BASE, confidence)
    if main is None:
        yield f"{labels.arms[ours]} against {labels.arms[BASE]} is not measured yet."
        return
    names = labels.arms
    verdict = "better" if main.low > 0 else "worse" if main.high < 0 else "no difference is shown"
    yield (
        f"**{names[ours]} against {names[BASE]}, {main.prompts} items:"
        f" {_points(main.value)} points, {100 * confidence:.2f} % interval"
        f" {_points(main.low)} to {_points(main.high)}: {verdict}.**"
    )
    if looks:
        last = looks[-1]
        which = f"look {len(looks)}, at {last.fraction:.0%} of the answers that are planned"
        yield (
            f"This is {which} ({last.day}). Repeated looks are corrected for by Lan and DeMets'"
            f" rule in Pocock's form: this look may spend {1 - confidence:.4f} of the 0.05 that all"
            " looks share, which sets the width of the interval above. The intervals of the table"
            " and all comparisons below it are of 95 % each, uncorrected."
        )


def _table(labels: SetLabels, rows: Mapping[str, Row]) -> Iterator[str]:
    yield (
        "| what answers | right, % | 95 % interval | against the 1.5B alone, points |"
        " smallest detectable difference | items | answers | calls | tokens | 10¹² operations |"
        " seconds | cut off |"
    )
    yield "| --- |" + " ---: |" * 11
    for name, row in rows.items():
        difference = _interval(row.difference) if row.difference else "–"
        shows = f"±{100 * row.detectable:.1f}" if row.detectable else "–"
        yield (
            f"| {labels.arms[name]} | {100 * row.right:.1f} |"
            f" {100 * row.low:.1f} to {100 * row.high:.1f} |"
            f" {difference} | {shows} | {row.items} | {row.answers} | {row.calls:.1f} |"
            f" {row.tokens:,.0f} | {row.work:.2f} | {row.seconds:,.0f} | {row.cut:.1%} |"
        )
    yield ""
    yield (
        "*Right* is the mean over items of the mean over an item's answers, with Wilson's interval"
        " of so many items. *Against* is the paired difference on the items that both have, with"
        " its 95 % interval (bootstrap over items). *Smallest detectable difference*: the true"
        " difference that so many items show with a power of 0.8. Tokens (read and written),"
        " operations (twice the parameters for each token, without the table of tokens) and seconds"
        " are for one answer, all its calls together. **The seconds were measured on a machine that"
        " did other work, with many answers decoded side by side: they do not say how long one"
        " answer takes.** *Cut off*: the share of calls that reached the limit of tokens."
    )


def _oracles(labels: SetLabels, outcomes: Sequence[Outcome]) -> Iterator[str]:
    for label, seats in labels.oracles.items():
        if (found := oracle_share(outcomes, seats)) is not None:
            share, items = found
            yield (
                f"An oracle that knows the right answer among {label} would have"
                f" {100 * share:.1f} % ({items} items): it is not a method, but the upper limit of"
                " choosing."
            )
            yield ""


def _equal_resources(
    labels: SetLabels, outcomes: Sequence[Outcome], rows: Mapping[str, Row]
) -> Iterator[str]:
    lines = list(_comparison_lines(labels.comparisons, labels, outcomes, rows))
    if lines:
        yield "### At equal cost"
        yield ""
        yield from lines
        yield ""


def _comparison_lines(
    comparisons: Sequence[Comparison],
    labels: SetLabels,
    outcomes: Sequence[Outcome],
    rows: Mapping[str, Row],
) -> Iterator[str]:
    for one in comparisons:
        difference = compare(outcomes, one.ours, one.theirs, 0.95)
        if difference is None or one.ours not in rows or one.theirs not in rows:
            continue
        ours, theirs = rows[one.ours], rows[one.theirs]
        yield (
            f"- {one.at}: {labels.arms[one.ours]} against {labels.arms[one.theirs]}:"
            f" {_interval(difference)} points ({difference.prompts} items; calls"
            f" {ours.calls:.1f} against {theirs.calls:.1f}, tokens {ours.tokens:,.0f} against"
            f" {theirs.tokens:,.0f}, operations {ours.work:.2f} against {theirs.work:.2f}·10¹²)"
        )


def _losses(labels: SetLabels, rows: Mapping[str, Row]) -> Iterator[str]:
    lost = [
        (name, row.difference)
        for name, row in rows.items()
        if row.difference is not None and row.difference.value < 0 and name not in labels.members
    ]
    if not any(name not in labels.members for name in rows):
        return
    yield "### Where a mixture loses"
    yield ""
    if not lost:
        yield "No mixture of the table has fewer right than the 1.5B alone."
    for name, difference in sorted(lost, key=lambda pair: pair[1].value):
        surely = " (the interval excludes 0)" if difference.high < 0 else ""
        yield f"- {labels.arms[name]}: {_interval(difference)} points{surely}"
    yield ""


def _confidence_lines(labels: SetLabels, outcomes: Sequence[Outcome]) -> Iterator[str]:
    lines: list[str] = []
    for arm, measures in labels.confidences.items():
        for measure, words in measures.items():
            items = confidences_by_item(outcomes, arm, measure)
            pairs = list(chain(*items))
            value = auroc(pairs)
            if value is None:
                continue
            bounds = auroc_interval(items)
            said = f", 95 % interval {bounds[0]:.2f} to {bounds[1]:.2f}" if bounds else ""
            count = f"{len(pairs)} answers"
            if len(items) < len(pairs):
                count += f" to {len(items)} items"
            lines.append(f"- {labels.arms[arm]}, {words}: {value:.2f}{said} ({count})")
    if lines:
        yield "### How well simple confidences tell right answers from wrong ones (AUROC)"
        yield ""
        yield from lines
        yield ""


def compare(
    outcomes: Sequence[Outcome], ours: str, theirs: str, confidence: float
) -> IntervalEstimate | None:
    """The paired difference of two arms on the items that both have; None below two."""
    a, b = scores_by_item(outcomes, ours), scores_by_item(outcomes, theirs)
    both = [item for item in a if item in b]
    if len(both) < 2:
        return None
    return paired_difference(
        [a[item] for item in both], [b[item] for item in both], confidence=confidence
    )


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _interval(one: IntervalEstimate) -> str:
    return f"{_points(one.value)} ({_points(one.low)} to {_points(one.high)})"
