"""Mixture: the paper in ten lines. Layers of proposers, then one aggregator."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from mixtura.core.errors import ModelError, add_charges
from mixtura.core.events import Emit, RunCompleted, RunStarted
from mixtura.core.model import Model
from mixtura.core.roles import Aggregator, Composite, Layer, PlannedCall, Proposer, plan_layer_calls
from mixtura.core.types import Charge, Completion, Request
from mixtura.engine.aggregator import run_aggregator
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.engine.layer import run_layers
from mixtura.engine.prompt_builder import make_prompt_builder
from mixtura.engine.proposal_cache import ProposalCache, find_turn_proposals, store_turn_proposals
from mixtura.prompts.proposer_view import for_proposer
from mixtura.prompts.synthesis import Synthesis, envelope, keep_turn_order


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
    turns: ProposalCache | None = field(default=None, compare=False)
    """Where proposals are kept while an agent calls tools; None asks for them every time."""

    @classmethod
    def of(
        cls,
        proposers: Sequence[Model | Proposer | str],
        aggregator: Model | str,
        *,
        depth: int = 2,
        name: str = "mixture",
    ) -> Self:
        """
        The common case: the same *proposers* in every layer but the last; *depth* layers.

        Models, or names of models as the command line takes them (``openai/gpt-5.4``).
        Raises ConfigError for a name that means nothing, TypeError for what is no model.
        """
        if depth < 2:
            raise ValueError(
                "a mixture of proposers has at least 2 layers, the aggregator's included"
            )
        if isinstance(proposers, str) or not isinstance(proposers, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("proposers is a list of models or of models' names")
        members = tuple(
            one if isinstance(one, Proposer) else Proposer(_resolve_model(one, f"proposers[{i}]"))
            for i, one in enumerate(proposers)
        )
        last = Aggregator(_resolve_model(aggregator, "aggregator"))
        return cls(layers=(Layer(members),) * (depth - 1), aggregator=last, name=name)

    @property
    def fallback_models(self) -> tuple[Model, ...]:
        return self.aggregator.fallbacks

    @property
    def sole_answerer(self) -> Model:
        return self.aggregator.model

    def planned_calls(self) -> Sequence[PlannedCall]:
        rows = plan_layer_calls(self.layers)
        size = self.layers[-1].call_count if self.layers else 0
        reads = tuple(range(len(rows) - size, len(rows)))
        last = self.aggregator
        return [*rows, PlannedCall(last.model, last.sampling, reads=reads, answers=True)]

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        shape = self._layer_model_names()
        if emit:
            emit(RunStarted(self.name, request, shape))
        charges: tuple[Charge, ...] = ()
        degraded: tuple[str, ...] = ()
        try:
            size = estimate_request_bytes(request)
            proposals = await run_in_thread_if_large(
                size, find_turn_proposals, self.turns, request, shape
            )
            if proposals is None:
                told = await run_in_thread_if_large(size, for_proposer, request)
                down = await run_layers(self.layers, self.synthesis, told, emit)
                proposals, charges, degraded = down
                if self.layers:
                    await run_in_thread_if_large(
                        size, store_turn_proposals, self.turns, request, shape, proposals
                    )
            show = make_prompt_builder(keep_turn_order(self.synthesis), request)
            last = self.aggregator
            answer = await run_aggregator(last, show, proposals, depth=self.layer_count, emit=emit)
        except ModelError as error:
            raise error.with_charges(*charges) from None
        except CancelledError as left:
            add_charges(left, *charges)
            raise
        whole = replace(
            answer,
            model=self.name,
            charges=charges + answer.charges,
            degraded=degraded + answer.degraded,
        )
        if emit:
            emit(RunCompleted(whole))
        return whole

    def _layer_model_names(self) -> tuple[tuple[str, ...], ...]:
        rows = [tuple(call.model.name for call in layer.proposer_calls) for layer in self.layers]
        return (*rows, (self.aggregator.model.name,))


def _check_model(value: Model | str, place: str) -> Model:
    """*value*, where no one is there who knows models by name."""
    if isinstance(value, Model):
        return value
    raise TypeError(f"{place} is no model: a model has a `name` and an `async complete(request)`")


_resolvers: list[Callable[[Model | str, str], Model]] = [_check_model]


def _resolve_model(value: Model | str, place: str) -> Model:
    return _resolvers[-1](value, place)


def set_model_resolver(resolver: Callable[[Model | str, str], Model]) -> None:
    """Let `Mixture.of` take whatever *resolver* makes a model of; the engine reads no settings."""
    _resolvers[:] = [resolver]
