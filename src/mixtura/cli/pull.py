"""The command mixtura pull: local models, downloaded by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from mixtura.catalog import local_models
from mixtura.catalog.local_models import KnownModel
from mixtura.catalog.model_needs import (
    bytes_to_download,
    check_disk_space,
    estimate_answer_needs,
    installed_memory,
)
from mixtura.cli.common import config_option, create_console, read_config
from mixtura.cli.completed_values import complete_download
from mixtura.cli.downloads import download_each
from mixtura.cli.help_layout import MixturaCommand
from mixtura.core.errors import ConfigError
from mixtura.core.text import (
    format_bytes,
    format_duration,
    pluralize_count,
    unknown_name_message,
)


@click.command(
    name="pull", cls=MixturaCommand, examples=("mixtura pull starter", "mixtura pull qwen3-4b")
)
@click.argument("names", nargs=-1, required=True, metavar="NAME…", shell_complete=complete_download)
@config_option
def command(names: tuple[str, ...], config_file: str | None) -> None:
    """Download local models: by name, or as a group.

    `mixtura pull starter` downloads four small models of different families, the best team for
    a laptop; `mixtura ask` uses it from then on. Before it starts, it says how much disk space
    is needed, how much memory an answer takes and about how long. `mixtura models` lists all
    names.

    A model that is already here is only checked. A download that was stopped continues where
    it stopped when you run the same command again.
    """
    config = read_config(config_file)
    groups, known = local_models.model_groups(), local_models.known_models()
    wanted = [member for name in names for member in groups.get(name, (name,))]
    # All names before the first download: a typing error must not be found an hour later.
    for name in wanted:
        if name not in known:
            raise ConfigError(unknown_name_message("local model", name, [*known, *groups]))
    models = [known[name] for name in dict.fromkeys(wanted)]
    folder = config.models_folder
    free = check_disk_space(models, folder)
    console = create_console(stderr=True)
    for line in describe_download(models, folder, free):
        console.print(line, soft_wrap=not console.is_terminal)
    try:
        for model, path in download_each(models, folder, console):
            click.echo(f"{model.name}: {path}")
    except KeyboardInterrupt:
        left = sum(bytes_to_download(model, folder) for model in models)
        if left:
            again = f"mixtura pull {' '.join(names)}"
            click.echo(f"Stopped with {format_bytes(left)} to go. To continue: {again}", err=True)
        raise
    if len(models) > 1 and set(local_models.model_groups()["starter"]) <= set(wanted):
        click.echo('Ready. Try: mixtura ask "Why is the sky blue?"', err=True)


def describe_download(models: Sequence[KnownModel], folder: Path, free: int) -> list[str]:
    """What a download takes, and an answer afterwards, in lines; none where all is here."""
    missing = [model for model in models if bytes_to_download(model, folder)]
    if not missing:
        return []
    total = sum(bytes_to_download(model, folder) for model in missing)
    verb = "Downloading" if all(_is_untouched(m, folder) for m in missing) else "Continuing with"
    count = pluralize_count(len(missing), "model")
    lines = [f"{verb} {count}, {format_bytes(total)} ({format_bytes(free)} free):"]
    width = max(len(model.name) for model in missing)
    lines += [
        f"  {model.name:<{width}}  {format_bytes(bytes_to_download(model, folder)):>7}"
        f"  {model.license}"
        for model in missing
    ]
    return [*lines, *_describe_answer(models)]


def _is_untouched(model: KnownModel, folder: Path) -> bool:
    return bytes_to_download(model, folder) in (model.size, getattr(model.source, "size", None))


def _describe_answer(models: Sequence[KnownModel]) -> list[str]:
    from mixtura.models.llama_cpp import DEFAULT_CONTEXT_TOKENS

    cores = os.cpu_count() or 1
    needs = estimate_answer_needs(models, DEFAULT_CONTEXT_TOKENS, cores)
    low, high = map(format_duration, needs.seconds)
    whose = "An answer" if len(models) == 1 else f"An answer by all {len(models)}"
    installed = installed_memory()
    memory, on = format_bytes(needs.memory), pluralize_count(cores, "core")
    lines = [f"{whose} takes about {memory} of memory and, on {on}, {low} to {high} (estimated)."]
    if installed is not None and needs.memory > installed:
        lines.append(
            f"This machine has {format_bytes(installed)} of memory: ask fewer of them at a time,"
            f" as in `mixtura ask -m {models[0].name} …`."
        )
    return lines
