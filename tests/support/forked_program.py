"""
`python -m mixtura …` as a real process of its own, without half a second of imports.

A server process has imported the program and forks it: the child has its own arguments,
environment, folder, streams and signals, and ends as an interpreter does. What depends on how an
interpreter starts (a locale, `PYTHON…` variables, a `preexec_fn`) is started as usual.
"""

from __future__ import annotations

import array
import atexit
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import mixtura

ROOT = Path(__file__).parents[2]
STREAMS = 3


class MixturaProcess(subprocess.Popen[Any]):
    """`python -m mixtura *words*`, with the interface of `subprocess.Popen`."""

    _servers: ClassVar[dict[str, socket.socket]] = {}
    _status: socket.socket | None = None
    _terminal: bool

    def __init__(
        self, words: Sequence[str | bytes], *, controlling_terminal: bool = False, **how: Any
    ) -> None:
        self._terminal = controlling_terminal
        if controlling_terminal:
            how["start_new_session"] = True
            if not _forks_alike(how):
                how["preexec_fn"] = _take_the_terminal
        super().__init__([sys.executable, "-m", "mixtura", *words], **how)

    def _execute_child(self, *how: Any) -> None:
        (args, _, preexec_fn, _, pass_fds, cwd, env, _, _, shell,
         in_read, in_write, out_read, out_write, err_read, err_write,
         _, gid, gids, uid, umask, session, group) = how  # fmt: skip
        alike = _forks_alike({"preexec_fn": preexec_fn, "env": env})
        if not alike or pass_fds or shell or gid or gids or uid or umask >= 0 or group >= 0:
            super()._execute_child(*how)
            return
        words = [os.fsdecode(word) for word in args[3:]]
        request = {
            "words": words,
            "folder": os.fspath(cwd or Path.cwd()),
            "env": {os.fsdecode(k): os.fsdecode(v) for k, v in (env or os.environ).items()},
            "new_session": session,
            "terminal": self._terminal,
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            streams = [
                inherited if given == -1 else given
                for inherited, given in enumerate((in_read, out_write, err_write))
            ]
            handed = array.array("i", [theirs.fileno(), *streams])
            self._server(words).sendmsg(
                [json.dumps(request).encode("utf-8", "surrogatepass")],
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handed)],
            )
        self._status = ours
        answer = ours.recv(64)
        if not answer:
            raise RuntimeError("the server of the program's processes has ended")
        self.pid = int(answer)
        self._child_created = True
        self._close_pipe_fds(in_read, in_write, out_read, out_write, err_read, err_write)

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._status is None:
            return super()._try_wait(wait_flags)
        try:
            answer = self._status.recv(64, socket.MSG_DONTWAIT if wait_flags & os.WNOHANG else 0)
        except BlockingIOError:
            return 0, 0
        if not answer:
            raise RuntimeError("the server of the program's processes has ended")
        self._status.close()
        return self.pid, int(answer)

    def _internal_poll(self, *more: Any, **named: Any) -> int | None:
        if self._status is None:
            return super()._internal_poll(*more, **named)
        if self.returncode is None and self._waitpid_lock.acquire(False):
            try:
                if self.returncode is None:
                    pid, status = self._try_wait(os.WNOHANG)
                    if pid:
                        self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode

    @classmethod
    def _server(cls, words: Sequence[str]) -> socket.socket:
        """The server that has imported what *words* need; one for all commands without Inspect."""
        kind = "evaluations" if words[:1] and words[0] in EVALUATIONS else "program"
        if kind not in cls._servers:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV_"))}
                server = subprocess.Popen(
                    [sys.executable, "-m", __name__, str(theirs.fileno()), kind],
                    pass_fds=[theirs.fileno()], cwd=ROOT, stdin=subprocess.DEVNULL, env=env,
                )  # fmt: skip
            atexit.register(_end, ours, server)
            cls._servers[kind] = ours
        return cls._servers[kind]


def run_mixtura(
    words: Sequence[str | bytes],
    *,
    input: Any = None,  # noqa: A002
    timeout: float | None = 120,
    check: bool = False,
    **how: Any,
) -> subprocess.CompletedProcess[Any]:
    """What `subprocess.run` gives for `python -m mixtura *words*`, its output kept."""
    how.setdefault("stdin", subprocess.DEVNULL if input is None else subprocess.PIPE)
    how |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with MixturaProcess(words, **how) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


