"""A server that draws: waited for while it loads or is away, so that a draw of hours goes on."""

from __future__ import annotations

import asyncio
import sys
import time

from mixtura import Completion, Model, ModelError, RateLimitedError, Request, UnavailableError
from mixtura.core.events import Emit
from mixtura.core.model import Wrapper

LONGEST_PAUSE = 30.0
"""Seconds between two tries of a server that does not answer."""


class ServerGoneError(Exception):
    """
    The server has answered nobody for as long as it is waited for.

    It is no error of a model: a pattern would go on without the member, and its further calls
    would rest on proposals that are not those of the proof.
    """


class AwaitedServer(Wrapper):
    """
    A model of the server at *address*. A call that finds it loading or away is tried again, for
    *retry_window* seconds from its first failure; answers are never cut for it.

    Raises ServerGoneError where the server has answered nobody meanwhile, else the call's own
    failure.
    """

    def __init__(
        self, model: Model, address: str, retry_window: float, first_pause: float = 1.0
    ) -> None:
        super().__init__(model)
        self._address, self._retry_window, self._first_pause = address, retry_window, first_pause
        self._answered = -1.0
        """When anyone was last answered, by the monotonic clock; -1 before the first answer."""
        self._is_away = False

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        first_failure, pause = None, self._first_pause
        while True:
            try:
                answer = await self._model.complete(request, emit)
            except (UnavailableError, RateLimitedError) as error:
                now = time.monotonic()
                first_failure = now if first_failure is None else first_failure
                if now + pause > first_failure + self._retry_window:
                    self._give_up(error, first_failure)
                self._tell_waiting(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            self._answered = time.monotonic()
            if self._is_away:
                self._is_away = False
                _print_line(f"{self._address} answers again")
            return answer

    def _give_up(self, error: ModelError, first_failure: float) -> None:
        if self._answered > first_failure:
            raise error
        waited = f" for {self._retry_window:.0f} seconds" if self._retry_window else ""
        raise ServerGoneError(f"{self._address} has not answered{waited}: {error}") from error

    def _tell_waiting(self, error: ModelError) -> None:
        if not self._is_away:
            self._is_away = True
            _print_line(
                f"{self._address}: {error}; it is tried again for {self._retry_window:.0f} seconds"
            )


def _print_line(text: str) -> None:
    print(" ".join(text.split()), file=sys.stderr, flush=True)
