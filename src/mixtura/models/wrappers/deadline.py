"""Deadlined: a Model that has so many seconds and no more."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mixtura.core.arguments import check_number
from mixtura.core.errors import DeadlineExceededError, QuorumNotMetError
from mixtura.core.events import Emit
from mixtura.core.model import Model, Wrapper, ask_model
from mixtura.core.quantities import POSITIVE_SECONDS
from mixtura.core.roles import Composite, Layer
from mixtura.core.types import Completion, Request
from mixtura.engine.call_context import deadline_scope

PROPOSER_TIME_SHARE = 0.6
"""The part of a run's time in which all its proposer layers must be done."""


class Deadlined(Wrapper):
    """
    Raises DeadlineExceededError when the answer is not whole within *seconds*, and TypeError or
    ValueError for seconds that are none.
    """

    def __init__(self, model: Model, seconds: float) -> None:
        super().__init__(model)
        self._seconds = check_number("seconds", seconds, POSITIVE_SECONDS)

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        clock = asyncio.timeout(self._seconds)
        try:
            async with clock:
                with deadline_scope(self._seconds):
                    return await ask_model(self._model, request, emit)
        except TimeoutError:
            if not clock.expired():
                raise
            raise DeadlineExceededError(f"no answer within {self._seconds:g} s") from None
        except QuorumNotMetError as error:
            if not error.late:
                raise
            said = f"no answer within {self._seconds:g} s: layer {error.layer} had no time left"
            raise DeadlineExceededError(said) from error


def with_layer_deadlines(mixture: Composite, seconds: float) -> Composite:
    """
    The mixture with its layers' deadlines cut so that time for the answer is left: the more
    of it, the more calls follow the layers one after another.
    """
    share = seconds * PROPOSER_TIME_SHARE / max(len(mixture.layers), mixture.layer_count / 2)
    return mixture.with_layers(tuple(_shorten_deadline(layer, share) for layer in mixture.layers))


def _shorten_deadline(layer: Layer, seconds: float) -> Layer:
    own = layer.deadline
    return replace(layer, deadline=seconds if own is None else min(own, seconds))
