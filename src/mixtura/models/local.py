"""A model file on this machine, run by llama.cpp inside this process."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from mixtura.catalog import quirks
from mixtura.errors import (
    ConfigError,
    ContextOverflowError,
    ModelError,
    RejectedError,
    UnavailableError,
)
from mixtura.events import Emit
from mixtura.manners import accounted, told
from mixtura.types import Completion, Request
from mixtura.wire import Assembly, chunk, request_json

SLOTS = 8
"""Answers that decode together; more wait."""
PREFILL = 256
"""Prompt tokens read at a time: how long a cancelled call may still hold the cores."""


CONTEXT = 16384
"""Tokens that all conversations with one file share."""
REPEAT_PENALTY = 1.1
"""What Ollama takes for the same models: small ones fall into loops without it."""
LONGEST = 2048
"""Tokens of an answer when no one says: a small model may never stop by itself."""


class Local:
    """
    A ``.gguf`` file as a Model. It is loaded at the first call and shared by every Local
    of the same file and *context* in this process, so that proposers of one layer decode
    together (continuous batching). The event loop is never held up by it.

    *context*: tokens that all conversations share, prompts and answers; one conversation
    gets at most the model's own window of them. *threads*: cores to use; all by default.
    *window*: the model's own, where it is known before the file is loaded.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str | None = None,
        context: int = CONTEXT,
        threads: int | None = None,
        window: int | None = None,
    ) -> None:
        self._path = path
        self.window = window
        self.sees = False
        self._name = name or path.stem
        self._context = context
        self._threads = threads or _cores()

    @property
    def name(self) -> str:
        return self._name

    async def load(self) -> None:
        """Load the file now instead of at the first call. Raises ConfigError."""
        await self._engine()

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        engine = await self._engine()
        so_far = Assembly(inside=quirks(self._path.stem).inside)
        with accounted(self._name, request, so_far, emit):
            await self._read(engine, request, so_far, emit)
            told(so_far, so_far.finish(), emit)
            return so_far.completion(self._name, request)

    async def _engine(self) -> _Engine:
        return await asyncio.to_thread(_engine_of, self._path, self._context, self._threads)

    async def _read(
        self, engine: _Engine, request: Request, so_far: Assembly, emit: Emit | None
    ) -> None:
        body = (
            {"max_tokens": LONGEST, "repeat_penalty": REPEAT_PENALTY}
            | request_json(request, self._name)
            | {
                "stream": True,
                "stream_options": {"include_usage": True},
                "return_progress": True,  # a sign of life a batch, so that a cancelled call stops
            }
        )
        cells = await engine.cells.acquire(_cells(request, self._context))
        call = _Call(engine, msgspec.json.encode(body), asyncio.get_running_loop())
        # Its place is free when llama.cpp has let go of it, not when we have.
        call.start(lambda: engine.cells.release(cells))
        try:
            while (data := await call.pieces.get()) is not None:
                piece = chunk(data)
                if piece.error is not None:
                    raise _refusal(piece.error)
                so_far.add(piece)
                told(so_far, so_far.fresh(), emit)
        finally:
            call.left = True
        if call.error is not None:
            raise call.error
        if so_far.finish_reason is None:
            raise UnavailableError("llama.cpp stopped without a finish reason")


