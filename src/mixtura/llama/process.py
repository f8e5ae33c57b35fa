"""One child process with a model file loaded: started, watched, ended, reaped."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from mixtura.core.errors import ConfigError, MixturaError, UnavailableError
from mixtura.llama import model_file, worker_process
from mixtura.llama.call_channels import CallChannel, CallChannels
from mixtura.llama.model_loading import ModelLoad
from mixtura.llama.process_exit import ProcessExit, exit_from_status
from mixtura.llama.process_output import ProcessOutput

BASE_LIMIT, BYTES_A_SECOND = 60.0, 50e6
"""Seconds that a load, or a call without a sign of life, may take: so many, and size / bytes."""
WATCH_SECONDS = 1.0
"""Seconds between two checks of the calls under way."""

_PASSED_VARIABLES = frozenset(
    ("PATH", "HOME", "USER", "LANG", "LANGUAGE", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD")
)
_PASSED_PREFIXES = (
    "LC_", "DYLD_", "GGML_", "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_", "BLIS_", "CUDA_",
    "NVIDIA_", "HIP_", "ROCR_", "HSA_", "VK_", "MTL_",
)  # fmt: skip
_FIXED_ENVIRONMENT = {
    # GNU OpenMP reads this once, when it is loaded: threads that spin while they wait take
    # the cores from those that work (3.8 tokens a second instead of 27.8 on two busy cores).
    "GOMP_SPINCOUNT": "0",
    # On an abort ggml would start a debugger on itself and wait for it.
    "GGML_NO_BACKTRACE": "1",
}


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What a process loads, and how it runs it."""

    path: Path
    context: int
    threads: int
    slots: int
    idle: float | None = None
    """Seconds without a call after which it ends; None: never."""


def default_time_limit(path: Path) -> float:
    """Seconds that a file may take to load, and that a call may be without a sign of life."""
    try:
        size = sum(part.stat().st_size for part in model_file.shard_paths(path))
    except (OSError, ConfigError):
        size = 0
    return BASE_LIMIT + size / BYTES_A_SECOND


