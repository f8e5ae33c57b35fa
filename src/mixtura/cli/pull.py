"""The command mixtura pull: local models, downloaded by name."""

from __future__ import annotations

import click

from mixtura.catalog import local_models
from mixtura.cli.common import config_option, download_with_progress, read_config
from mixtura.core.errors import ConfigError
from mixtura.core.text import unknown_name_message


@click.command(name="pull")
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@config_option
def command(names: tuple[str, ...], config_file: str | None) -> None:
    """Bring local models to this machine: by name, or a group such as `starter`.

    `mixtura models` lists the names. What is here already is only checked.
    """
    config = read_config(config_file)
    groups, known = local_models.model_groups(), local_models.known_models()
    wanted = [member for name in names for member in groups.get(name, (name,))]
    # All names before the first download: a typing error must not be found an hour later.
    for name in wanted:
        if name not in known:
            raise ConfigError(unknown_name_message("local model", name, [*known, *groups]))
    for name in dict.fromkeys(wanted):
        path = download_with_progress(name, config)
        click.echo(f"{name} is here: {path}")
