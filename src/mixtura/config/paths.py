"""Where a person's files are: the configuration, the store, the models."""

from __future__ import annotations

import os
from pathlib import Path

from mixtura.catalog.user_files import expand_home, file_problem
from mixtura.config.plan import Environment
from mixtura.core.errors import ConfigError


def find_config_file(
    file: str | None,
    *,
    environ: Environment,
    folder: Path,
    home: Path | None = None,
    option: str = "--config",
) -> Path | None:
    """
    The configuration file that counts; None when there is none. *option*: what *file* is called in
    a message. Raises ConfigError for one that cannot be read.
    """
    if file is not None and not file.strip():
        raise ConfigError(f"{option}: the name of a file cannot be empty")
    named = file or environ.get("MIXTURA_CONFIG")
    if named:
        path = expand_home(named)
        if problem := file_problem(path):
            origin = option if file else "MIXTURA_CONFIG"
            raise ConfigError(f"{origin}: {problem}")
        return path
    for path in (folder / "mixtura.toml", config_folder(environ, home) / "mixtura.toml"):
        # A folder, as Docker makes in place of a file that it cannot find, or a link that leads
        # nowhere: whoever put it there means settings, and caps, to be in effect.
        if os.path.lexists(path):
            if problem := file_problem(path):
                raise ConfigError(f"the configuration file: {problem}")
            return path
    return None


def config_folder(environ: Environment, home: Path | None = None) -> Path:
    """Where the configuration is that counts in every folder."""
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else (home or _find_home()) / ".config") / "mixtura"


def state_folder(environ: Environment, home: Path | None = None) -> Path:
    """Where the store is."""
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else (home or _find_home()) / ".local" / "state") / "mixtura"


def models_folder(environ: Environment, home: Path | None = None) -> Path:
    """Where models that come in packages are kept."""
    base = environ.get("XDG_CACHE_HOME")
    cache = (Path(base) if base else (home or _find_home()) / ".cache") / "mixtura"
    return Path(environ["MIXTURA_CACHE"]) if environ.get("MIXTURA_CACHE") else cache / "models"


def _find_home() -> Path:
    """Raises ConfigError where no one says it, as for a user that only a container knows."""
    try:
        return Path.home()
    except RuntimeError:
        said = "your home folder is not known: set HOME, or XDG_CONFIG_HOME, XDG_STATE_HOME and"
        raise ConfigError(f"{said} XDG_CACHE_HOME") from None
