"""Options that several of the commands have that evaluate, and short forms of their kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mixtura.cli.common import COUNT, POSITIVE_SECONDS, F, name_callback, text_callback
from mixtura.cli.completed_values import complete_file, complete_name, complete_task

Option = Callable[[F], F]


def combine_options(*options: Option[F]) -> Option[F]:
    """All of them as one, in the order in which the help lists them."""

    def add_options(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add_options


def announce_preparation(what: str, *, quiet: bool) -> None:
    """A sign of life before Inspect is imported and the rows are read: seconds, here and there."""
    if not quiet:
        click.echo(f"Preparing the {what} …", err=True)


def name_option(
    option: str, metavar: str, said: str, *parameter: str, **settings: Any
) -> Callable[[F], F]:
    """An option whose value is a name; *parameter*: where it does not go by the option's."""
    completer = complete_file if "FILE" in metavar or metavar == "DIR" else complete_name
    if metavar in ("TASK", "HOW", "TEXT"):
        completer = complete_task if metavar == "TASK" else None
    return click.option(
        option, *parameter, callback=name_callback, metavar=metavar, help=said,
        shell_complete=completer, **settings,
    )  # fmt: skip


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
limit_option = click.option("--limit", type=COUNT, metavar="N", help="Number of prompts to use.")
connections_option = click.option(
    "--connections", type=COUNT, default=10, metavar="N", show_default=True,
    # Inspect's own variable: who has set it for `inspect eval` need not say it again.
    envvar="INSPECT_EVAL_MAX_CONNECTIONS", show_envvar=True,
    help="Prompts in flight at once.",
)  # fmt: skip
deadline_option = click.option(
    "--deadline", type=POSITIVE_SECONDS, metavar="SECONDS", help="Time limit for each answer."
)
logs_option = click.option(
    "--logs", type=click.Path(file_okay=False, path_type=Path), default=Path("logs"),
    metavar="DIR", show_default=True, help="Folder where answers are kept.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
