"""An event loop whose clock jumps to whatever is due next: hours pass at once, and always alike."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from mixtura.core.call_ledger import record_charge
from mixtura.core.events import Emit, Token
from mixtura.core.types import Charge, Completion, Message, Request, Usage

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everyone waits, and nothing is due"
            self.now += timeout
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run_in_virtual_time(coroutine: Coroutine[Any, Any, T]) -> T:
    """What *coroutine* returns; only what waits takes time, and that by the loop's clock alone."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(coroutine)


def now() -> float:
    """Seconds by the running loop's clock."""
    return asyncio.get_running_loop().time()


class Timed:
    """
    A model whose calls take the *seconds* given, one after the other, the last for ever.

    It writes *words* words of 40 letters each, the first after *silence* seconds, the others
    evenly over the rest. A call whose seconds are infinite stops in the middle, after the pace
    of the one before.
    """

    def __init__(
        self,
        name: str,
        seconds: Iterable[float],
        *,
        words: int = 10,
        tokens: int = 100,
        silence: float = 0.0,
        charged: bool = True,
    ) -> None:
        self.name = name
        self.words = words
        self.tokens = tokens
        self.calls = 0
        self.called_off = 0
        self._seconds = iter(seconds)
        self._latest = 0.0
        self._silence = silence
        self._charged = charged

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        self.calls += 1
        before = self._latest
        self._latest = next(self._seconds, self._latest)
        number, seconds = self.calls, self._latest
        said: list[str] = []
        charge = Charge(self.name, Usage(8, self.tokens))
        try:
            await asyncio.sleep(self._silence)
            for _ in range(self.words):
                if seconds == float("inf") and len(said) >= self.words // 2:
                    await asyncio.Event().wait()
                if said:
                    writing = (seconds if seconds < float("inf") else before) - self._silence
                    await asyncio.sleep(writing / (self.words - 1))
                said.append(f"{self.name}-{number} ".ljust(40, "."))
                if emit:
                    emit(Token(said[-1]))
        except asyncio.CancelledError as left:
            self.called_off += 1
            left.partial = "".join(said)
            record_charge(charge)
            raise
        if self._charged:
            record_charge(charge)
        answer = Message("assistant", "".join(said))
        return Completion(answer, self.name, charges=(charge,) if self._charged else ())
