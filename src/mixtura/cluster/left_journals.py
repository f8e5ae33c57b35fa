"""What is done on another machine with the journals that dead workers left there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mixtura.cluster.messages import KeptPart, WorkerSetup
from mixtura.cluster.worker_journals import left_journals, read_left_part, remove_journal
from mixtura.cluster.worker_models import read_worker_config
from mixtura.core.errors import ConfigError, MixturaError


def read_left_here(
    setup: WorkerSetup, only: Sequence[str], seen: Mapping[str, int]
) -> KeptPart | MixturaError | None:
    """
    The next part of a journal that was left on this machine; None where nothing is left. *only*:
    the names of the journals, else all; *seen*: how far each is read. An error is returned.
    """
    folder = Path(setup.journals)
    try:
        names = [name for name in left_journals(folder) if not only or name in only]
        if not names:
            return None
        config = read_worker_config(setup)
        return read_left_part(folder, names[0], seen.get(names[0], 0), config.usage_cost)
    except MixturaError as error:
        return error
    except OSError as error:
        return ConfigError(f"{error.filename or folder}: {error.strerror or error}")


def remove_left_here(setup: WorkerSetup, name: str) -> None:
    """It is merged."""
    remove_journal(Path(setup.journals), name)
