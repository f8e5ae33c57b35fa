"""mixtura report similarity, diversity, budget: the analyses that work on files of answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mixtura.cli.common import config_option, console, echo_json, named, needs, read_config
from mixtura.cli.listed import Listing
from mixtura.config import Config
from mixtura.errors import ConfigError
from mixtura.text import one_line

if TYPE_CHECKING:
    from mixtura.plan import Plan
    from mixtura.reports.cost import Budget
    from mixtura.reports.files import Alike, Answers, Diversity
    from mixtura.reports.rows import Interval


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


# ---- likeness


@click.command(cls=Listing)
@click.option("--answers", metavar="FILE", required=True, callback=named, help="Whose likeness.")
@click.option(
    "--proposals", metavar="FILE…", required=True, multiple=True, callback=named,
    help="What they were made of, a file for each proposer.",
)  # fmt: skip
@click.option(
    "--control", metavar="FILE", callback=named,
    help="Answers of a model that read no proposal: likeness that is no sign of reading.",
)  # fmt: skip
@json_option
def similarity(
    answers: str, proposals: tuple[str, ...], control: str | None, as_json: bool
) -> None:
    """How alike answers are to proposals: BLEU, TF-IDF, Levenshtein."""
    with needs("report", "the report"):
        from mixtura.reports import files

        every = files.read(map(Path, (answers, *proposals, *([control] if control else ()))))
        _say_shared(every)
        ours, *rest = every
        theirs = rest[: len(proposals)]
        found = files.similarity(ours, theirs, rest[-1] if control else None)
    if as_json:
        echo_json(files.similarity_json(found))
    else:
        _draw_similarity(found, ours)


def _draw_similarity(found: Iterable[Alike], answers: Answers) -> None:
    from mixtura.reports.likeness import MEASURES

    rows: list[list[str]] = []
    for one in found:
        again = any(row[0] == one_line(one.proposal) for row in rows)
        name = "" if again else one_line(one.proposal)
        spans = map(_span, (one.answer, one.control, one.difference))
        rows.append([name, MEASURES[one.measure], *spans])
    controlled = any(row[3] for row in rows)
    heads = ["proposer", "measure", one_line(answers.name), "control", "difference"]
    table(heads if controlled else heads[:3], rows)


# ---- diversity


@click.command(cls=Listing)
@click.option(
    "--answers", metavar="FILE…", required=True, multiple=True, callback=named,
    help="A file for each model.",
)  # fmt: skip
@json_option
def diversity(answers: tuple[str, ...], as_json: bool) -> None:
    """How diverse answers to the same questions are."""
    with needs("report", "the report"):
        from mixtura.reports import files

        every = files.read(map(Path, answers))
        _say_shared(every)
        found = files.diversity(every)
    if as_json:
        echo_json(found.json())
    else:
        _draw_diversity(found)


def _draw_diversity(found: Diversity) -> None:
    rows = [
        [f"{one_line(a)}, {one_line(b)}", _span(spread.mean), f"{spread.quantiles[0.5]:.3f}"]
        for (a, b), spread in found.pairs.items()
    ]
    rows.append(["all pairs", _span(found.pairwise.mean), f"{found.pairwise.quantiles[0.5]:.3f}"])
    rows.append(["Vendi score", _span(found.vendi.mean), f"{found.vendi.quantiles[0.5]:.3f}"])
    table(["TF-IDF cosine", "mean", "median"], rows)


# ---- budget


def _pairs(ctx: click.Context, param: click.Parameter, value: Any) -> Mapping[str, Path]:
    given: dict[str, Path] = {}
    for word in named(ctx, param, value) or ():
        name, equals, file = word.partition("=")
        if not (name and equals and file):
            raise click.BadParameter(f"'{one_line(word)}' is not NAME=FILE.", ctx, param)
        if name in given:
            raise click.BadParameter(f"{one_line(name)} is given twice.", ctx, param)
        given[name] = Path(file)
    return given


@click.command(cls=Listing)
@click.option(
    "--outputs", metavar="NAME=FILE…", required=True, multiple=True, callback=_pairs,
    help="What mixtures and models answered, by name: paper=FILE gpt-4o=FILE.",
)  # fmt: skip
@click.option(
    "--proposals", metavar="MODEL=FILE…", multiple=True, callback=_pairs,
    help="What proposers answered; one without a file wrote as much as the others on average.",
)  # fmt: skip
@config_option
@json_option
def budget(
    outputs: Mapping[str, Path],
    proposals: Mapping[str, Path],
    config_file: str | None,
    as_json: bool,
) -> None:
    """What answers cost, in dollars and in work.

    From their real lengths; prices and sizes are the paper's where it has the model. TFLOPs are
    of the largest member of each layer, summed over layers: as the paper counts, of what is
    written; honestly, of what is read, too.
    """
    config = read_config(config_file)
    plans = {name: _planned(config, name) for name in outputs}
    with needs("report", "the report"):
        from mixtura.catalog import reckoning
        from mixtura.reports import cost, files

        teller = cost.Teller(config.price, reckoning())
        heard = dict(zip(proposals, files.read(proposals.values()), strict=True))
        if idle := teller.idle(plans.values(), proposals):
            _note(f"None of the mixtures has a proposer {', '.join(map(one_line, idle))}.")
        found = [
            teller.budget(one._replace(name=name), plans[name], heard)
            for name, one in zip(outputs, files.read(outputs.values()), strict=True)
        ]
    if as_json:
        echo_json({one.name: one.json() for one in found})
    else:
        _draw_budget(found)


def _planned(config: Config, name: str) -> Plan | None:
    """The mixture of that name; None for a model. Raises ConfigError for neither."""
    from mixtura.catalog import reckoning

    if reckoning().called(name):
        return None
    plan = config.plan(name)
    if plan.pattern.kind != "mixture":
        raise ConfigError(f"{name} is no mixture that writes its answer: {plan.ends}")
    return plan if plan.layers else None


def _draw_budget(found: Iterable[Budget]) -> None:
    rows = [
        [one_line(one.name), _dollars(one), *(
            "unknown" if work is None else f"{work.mean:,.0f}"
            for work in (one.tflops_paper, one.tflops_with_prefill)
        )]
        for one in found
    ]  # fmt: skip
    table(["", "dollars", "TFLOPs, written only", "TFLOPs, read and written"], rows)


def _dollars(one: Budget) -> str:
    return "unknown" if one.cost_usd is None else f"{one.cost_usd.mean:.4f}"


# ---- notes


def _say_shared(every: Sequence[Answers]) -> None:
    """How many questions count, where that is not all of them."""
    from mixtura.reports.files import shared

    most = max(len(one.texts) for one in every)
    if len(every) > 1 and (count := len(shared(every))) < most:
        _note(f"Only {count:,} of {most:,} questions are answered in every file and count.")


def _note(said: str) -> None:
    from mixtura.render import say

    say(console(aside=True), said, "yellow")


# ---- tables


def _span(found: Interval | None) -> str:
    if found is None or found.low is None or found.high is None:
        return "" if found is None else f"{found.mean:.3f}"
    return f"{found.mean:.3f} ± {(found.high - found.low) / 2:.3f}"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Rows for people: the first column on the left, the others on the right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for i, head in enumerate(heads):
        made.add_column(head, justify="right" if i else "left")
    for row in rows:
        made.add_row(*list(row)[: len(made.columns)])
    console().print(made)
