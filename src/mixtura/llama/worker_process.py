"""
The process that runs llama.cpp, as a script: the standard library and xllamacpp, nothing else.

It is started with one socket. On that it is told what to load, says whether it could, and is
then given one more socket a call: a request comes in, frames go out. A call is left when its
other end is shut; the process ends when its first socket is.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import secrets
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Any, NoReturn

REQUEST_HEADER = struct.Struct("<II")
"""What stands before a request: the places for tokens that it may need, and its length."""
FRAME_HEADER = struct.Struct("<BI")
"""What stands before everything that goes out: its kind and its length."""
BEGUN, PIECE, DONE, REFUSED = range(4)
"""Its turn has come; a chunk of the answer; the answer is whole; why there is none."""

PREFILL_BATCH_TOKENS = 256
"""Prompt tokens read at a time: how long a cancelled call may still hold the cores."""
MEMORY_HEADROOM_BYTES = 1 << 30
"""Bytes that it may take once the file is loaded; a quarter of what is free where that is more."""
PR_SET_PDEATHSIG = 1


def main() -> NoReturn:
    control = socket.socket(fileno=int(sys.argv[1]))
    start = json.loads(control.makefile("rb").readline())
    _guard_process(start["parent"])
    sys.path[:] = start["path"]
    memory = _free_memory()
    _limit_memory(memory * 9 // 10)
    try:
        server = _load_model(start)
    except ImportError as error:
        _report_failure(control, missing=str(error))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told and ends this
        _report_failure(control, refused=f"{error}")
    _limit_memory(max(MEMORY_HEADROOM_BYTES, memory // 4))
    control.sendall(b'{"ready": true}\n')
    waiting: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
    places = TokenCellPool(start["context"])
    for _ in range(start["slots"]):
        threading.Thread(target=_serve_calls, args=(server, waiting, places), daemon=True).start()
    while True:
        said, handed, _, _ = socket.recv_fds(control, 1, 1)
        if not said:
            os._exit(0)
        for number in handed:
            waiting.put(socket.socket(fileno=number))


def _report_failure(control: socket.socket, **said: str) -> NoReturn:
    """Say why there is no model, and end without what llama.cpp does at exit."""
    time.sleep(0.05)  # its log is written by a thread of its own
    control.sendall(json.dumps(said).encode() + b"\n")
    os._exit(0)


def _guard_process(parent: int) -> None:
    """End with *parent* however that ends, leave no core file, be the first to go for memory."""
    import resource  # not everywhere, and the parent imports this file, too

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before that was set
            os._exit(0)


def _free_memory() -> int:
    """Bytes; 0 where the system does not say."""
    try:
        rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return sum(int(rows.get(name, "0").split()[0]) << 10 for name in ("MemAvailable", "SwapFree"))


def _limit_memory(more: int) -> None:
    """Refuse what goes beyond *more* bytes from now on, before the whole machine runs out."""
    import resource

    try:
        rows = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        taken = int(rows["VmData"].split()[0]) << 10
    except (OSError, ValueError, KeyError):
        return
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if more and (most == resource.RLIM_INFINITY or taken + more < most):
        resource.setrlimit(resource.RLIMIT_DATA, (taken + more, most))


def _load_model(start: dict[str, Any]) -> Any:
    xllamacpp = _import_xllamacpp()
    params = xllamacpp.CommonParams()
    params.model.path = start["model"]
    params.verbosity = 3  # without the prompts: how far it came, and its errors
    params.n_parallel = start["slots"]
    params.n_ctx = start["context"]
    params.kv_unified = True
    params.n_batch = PREFILL_BATCH_TOKENS
    params.n_ubatch = PREFILL_BATCH_TOKENS
    params.cache_ram_mib = 0
    params.cpuparams.n_threads = start["threads"]
    params.cpuparams_batch.n_threads = start["threads"]
    # The library opens an HTTP port on loopback; without this key it answers no one.
    params.api_keys = [secrets.token_hex(32)]
    params.ui = False
    params.endpoint_slots = False
    return xllamacpp.Server(params)


def _import_xllamacpp() -> Any:
    import xllamacpp  # pyright: ignore[reportMissingTypeStubs]

    return xllamacpp


class TokenCellPool:
    """
    The places for tokens that all calls share.

    llama.cpp fails every call at once when they run out, so a call waits here until what
    it may need at most is free. Calls are let in in the order they came.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def reserve_cells(self, wanted: int) -> Generator[None]:
        wanted, turn = min(wanted, self._size), object()
        with self._changed:
            self._line.append(turn)
            self._changed.wait_for(lambda: self._line[0] is turn and self._free >= wanted)
            self._line.popleft()
            self._free -= wanted
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


def _serve_calls(
    server: Any, waiting: queue.SimpleQueue[socket.socket], places: TokenCellPool
) -> NoReturn:
    while True:
        with waiting.get() as line, contextlib.suppress(OSError, EOFError):
            wanted, body = _read_request(line)
            with places.reserve_cells(wanted):
                if not _is_caller_gone(line):
                    _answer_request(server, line, body)


def _read_request(line: socket.socket) -> tuple[int, bytes]:
    wanted, length = REQUEST_HEADER.unpack(_read_exactly(line, REQUEST_HEADER.size))
    return wanted, _read_exactly(line, length)


def _read_exactly(line: socket.socket, length: int) -> bytes:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = line.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return bytes(data)


def _is_caller_gone(line: socket.socket) -> bool:
    """Whether whoever asked has shut their end."""
    try:
        return not line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def _answer_request(server: Any, line: socket.socket, body: bytes) -> None:
    def send_piece(data: bytes) -> bool:
        """Called by llama.cpp with each chunk; True tells it to stop."""
        try:
            if _is_caller_gone(line):
                return True
            _send_frame(line, PIECE, data)
        except OSError:
            return True
        return False

    _send_frame(line, BEGUN)
    try:
        server.handle_chat_completions(body, send_piece)
    except Exception as error:  # noqa: BLE001 - a template or an input that llama.cpp refuses
        said = str(error) or type(error).__name__
        _send_frame(line, REFUSED, said.encode("utf-8", "replace")[:4096])
    else:
        _send_frame(line, DONE)


def _send_frame(line: socket.socket, kind: int, data: bytes = b"") -> None:
    line.sendall(FRAME_HEADER.pack(kind, len(data)) + data)


if __name__ == "__main__":
    main()