class _Call:
    """One request on its way through llama.cpp, in a thread of its own."""

    def __init__(self, engine: _Engine, body: bytes, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._body = body
        self._loop = loop
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.error: ModelError | None = None
        self.left = False

    def start(self, then: Callable[[], None]) -> None:
        future = self._engine.threads.submit(self._run)
        future.add_done_callback(lambda _: then())

    def _run(self) -> None:
        try:
            if not self.left:
                self._engine.server.handle_chat_completions(self._body, self._piece)
        except RuntimeError as error:  # a template or an input that llama.cpp refuses
            self.error = RejectedError(f"llama.cpp refused the request: {error}")
        finally:
            self._tell(None)

    def _piece(self, data: bytes) -> bool:
        """Called by llama.cpp with each piece; True tells it to stop."""
        self._tell(data)
        return self.left

    def _tell(self, data: bytes | None) -> None:
        if self.left:
            return
        try:
            self._loop.call_soon_threadsafe(self.pieces.put_nowait, data)
        except RuntimeError:  # the loop is closed: whoever asked is gone
            self.left = True


class _Cells:
    """
    The places for tokens that all calls share.

    llama.cpp fails every call at once when they run out, so a call waits here until what
    it may need at most is free. Calls are let in in the order they came.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._lock = threading.Lock()

    async def acquire(self, wanted: int) -> int:
        wanted = min(wanted, self._size)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append((wanted, place))
            self._admit()
        try:
            await place
        except asyncio.CancelledError:
            with self._lock:
                if (wanted, place) in self._waiting:
                    self._waiting.remove((wanted, place))
                else:
                    self._free += wanted
                self._admit()
            raise
        return wanted

    def release(self, cells: int) -> None:
        """From any thread."""
        with self._lock:
            self._free += cells
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, place = self._waiting.pop(0)
            try:
                place.get_loop().call_soon_threadsafe(_let_in, place)
            except RuntimeError:  # that loop is closed
                continue
            self._free -= wanted


def _let_in(place: asyncio.Future[None]) -> None:
    if not place.done():
        place.set_result(None)


class _Engine:
    """llama.cpp with one file loaded."""

    def __init__(self, path: Path, context: int, threads: int) -> None:
        xllamacpp = _library()
        params: Any = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.verbosity = -1
        params.n_parallel = SLOTS
        params.n_ctx = context
        params.kv_unified = True
        params.n_batch = PREFILL
        params.n_ubatch = PREFILL
        params.cache_ram_mib = 0
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
        # The library opens an HTTP port on loopback; without this key it answers no one.
        params.api_keys = [secrets.token_hex(32)]
        params.ui = False
        params.endpoint_slots = False
        try:
            self.server: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            said = f"llama.cpp cannot load {path}: it is damaged, or of a kind unknown to it"
            again = "`mixtura pull` brings a model with a name anew"
            raise ConfigError(f"{said}; {again} ({error})") from None
        self.threads = ThreadPoolExecutor(SLOTS, thread_name_prefix="mixtura-local")
        self.cells = _Cells(context)


_engines: dict[tuple[Path, int, int], _Engine] = {}
_loading = threading.Lock()


def _engine_of(path: Path, context: int, threads: int) -> _Engine:
    """The engine of a file; loads it when no one has yet."""
    key = (path.resolve(), context, threads)
    with _loading:
        if key not in _engines:
            if not path.is_file():
                raise ConfigError(f"there is no model file {path}")
            _engines[key] = _Engine(path, context, threads)
        return _engines[key]


def _library() -> Any:
    # GNU OpenMP reads this once, when it is loaded: threads that spin while they wait take
    # the cores from those that work (3.8 tokens a second instead of 27.8 on two busy cores).
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        import xllamacpp  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise ConfigError('local models need llama.cpp: pip install "mixtura[local]"') from None
    return xllamacpp


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cells(request: Request, context: int) -> int:
    """An upper bound of the tokens that a request and its answer take."""
    prompt = sum(len(m.text.encode()) // 2 + 16 for m in request.messages) + 64
    answer = request.sampling.max_tokens or LONGEST
    return min(prompt + answer, context)


class _Fault(msgspec.Struct):
    message: str = "llama.cpp failed"
    type: str = ""
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


def _refusal(error: object) -> ModelError:
    fault = msgspec.convert(error, _Fault)
    if fault.type == "exceed_context_size_error":
        return ContextOverflowError(
            f"the conversation has {fault.n_prompt_tokens} tokens and the model's window"
            f" {fault.n_ctx}"
        )
    if fault.type == "invalid_request_error":
        return RejectedError(f"llama.cpp refused the request: {fault.message}")
    return UnavailableError(f"llama.cpp: {fault.message}")
