"""The end of telemetry: what is left is sent while the process ends, for a bounded time."""

from __future__ import annotations

import atexit
import logging
import time
from threading import Thread
from typing import Any

LAST_SECONDS = 3.0
"""That a process which is over waits for its collector; the SDK would wait for 15 and more."""
_log = logging.getLogger("mixtura.telemetry")


def send_rest_at_exit(providers: list[Any], collector: str) -> None:
    """Shut *providers* down when the process ends; *collector*: its address for messages."""
    atexit.register(_send_rest, providers, collector)


def _send_rest(providers: list[Any], collector: str) -> None:
    # Threads that do not keep the process: one whose collector says nothing is left behind.
    threads = [Thread(target=one.shutdown, daemon=True) for one in providers]
    for thread in threads:
        thread.start()
    end = time.monotonic() + LAST_SECONDS
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0))
    if any(thread.is_alive() for thread in threads):
        _log.warning(
            "the collector at %s did not take the last traces and metrics within %g s",
            collector, LAST_SECONDS,
        )  # fmt: skip
