"""Budgeted: a Mixture that is not begun when it might cost more than it may."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from mixtura.apart import apart, weight
from mixtura.budget import ACCOUNT, Account, Purse, forecast, patiently, priced, smaller, spares
from mixtura.errors import (
    BudgetExceededError,
    ConfigError,
    MixturaError,
    NoRoomError,
    QuorumNotMetError,
    billed,
)
from mixtura.events import Emit, Noticed
from mixtura.model import Wrapper
from mixtura.price import Pricer
from mixtura.roles import Composite
from mixtura.types import Charge, Completion, Request, Usage

AtTheCap = Literal["refuse", "degrade"]


class Budgeted(Wrapper):
    """
    Sets the worst case of a run aside in every purse before the first call.

    *purses* is called for each run, so that a run may have one of its own. Without room,
    *at_the_cap* decides: refuse (BudgetExceededError, nothing was asked), or degrade: fewer
    proposers, then the aggregator alone, then refuse; the result says what was left out.
    A purse whose store is busy is waited for; one whose store is broken raises StoreError.
    """

    def __init__(
        self,
        mixture: Composite,
        purses: Callable[[], Sequence[Purse]],
        pricer: Pricer,
        *,
        at_the_cap: AtTheCap = "refuse",
    ) -> None:
        super().__init__(mixture)
        self._mixture = mixture
        self._purses = purses
        self._pricer = pricer
        self._at_the_cap = at_the_cap

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        purses = self._purses()
        account = Account(purses, self._pricer, ACCOUNT.get())
        mixture, left_out = await self._within(account, purses, request)
        if left_out and emit:
            emit(Noticed(self.name, left_out))
        token = ACCOUNT.set(account)
        charges: tuple[Charge, ...] = ()
        try:
            answer = await mixture.complete(request, emit)
            charges = answer.charges
        except (MixturaError, CancelledError) as error:
            charges = billed(error)
            if _no_room(error):
                raise BudgetExceededError(str(error), charges=charges) from None
            raise
        finally:
            ACCOUNT.reset(token)
            account.close(charges)
        return replace(answer, degraded=(left_out, *answer.degraded)) if left_out else answer

    async def _within(
        self, account: Account, purses: Sequence[Purse], request: Request
    ) -> tuple[Composite, str]:
        """The mixture, or the richest form of it for which there is room."""
        forms = [(self._mixture, "")]
        if self._at_the_cap == "degrade":
            forms += smaller(self._mixture)
        said = ""
        for mixture, left_out in forms:
            calls = await apart(weight(request), forecast, mixture, request)
            worst, unknown = priced(calls, self._pricer)
            once = Usage(1, 1)
            unknown += tuple(n for n in spares(mixture) if self._pricer(n, once) is None)
            if unknown and any(purse.in_dollars for purse in purses):
                names = ", ".join(dict.fromkeys(unknown))
                raise ConfigError(
                    f"a cap in dollars needs the price of every model, and that of {names} is"
                    " unknown: give its `price` in the configuration, or cap tokens"
                )
            full = await patiently(partial(account.set_aside, worst))
            if full is None:
                return mixture, left_out
            said = said or (
                f"the budget of {full} has no room: at worst this takes"
                f" ${worst.dollars:.4f} and {worst.tokens:,} tokens"
            )
        raise BudgetExceededError(f"{said}; nothing was asked")


def _no_room(error: BaseException) -> bool:
    """Whether it is the cap that ended a run, not what its models did."""
    if isinstance(error, QuorumNotMetError):
        return all(map(_no_room, error.causes))
    return isinstance(error, NoRoomError)
