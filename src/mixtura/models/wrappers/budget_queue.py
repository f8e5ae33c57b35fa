"""BudgetQueued: a Model whose run waits while other runs under way hold the room under a cap."""

from __future__ import annotations

from itertools import islice

from mixtura.core.call_ledger import open_ledger
from mixtura.core.errors import BudgetExceededError
from mixtura.core.events import Emit
from mixtura.core.model import Model, Wrapper, ask_model
from mixtura.core.types import Completion, Request
from mixtura.engine.wait_queue import WaitQueue

TRIES_PER_END = 8
"""
Answers that may try again once another has ended. An end makes room for about one, now and then
for several; were all that wait to try each time, thousands of rows would take a processor's time.
"""


class InFlight:
    """Counts answers under way and wakes those that wait for one of them to end, in turn."""

    def __init__(self) -> None:
        self.under_way = 0
        self._queue = WaitQueue[None](lambda _: self._let_in(1))

    async def wait_for_end(self) -> None:
        """Return once an answer has ended that made room, perhaps for this one."""
        await self._queue.wait(self._queue.join("", None))

    def mark_ended(self, *, made_room: bool) -> None:
        """An answer is over; some of the waiting try again if it *made_room* under the cap."""
        self.under_way -= 1
        if made_room:
            self._let_in(TRIES_PER_END)

    def _let_in(self, count: int) -> None:
        for one in tuple(islice(self._queue, count)):
            self._queue.let_in(one)


class BudgetQueued(Wrapper):
    """
    Waits where the cap has no room only because of what is set aside for others: an answer
    takes far less than its worst case. It is refused once no other is under way.
    """

    def __init__(self, model: Model, in_flight: InFlight) -> None:
        super().__init__(model)
        self._in_flight = in_flight

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """The answer. Raises BudgetExceededError where no other under way could make room."""
        while True:
            self._in_flight.under_way += 1
            waits = False
            with open_ledger() as ledger:
                try:
                    return await ask_model(self._model, request, emit)
                except BudgetExceededError:
                    # What has begun is paid: only an attempt that cost nothing may be made again.
                    waits = not ledger.charges and self._in_flight.under_way > 1
                    if not waits:
                        raise
                finally:
                    self._in_flight.mark_ended(made_room=not waits)
            await self._in_flight.wait_for_end()
