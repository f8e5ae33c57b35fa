"""Files that a person names: here such a name becomes a path, is read and is written."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal

from mixtura.core.errors import ConfigError
from mixtura.core.text import format_bytes, to_one_line


def expand_home(name: str | Path) -> Path:
    """The path that *name* is, with the home folder for a ~, where there is one."""
    path = Path(name)
    try:
        return path.expanduser()
    except RuntimeError:  # ~someone, and nobody has that name
        return path


def path_kind(path: Path) -> Literal["file", "folder", "other"] | None:
    """What stands at *path*; None for nothing, and for what the system takes for no name."""
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):
        return None
    return "file" if stat.S_ISREG(kind) else "folder" if stat.S_ISDIR(kind) else "other"


def file_problem(path: Path) -> str | None:
    """Why *path* is no regular file that can be opened, in words; None where it is one."""
    shown = to_one_line(path)
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116  (Path.is_file hides why it is none)
    except FileNotFoundError:
        if path.is_symlink():
            return f"{shown} is a link to a file that is not there"
        return f"there is no file {shown}"
    except NotADirectoryError:
        return f"there is no file {shown}: a part of that path is a file"
    except ValueError:
        return "that is not the name of a file"
    except OSError as error:
        return f"{shown} cannot be read: {error.strerror}"
    if stat.S_ISDIR(kind):
        return f"{shown} is a folder: name a file in it"
    # A pipe would be waited for, and a device read, for ever.
    return None if stat.S_ISREG(kind) else f"{shown} is not a regular file"


def read_user_file(path: Path, most: int) -> bytes:
    """
    The bytes of a regular file, at most so many.

    Raises ConfigError, in words, for what is none, cannot be read or is larger.
    """
    if problem := file_problem(path):
        raise ConfigError(problem)
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"{to_one_line(path)} cannot be read: {error.strerror}") from None
    if len(data) > most:
        raise ConfigError(f"{to_one_line(path)} is larger than {format_bytes(most)}")
    return data


def write_whole(path: Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    """
    Write *data*, or what it writes when it is called, so that whoever looks sees the old file or
    the new one, after a power failure, too. Raises OSError; the old file stays then.
    """
    # A pipe or a device is written to, never replaced by a file.
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            _write(file, data)
        return
    target = path.resolve()  # what a link points to is written, not the link
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_current_umask()
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}-", dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _write(file, data)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(mode)
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    _sync_folder(target.parent)


def _write(file: BinaryIO, data: bytes | Callable[[BinaryIO], object]) -> None:
    if isinstance(data, bytes):
        file.write(data)
    else:
        data(file)


def _current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """A name in a folder is on the disk, too, where the system can say so."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
