"""Options that several of the commands have that evaluate, and short forms of their kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mixtura.cli.common import POSITIVE_SECONDS, F, name_callback, text_callback

Option = Callable[[F], F]


def combine_options(*options: Option[F]) -> Option[F]:
    """All of them as one, in the order in which the help lists them."""

    def add_options(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add_options


def name_option(
    option: str, metavar: str, said: str, *parameter: str, **settings: Any
) -> Callable[[F], F]:
    """An option whose value is a name; *parameter*: where it does not go by the option's."""
    return click.option(
        option, *parameter, callback=name_callback, metavar=metavar, help=said, **settings
    )


def file_option(option: str, said: str, metavar: str = "FILE") -> Callable[[F], F]:
    """An option whose value is a path."""
    return click.option(option, callback=_parse_path, metavar=metavar, help=said)


def _parse_path(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    name = name_callback(ctx, param, value)
    return None if name is None else Path(str(name))


prompts_option = click.option(
    "--on", "data", metavar="FILE", callback=text_callback, help="The prompts: JSON lines."
)
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="So many prompts at most."
)
connections_option = click.option(
    "--connections", type=click.IntRange(min=1), default=10, show_default=True,
    help="Prompts under way at once.",
)  # fmt: skip
deadline_option = click.option(
    "--deadline", type=POSITIVE_SECONDS, metavar="SECONDS", help="No answer takes longer."
)
logs_option = click.option(
    "--logs", type=click.Path(file_okay=False, path_type=Path), default=Path("logs"),
    metavar="DIR", show_default=True, help="Where answers are kept.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object.")
