"""The command mixtura tune: a mixture that is proved not to be worse than its best member."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mixtura import cli
from mixtura.cli import common, preset_file
from mixtura.cli.evaluation_options import (
    held_out_option,
    limit_option,
    preset_options,
    scoring_options,
    size_options,
)
from mixtura.cli.list_options import ListOptionsCommand
from mixtura.cli.progress import show_progress
from mixtura.core.text import pluralize_count

if TYPE_CHECKING:
    from mixtura.config.config import Config
    from mixtura.selection.measurements import SelectionTerms
    from mixtura.selection.proof_looks import LookTerms


@click.command(
    name="tune",
    cls=ListOptionsCommand,
    examples=(
        "mixtura tune --models small big other --on test.jsonl --task gsm8k --out mixtura.toml",
        "mixtura tune --models a b c --on prompts.jsonl --scoring number --patterns vote mux",
        "mixtura tune --models a b c --on prompts.jsonl --judge openai/gpt-5.4 --dry-run",
    ),
)
@common.name_option("--models", "A B C…", "Members: a list, up to the next option.", multiple=True)
@scoring_options
@click.option(
    "--patterns", "tried_patterns",
    metavar="P Q…", multiple=True, callback=common.name_callback,
    help="Patterns to try: vote, mux, switch, combine, gate, mixture (default: all).",
)  # fmt: skip
@size_options("The most proposals that an aggregator reads.")
@common.count_option(
    "--draws", "Answers of each member to each prompt; at least the size.",
    default=4, show_default=True,
)  # fmt: skip
@common.max_cost_option("Cost limit of all of it, earlier runs included.")
@limit_option
@held_out_option(1 / 2, "test (default: a half)")
@common.count_option(
    "--looks", "Tries planned on these prompts; each gets a share of the 5 % error rate.",
    default=1, show_default=True,
)  # fmt: skip
@preset_options("preset", "tuned")
@common.config_option
def command(
    models: tuple[str, ...],
    config_file: str | None,
    tried_patterns: tuple[str, ...],
    **options: Any,
) -> int:
    """Choose a mixture on half of your prompts, and test it on the other half.

    One half of the prompts chooses the members and their roles, the pattern, the number of draws
    and the aggregator. On the other half, which had no part in the choice, the mixture is compared
    with the best member, prompt by prompt. It is written only if the lower bound of the 95 %
    interval is -1 point or higher: if it is at most one point worse. Otherwise the single model
    is written. A run that was stopped resumes where it was.

    Another try on the same prompts, with other settings, proves nothing unless it was planned:
    pass --looks 3 from the first of three tries on.
    """
    preset_file.require_prompts(models, options["data"], "members")
    output = preset_file.take_output(options)
    config = common.read_config(config_file, cache=True, waits_for_all=True)
    with common.require_extra("eval", "tuning"):
        from mixtura.selection.measurements import SelectionTerms
        from mixtura.selection.tuning import PATTERNS
    terms = SelectionTerms(**options)
    if not output.dry_run:
        preset_file.download_members(config, models, terms)
    patterns = tuple(dict.fromkeys(tried_patterns)) or PATTERNS
    return _run_tuning(config, models, terms, patterns, output)


def _print_look(look: LookTerms) -> None:
    """Say, before anything is paid, that earlier tunings have looked at the proof's prompts."""
    from mixtura.terminal import print_line

    times = pluralize_count(look.number - 1, "earlier tuning")
    left = (
        "only what they have proved can be written again; to prove anything else, use other prompts"
        if look.is_spent
        else f"this one may spend {look.alpha:.4f} of the 0.05 that all share"
    )
    note = f"Note: {times} looked at the same held-out prompts; {left}."
    print_line(common.create_console(stderr=True), note, "yellow")


def _run_tuning(
    config: Config,
    models: tuple[str, ...],
    terms: SelectionTerms,
    patterns: tuple[str, ...],
    output: preset_file.PresetOutput,
) -> int:
    from mixtura.selection.forecast import forecast_tuning
    from mixtura.selection.proof import prompts_to_prove
    from mixtura.selection.tuning import find_next_look, tune_mixture
    from mixtura.terminal import print_line

    before = forecast_tuning(config, models, terms, patterns)
    look = find_next_look(models, terms)
    if not (output.dry_run and output.as_json):
        five, ten, none = (prompts_to_prove(gain, look.confidence) for gain in (0.05, 0.1, 0.0))
        print_line(
            common.create_console(stderr=True),
            "To be written, a mixture that is 5 points better than its best member usually needs"
            f" {five:,} held-out prompts, one that is 10 points better {ten:,}, one that is as good"
            f" {none:,}.",
        )
        if look.number > 1:
            _print_look(look)
    if output.dry_run:
        return preset_file.print_dry_run(config, models, terms, before, as_json=output.as_json)
    preset_file.print_forecast(before)
    preset_file.check_file(config, output, models)
    with show_progress(common.create_console(stderr=True), quiet=output.as_json) as progress:
        found = tune_mixture(config, models, terms, patterns=patterns, watch=progress)
    table = found.preset_table(output.name)
    preset_file.write_table(config, output, table, set(found.models_to_write))
    # What is written is proved all the same; the exit code says that less was tried.
    ended = cli.CAPPED if found.capped else cli.ANSWERED
    if output.as_json:
        common.echo_json(found.to_json() | {"preset": table})
        return ended
    from mixtura.terminal.tunings import render_tuning

    common.create_console().print(render_tuning(found))
    preset_file.print_written(output, table)
    return ended
