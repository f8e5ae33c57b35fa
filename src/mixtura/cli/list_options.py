"""Options that take a list: ``--models A B C``, as well as ``--models A --models B``."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import click

from mixtura.cli.help_layout import MixturaCommand, MixturaGroup


class ListOptionsCommand(MixturaCommand):
    """A command whose repeatable options take everything up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        repeatable = {
            name
            for param in self.params
            if isinstance(param, click.Option) and param.multiple
            for name in param.opts
        }
        return super().parse_args(ctx, expand_list_options(args, repeatable))


class ListOptionsGroup(ListOptionsCommand, MixturaGroup):
    """The same of a command that has commands of its own."""


def expand_list_options(words: Sequence[str], repeatable: Collection[str]) -> list[str]:
    """Write ``--models A B`` as ``--models A --models B``, which click reads."""
    spelt: list[str] = []
    option, filled = "", False
    for i, word in enumerate(words):
        # Behind it nothing is an option, as everywhere.
        if word == "--":
            return [*spelt, *words[i:]]
        # A dash alone is a value: standard input.
        if word.startswith("-") and word != "-":
            # `--models=A B` begins a list, too: its first value stands in the same word.
            option, filled = word.partition("=")[0], "=" in word
            spelt.append(word)
        elif option in repeatable and filled:
            spelt += [option, word]
        else:
            spelt.append(word)
            filled = True
    return spelt
