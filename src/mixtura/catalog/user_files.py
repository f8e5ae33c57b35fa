"""Files that a person names: the one place where such a name becomes a path, and is read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mixtura.core.errors import ConfigError
from mixtura.core.text import format_bytes, to_one_line


def expand_home(name: str | Path) -> Path:
    """The path that *name* is, with the home folder for a ~, where there is one."""
    path = Path(name)
    try:
        return path.expanduser()
    except RuntimeError:  # ~someone, and nobody has that name
        return path


def file_problem(path: Path) -> str | None:
    """Why *path* is no regular file that can be opened, in words; None where it is one."""
    shown = to_one_line(path)
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116  (Path.is_file hides why it is none)
    except FileNotFoundError:
        return f"there is no file {shown}"
    except NotADirectoryError:
        return f"there is no file {shown}: a part of that path is a file"
    except ValueError:
        return "that is no file's name"
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
