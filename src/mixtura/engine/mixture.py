"""Mixture: layers of proposers, then one aggregator, as Wang et al. 2024 define it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from mixtura.core.arguments import check_count, check_name, wrong_kind
from mixtura.core.model import Model, check_model, get_model_info
from mixtura.core.quantities import LAYERS, NumberRange
from mixtura.core.roles import Aggregator, Layer, Proposer
from mixtura.core.straggler_patience import LearnedPatience
from mixtura.engine.aggregated_pattern import AggregatedPattern

DEPTH = NumberRange(2, LAYERS.most)
"""Layers of a mixture of proposers: the aggregator's is one."""
LEARNED = LearnedPatience()
"""Stands for a patience that each mixture learns for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture(AggregatedPattern):
    """
    A Model made of models, so it can be served, evaluated and nested like one.

    y_i = concat_j[A_ij(x_i)] + x_1 and x_{i+1} = y_i (Wang et al. 2024, section 2.2,
    equation 1). ``layers`` are the proposer layers; the paper counts the aggregator as
    the last layer, so its number of layers is ``len(layers) + 1`` (``layer_count``).
    """

    name: str = "mixture"

    @classmethod
    def of(
        cls,
        proposers: Sequence[Model | Proposer | str],
        aggregator: Model | str,
        *,
        depth: int = 2,
        name: str = "mixture",
        patience: float | LearnedPatience | None = LEARNED,
    ) -> Self:
        """
        The common case: the same *proposers* in every layer but the last; *depth* layers.

        Models, or names of models as the command line takes them (``openai/gpt-5.4``).
        *patience* with stragglers: learned from the models' last answers, the aggregator's own
        model waited for in any case; seconds after the first answer; None waits for all.
        Raises ConfigError for a name that means nothing, TypeError for what is no model,
        ValueError for fewer layers than 2, more than 100, or no proposers.
        """
        depth = check_count("depth", depth, DEPTH)
        # A string is a sequence, too: each of its letters would pass for a name.
        if isinstance(proposers, str) or not isinstance(proposers, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise wrong_kind("proposers", "a list of models or of models' names", proposers)
        members = tuple(
            one if isinstance(one, Proposer) else Proposer(_resolve_model(one, f"proposers[{i}]"))
            for i, one in enumerate(proposers)
        )
        check_name("name", name)
        last = Aggregator(_resolve_model(aggregator, "aggregator"))
        if patience is LEARNED:
            patience = LearnedPatience(strongest=last.model.name)
        seconds, learned = (
            (None, patience) if isinstance(patience, LearnedPatience) else (patience, None)
        )
        layer = Layer(members, patience=seconds, learned=learned)
        return cls(layers=(layer,) * (depth - 1), aggregator=last, name=name)


def _check_model(value: Model | str, place: str) -> Model:
    """
    *value*, while nothing that knows models by name is loaded. Raises TypeError for what is no
    model.
    """
    check_model(place, value)
    assert not isinstance(value, str)
    get_model_info(value)
    return value


# Set by the root package: the engine stands below the configuration, which knows the names.
_resolvers: list[Callable[[Model | str, str], Model]] = [_check_model]


def _resolve_model(value: Model | str, place: str) -> Model:
    return _resolvers[-1](value, place)


def set_model_resolver(resolver: Callable[[Model | str, str], Model]) -> None:
    """
    Let `Mixture.of` take whatever *resolver* makes a model of; the engine reads no settings.

    It is given the value and its place in the call, and raises TypeError for what is no model.
    """
    _resolvers[:] = [resolver]
