"""Mixture: the paper in ten lines. Layers of proposers, then one aggregator."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from mixtura.apart import apart, weight
from mixtura.engine import aggregate, descend, reading
from mixtura.errors import ModelError, bill
from mixtura.events import Completed, Emit, RunStarted
from mixtura.model import Model
from mixtura.prompts import Synthesis, advised, envelope, within_turn
from mixtura.roles import Aggregator, Composite, Layer, Planned, Proposer, planned_layers
from mixtura.turns import Turns, keep, kept
from mixtura.types import Charge, Completion, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture(Composite):
    """
    A Model made of models, so it can be served, evaluated and nested like one.

    y_i = concat_j[A_ij(x_i)] + x_1 and x_{i+1} = y_i (Wang et al. 2024, section 2.2,
    equation 1). ``layers`` are the proposer layers; the paper counts the aggregator as
    the last layer, so its number of layers is ``len(layers) + 1`` (``depth``).
    """

    aggregator: Aggregator
    name: str = "mixture"
    synthesis: Synthesis = envelope
    turns: Turns | None = field(default=None, compare=False)
    """Where proposals are kept while an agent calls tools; None asks for them every time."""

    @classmethod
    def of(
        cls,
        proposers: Sequence[Model | Proposer],
        aggregator: Model,
        *,
        depth: int = 2,
        name: str = "mixture",
    ) -> Self:
        """The common case: the same *proposers* in every layer but the last; *depth* layers."""
        if depth < 2:
            raise ValueError(
                "a mixture of proposers has at least 2 layers, the aggregator's included"
            )
        seats = tuple(p if isinstance(p, Proposer) else Proposer(p) for p in proposers)
        return cls(
            layers=(Layer(seats),) * (depth - 1), aggregator=Aggregator(aggregator), name=name
        )

    @property
    def spares(self) -> tuple[Model, ...]:
        return self.aggregator.fallbacks

    @property
    def author(self) -> Model:
        return self.aggregator.model

    def planned(self) -> Sequence[Planned]:
        rows = planned_layers(self.layers)
        size = self.layers[-1].size if self.layers else 0
        reads = tuple(range(len(rows) - size, len(rows)))
        last = self.aggregator
        return [*rows, Planned(last.model, last.sampling, reads=reads, answers=True)]

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        shape = self._shape()
        if emit:
            emit(RunStarted(self.name, request, shape))
        charges: tuple[Charge, ...] = ()
        degraded: tuple[str, ...] = ()
        try:
            size = weight(request)
            proposals = await apart(size, kept, self.turns, request, shape)
            if proposals is None:
                told = await apart(size, advised, request)
                down = await descend(self.layers, self.synthesis, told, emit)
                proposals, charges, degraded = down
                if self.layers:
                    await apart(size, keep, self.turns, request, shape, proposals)
            show = reading(within_turn(self.synthesis), request)
            last = self.aggregator
            answer = await aggregate(last, show, proposals, depth=self.depth, emit=emit)
        except ModelError as error:
            raise error.paid(*charges) from None
        except CancelledError as left:
            bill(left, *charges)
            raise
        whole = replace(
            answer,
            model=self.name,
            charges=charges + answer.charges,
            degraded=degraded + answer.degraded,
        )
        if emit:
            emit(Completed(whole))
        return whole

    def _shape(self) -> tuple[tuple[str, ...], ...]:
        rows = [tuple(call.model.name for call in layer.calls) for layer in self.layers]
        return (*rows, (self.aggregator.model.name,))
