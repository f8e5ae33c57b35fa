"""Which processes that use a store are alive: each holds a lock on a file of its own."""

from __future__ import annotations

import glob
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import finalize

try:
    import fcntl
except ImportError:  # Windows: no one can be seen to have died
    fcntl = None

STALE_SECONDS = 60.0
"""Seconds after which a file that no one has locked is taken for a dead process's."""


class StoreOwners:
    """
    The lock files beside *store*. The system gives a lock back when its process ends, however
    it ends; processes in other containers are seen, too.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._mine = ""
        self._release: finalize[..., Any] | None = None

    def own_name(self) -> str:
        """This one's own name, with its lock taken; empty where no lock can be had."""
        with self._lock:
            if not self._mine and fcntl is not None:
                with suppress(OSError):
                    self._take_lock()
            return self._mine

    def is_alive(self, owner: str) -> bool:
        """Whether *owner* may still be at work: it is, unless its lock is free."""
        if not owner or fcntl is None or owner == self._mine:
            return True
        path = self._lock_path(owner)
        if not is_unlocked(path):
            return True
        with suppress(OSError):
            path.unlink()
        return False

    def close(self) -> None:
        """Give this one's name up."""
        with self._lock:
            if self._release is not None:
                self._release()
            self._mine, self._release = "", None

    def _lock_path(self, owner: str) -> Path:
        return self._store.with_name(f"{self._store.name}-owner-{owner}")

    def _take_lock(self) -> None:
        assert fcntl is not None
        self._remove_stale_locks()
        name = os.urandom(12).hex()
        path = self._lock_path(name)
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise
        self._mine = name
        self._release = finalize(self, _release_lock, path, file, os.getpid())

    def _remove_stale_locks(self) -> None:
        """Remove what dead processes left behind."""
        before = time.time() - STALE_SECONDS
        for path in self._store.parent.glob(f"{glob.escape(self._store.name)}-owner-*"):
            with suppress(OSError):
                if path.stat().st_mtime < before and is_unlocked(path):
                    path.unlink()


def _release_lock(path: Path, file: int, process: int) -> None:
    """Also called when the process ends; a forked child's copy is not its own."""
    if os.getpid() == process:
        with suppress(OSError):
            path.unlink()
        os.close(file)


def is_unlocked(path: Path) -> bool:
    """Whether no process holds the lock of a file, or the file is gone."""
    assert fcntl is not None
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True
