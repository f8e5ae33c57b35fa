"""The command mixtura runs: what was asked, listed, searched and deleted."""

from __future__ import annotations

import difflib

import click

from mixtura.cli.common import (
    config_option,
    count_option,
    create_console,
    echo_json,
    read_config,
    text_callback,
)
from mixtura.cli.completed_values import complete_run
from mixtura.cli.help_layout import MixturaCommand
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.storage.run_record import Record
from mixtura.storage.runs import LAST_RUN


@click.command(
    name="runs",
    cls=MixturaCommand,
    examples=("mixtura runs", "mixtura runs sky blue", "mixtura runs --delete 20261128-s5893ew3"),
)
@click.argument("search", nargs=-1, callback=text_callback)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: runs, more.")
@count_option("--limit", "Number of runs to list.", default=20, show_default=True)
@click.option(
    "--delete", "delete", multiple=True, metavar="RUN", callback=text_callback,
    shell_complete=complete_run,
    help="Delete this run, by its id or the start of it; repeatable.",
)  # fmt: skip
@config_option
def command(
    search: tuple[str, ...],
    as_json: bool,
    limit: int,
    delete: tuple[str, ...],
    config_file: str | None,
) -> None:
    """List past runs, newest first; with SEARCH, only those that contain all of its words.

    Questions and answers are searched. `ask`, `chat` and `serve` record their runs; `[runs]` in
    the configuration sets whether, how long and how many megabytes. `mixtura show RUN` shows
    one, `mixtura show last` the newest, and `mixtura ask --continue RUN` continues it.
    """
    config = read_config(config_file)
    if delete:
        # All ids before the first deletion: one that is ambiguous deletes nothing.
        for id in [resolve_run_id(config, name) for name in delete]:  # noqa: A001
            config.runs.delete_run(id)
            click.echo(f"deleted: {id}")
        # Deleting is a thread's work: the process waits until it is done.
        config.runs.close()
        return
    # One more than is shown says whether there are more.
    rows = config.runs.list_runs(limit + 1, query=" ".join(search))
    rows, more = rows[:limit], len(rows) > limit
    if as_json:
        echo_json({"runs": rows, "more": more})
    else:
        _print_runs(rows, config, searched=bool(search), more=more)


def resolve_run_id(config: Config, name: str) -> str:
    """The id that a person means. Raises ConfigError where that is none or several."""
    ids = config.runs.find_run_ids(name)
    if len(ids) == 1:
        return ids[0]
    if ids:
        raise ConfigError(f"'{name}' may be {', '.join(ids)} or more: give more of its id")
    if name == LAST_RUN:
        raise ConfigError("no run is kept yet")
    hint = f"`mixtura runs` lists them, '{LAST_RUN}' is the newest"
    raise ConfigError(f"no run is called '{name}': {hint}")


def find_run(config: Config, name: str) -> Record:
    """The run that *name* stands for, where no mixture has that name. Raises ConfigError."""
    ids = config.runs.find_run_ids(name)
    if not ids and name != LAST_RUN:
        near = difflib.get_close_matches(name, [*config.registry.known_names(), LAST_RUN], n=1)
        hint = "`mixtura show` lists mixtures, `mixtura runs` runs"
        hint = f"did you mean '{near[0]}'?" if near else hint
        raise ConfigError(f"no mixture and no run is called '{name}': {hint}")
    run = config.runs.get_run(resolve_run_id(config, name))
    if run is None:  # another process has deleted it meanwhile
        raise ConfigError(f"the run '{name}' is no longer kept")
    return run


def _print_runs(rows: list[Record], config: Config, *, searched: bool, more: bool) -> None:
    from mixtura.terminal import print_line, runs_table

    console, stderr = create_console(), create_console(stderr=True)
    if rows:
        console.print(runs_table(rows, console.width))
    if more:
        print_line(stderr, "There are more: --limit, or a word to search for.", "dim")
    elif not rows and searched:
        print_line(stderr, "No run has all of these words in its question, answer, model or id.")
    elif not rows:
        print_line(stderr, "No run is kept yet.")
    if not config.runs.keeps:
        print_line(stderr, "New runs are not kept: the configuration says so ([runs] keep).", "dim")
