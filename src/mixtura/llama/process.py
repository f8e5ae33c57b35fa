"""One child process with one file loaded: started, watched, told apart from its end, reaped."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mixtura import gguf
from mixtura.errors import ConfigError, MixturaError, TimedOutError, UnavailableError
from mixtura.llama import child
from mixtura.llama.log import Log
from mixtura.text import one_line

BASE_LIMIT, BYTES_A_SECOND = 60.0, 50e6
"""A load and a call without a sign of life may take this long, and a second for so many bytes."""
MOST_READING = 10
"""A call whose prompt is not read yet waits for others' prompts, at most so many limits long."""
LONGEST_REPLY = 1 << 16
TICK = 1.0
"""Seconds between two looks at the calls under way."""

_PASSED_ON = frozenset(
    ("PATH", "HOME", "USER", "LANG", "LANGUAGE", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD")
)
_PASSED_PREFIXES = (
    "LC_", "DYLD_", "GGML_", "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_", "BLIS_", "CUDA_",
    "NVIDIA_", "HIP_", "ROCR_", "HSA_", "VK_", "MTL_",
)  # fmt: skip
_OURS = {
    # GNU OpenMP reads this once, when it is loaded: threads that spin while they wait take
    # the cores from those that work (3.8 tokens a second instead of 27.8 on two busy cores).
    "GOMP_SPINCOUNT": "0",
    # On an abort ggml would start a debugger on itself and wait for it.
    "GGML_NO_BACKTRACE": "1",
}
_NO_FAULT_OF_A_CALL = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a child loads, and how it runs it."""

    path: Path
    context: int
    threads: int
    slots: int
    idle: float | None = None
    """Seconds without a call after which it ends; None: never."""


@dataclass(frozen=True, slots=True)
class Death:
    """How a child ended. *crashed*: by itself, so that a call may be the cause."""

    words: str
    crashed: bool


class _Reply(msgspec.Struct, forbid_unknown_fields=True):
    ready: bool = False
    refused: str | None = None
    missing: str | None = None


class Line:
    """One call's socket, and what its watcher knows of it."""

    __slots__ = ("begun", "limit", "reading_since", "sign", "socket", "stalled", "writing")

    def __init__(self, ours: socket.socket, limit: float) -> None:
        self.socket = ours
        self.limit = limit
        self.begun = False
        self.writing = False
        """Its prompt is read."""
        self.stalled = False
        self.reading_since = 0.0
        self.sign = 0.0
        """When it was last heard of, on the clock ``time.monotonic``."""

    def late(self, now: float, others_read: float) -> bool:
        """Whether it gave no sign of life for too long."""
        since = self.sign
        if not self.writing:  # others' prompts may be read before its own
            since = min(max(since, others_read), self.reading_since + MOST_READING * self.limit)
        return now - since > self.limit


def default_limit(path: Path) -> float:
    """Seconds that a file may take to load, and a call without a sign of life, at most."""
    try:
        size = sum(part.stat().st_size for part in gguf.shards(path))
    except (OSError, ConfigError):
        size = 0
    return BASE_LIMIT + size / BYTES_A_SECOND


class Child:
    """
    A process that has *setting*'s file loaded, or is loading it for at most *limit* seconds.

    ``ready`` ends when it is loaded, with a ConfigError or an UnavailableError when it never
    will be. A thread of its own starts it, watches it and reaps it: Linux ends a child when the
    thread that started it ends. *ended* is told, in that thread, before ``ready`` or a broken
    line tells anyone else.
    """

    def __init__(
        self, setting: Setting, limit: float, ended: Callable[[Child, Death], None]
    ) -> None:
        self.setting = setting
        self.ready: Future[None] = Future()
        self.ready.set_running_or_notify_cancel()  # so that no one who waits can cancel it
        self.death: Future[Death] = Future()
        self.death.set_running_or_notify_cancel()
        self.load_error: MixturaError | None = None
        self.others_read = 0.0
        """When a piece of any call's prompt was last read."""
        self.retired = False
        self._limit = limit
        self._ended = ended
        self._closed = False
        self.killed = False
        """It was ended by us."""
        self._lock = threading.Lock()
        self._lines: set[Line] = set()
        self._left: set[Line] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = Log()
        self._idle = False
        self._wake, self._woken = socket.socketpair()
        self._control, self._theirs = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)
        self.keeper = threading.Thread(target=self._keep, name="mixtura-llama", daemon=True)
        self.keeper.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    # ---- from any thread

    def open(self, limit: float) -> Line | None:
        """
        A line for one call; None when there are too many to take in. Where the process is
        gone the line is broken. Raises UnavailableError.
        """
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise UnavailableError(f"a call to llama.cpp cannot begin: {error}") from None
        ours.setblocking(False)
        line = Line(ours, limit)
        try:
            with theirs, self._lock:
                if not self._closed:
                    socket.send_fds(self._control, [b"c"], [theirs.fileno()])
                self._lines.add(line)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS):
                ours.close()
                return None
            self._lines.add(line)  # it ended just now
        self._stir()
        return line

    def leave(self, line: Line, *, whole: bool) -> None:
        """
        The call is over for whoever asked. Where it is not *whole*, llama.cpp is told to stop,
        and is watched until it has.
        """
        with self._lock:
            self._lines.discard(line)
            if whole or self._closed or line.stalled:
                line.socket.close()
            else:
                line.sign = line.reading_since = time.monotonic()
                with contextlib.suppress(OSError):
                    line.socket.shutdown(socket.SHUT_WR)
                self._left.add(line)
        self._stir()

    def retire(self) -> None:
        """Take no more calls; end when those under way have."""
        self.retired = True
        self._stir()

    def kill(self) -> None:
        with self._lock:
            self._closed = True
            self._kill()

    def _kill(self) -> None:
        self.killed = True
        if self._process is not None:
            self._process.kill()

    def _stir(self) -> None:
        with contextlib.suppress(OSError):
            self._wake.send(b"w")

    # ---- in its own thread

    def _keep(self) -> None:
        try:
            self._load()
        except MixturaError as error:
            self.load_error = error
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            self.load_error = UnavailableError(f"llama.cpp cannot be started: {error}")
        if self.load_error is None:
            self._control.setblocking(False)
            self.ready.set_result(None)
            self._watch()
        self._end()

    def _load(self) -> None:
        if not hasattr(socket, "send_fds"):
            raise ConfigError(
                "local models run on Linux and macOS; here, serve the file with Ollama or"
                " llama-server and name it by `base_url`"
            )
        path = gguf.check(self.setting.path)
        with gguf.in_small_letters(path) as named:
            self._load_file(path, named)

    def _load_file(self, path: Path, named: Path) -> None:
        """Have *path* loaded, which is called *named* on the disk for as long as that takes."""
        errors = self._spawn()
        start = {
            "model": str(named), "context": self.setting.context, "threads": self.setting.threads,
            "slots": self.setting.slots, "parent": os.getpid(),
            "path": [entry for entry in sys.path if Path(entry).is_absolute()],
        }  # fmt: skip
        self._errors = errors
        until = time.monotonic() + self._limit
        with contextlib.suppress(BrokenPipeError):
            self._control.sendall(msgspec.json.encode(start) + b"\n")
        reply = b""
        while not reply.endswith(b"\n"):
            wait = until - time.monotonic()
            ready = _readable((self._control.fileno(), errors), max(wait, 0.0))
            if not ready:
                raise self._too_slow(path)
            if errors in ready:
                self._hear(errors)
            if self._control.fileno() in ready:
                data = self._control.recv(LONGEST_REPLY)
                reply += data
                if not data or len(reply) > LONGEST_REPLY:
                    raise self._load_crash(path)
        self._check(reply, path)

    def _spawn(self) -> int:
        """Start the process; where its complaints can be read."""
        reading, writing = os.pipe()
        try:
            with self._lock:
                if self._closed:
                    raise UnavailableError("the local model was closed")
                self._process = subprocess.Popen(  # noqa: S603 - every argument is ours
                    [sys.executable, "-I", "-S", child.__file__, str(self._theirs.fileno())],
                    pass_fds=(self._theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=writing,
                    stderr=writing,
                    env=_environment(),
                    start_new_session=True,  # Ctrl-C is for the parent to decide on
                )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
            self._theirs.close()
        return reading

    def _check(self, reply: bytes, path: Path) -> None:
        try:
            said = msgspec.json.decode(reply, type=_Reply)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UnavailableError("the process for llama.cpp broke its protocol") from None
        if said.missing is not None:
            raise ConfigError('local models need llama.cpp: pip install "mixtura[local]"')
        if said.refused is not None:
            self._hear(self._errors)
            why = self._log.cause_of_refusal() or one_line(said.refused)[:200]
            raise self._unloadable(path, why)

    def _load_crash(self, path: Path) -> MixturaError:
        death = self._reap()
        if self.killed:
            return UnavailableError(death.words)
        if death.crashed:
            return self._unloadable(path, death.words)
        return UnavailableError(f"while {path} was loaded, {death.words}: is there memory enough?")

    def _too_slow(self, path: Path) -> MixturaError:
        if self._log.weights_loaded:
            return self._unloadable(path, f"it does not end within {self._limit:.0f} s")
        return TimedOutError(
            f"llama.cpp did not load {path} within {self._limit:.0f} s: it is damaged, or needs"
            " a longer limit on this machine"
        )

    def _unloadable(self, path: Path, why: str) -> ConfigError:
        if self._log.weights_loaded:
            return ConfigError(f"the chat template in {path} is broken: {why}")
        return ConfigError(
            f"llama.cpp cannot load {path}: it is damaged, or of a kind unknown to it;"
            f" {gguf.ANEW} ({why})"
        )

    def _watch(self) -> None:
        """Until it ends: read its complaints, and look after the calls."""
        poll = select.poll()
        for end in (self._control.fileno(), self._errors, self._woken.fileno()):
            poll.register(end, select.POLLIN)
        while True:
            with self._lock:
                left, busy = {line.socket.fileno(): line for line in self._left}, bool(self._lines)
            for number in left:
                poll.register(number, select.POLLIN)
            wait = TICK if busy or left else self.setting.idle
            ready = {n for n, _ in poll.poll(None if wait is None else wait * 1000)}
            self._idle = not ready and not busy and not left
            for number in left:
                poll.unregister(number)
            if self._control.fileno() in ready:  # it has nothing to say any more: it ended
                return
            if self._errors in ready and not self._hear(self._errors):
                poll.unregister(self._errors)
            if self._woken.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
            for number in ready & left.keys():
                self._drain(left[number])
            self._look()
            if self._superfluous():
                with self._lock:
                    self._kill()
                return

    def _hear(self, errors: int) -> bytes:
        """Read what it writes about itself."""
        if not _readable((errors,), 0.0):
            return b""
        data = os.read(errors, 1 << 16)
        self._log.add(data)
        return data

    def _drain(self, line: Line) -> None:
        """What still comes for a call that was left; its end."""
        try:
            over = not line.socket.recv(1 << 16)
            line.begun, line.sign = True, time.monotonic()
        except BlockingIOError:
            return
        except OSError:
            over = True
        if over:
            with self._lock:
                self._left.discard(line)
            line.socket.close()

    def _look(self) -> None:
        """Break off the calls that gave no sign of life for too long."""
        now = time.monotonic()
        with self._lock:
            late = [
                line
                for line in (*self._lines, *self._left)
                if line.begun and not line.stalled and line.late(now, self.others_read)
            ]
            unread = _readable([line.socket.fileno() for line in late], 0.0)
            for line in late:
                if line.socket.fileno() in unread:  # the one who asked is late, not llama.cpp
                    continue
                line.stalled = True
                self.retired = True
                with contextlib.suppress(OSError):
                    line.socket.shutdown(socket.SHUT_RDWR)
                if line in self._left:
                    self._left.discard(line)
                    line.socket.close()

    def _superfluous(self) -> bool:
        """Whether it was without a call for long enough, or is retired and has none that lives."""
        with self._lock:
            lines = (*self._lines, *self._left)
            if self.retired:
                return not any(line.begun and not line.stalled for line in lines)
            return self._idle and not lines

    def _reap(self) -> Death:
        """Wait until the process is no more, and say how it ended."""
        assert self._process is not None
        try:
            code = self._process.wait(TICK)
        except subprocess.TimeoutExpired:  # it shut its socket and goes on
            self._process.kill()
            code = self._process.wait()
        if self.killed:
            return Death("the local model was closed", crashed=False)
        return self._death_by(code)

    def _death_by(self, code: int) -> Death:
        self._hear(self._errors)
        if code < 0:
            try:
                how = signal.Signals(-code).name
            except ValueError:
                how = f"signal {-code}"
            if how in _NO_FAULT_OF_A_CALL:
                return Death(f"llama.cpp was ended from outside ({how})", crashed=False)
        else:
            how = f"status {code}"
        cause = self._log.cause_of_crash()
        return Death(f"llama.cpp crashed ({how}{': ' + cause if cause else ''})", crashed=True)

    def _end(self) -> None:
        """Everything that was opened is closed, and everyone who waits is told."""
        with self._lock:
            process = self._process
            if process is not None and self.load_error:
                process.kill()
        death = Death("llama.cpp was not started", crashed=False)
        if process is not None:
            death = self._reap()
        with self._lock:
            self._closed = True
            for line in self._left:
                line.socket.close()
            self._left.clear()
            for end in (self._control, self._theirs, self._wake, self._woken):
                end.close()
            if process is not None:
                os.close(self._errors)
        self._ended(self, death)
        self.death.set_result(death)
        if self.load_error is not None:
            self.ready.set_exception(self.load_error)


def _readable(numbers: Iterable[int], seconds: float) -> set[int]:
    """Those of some descriptors that have something to read, waited for so long."""
    poll = select.poll()  # select() knows no number beyond 1,023
    for number in numbers:
        poll.register(number, select.POLLIN)
    return {number for number, _ in poll.poll(seconds * 1000)}


def _environment() -> dict[str, str]:
    """What llama.cpp needs of the environment: no key of anyone."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(_PASSED_PREFIXES)
    }
    return _OURS | passed
