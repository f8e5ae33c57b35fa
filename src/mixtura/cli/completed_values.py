"""What a shell offers for a value that is being typed: models, mixtures, runs, files."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from mixtura.config.config import Config, load
from mixtura.core.errors import MixturaError
from mixtura.core.text import to_one_line

MAX_RUNS = 30
"""Runs that are offered, the newest ones."""


def complete_name(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Mixtures, presets, configured models, and local models that are here."""
    return _matching(dict.fromkeys(_known_names(ctx), ""), incomplete)


def complete_run(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Ids of kept runs with their questions, and ``last``."""
    return _matching({"last": "the newest run"} | _kept_runs(ctx), incomplete)


def complete_name_or_run(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Both, for a command that shows either."""
    return complete_name(ctx, param, incomplete) + complete_run(ctx, param, incomplete)


def complete_download(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names that can be downloaded: local models and groups of them."""
    from mixtura.catalog import local_models

    groups = {
        name: f"{len(members)} models" for name, members in local_models.model_groups().items()
    }
    models = {name: f"{one.size / 1e9:.1f} GB" for name, one in local_models.known_models().items()}
    return _matching(groups | models, incomplete)


def complete_task(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The benchmarks."""
    from mixtura.evals.tasks import TASK_NAMES

    return _matching(dict.fromkeys(TASK_NAMES, ""), incomplete)


def complete_file(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Files and folders: the shell knows them best."""
    return [CompletionItem(incomplete, type="file")]


def _matching(values: dict[str, str], incomplete: str) -> list[CompletionItem]:
    return [
        CompletionItem(value, help=about or None)
        for value, about in values.items()
        if value.startswith(incomplete)
    ]


def _known_names(ctx: click.Context) -> list[str]:
    # A shell asks while someone types: a broken file is told when the command runs, not here.
    with suppress(MixturaError, OSError):
        return _load_config(ctx).registry.known_names()
    return []


def _kept_runs(ctx: click.Context) -> dict[str, str]:
    with suppress(MixturaError, OSError):
        runs = _load_config(ctx).runs.list_runs(MAX_RUNS)
        return {run["id"]: to_one_line(run["question"])[:60] for run in runs}
    return {}


def _load_config(ctx: click.Context) -> Config:
    return load(ctx.params.get("config_file"), environ=os.environ, folder=Path.cwd())
