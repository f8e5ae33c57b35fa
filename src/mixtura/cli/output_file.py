"""An output of a command: whether it can be written, and that it was."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mixtura import cli
from mixtura.catalog.user_files import write_whole
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line


def check_writable(file: Path, option: str) -> None:
    """Raises ConfigError, before anything is paid, where *file* could not be written later."""
    folder = file.parent
    try:
        is_folder = file.is_dir()
    except OSError as error:  # a name that is too long, say
        raise ConfigError(f"{option}: {file} cannot be written: {error.strerror}") from None
    if is_folder:
        raise ConfigError(f"{option}: {file} is a folder: name a file in it")
    if option == "--journal" and file.exists() and not file.is_file():
        raise ConfigError(f"{option}: {file} is not an ordinary file: a database is kept in it")
    if not folder.is_dir():
        raise ConfigError(f"{option}: there is no folder {folder}")
    if not os.access(folder, os.W_OK) or (file.exists() and not os.access(file, os.W_OK)):
        raise ConfigError(f"{option}: {file} cannot be written: no permission")


def write_output(file: Path, text: str, *, note: bool = True) -> None:
    """Write an output of a command, whole or not at all; *note*: say on standard error where it is.

    Raises OutputLostError.
    """
    try:
        # Half a character in an answer must not lose the answer.
        write_whole(file, text.encode("utf-8", "replace"))
    except OSError as error:
        raise cli.OutputLostError(error) from None
    if note:
        click.echo(f"Written to {to_one_line(file)}.", err=True)
