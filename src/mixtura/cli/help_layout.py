"""How a command's help is laid out: what it does, examples, its options in groups."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import click

OPTION_GROUPS: dict[str, tuple[str, ...]] = {
    "Which models": (
        "mixture", "proposers", "aggregator", "layers", "model", "models", "judge", "against",
        "called",
    ),
    "Question": ("files", "images", "system", "continued"),
    "Prompts and scoring": (
        "data", "task", "scoring", "limit", "seed_of_prompts", "epochs", "rubric", "references",
        "skills", "template", "labels", "outputs", "annotations", "difficulty", "weights", "gamed",
        "held_out", "draws", "looks", "evaluations",
    ),
    "Rows and prompts": (
        "format", "split", "subset", "column", "image_column", "sample", "dedupe",
    ),
    "Sampling": ("temperature", "top_p", "max_tokens", "seed"),
    "Search": ("goal", "tried_patterns", "size", "answer_cost", "answer_seconds"),
    "Network": ("host", "port"),
    "Limits": ("max_cost", "deadline", "connections", "concurrency"),
    "Output": (
        "schema", "output", "as_json", "quiet", "dry_run", "html", "file", "out", "name", "write",
        "figure", "folder", "patterns", "overwrite", "agreement",
    ),
    "What is kept": ("cache", "keep", "logs", "fresh", "journal", "retry_failed"),
    "Configuration and logging": (
        "config_file", "access_log", "log_content", "verbose", "log_level", "version", "help",
    ),
}  # fmt: skip
"""Groups of options by the names of their parameters, in the order in which help lists them."""
OTHER_OPTIONS = "Options"
MIN_GROUPED = 8
"""Options from which on they are grouped: a few are found without."""


FAMILIAR_OPTIONS = {
    "--model": "mixture", "--models": "proposers", "--members": "proposers", "-f": "files",
    "--file": "files", "--files": "files", "-o": "output", "--out": "output", "-s": "system",
    "--prompt": "system", "-t": "temperature", "--temp": "temperature", "--budget": "max_cost",
    "--cost": "max_cost", "--timeout": "deadline", "--tokens": "max_tokens",
    "--max_tokens": "max_tokens", "--resume": "continued", "--last": "continued",
    "--data": "data", "--prompts": "data", "--key": "new_key", "-n": "limit",
}  # fmt: skip
"""Options as other tools spell them, and the parameters of ours that they mean."""


class MixturaCommand(click.Command):
    """A command whose help has examples, and groups of options."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            meant = FAMILIAR_OPTIONS.get(error.option_name)
            ours = [one.opts[-1] for one in self.params if meant and one.name == meant]
            # click compares with the dashes, which every option has: `--json` is near to much.
            near = ours or [
                one for one in error.possibilities or ()
                if one != "--help" and _is_near(error.option_name, one)
            ]  # fmt: skip
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            if error.option_name.strip("-") in [one.name for one in _arguments(self)]:
                word = error.option_name.strip("-").upper()
                hint = f" Write it without an option: {ctx.command_path} {word}"
            said = f"No such option '{error.option_name}'.{hint}"
            raise click.NoSuchOption(error.option_name, said, ctx=error.ctx) from None

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    # Whole, however wide: a command that is broken in two is none.
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, options in group_options(self.get_params(ctx)):
            rows = [row for one in options if (row := option_row(one, ctx))]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _is_near(option: str, other: str) -> bool:
    return bool(difflib.get_close_matches(option.strip("-"), (other.strip("-"),), cutoff=0.7))


def _arguments(command: click.Command) -> list[click.Parameter]:
    return [one for one in command.params if isinstance(one, click.Argument)]


class MixturaGroup(MixturaCommand, click.Group):
    """The same for a command that has commands of its own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        MixturaCommand.format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                # Whole: click cuts them at 45 letters.
                [(name, one.get_short_help_str(limit=200)) for name, one in commands if one]
            )


def option_row(option: click.Option, ctx: click.Context) -> tuple[str, str] | None:
    """An option as help lists it, its range in words; None for one that is not listed."""
    row = option.get_help_record(ctx)
    if row is None:
        return None
    text = re.sub(r"(\d+)<=x<=(\d+)", r"\1 to \2", row[1])
    # That a count is at least one goes without saying.
    return row[0], re.sub(r"; x>=1\]", "]", re.sub(r"\s*\[x>=1\]", "", text))


def group_options(params: Iterable[click.Parameter]) -> list[tuple[str, list[click.Option]]]:
    """The options under the titles of their groups; all under one where they are few."""
    options = [one for one in params if isinstance(one, click.Option)]
    if len(options) < MIN_GROUPED:
        return [(OTHER_OPTIONS, options)]
    titles = {name: title for title, names in OPTION_GROUPS.items() for name in names}
    groups: dict[str, list[click.Option]] = {OTHER_OPTIONS: []} | {t: [] for t in OPTION_GROUPS}
    for one in options:
        name = "help" if "--help" in one.opts else one.name or ""
        groups[titles.get(name, OTHER_OPTIONS)].append(one)
    return [(title, members) for title, members in groups.items() if members]
