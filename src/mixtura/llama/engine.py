"""
What answers for one file: its child processes, how calls reach them, and what a crash teaches.

A call that was being answered when llama.cpp crashed is suspect: asked again, it is answered in
a second process, alone, where it can take no one else's answer with it. Where it crashes that
one, too, it is refused.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from mixtura.core.errors import (
    ConfigError,
    MalformedError,
    MixturaError,
    ModelError,
    RejectedError,
    TimedOutError,
    UnavailableError,
)
from mixtura.llama.call_channels import CallChannel
from mixtura.llama.crash_history import StartBackoff, SuspectRequests
from mixtura.llama.process import LlamaProcess, ProcessSettings, default_time_limit
from mixtura.llama.process_exit import ProcessExit
from mixtura.llama.worker_process import BEGUN, DONE, FRAME_HEADER, PIECE, REFUSED, REQUEST_HEADER

PARALLEL_SLOTS = 8
"""Answers that decode together; more wait."""
MAX_FRAME_BYTES = 64 << 20
RECEIVE_BYTES = 1 << 16
"""More at once costs ten times as much: from 128 kB on each buffer is mapped anew."""
MAX_STARTS = 3
"""Processes that a call is sent to as long as none of them has begun with it."""
BUSY_WAIT_SECONDS = 0.01
"""Seconds until a process that has too many calls to take in is offered one again."""
ISOLATED_IDLE_SECONDS = 10.0
"""Seconds that the second process stays without a call."""
_PROMPT_PROGRESS = b'"prompt_progress"'


class _ProcessGoneError(Exception):
    """The process ended before it began with the call."""

    def __init__(self, death: ProcessExit) -> None:
        self.death = death


class LlamaCall:
    """One call to a child: ``next`` gives a chunk of the answer, None at its end."""

    def __init__(self, child: LlamaProcess, line: CallChannel) -> None:
        self.child = child
        self.line = line
        self.whole = False
        self._loop = asyncio.get_running_loop()
        self._data = bytearray()

    async def send_request(self, wanted: int, body: bytes) -> None:
        """Send the request and wait until its turn has come. Raises _Gone."""
        try:
            await self._loop.sock_sendall(
                self.line.socket, REQUEST_HEADER.pack(wanted, len(body)) + body
            )
        except OSError:
            raise _ProcessGoneError(await self._wait_for_exit()) from None
        kind, _ = await self._read_frame()
        if kind != BEGUN:
            raise MalformedError("the process for llama.cpp broke its protocol")

    async def next_chunk(self) -> bytes | None:
        """Raises RejectedError, TimedOutError, UnavailableError, MalformedError."""
        try:
            kind, data = await self._read_frame()
        except _ProcessGoneError as gone:
            raise UnavailableError(gone.death.words) from None
        if kind == PIECE:
            return data
        self.whole = True
        if kind == REFUSED:
            said = data.decode("utf-8", "replace")
            refused = RejectedError(f"llama.cpp refused the request: {said}")
            refused.status = 400
            raise refused
        if kind != DONE:
            raise MalformedError("the process for llama.cpp broke its protocol")
        return None

    async def _read_frame(self) -> tuple[int, bytes]:
        await self._fill_buffer(FRAME_HEADER.size)
        kind, length = FRAME_HEADER.unpack_from(self._data)
        if length > MAX_FRAME_BYTES:
            raise MalformedError(f"the process for llama.cpp sent a piece of {length} bytes")
        end = FRAME_HEADER.size + length
        await self._fill_buffer(end)
        data = bytes(self._data[FRAME_HEADER.size : end])
        del self._data[:end]
        self._note_progress(kind, data)
        return kind, data

    def _note_progress(self, kind: int, data: bytes) -> None:
        line = self.line
        line.sign = time.monotonic()
        if kind == BEGUN:
            line.reading_since = line.sign
            line.begun = True
        elif not line.writing:
            if _PROMPT_PROGRESS in data:
                self.child.note_prompt_progress(line.sign)
            else:
                line.writing = True

    async def _fill_buffer(self, length: int) -> None:
        while len(self._data) < length:
            try:
                data = await self._loop.sock_recv(self.line.socket, RECEIVE_BYTES)
            except OSError:
                data = b""
            if not data:
                raise _ProcessGoneError(await self._wait_for_exit())
            self._data += data

    async def _wait_for_exit(self) -> ProcessExit:
        """Why the line broke. Raises TimedOutError, MalformedError."""
        if self.line.stalled:
            raise TimedOutError(
                f"llama.cpp gave no sign of life for {self.line.limit:.0f} s: the call was ended"
            )
        try:
            async with asyncio.timeout(5):
                return await asyncio.wrap_future(self.child.death)
        except TimeoutError:
            raise MalformedError("the process for llama.cpp ended a call too early") from None


class LlamaEngine:
    """One file with *context* places for tokens, for every Local of it in this process."""

    def __init__(self, path: Path, context: int, threads: int) -> None:
        self._path = path
        self._context = context
        self._threads = threads
        self._lock = threading.Lock()
        self._main: LlamaProcess | None = None
        self._apart: LlamaProcess | None = None
        self._old: set[LlamaProcess] = set()
        self._suspects = SuspectRequests()
        self._backoff = StartBackoff(path)

    @property
    def pid(self) -> int | None:
        """Of the process that new calls go to."""
        return self._main.pid if self._main else None

    async def load(self, limit: float | None = None) -> None:
        """Have a process with the file. Raises ConfigError, UnavailableError."""
        await self._ready_process(limit, apart=False)

    @asynccontextmanager
    async def open_call(
        self,
        body: dict[str, Any],
        wanted: int,
        *,
        load_limit: float | None = None,
        limit: float | None = None,
    ) -> AsyncGenerator[LlamaCall]:
        """
        A call under way; it is ended when the block is left.

        *wanted*: places for tokens that it may need. *limit*: seconds that it may be without a
        sign of life. Raises ConfigError, RejectedError, UnavailableError, MalformedError.
        """
        limit = limit or default_time_limit(self._path)
        apart = self._suspects.needs_isolation(body)
        call = await self._begin_call(body, wanted, load_limit, limit, apart)
        try:
            yield call
        except (UnavailableError, MalformedError) as error:
            self._record_failure(call, body, error, apart)
            raise
        finally:
            self._finish_call(call, body)

    async def _begin_call(
        self,
        body: dict[str, Any],
        wanted: int,
        load_limit: float | None,
        limit: float,
        apart: bool,
    ) -> LlamaCall:
        """Send the call to a process until one begins with it."""
        encoded = msgspec.json.encode(body)
        death = ProcessExit("llama.cpp ended", crashed=False)
        for _ in range(MAX_STARTS):
            child = await self._ready_process(load_limit, apart=apart)
            while (line := child.open_channel(limit)) is None:  # noqa: ASYNC110 - nothing tells when
                await asyncio.sleep(BUSY_WAIT_SECONDS)
            call = LlamaCall(child, line)
            try:
                await call.send_request(wanted, encoded)
            except _ProcessGoneError as gone:
                child.leave_channel(line, whole=False)
                death = gone.death
            except BaseException:
                child.leave_channel(line, whole=False)
                raise
            else:
                return call
        raise UnavailableError(death.words)

    def _record_failure(
        self, call: LlamaCall, body: dict[str, Any], error: ModelError, apart: bool
    ) -> None:
        """A call that did not end as it should: the process may be in a bad way, or gone."""
        if isinstance(error, TimedOutError):
            self._suspects.mark_suspect(body)
        elif isinstance(error, MalformedError):
            call.child.retire()
        elif call.child.death.done() and call.child.death.result().crashed:
            if apart:
                self._suspects.mark_refused(body)
                raise RejectedError(
                    f"{error}; this request did so twice, the second time alone: it is not"
                    " asked again"
                ) from None
            self._suspects.mark_suspect(body)

    def _finish_call(self, call: LlamaCall, body: dict[str, Any]) -> None:
        call.child.leave_channel(call.line, whole=call.whole)
        if call.whole:
            self._suspects.clear_request(body)
            self._backoff.reset_failures()

    async def _ready_process(self, load_limit: float | None, *, apart: bool) -> LlamaProcess:
        child = self._current_process(load_limit or default_time_limit(self._path), apart)
        try:
            await asyncio.wrap_future(child.ready)
        except MixturaError as error:
            raise copy_error(error) from None
        return child

    def _current_process(self, load_limit: float, apart: bool) -> LlamaProcess:
        """The process for new calls; a new one where there is none. From any thread."""
        with self._lock:
            child = self._apart if apart else self._main
            if child is None or child.is_retired or child.death.done():
                if child is not None and not child.death.done():
                    self._old.add(child)
                if not apart:
                    self._backoff.check_start()
                slots, idle = (1, ISOLATED_IDLE_SECONDS) if apart else (PARALLEL_SLOTS, None)
                setting = ProcessSettings(self._path, self._context, self._threads, slots, idle)
                child = LlamaProcess(setting, load_limit, self._handle_process_exit)
                if apart:
                    self._apart = child
                else:
                    self._main = child
            return child

    def _handle_process_exit(self, child: LlamaProcess, death: ProcessExit) -> None:
        """Told by every child, in its own thread, before anyone else hears of it."""
        with self._lock:
            self._old.discard(child)
            if child is self._apart:
                self._apart = None
            elif child is self._main:
                self._main = None
                if child.load_error is not None:
                    if child.pid is not None and not child.killed:  # a process was started
                        self._backoff.record_load_failure(child.load_error)
                elif death.crashed:
                    self._backoff.record_crash(death)

    def close(self) -> None:
        """End every process of this file; a later call starts one anew. From any thread."""
        with self._lock:
            children = {child for child in (self._main, self._apart, *self._old) if child}
        for child in children:
            child.kill()
        for child in children:
            if child.keeper is not threading.current_thread():
                child.keeper.join(5)


def copy_error(error: MixturaError) -> MixturaError:
    """An error of its own for everyone who is told the same."""
    kind = type(error) if isinstance(error, ConfigError | UnavailableError) else UnavailableError
    return kind(str(error))


_engines: dict[tuple[Path, int, int], LlamaEngine] = {}
_inherited: list[object] = []
_registry_lock = [threading.Lock()]


def get_engine(path: Path, context: int, threads: int) -> LlamaEngine:
    """The engine of a file; nothing is loaded yet. From any thread."""
    key = (Path(os.path.realpath(path)), context, threads)
    with _registry_lock[0]:
        if key not in _engines:
            _engines[key] = LlamaEngine(*key)
        return _engines[key]


@atexit.register
def close_all() -> None:
    """End every process that was started here."""
    with _registry_lock[0]:
        engines = list(_engines.values())
    for engine in engines:
        engine.close()


def _reset_after_fork() -> None:
    """A fork of this process has none of its threads: it starts processes of its own."""
    _inherited.append(dict(_engines))  # kept, so that nothing of the parent's is closed here
    _registry_lock[:] = [threading.Lock()]
    _engines.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