class LlamaProcess:
    """
    A process that loads *setting*'s file, within *limit* seconds, and answers calls with it.

    ``ready`` ends when the file is loaded, or with a ConfigError or an UnavailableError when it
    never will be. A thread of its own starts the process, watches it and reaps it: Linux ends a
    child when the thread that started it ends. *ended* is called, in that thread, before
    ``ready`` or a broken channel tells anyone else.
    """

    def __init__(
        self,
        setting: ProcessSettings,
        limit: float,
        ended: Callable[[LlamaProcess, ProcessExit], None],
    ) -> None:
        self.setting = setting
        self.ready: Future[None] = Future()
        self.ready.set_running_or_notify_cancel()  # so that no one who waits can cancel it
        self.death: Future[ProcessExit] = Future()
        self.death.set_running_or_notify_cancel()
        self.load_error: MixturaError | None = None
        self._limit = limit
        self._ended = ended
        self.killed = False
        """It was ended by this program."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._output: ProcessOutput
        self._wake, self._woken = socket.socketpair()
        self._control, self._theirs = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)
        self._channels = CallChannels(self._control, self._lock)
        self.keeper = threading.Thread(target=self._run_process, name="mixtura-llama", daemon=True)
        self.keeper.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_retired(self) -> bool:
        """Whether it takes no more calls."""
        return self._channels.retired

    # ---- from any thread

    def open_channel(self, limit: float) -> CallChannel | None:
        """
        A channel for one call, which may be *limit* seconds without a sign of life; None when
        there are too many calls to take in. Raises UnavailableError.
        """
        channel = self._channels.open_channel(limit)
        if channel is not None:
            self._wake_watcher()
        return channel

    def leave_channel(self, channel: CallChannel, *, whole: bool) -> None:
        """End a call for its caller; *whole*: its answer is complete."""
        self._channels.leave_channel(channel, whole=whole)
        self._wake_watcher()

    def note_prompt_progress(self, at: float) -> None:
        """A piece of a call's prompt was read, *at* on the clock ``time.monotonic``."""
        self._channels.prompt_progress_at = at

    def retire(self) -> None:
        """Take no more calls; end when those under way have."""
        self._channels.retired = True
        self._wake_watcher()

    def kill(self) -> None:
        with self._lock:
            self._channels.closed = True
            self._kill_process()

    def _kill_process(self) -> None:
        self.killed = True
        if self._process is not None:
            self._process.kill()

    def _wake_watcher(self) -> None:
        with contextlib.suppress(OSError):
            self._wake.send(b"w")

    # ---- in its own thread

    def _run_process(self) -> None:
        try:
            self._load_model()
        except MixturaError as error:
            self.load_error = error
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            self.load_error = UnavailableError(f"llama.cpp cannot be started: {error}")
        if self.load_error is None:
            self._control.setblocking(False)
            self.ready.set_result(None)
            self._watch_process()
        self._clean_up()

    def _load_model(self) -> None:
        if not hasattr(socket, "send_fds"):
            raise ConfigError(
                "local models run on Linux and macOS; here, serve the file with Ollama or"
                " llama-server and name it by `base_url`"
            )
        path = model_file.check_model_file(self.setting.path)
        with model_file.lowercase_shard_path(path) as named:
            self._load_file(path, named)

    def _load_file(self, path: Path, named: Path) -> None:
        """Have *path* loaded, which has the name *named* for as long as that takes."""
        self._output = ProcessOutput(self._spawn_process())
        load = ModelLoad(path, self._limit, self._output)
        start = {
            "model": str(named), "context": self.setting.context, "threads": self.setting.threads,
            "slots": self.setting.slots, "parent": os.getpid(),
            "path": [entry for entry in sys.path if Path(entry).is_absolute()],
        }  # fmt: skip
        if not load.load_over(self._control, start):
            raise load.exit_error(self._wait_for_exit(), killed=self.killed)

    def _spawn_process(self) -> int:
        """Start the process; the descriptor that its output can be read from."""
        reading, writing = os.pipe()
        try:
            with self._lock:
                if self._channels.closed:
                    raise UnavailableError("the local model was closed")
                self._process = subprocess.Popen(  # noqa: S603 - every argument is ours
                    [
                        sys.executable,
                        "-I",
                        "-S",
                        worker_process.__file__,
                        str(self._theirs.fileno()),
                    ],
                    pass_fds=(self._theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=writing,
                    stderr=writing,
                    env=_child_environment(),
                    start_new_session=True,  # Ctrl-C is for the parent to decide on
                )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
            self._theirs.close()
        return reading

    def _watch_process(self) -> None:
        """Until it ends: read its output, and watch the calls."""
        poll = select.poll()
        output = self._output.descriptor
        for end in (self._control.fileno(), output, self._woken.fileno()):
            poll.register(end, select.POLLIN)
        while True:
            left, busy = self._channels.left_channels()
            for number in left:
                poll.register(number, select.POLLIN)
            wait = WATCH_SECONDS if busy or left else self.setting.idle
            ready = {n for n, _ in poll.poll(None if wait is None else wait * 1000)}
            idle = not ready and not busy and not left
            for number in left:
                poll.unregister(number)
            if self._control.fileno() in ready:  # it sends nothing after the load: it ended
                return
            if output in ready and not self._output.read_available():
                poll.unregister(output)
            if self._woken.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
            for number in ready & left.keys():
                self._channels.drain_channel(left[number])
            self._channels.stop_stalled_calls()
            if self._channels.is_superfluous(idle=idle):
                with self._lock:
                    self._kill_process()
                return

    def _wait_for_exit(self) -> ProcessExit:
        """Wait until the process has ended; how it ended."""
        assert self._process is not None
        try:
            code = self._process.wait(WATCH_SECONDS)
        except subprocess.TimeoutExpired:  # it closed its socket and goes on
            self._process.kill()
            code = self._process.wait()
        if self.killed:
            return ProcessExit("the local model was closed", crashed=False)
        self._output.read_available()
        return exit_from_status(code, self._output.log.cause_of_crash())

    def _clean_up(self) -> None:
        """Close everything that was opened, and tell everyone who waits."""
        with self._lock:
            process = self._process
            if process is not None and self.load_error:
                process.kill()
        death = ProcessExit("llama.cpp was not started", crashed=False)
        if process is not None:
            death = self._wait_for_exit()
        with self._lock:
            self._channels.close_locked()
            for end in (self._control, self._theirs, self._wake, self._woken):
                end.close()
            if process is not None:
                self._output.close()
        self._ended(self, death)
        self.death.set_result(death)
        if self.load_error is not None:
            self.ready.set_exception(self.load_error)


def _child_environment() -> dict[str, str]:
    """The environment variables that llama.cpp needs; no API keys."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_VARIABLES or name.startswith(_PASSED_PREFIXES)
    }
    return _FIXED_ENVIRONMENT | passed
