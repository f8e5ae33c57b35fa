"""API keys that a person entered on the page: in memory, and in a file of theirs if they asked."""

from __future__ import annotations

import os
import re
from collections import ChainMap
from collections.abc import MutableMapping
from pathlib import Path
from typing import cast

from mixtura.config.plan import Environment
from mixtura.core.errors import ConfigError

KEYS_FILE = "keys.env"
"""Lines ``VARIABLE=key``, beside the configuration file of a person."""
_LINE = re.compile(r"([A-Z][A-Z0-9_]{1,80})=([\x21-\x7e]{8,1000})")
_KEY = re.compile(r"[\x21-\x7e]{8,1000}")


def read_saved_keys(file: Path) -> dict[str, str]:
    """The keys of a file, none where there is none. Raises ConfigError where it cannot be read."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    found = (_LINE.fullmatch(line.strip()) for line in lines)
    return {match[1]: match[2] for match in found if match}


def save_key(file: Path, variable: str, key: str) -> None:
    """Keep a key in *file*, which its owner alone can read. Raises ConfigError."""
    keys = read_saved_keys(file) | {variable: key}
    text = "".join(f"{name}={value}\n" for name, value in keys.items())
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Nobody else may read it, not even for the moment in which it is written.
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(text)
        new.replace(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None


def key_problem(key: str) -> str | None:
    """What keeps *key* from being an API key; None where nothing does. Never shows it."""
    if _KEY.fullmatch(key):
        return None
    return "a key has 8 to 1,000 letters, digits and signs, and no spaces"


class KeyedEnvironment:
    """The environment with keys that were entered over it and keys of a file under it."""

    def __init__(self, environ: Environment, file: Path | None) -> None:
        self.file = file
        self._entered: dict[str, str] = {}
        saved = read_saved_keys(file) if file else {}
        below = cast("MutableMapping[str, str]", environ)  # only the first is ever written to
        self.environ: Environment = ChainMap(self._entered, below, saved)

    def enter_key(self, variable: str, key: str, *, save: bool) -> None:
        """Use *key* from now on; *save*: in later processes too. Raises ConfigError."""
        if save:
            if self.file is None:
                raise ConfigError("there is no folder of a person's own to save keys in")
            save_key(self.file, variable, key)
        self._entered[variable] = key