EVALUATIONS = ("eval", "select", "compare", "report", "tune", "calibrate")


NOT_FORKED = {"PYTHONHASHSEED": "0"}
"""Environment for a process whose own memory is measured."""


def _forks_alike(how: dict[str, Any]) -> bool:
    """Whether a forked process is the same as a started one."""
    env = {os.fsdecode(k): os.fsdecode(v) for k, v in (how.get("env") or os.environ).items()}
    changed = {name for name, value in env.items() if os.environ.get(name) != value}
    as_usual = env.get("LANG", "C.UTF-8").upper() == "C.UTF-8"
    return as_usual and how.get("preexec_fn") is None and not any(map(_is_for_a_start, changed))


def _is_for_a_start(name: str) -> bool:
    return name.startswith(("PYTHON", "LC_", "LD_"))


def _take_the_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that ^C is a signal


def _end(connection: socket.socket, server: subprocess.Popen[bytes]) -> None:
    connection.close()
    server.wait()


def _serve(connection: socket.socket) -> dict[str, Any]:
    """Fork until told to end; in the child, what it was asked to be."""
    awake, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([connection, awake], [], [])
        if awake in ready:
            os.read(awake, 4096)
            _report_ended(running)
        if connection not in ready:
            continue
        data, handed, _, _ = socket.recv_fds(connection, 1 << 22, 1 + STREAMS)
        if not data:
            sys.exit(0)
        status = socket.socket(fileno=handed[0])
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return json.loads(data.decode("utf-8", "surrogatepass")) | {"streams": handed[1:]}
        for number in handed[1:]:
            os.close(number)
        running[pid] = status
        status.send(str(pid).encode())


def _report_ended(running: dict[int, socket.socket]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with running.pop(pid) as told, suppress(OSError):  # whoever started it has left
                told.send(str(status).encode())


def _become(request: dict[str, Any]) -> None:
    """Take on the arguments, environment, folder and streams of *request*."""
    if request["new_session"]:
        os.setsid()
    for number, stream in enumerate(request["streams"]):
        os.dup2(stream, number)
    os.closerange(STREAMS, min(1 << 16, os.sysconf("SC_OPEN_MAX")))
    if request["terminal"]:
        _take_the_terminal()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[1:] = request["words"]
    sys.path[0] = request["folder"]
    # As an interpreter opens them in the locale C.UTF-8.
    for number, (name, mode, errors) in enumerate(
        (("stdin", "r", "surrogateescape"), ("stdout", "w", "surrogateescape"),
         ("stderr", "w", "backslashreplace"))
    ):  # fmt: skip
        unbuffered = bool(os.environ.get("PYTHONUNBUFFERED")) and number > 0
        raw = open(number, mode + "b", 0 if unbuffered else -1, closefd=False)  # noqa: SIM115
        lines = number == 2 or (number == 1 and raw.isatty())
        text = io.TextIOWrapper(
            raw, "utf-8", errors, line_buffering=lines, write_through=unbuffered
        )
        text.mode = mode
        setattr(sys, name, text)
        setattr(sys, f"__{name}__", text)


def _import_the_program(kind: str) -> None:
    """What its commands import when they are called; Inspect only where it is used."""
    gc.disable()
    for module in pkgutil.walk_packages(mixtura.__path__, "mixtura."):
        folders = module.name.split(".")[1:]
        evaluates = folders[0] in EVALUATING or folders[-1] in EVALUATIONS
        if not NOT_IMPORTED.intersection(folders) and (kind == "evaluations" or not evaluates):
            importlib.import_module(module.name)
    gc.freeze()
    gc.enable()


EVALUATING = ("evals", "selection", "reports")
NOT_IMPORTED = frozenset(("__main__", "confined", "child", "inspect_provider"))


if __name__ == "__main__":
    _import_the_program(sys.argv[2])
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    _become(request)
    runpy.run_module("mixtura", run_name="__main__", alter_sys=True)
