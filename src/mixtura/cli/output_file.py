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
    try:
        is_folder = file.is_dir()
        # What a link points to is written.
        target = file.resolve()
    except OSError as error:  # a name that is too long, say
        raise ConfigError(f"{option}: {file} cannot be written: {error.strerror}") from None
    except RuntimeError:  # before Python 3.13
        is_folder, target = False, file
    if target.is_symlink():
        raise ConfigError(f"{option}: {file} is a link that leads to itself")
    folders = (file.parent, target.parent)
    if is_folder:
        raise ConfigError(f"{option}: {file} is a folder: name a file in it")
    if option == "--journal" and file.exists() and not file.is_file():
        raise ConfigError(f"{option}: {file} is not an ordinary file: a database is kept in it")
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise ConfigError(f"{option}: there is no folder {missing[0]}")
    refused = [folder for folder in folders if not os.access(folder, os.W_OK)]
    if refused or (file.exists() and not os.access(file, os.W_OK)):
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
