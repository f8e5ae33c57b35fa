"""A file that is written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import click

from mixtura import cli
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
    if not folder.is_dir():
        raise ConfigError(f"{option}: there is no folder {folder}")
    if not os.access(folder, os.W_OK) or (file.exists() and not os.access(file, os.W_OK)):
        raise ConfigError(f"{option}: {file} cannot be written: no permission")


def write_whole(file: Path, text: str | bytes) -> None:
    """Write *file* so that whoever looks sees the old text or the new one. Raises OSError."""
    data = text.encode() if isinstance(text, str) else text
    # A pipe or a device is written to, never replaced by a file.
    if file.exists() and not file.is_file():
        file.write_bytes(data)
        return
    target = file.resolve()  # what a link points to is written, not the link
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_current_umask()
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as part:
            part.write(data)
            part.flush()
            os.fsync(part.fileno())
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def write_output(file: Path, text: str, *, note: bool = True) -> None:
    """Write an output of a command, whole or not at all; *note*: say where it is, aside.

    Raises OutputLostError.
    """
    try:
        # Half a character in an answer must not lose the answer.
        write_whole(file, text.encode("utf-8", "replace"))
    except OSError as error:
        raise cli.OutputLostError(error) from None
    if note:
        click.echo(f"Written to {to_one_line(file)}.", err=True)


def _current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
