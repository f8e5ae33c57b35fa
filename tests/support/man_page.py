"""
The man page, made from the commands' own help.

    python -m tests.support.man_page > src/mixtura/texts/mixtura.1
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping

import click

from mixtura.cli import COMMANDS, group
from mixtura.cli.environment import GENERAL_VARIABLES
from mixtura.cli.help_layout import group_options, option_row
from tests.support.paths import ROOT

MAN_PAGE = ROOT / "src" / "mixtura" / "texts" / "mixtura.1"
FILES = {
    "./mixtura.toml": "Configuration of the folder.",
    "~/.config/mixtura/mixtura.toml": "Configuration of the user.",
    "~/.local/state/mixtura/mixtura.sqlite": "Past runs, stored answers and spending.",
    "~/.cache/mixtura/models": "Local models.",
}


def man_page() -> str:
    """The whole page, in the language of man(7)."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    top = click.Context(group, info_name="mixtura", **group.context_settings)
    yield r".\" Made by tests/support/man_page.py from the commands."
    yield '.TH MIXTURA 1 "" "Mixtura" "User Commands"'
    yield ".SH NAME"
    yield r"mixtura \- ask several language models at once and combine their answers"
    yield ".SH SYNOPSIS"
    yield r".B mixtura"
    yield r"[\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]"
    yield ".SH DESCRIPTION"
    yield from _description(group)
    yield ".SH OPTIONS"
    yield from _options(group, top, titles=False)
    yield ".SH COMMANDS"
    for name in COMMANDS:
        yield from _command(_load(name), click.Context(_load(name), top, info_name=name))
    yield ".SH EXIT STATUS"
    yield _escape((group.epilog or "").removeprefix("Exit codes: "))
    yield ".SH ENVIRONMENT"
    yield "Providers' keys are read from their usual variables, such as OPENAI_API_KEY;"
    yield r"\fBmixtura doctor\fR lists all of them, and which are set."
    yield from _definitions(GENERAL_VARIABLES)
    yield ".SH FILES"
    yield from _definitions(FILES)
    yield ".SH EXAMPLES"
    yield from _examples(getattr(group, "examples", ()))


def _load(name: str) -> click.Command:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command


def _command(command: click.Command, ctx: click.Context) -> Iterator[str]:
    yield f".SS {_escape(' '.join([ctx.command_path, *command.collect_usage_pieces(ctx)]))}"
    yield from _description(command)
    yield from _options(command, ctx, titles=True)
    if examples := getattr(command, "examples", ()):
        yield ".PP"
        yield "Examples:"
        yield from _examples(examples)
    for name, inner in command.commands.items() if isinstance(command, click.Group) else ():
        yield from _command(inner, click.Context(inner, ctx, info_name=name))


def _description(command: click.Command) -> Iterator[str]:
    for part in inspect.cleandoc(command.help or "").split("\n\n"):
        yield ".PP"
        yield _escape(part.replace("\n", " "))


def _options(command: click.Command, ctx: click.Context, *, titles: bool) -> Iterator[str]:
    for title, options in group_options(command.get_params(ctx)):
        rows = [row for one in options if (row := option_row(one, ctx))]
        if titles:
            yield ".PP"
            yield f"\\fI{_escape(title)}\\fR"
        yield from _definitions(dict(rows))


def _definitions(rows: Mapping[str, str]) -> Iterator[str]:
    for term, text in rows.items():
        yield ".TP"
        yield f"\\fB{_escape(term)}\\fR"
        yield _escape(text)


def _examples(lines: Iterable[str]) -> Iterator[str]:
    yield ".PP"
    yield ".nf"
    for line in lines:
        yield rf".RS 4{chr(10)}{_escape(line)}{chr(10)}.RE"
    yield ".fi"


def _escape(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    # A dot or an apostrophe at the beginning of a line would be a request.
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    sys.stdout.write(man_page())
