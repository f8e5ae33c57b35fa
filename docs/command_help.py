"""The directive `command-help`: every command with its `--help`, at 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from mixtura.cli import group

COLUMNS = 80


def all_commands(
    command: click.Command, parent: click.Context | None = None, name: str = "mixtura"
) -> Iterator[tuple[str, str]]:
    """The words of *command* and of each command under it, with its help."""
    context = click.Context(command, parent=parent, info_name=name, terminal_width=COLUMNS)
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            under = command.get_command(context, name)
            if under is not None:
                yield from all_commands(under, context, name)


class CommandHelp(SphinxDirective):
    """A section for each command: its words are the title, its help is a block of text."""

    def run(self) -> list[nodes.Node]:
        """One section a command."""
        return [self._section(words, text) for words, text in all_commands(group)]

    def _section(self, words: str, text: str) -> nodes.section:
        section = nodes.section(ids=[words.replace(" ", "-")], names=[words])
        section += nodes.title(text=words)
        section += nodes.literal_block(text, text, language="text")
        return section


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls when it loads this."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
