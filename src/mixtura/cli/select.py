"""The command mixtura select: the team of one's models that answers one's prompts best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mixtura import cli
from mixtura.cli.common import (
    POSITIVE_DOLLARS,
    POSITIVE_SECONDS,
    config_option,
    count_option,
    create_console,
    echo_json,
    max_cost_option,
    name_option,
    read_config,
    require_extra,
)
from mixtura.cli.evaluation_options import (
    announce_preparation,
    held_out_option,
    limit_option,
    preset_options,
    scoring_options,
    size_options,
)
from mixtura.cli.list_options import ListOptionsCommand
from mixtura.cli.preset_file import (
    PresetOutput,
    check_file,
    download_members,
    print_dry_run,
    print_forecast,
    print_written,
    require_prompts,
    take_output,
    write_table,
)
from mixtura.cli.progress import show_progress

if TYPE_CHECKING:
    from mixtura.config.config import Config
    from mixtura.selection.measurements import SelectionTerms


@click.command(
    name="select",
    cls=ListOptionsCommand,
    examples=(
        "mixtura select --models small big other --on test.jsonl --task gsm8k --out mixtura.toml",
        "mixtura select --models a b c --on prompts.jsonl --judge openai/gpt-5.4 --goal cost",
    ),
)
@name_option("--models", "A B C…", "Candidates: a list, up to the next option.", multiple=True)
@scoring_options
@click.option(
    "--goal",
    type=click.Choice(["quality", "cost", "latency"]),
    default="quality",
    show_default=True,
    help="Best answers; or the cheapest, or the fastest, team that is as good.",
)
@size_options("The most members of a team.")
@click.option(
    "--answer-cost",
    type=POSITIVE_DOLLARS,
    metavar="DOLLARS",
    help="Cost limit for each answer of the team.",
)
@click.option(
    "--answer-seconds",
    type=POSITIVE_SECONDS,
    metavar="SECONDS",
    help="Time limit for each answer of the team, on average.",
)
@max_cost_option("Cost limit of the whole selection, earlier runs included.")
@limit_option
@held_out_option(1 / 3, "final test (default: a third)")
@count_option("--draws", "Answers of each candidate to each prompt; at least the size.")
@preset_options("team", "selected")
@click.option(
    "--cache/--no-cache", default=True, help="Share proposals among teams, or ask for each."
)
@config_option
def command(models: tuple[str, ...], cache: bool, config_file: str | None, **options: Any) -> int:
    """Find the team that answers your prompts best.

    Every candidate answers every prompt a few times, and teams share those answers. The search
    measures what an aggregator makes of them: it tries aggregators, several samples of one
    model, and teams that grow by the model that adds most. Prompts that the search never saw
    then compare the winner with the best single model and the best single-proposer team. A run
    that was stopped resumes where it was.
    """
    require_prompts(models, options["data"], "candidates")
    output = take_output(options)
    config = read_config(config_file, cache=cache, waits_for_all=True)
    announce_preparation("selection", quiet=output.as_json)
    terms = _build_terms(options)
    if not output.dry_run:
        download_members(config, models, terms)
    return _run_selection(config, models, terms, output)


def _build_terms(options: dict[str, Any]) -> SelectionTerms:
    with require_extra("eval", "selection"):
        from mixtura.selection.measurements import SelectionTerms
        from mixtura.selection.search import NO_BOUNDS
    bounds = NO_BOUNDS._replace(
        dollars=options.pop("answer_cost") or NO_BOUNDS.dollars,
        seconds=options.pop("answer_seconds") or NO_BOUNDS.seconds,
    )
    return SelectionTerms(bounds=bounds, **options)


def _run_selection(
    config: Config, models: tuple[str, ...], terms: SelectionTerms, output: PresetOutput
) -> int:
    from mixtura.selection import preset
    from mixtura.selection.forecast import forecast_selection
    from mixtura.selection.run import select_team

    before = forecast_selection(config, models, terms)
    if output.dry_run:
        return print_dry_run(config, models, terms, before, as_json=output.as_json)
    print_forecast(before)
    check_file(config, output, models)
    with show_progress(create_console(stderr=True), quiet=output.as_json) as progress:
        selection = select_team(config, models, terms, watch=progress)
    # A capped search still has a team; the exit code says that it tried less than it would.
    ended = cli.CAPPED if selection.capped else cli.ANSWERED
    best = selection.best
    table = preset.mixture_table(output.name, best.members, best.aggregator, selection.summary_line)
    write_table(config, output, table, {*best.members, best.aggregator})
    if output.as_json:
        echo_json(selection.to_json() | {"preset": table})
        return ended
    from mixtura.terminal.selections import render_selection

    create_console().print(render_selection(selection, create_console().width))
    print_written(output, table)
    return ended
