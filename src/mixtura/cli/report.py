"""mixtura report"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mixtura import cli
from mixtura.cli.common import (
    bring_embedded,
    cap_options,
    config_option,
    console,
    echo_json,
    named,
    read_config,
)
from mixtura.cli.listed import Listing, ListingGroup
from mixtura.cli.progress import progress
from mixtura.config import Config
from mixtura.errors import ConfigError
from mixtura.text import one_line

if TYPE_CHECKING:
    from mixtura.evals.run import Asked
    from mixtura.plan import Plan
    from mixtura.reports.cost import Budget
    from mixtura.reports.files import Alike, Answers, Diversity
    from mixtura.reports.page import Written
    from mixtura.reports.rows import Interval


@contextmanager
def _extra() -> Generator[None]:
    """What is not installed is said in one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("mixtura"):
            raise
        missing = error.name.partition(".")[0]
        raise ConfigError(
            f'the report needs {missing}, which is not there: pip install "mixtura[report]"'
        ) from None


_json = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@click.group(name="report", cls=ListingGroup, invoke_without_command=True)
@click.option(
    "--from", "folder", metavar="RUNS", callback=named,
    help="A folder of evaluations: what `mixtura eval` and its like have logged.",
)  # fmt: skip
@click.option(
    "--out", metavar="DIR", default="report", show_default=True, callback=named,
    help="Where report.html, the figures and the tables go.",
)  # fmt: skip
@_json
@click.pass_context
def command(ctx: click.Context, folder: str | None, out: str, as_json: bool) -> None:
    """Redo the paper's analyses on your own data.

    With --from, all eight of them on recorded evaluations, as one page with its figures (SVG,
    PNG) and tables (CSV) beside it. The commands below work on files: FILE is a list of answers
    as AlpacaEval's model_outputs.json has it. Lists of files end at the next option.
    """
    if ctx.invoked_subcommand is not None:
        return
    if folder is None:
        raise click.UsageError("--from RUNS, or one of the commands, is missing.", ctx)
    with _extra():
        _report(Path(folder), Path(out), as_json=as_json)


def _report(folder: Path, out: Path, *, as_json: bool) -> None:
    from mixtura.evals import answers
    from mixtura.reports import page, runs

    every = runs.by_task(answers.read(folder))
    if not every:
        raise ConfigError(
            f"{folder}: no evaluation of a mixture or a model is in it; `mixtura report collect`"
            " brings what a report needs"
        )
    try:
        written = page.write(every, out)
    except OSError as error:
        raise cli.OutputLostError(error) from None
    if as_json:
        echo_json({"page": str(written.file), "tasks": written.json()})
    else:
        _tell(written)


def _tell(written: Written) -> None:
    from mixtura.render import say

    shown = console()
    for task, made in written.tasks.items():
        say(shown, f"Task {one_line(task)}", "bold")
        for section in made:
            for title in section.titles() or [f"not there: {section.words.missing}"]:
                say(shown, f"  {title}", "" if section.rows else "dim")
    say(shown, f"\n{written.file}", "bold")


# ---- the runs that it takes


