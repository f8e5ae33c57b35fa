"""Deadlined: a Model that has so many seconds and no more."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mixtura.engine import within
from mixtura.errors import OutOfTimeError, QuorumNotMetError, billed
from mixtura.events import Emit
from mixtura.model import Model, Wrapper
from mixtura.roles import Composite, Layer
from mixtura.types import Completion, Request

FOR_PROPOSERS = 0.6
"""The part of a run's time in which all its proposer layers must be done."""


class Deadlined(Wrapper):
    """Raises OutOfTimeError when the answer is not whole within *seconds*."""

    def __init__(self, model: Model, seconds: float) -> None:
        super().__init__(model)
        self._seconds = seconds

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        clock = asyncio.timeout(self._seconds)
        try:
            async with clock:
                with within(self._seconds):
                    return await self._model.complete(request, emit)
        except TimeoutError as error:
            if not clock.expired():
                raise
            said = f"no answer within {self._seconds:g} s"
            left = error.__cause__ or error  # the cancelled call, which knows its bill
            raise OutOfTimeError(said, charges=billed(left)) from None
        except QuorumNotMetError as error:
            if not error.late:
                raise
            said = f"no answer within {self._seconds:g} s: layer {error.layer} had no time left"
            raise OutOfTimeError(said, charges=error.charges) from error


def hurried(mixture: Composite, seconds: float) -> Composite:
    """
    The mixture with its layers' deadlines cut so that time for the answer is left: the more
    of it, the more calls follow the layers one after another.
    """
    share = seconds * FOR_PROPOSERS / max(len(mixture.layers), mixture.depth / 2)
    return mixture.with_layers(tuple(_by(layer, share) for layer in mixture.layers))


def _by(layer: Layer, seconds: float) -> Layer:
    own = layer.deadline
    return replace(layer, deadline=seconds if own is None else min(own, seconds))
