"""The seats of a layer: a failed or slow call can be followed by another one at the same seat."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mixtura.core.errors import ModelError
from mixtura.core.events import Position
from mixtura.core.roles import Proposer
from mixtura.core.types import Completion
from mixtura.engine.stragglers import LateCalls

ASKED_ANEW = "ended by hand: asked anew"

AskProposer = Callable[[Proposer], Awaitable[Completion | ModelError]]


class LayerSeats:
    """
    Which seats of a layer are at work, and who is asked next at one of them.

    *steered*: somebody may ask anew; then a seat whose call has failed waits for that, for as long
    as another one is at work.
    """

    def __init__(self, count: int, late: LateCalls, *, steered: bool) -> None:
        self._busy = count
        self._late = late
        self._steered = steered
        self._over = asyncio.Event()
        self._next: dict[Position, Proposer] = {}
        self._parked: dict[Position, asyncio.Event] = {}

    def is_parked(self, position: Position) -> bool:
        """Whether the call there has failed, and another could take its place."""
        return position in self._parked

    def ask_next(self, position: Position, proposer: Proposer) -> bool:
        """Have *proposer* asked at that seat; whether its call is still to be cancelled."""
        self._next[position] = proposer
        if (parked := self._parked.get(position)) is not None:
            parked.set()
        return parked is None

    async def run_seat(
        self, position: Position, first: Proposer, ask: AskProposer
    ) -> Completion | ModelError:
        """The outcome of the last call at a seat."""
        outcome = await ask(first)
        while isinstance(outcome, ModelError):
            following = self._next.pop(position, None) or await self._wait_for_another(position)
            if following is None:
                return outcome
            self._late.cut.pop(position, None)
            self._late.left_out.discard(position)
            self._late.replaced.add(position)
            outcome = await ask(following)
        self._end_one()
        return outcome

    async def _wait_for_another(self, position: Position) -> Proposer | None:
        self._end_one()
        if not self._steered or self._over.is_set():
            return None
        wake = self._parked[position] = asyncio.Event()
        waits = [asyncio.create_task(event.wait()) for event in (wake, self._over)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            # Cancelled by the layer, which waits no longer, or from outside as well.
            if position not in self._late.cut or task is None or task.uncancel() > 0:
                raise
        finally:
            del self._parked[position]
            for one in waits:
                one.cancel()
        following = self._next.pop(position, None)
        if following is not None:
            self._busy += 1
        return following

    def _end_one(self) -> None:
        self._busy -= 1
        if self._busy == 0:
            self._over.set()