@command.command(cls=Listing)
@click.option(
    "--models", metavar="MODEL…", required=True, multiple=True, callback=named,
    help="Who is compared; the first is the fixed aggregator.",
)  # fmt: skip
@click.option("--on", "data", metavar="FILE", callback=named, help="The prompts: JSON lines.")
@click.option("--task", metavar="TASK", callback=named, help="What they are: gsm8k, math, …")
@click.option("--judge", metavar="NAME", callback=named, help="Who grades what no task checks.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="So many prompts at most.")
@click.option("--seed", type=int, metavar="N", help="Draws the prompts that a limit takes.")
@click.option("--from", "folder", metavar="RUNS", default="logs", show_default=True, callback=named,
              help="Where evaluations are kept: what is there is not asked again.")  # fmt: skip
@click.option("--out", metavar="DIR", default="report", show_default=True, callback=named,
              help="Where the report goes.")  # fmt: skip
@click.option("--connections", type=click.IntRange(min=1), default=10, show_default=True,
              help="Prompts under way at once.")  # fmt: skip
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N",
              help="Of every answer of every model.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="List the mixtures and their calls; ask no one.")
@cap_options
@config_option
@_json
def collect(
    models: tuple[str, ...],
    data: str | None,
    task: str | None,
    judge: str | None,
    limit: int | None,
    seed: int | None,
    folder: str,
    out: str,
    connections: int,
    max_tokens: int | None,
    dry_run: bool,
    max_cost: float | None,
    deadline: float | None,
    cache: bool | None,
    config_file: str | None,
    as_json: bool,
) -> None:
    """Run what the analyses need, then report.

    Each model alone; every model as the aggregator of all of them, at two and three layers; the
    ranker; each model as the only proposer; 1, 2, 3 and 6 proposals, of several models and of
    one. Drafts are shared among them. A run that was stopped goes on where it was.
    """
    config = read_config(config_file, cache=True if cache is None else cache)
    with _extra():
        from mixtura.evals.run import Asked
        from mixtura.reports.grid import grid

        plans = grid(models, max_tokens)
        for model in models:
            config.plan(model)
        if dry_run:
            return _tell_plans(config, plans)
        for model in models:
            bring_embedded(config, config.plan(model))
        asked = Asked(
            task=task or ("jsonl" if data else "gsm8k"), data=data, judge=judge, limit=limit,
            seed=seed,
        )  # fmt: skip
        _collect(
            config, plans, asked, Path(folder), connections=connections, max_cost=max_cost,
            deadline=deadline, quiet=as_json,
        )  # fmt: skip
        return _report(Path(folder), Path(out), as_json=as_json)


def _tell_plans(config: Config, plans: Iterable[Plan]) -> None:
    rows = [[one_line(plan.name), str(config.calls(plan))] for plan in plans]
    _table(["mixture or model", "calls of an answer"], rows)


def _collect(
    config: Config,
    plans: Sequence[Plan],
    asked: Asked,
    folder: Path,
    *,
    connections: int,
    max_cost: float | None,
    deadline: float | None,
    quiet: bool,
) -> None:
    from mixtura.reports.grid import collect

    with progress(console(aside=True), quiet=quiet) as shown:
        collect(
            config, plans, asked, logs=folder, max_cost=max_cost, deadline=deadline,
            connections=connections, watch=shown,
        )  # fmt: skip


# ---- likeness


@command.command(cls=Listing)
@click.option("--answers", metavar="FILE", required=True, callback=named, help="Whose likeness.")
@click.option(
    "--proposals", metavar="FILE…", required=True, multiple=True, callback=named,
    help="What they were made of, a file for each proposer.",
)  # fmt: skip
@click.option(
    "--control", metavar="FILE", callback=named,
    help="Answers of a model that read no proposal: likeness that is no sign of reading.",
)  # fmt: skip
@_json
def similarity(
    answers: str, proposals: tuple[str, ...], control: str | None, as_json: bool
) -> None:
    """How alike answers are to each proposer's, in the paper's measures."""
    with _extra():
        from mixtura.reports import files

        ours, *rest = files.read(map(Path, (answers, *proposals, *([control] if control else ()))))
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
    _table(heads if controlled else heads[:3], rows)


# ---- diversity


@command.command(cls=Listing)
@click.option(
    "--answers", metavar="FILE…", required=True, multiple=True, callback=named,
    help="A file for each model.",
)  # fmt: skip
@_json
def diversity(answers: tuple[str, ...], as_json: bool) -> None:
    """How diverse models' answers to the same questions are."""
    with _extra():
        from mixtura.reports import files

        found = files.diversity(files.read(map(Path, answers)))
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
    _table(["TF-IDF cosine", "mean", "median"], rows)


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


@command.command(cls=Listing)
@click.option(
    "--outputs", metavar="NAME=FILE…", required=True, multiple=True, callback=_pairs,
    help="What mixtures and models answered, by name: paper=FILE gpt-4o=FILE.",
)  # fmt: skip
@click.option(
    "--proposals", metavar="MODEL=FILE…", multiple=True, callback=_pairs,
    help="What proposers answered; one without a file wrote as much as the others on average.",
)  # fmt: skip
@config_option
@_json
def budget(
    outputs: Mapping[str, Path],
    proposals: Mapping[str, Path],
    config_file: str | None,
    as_json: bool,
) -> None:
    """What answers cost in dollars and in work, from their real lengths.

    Prices and sizes are the paper's where it has the model. TFLOPs are a layer's largest member's,
    summed over layers: as the paper counts, what is written; honestly, what is read, too.
    """
    config = read_config(config_file)
    plans = {name: _planned(config, name) for name in outputs}
    with _extra():
        from mixtura.catalog import reckoning
        from mixtura.reports import cost, files

        teller = cost.Teller(config.price, reckoning())
        heard = dict(zip(proposals, files.read(proposals.values()), strict=True))
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
    _table(["", "dollars", "TFLOPs, written only", "TFLOPs, read and written"], rows)


def _dollars(one: Budget) -> str:
    return "unknown" if one.cost_usd is None else f"{one.cost_usd.mean:.4f}"


# ---- tables


def _span(found: Interval | None) -> str:
    if found is None or found.low is None or found.high is None:
        return "" if found is None else f"{found.mean:.3f}"
    return f"{found.mean:.3f} ± {(found.high - found.low) / 2:.3f}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for i, head in enumerate(heads):
        table.add_column(head, justify="right" if i else "left")
    for row in rows:
        table.add_row(*list(row)[: len(table.columns)])
    console().print(table)
