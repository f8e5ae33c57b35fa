"""How a process with llama.cpp ended, in words for an error message."""

from __future__ import annotations

import signal
from dataclasses import dataclass

_OUTSIDE_SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
"""Signals that the user or the system sends; a process that crashes ends by others."""


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How a process ended. *crashed*: by itself, so that a call may be the cause."""

    words: str
    crashed: bool


def exit_from_status(code: int, cause: str) -> ProcessExit:
    """What a return code says, negative for a signal. *cause*: the last error in its log."""
    if code < 0:
        try:
            how = signal.Signals(-code).name
        except ValueError:
            how = f"signal {-code}"
        if how in _OUTSIDE_SIGNALS:
            return ProcessExit(f"llama.cpp was ended from outside ({how})", crashed=False)
    else:
        how = f"status {code}"
    return ProcessExit(f"llama.cpp crashed ({how}{': ' + cause if cause else ''})", crashed=True)
