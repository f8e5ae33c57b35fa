"""Processes of a Ray cluster that a process has started: found in /proc, to be killed by tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def find_workers(driver: int, name: str = "ray::RayRowWorker") -> list[int]:
    """
    The process ids of the workers of a batch, or of other processes whose *name* begins so;
    *driver*: that of the command.
    """
    children: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text()
            names[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(entry.name))
    below = [driver]
    for pid in below:
        below += children.get(pid, [])
    return [pid for pid in below if names.get(pid, "").startswith(name)]


def kill_worker(pid: int) -> bool:
    """Whether it was there to be killed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
