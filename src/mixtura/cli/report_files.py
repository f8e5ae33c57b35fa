"""mixtura report similarity, diversity, budget: the analyses that work on files of answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mixtura.cli.common import (
    config_option,
    create_console,
    echo_json,
    name_callback,
    name_option,
    read_config,
    require_extra,
)
from mixtura.cli.evaluation_options import json_option
from mixtura.cli.list_options import ListOptionsCommand
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line

if TYPE_CHECKING:
    from mixtura.config.plan import MixtureSpec
    from mixtura.reports.file_costs import AnswerCost
    from mixtura.reports.files import AnswerFile, DiversityResult, SimilarityResult
    from mixtura.reports.rows import Interval


# ---- similarity


@click.command(
    cls=ListOptionsCommand,
    examples=("mixtura report similarity --answers team.json --proposals a.json b.json",),
)
@name_option("--answers", "FILE", "Answers to examine.", required=True)
@name_option(
    "--proposals", "FILE…", "Proposals they were made from, a file for each proposer.",
    required=True, multiple=True,
)  # fmt: skip
@name_option(
    "--control", "FILE",
    "Answers of a model that read no proposal, as a control.",
)  # fmt: skip
@json_option
def similarity(
    answers: str, proposals: tuple[str, ...], control: str | None, as_json: bool
) -> None:
    """Measure how similar answers are to proposals: BLEU, TF-IDF, Levenshtein."""
    with require_extra("report", "the report"):
        from mixtura.reports import files

        every = files.read_answer_files(
            map(Path, (answers, *proposals, *([control] if control else ())))
        )
        _print_shared_count(every)
        ours, *rest = every
        theirs = rest[: len(proposals)]
        results = files.proposal_similarity(ours, theirs, rest[-1] if control else None)
    if as_json:
        echo_json(files.similarity_json(results))
    else:
        _print_similarity(results, ours)


def _print_similarity(results: Iterable[SimilarityResult], answers: AnswerFile) -> None:
    from mixtura.reports.text_similarity import MEASURES

    rows: list[list[str]] = []
    for one in results:
        again = any(row[0] == to_one_line(one.proposal) for row in rows)
        name = "" if again else to_one_line(one.proposal)
        spans = map(_format_interval, (one.answer, one.control, one.difference))
        rows.append([name, MEASURES[one.measure], *spans])
    controlled = any(row[3] for row in rows)
    heads = ["proposer", "measure", to_one_line(answers.name), "control", "difference"]
    print_table(heads if controlled else heads[:3], rows)


# ---- diversity


@click.command(
    cls=ListOptionsCommand, examples=("mixtura report diversity --answers a.json b.json",)
)
@click.option(
    "--answers", metavar="FILE…", required=True, multiple=True, callback=name_callback,
    help="A file for each model.",
)  # fmt: skip
@json_option
def diversity(answers: tuple[str, ...], as_json: bool) -> None:
    """Measure how diverse answers to the same questions are."""
    with require_extra("report", "the report"):
        from mixtura.reports import files

        every = files.read_answer_files(map(Path, answers))
        _print_shared_count(every)
        result = files.answer_diversity(every)
    if as_json:
        echo_json(result.to_json())
    else:
        _print_diversity(result)


def _print_diversity(result: DiversityResult) -> None:
    rows = [
        [
            f"{to_one_line(a)}, {to_one_line(b)}",
            _format_interval(spread.mean),
            f"{spread.quantiles[0.5]:.3f}",
        ]
        for (a, b), spread in result.pairs.items()
    ]
    rows.append(
        [
            "all pairs",
            _format_interval(result.pairwise.mean),
            f"{result.pairwise.quantiles[0.5]:.3f}",
        ]
    )
    rows.append(
        ["Vendi score", _format_interval(result.vendi.mean), f"{result.vendi.quantiles[0.5]:.3f}"]
    )
    print_table(["TF-IDF cosine", "mean", "median"], rows)


# ---- budget


def _parse_named_files(
    ctx: click.Context, param: click.Parameter, value: Any
) -> Mapping[str, Path]:
    files: dict[str, Path] = {}
    for word in name_callback(ctx, param, value) or ():
        name, equals, file = word.partition("=")
        if not (name and equals and file):
            raise click.BadParameter(f"'{to_one_line(word)}' is not NAME=FILE.", ctx, param)
        if name in files:
            raise click.BadParameter(f"{to_one_line(name)} is given twice.", ctx, param)
        files[name] = Path(file)
    return files


@click.command(
    cls=ListOptionsCommand,
    examples=("mixtura report budget --outputs paper=team.json gpt-4o=gpt.json",),
)
@click.option(
    "--outputs", metavar="NAME=FILE…", required=True, multiple=True, callback=_parse_named_files,
    help="Answers of mixtures and models, by name: paper=FILE gpt-4o=FILE.",
)  # fmt: skip
@click.option(
    "--proposals", metavar="MODEL=FILE…", multiple=True, callback=_parse_named_files,
    help="Answers of proposers; one without a file counts as long as the others on average.",
)  # fmt: skip
@config_option
@json_option
def budget(
    outputs: Mapping[str, Path],
    proposals: Mapping[str, Path],
    config_file: str | None,
    as_json: bool,
) -> None:
    """Calculate what answers cost, in dollars and in computation.

    Costs follow the real lengths of the answers; prices and model sizes are the paper's where
    it has the model. TFLOPs are those of the largest member of each layer, summed over layers:
    once as the paper counts, for written tokens only, and once with the tokens read.
    """
    config = read_config(config_file)
    plans = {name: _find_mixture(config, name) for name in outputs}
    with require_extra("report", "the report"):
        from mixtura.catalog.providers import paper_costs
        from mixtura.reports import file_costs, files

        calculator = file_costs.CostCalculator(config.usage_cost, paper_costs())
        proposal_files = dict(
            zip(proposals, files.read_answer_files(proposals.values()), strict=True)
        )
        # More likely a misspelt name than a file too many: said, not refused.
        if idle := calculator.unused_proposals(plans.values(), proposals):
            _print_note(f"None of the mixtures has a proposer {', '.join(map(to_one_line, idle))}.")
        costs = [
            calculator.answer_cost(one._replace(name=name), plans[name], proposal_files)
            for name, one in zip(outputs, files.read_answer_files(outputs.values()), strict=True)
        ]
    if as_json:
        echo_json({one.name: one.to_json() for one in costs})
    else:
        _print_budget(costs)


def _find_mixture(config: Config, name: str) -> MixtureSpec | None:
    """The mixture of that name; None for a model. Raises ConfigError for neither."""
    from mixtura.catalog.providers import paper_costs

    if paper_costs().paper_name(name):
        return None
    plan = config.mixture_spec(name)
    # A pattern that picks or votes writes no answer of its own, whose tokens could be counted.
    if plan.pattern.kind != "mixture":
        raise ConfigError(f"{name} is not a mixture that writes its answer: {plan.final_step_text}")
    return plan if plan.layers else None


def _print_budget(costs: Iterable[AnswerCost]) -> None:
    rows = [
        [to_one_line(one.name), _format_dollars(one), *(
            "unknown" if work is None else f"{work.mean:,.0f}"
            for work in (one.tflops_paper, one.tflops_with_prefill)
        )]
        for one in costs
    ]  # fmt: skip
    print_table(["", "dollars", "TFLOPs, written only", "TFLOPs, read and written"], rows)


def _format_dollars(one: AnswerCost) -> str:
    return "unknown" if one.cost_usd is None else f"{one.cost_usd.mean:.4f}"


# ---- notes


def _print_shared_count(every: Sequence[AnswerFile]) -> None:
    """How many questions count, where that is not all of them."""
    from mixtura.reports.files import shared_questions

    most = max(len(one.texts) for one in every)
    if len(every) > 1 and (count := len(shared_questions(every))) < most:
        _print_note(
            f"Only {count:,} of {most:,} questions are answered in every file; the others are left"
            " out."
        )


def _print_note(note: str) -> None:
    from mixtura.terminal import print_line

    print_line(create_console(stderr=True), note, "yellow")


# ---- tables


def _format_interval(interval: Interval | None) -> str:
    if interval is None or interval.low is None or interval.high is None:
        return "" if interval is None else f"{interval.mean:.3f}"
    return f"{interval.mean:.3f} ± {(interval.high - interval.low) / 2:.3f}"


def print_table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Rows for people: the first column on the left, the others on the right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for i, head in enumerate(heads):
        made.add_column(head, justify="right" if i else "left")
    for row in rows:
        made.add_row(*list(row)[: len(made.columns)])
    create_console().print(made)
