"""Metered: a Model whose every attempt is paid for out of the run's account before it is sent."""

from __future__ import annotations

from asyncio import CancelledError
from dataclasses import replace
from functools import partial

from mixtura.apart import apart, weight
from mixtura.budget import ACCOUNT, LONGEST_ANSWER, Expected, forecast, patiently
from mixtura.errors import ModelError, NoRoomError, StoreError, billed
from mixtura.events import Emit
from mixtura.model import Wrapper
from mixtura.types import Charge, Completion, Request

A_MOMENT = 5.0
"""Seconds that an attempt waits for a busy store when it needs more than was set aside."""


class Metered(Wrapper):
    """
    Stands directly around a model that costs money, inside retries and hedges.

    Without an account it only passes on. With one, an answer has at most
    ``budget.LONGEST_ANSWER`` tokens where no one says, so that a worst case exists.
    """

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        account = ACCOUNT.get()
        if account is None:
            return await self._model.complete(request, emit)
        most = request.sampling.max_tokens or LONGEST_ANSWER
        request = replace(request, sampling=replace(request.sampling, max_tokens=most))
        worst: Expected = (await apart(weight(request), forecast, self._model, request))[0]
        try:
            drawn = await patiently(partial(account.draw, self.name, worst.usage), A_MOMENT)
        except StoreError as error:  # no one knows whether there is room: then there is none
            raise NoRoomError(str(error), model=self.name) from None
        if isinstance(drawn, str):
            said = f"no room for this attempt in the budget of {drawn}"
            raise NoRoomError(said, model=self.name)
        charges: tuple[Charge, ...] = ()
        try:
            answer = await self._model.complete(request, emit)
            charges = answer.charges
            return answer
        except (ModelError, CancelledError) as error:
            charges = billed(error)
            raise
        finally:
            account.give_back(drawn, charges)
