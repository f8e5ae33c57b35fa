"""Models and prices for the tests of calls and their wrappers."""

from __future__ import annotations

from mixtura import (
    ask,
)
from mixtura.billing.price import Price
from mixtura.models.wrappers.retry import Retrying

ASK = ask("Why?")


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def after(self, seconds, step):
        """A step of a script that takes so long."""

        def taken(_):
            self.now += seconds
            return step

        return taken


DEAR = Price(input=1_000_000.0, output=1_000_000.0)  # a dollar a token


def dear(model, usage):
    return DEAR(usage)


async def nowait(_):
    pass


def again(model):
    return Retrying(model, attempts=4, sleep=nowait)
