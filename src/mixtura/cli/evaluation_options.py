"""Options that several of the commands have that evaluate, and short forms of their kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from mixtura.cli.common import (
    SEED,
    SHARE,
    F,
    Option,
    combine_options,
    count_option,
    deadline_option,
    dry_run_option,
    name_callback,
    name_option,
    text_callback,
)
from mixtura.cli.completed_values import complete_file


def announce_preparation(what: str, *, quiet: bool) -> None:
    """A sign of life before Inspect is imported and the rows are read: seconds, here and there."""
    if not quiet:
        click.echo(f"Preparing the {what} …", err=True)


def file_option(option: str, said: str, metavar: str = "FILE") -> Callable[[F], F]:
    """An option whose value is a path."""
    return click.option(
        option, callback=_parse_path, metavar=metavar, shell_complete=complete_file, help=said
    )


def _parse_path(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    name = name_callback(ctx, param, value)
    return None if name is None else Path(str(name))


prompts_option = click.option(
    "--on",
    "data",
    metavar="FILE",
    callback=text_callback,
    shell_complete=complete_file,
    help="Prompts, as JSON lines.",
)
limit_option = count_option("--limit", "Number of prompts to use.")
connections_option = count_option(
    "--connections", "Prompts in flight at once.", default=10, show_default=True,
    # Inspect's own variable: who has set it for `inspect eval` need not say it again.
    envvar="INSPECT_EVAL_MAX_CONNECTIONS", show_envvar=True,
)  # fmt: skip
logs_option = click.option(
    "--logs", type=click.Path(file_okay=False, path_type=Path), default=Path("logs"),
    metavar="DIR", show_default=True, help="Folder where answers are kept.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
scoring_options = combine_options(
    prompts_option,
    name_option("--task", "TASK", "Check answers as this benchmark does: gsm8k, math, …"),
    name_option(
        "--scoring",
        "HOW",
        "How answers are compared with a row's target: exact, includes, number, math or none.",
    ),
    name_option("--judge", "NAME", "Model that decides which of two answers is better."),
)
split_seed_option = count_option(
    "--seed", "Seed of the split.", within=SEED, default=0, show_default=True
)


def held_out_option(share: float, said: str) -> Option[F]:
    """``--held-out``: by default *share* of the prompts; *said*: what they are kept for."""
    return click.option(
        "--held-out", type=SHARE, default=share, metavar="SHARE",
        help=f"Share of the prompts kept for the {said}.",
    )  # fmt: skip


def size_options(said: str) -> Option[F]:
    """How large a mixture may be, of so many *said*, and who aggregates in it."""
    return combine_options(
        count_option(
            "--size", said, within=click.IntRange(min=1, max=12), default=3, show_default=True
        ),
        name_option(
            "--aggregator", "NAME", "Model that aggregates; otherwise the search finds one."
        ),
    )  # fmt: skip


def preset_options(what: str, name: str) -> Option[F]:
    """
    How a *what* is looked for, where it is written to, and as which mixture: *name*, if nothing is
    said.
    """
    return combine_options(
        split_seed_option,
        click.option(
            "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.toml",
            shell_complete=complete_file, help=f"Write the {what} into this configuration file.",
        ),
        click.option(
            "--name", default=name, show_default=True, callback=name_callback,
            help=f"Name of the {what} there.",
        ),
        json_option,
        dry_run_option,
        logs_option,
        connections_option,
        deadline_option,
    )  # fmt: skip
