"""What crashes and failed starts teach: which requests are suspect, when to start again."""

from __future__ import annotations

import threading
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from mixtura.core.errors import MixturaError, RejectedError, UnavailableError
from mixtura.llama.process_exit import ProcessExit

FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 60.0
"""Seconds without a new process after a second crash in a row; doubled by every further one."""
SUSPICION_SECONDS = 600.0
"""Seconds that a request stays suspect, or refused."""
MOST_SUSPECTS = 256


class SuspectRequests:
    """Requests that llama.cpp may have crashed over, for a while. From any thread."""

    def __init__(self) -> None:
        self._marks: dict[bytes, tuple[float, bool]] = {}
        self._lock = threading.Lock()

    def needs_isolation(self, body: dict[str, Any]) -> bool:
        """Whether a request has to be answered apart. Raises RejectedError."""
        if not self._marks:
            return False
        with self._lock:
            until, refused = self._marks.get(_request_digest(body), (0.0, False))
        if until < time.monotonic():
            return False
        if refused:
            raise RejectedError("llama.cpp crashed over this request twice: it is not asked again")
        return True

    def mark_suspect(self, body: dict[str, Any]) -> None:
        self._set_mark(body, refused=False)

    def mark_refused(self, body: dict[str, Any]) -> None:
        self._set_mark(body, refused=True)

    def clear_request(self, body: dict[str, Any]) -> None:
        if self._marks:
            with self._lock:
                self._marks.pop(_request_digest(body), None)

    def _set_mark(self, body: dict[str, Any], *, refused: bool) -> None:
        mark = _request_digest(body)
        with self._lock:
            known = self._marks.pop(mark, (0.0, False))
            self._marks[mark] = (time.monotonic() + SUSPICION_SECONDS, refused or known[1])
            while len(self._marks) > MOST_SUSPECTS:
                del self._marks[next(iter(self._marks))]


def _request_digest(body: dict[str, Any]) -> bytes:
    """The same for every draw of one request."""
    drawn = {key: value for key, value in body.items() if key != "seed"}
    return blake2b(msgspec.json.encode(drawn, order="deterministic"), digest_size=16).digest()


class StartBackoff:
    """How long no process is started after those that came to nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failures = 0
        self._until = 0.0
        self._kind: type[MixturaError] = UnavailableError
        self._said = ""
        self._file: object = None

    def check_start(self) -> None:
        """Raises what the last start came to, where it was just now and the file is the same."""
        left = self._until - time.monotonic()
        if left <= 0:
            return
        if self._file != _file_identity(self._path):
            self._failures, self._until = 0, 0.0
            return
        error = self._kind(f"{self._said}; tried again in {left:.0f} s at the earliest")
        if isinstance(error, UnavailableError):
            error.retry_after = left
        raise error

    def record_load_failure(self, error: MixturaError) -> None:
        self._begin_backoff(type(error), str(error))

    def record_crash(self, death: ProcessExit) -> None:
        """The first one in a row may be one request's fault, which is known by now: no wait."""
        self._begin_backoff(UnavailableError, death.words, free=1)

    def _begin_backoff(self, kind: type[MixturaError], said: str, free: int = 0) -> None:
        self._failures += 1
        times = self._failures - free
        seconds = min(FIRST_BACKOFF * 2.0 ** (times - 1), LONGEST_BACKOFF) if times > 0 else 0.0
        self._until = time.monotonic() + seconds
        self._kind, self._said = kind, said
        self._file = _file_identity(self._path)

    def reset_failures(self) -> None:
        """A call was answered: all is well."""
        self._failures = 0


def _file_identity(path: Path) -> object:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns, about.st_ino
