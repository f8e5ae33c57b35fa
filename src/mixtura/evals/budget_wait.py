"""Answers that wait for room under a cap while others under way still hold theirs."""

from __future__ import annotations

import asyncio

from mixtura.core.call_ledger import open_ledger
from mixtura.core.errors import BudgetExceededError
from mixtura.core.events import Emit
from mixtura.core.model import Model, Wrapper
from mixtura.core.types import Completion, Request


class InFlight:
    """Counts answers under way and wakes those that wait for one of them to end."""

    def __init__(self) -> None:
        self.under_way = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def wait_for_end(self) -> None:
        """Return once an answer has ended that made room."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        await place

    def mark_ended(self, *, made_room: bool) -> None:
        """An answer is over; the waiting try again if it *made_room* under the cap."""
        self.under_way -= 1
        if not made_room:
            return
        for place in self._waiting:
            if not place.done():
                place.set_result(None)
        self._waiting.clear()


class WaitForBudget(Wrapper):
    """
    Waits where the cap has no room only because of what is set aside for others: an answer
    takes far less than its worst case. It is refused once no other is under way.
    """

    def __init__(self, model: Model, turns: InFlight) -> None:
        super().__init__(model)
        self._turns = turns

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        while True:
            self._turns.under_way += 1
            waits = False
            with open_ledger() as ledger:
                try:
                    return await self._model.complete(request, emit)
                except BudgetExceededError:
                    waits = not ledger.charges and self._turns.under_way > 1
                    if not waits:
                        raise
                finally:
                    self._turns.mark_ended(made_room=not waits)
            await self._turns.wait_for_end()
