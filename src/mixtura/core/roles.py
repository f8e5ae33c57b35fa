"""The roles in a mixture: proposers, layers, the aggregator, and what all composites share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from mixtura.core.arguments import (
    NumberField,
    check_count,
    check_items,
    check_kind,
    check_number_fields,
    check_optional,
)
from mixtura.core.events import Emit
from mixtura.core.model import Model, Wrapper, check_model, get_model_info, unwrap_model
from mixtura.core.model_info import ModelInfo
from mixtura.core.quantities import COUNT, SECONDS, SEED
from mixtura.core.straggler_patience import LearnedPatience
from mixtura.core.types import Completion, Request, Sampling


@dataclass(frozen=True, slots=True)
class Proposer:
    """
    A model that answers for others to read.

    *samples* above 1 calls it that often, each its own draw (the paper's single-proposer
    setting). *persona* is put in front of the conversation as a system message. Raises
    TypeError for what is no model or no text, ValueError for fewer samples than 1.
    """

    model: Model
    sampling: Sampling = field(default_factory=Sampling)
    samples: int = 1
    persona: str | None = None

    def __post_init__(self) -> None:
        check_model("model", self.model)
        check_kind("sampling", self.sampling, Sampling, "a Sampling")
        check_number_fields(self, NumberField("samples", COUNT, whole=True, optional=False))
        check_optional("persona", self.persona, str, "a text, or None")


@dataclass(frozen=True, slots=True)
class Layer:
    """
    Proposers called side by side; *quorum* of their answers are needed.

    *patience*: the straggler timeout, seconds to wait once the quorum has answered.
    *deadline*: seconds after which the layer goes on with what it has.
    ``None`` waits for all. *learned*: in place of *patience*, for as long as the models' own
    last answers suggest. Raises TypeError for what is no proposer or no number, ValueError without
    proposers, for seconds out of range, or where the quorum does not fit their number.
    """

    proposers: tuple[Proposer, ...]
    quorum: int = 1
    patience: float | None = None
    deadline: float | None = None
    learned: LearnedPatience | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        right = "a tuple of Proposer, as in (Proposer(model),)"
        object.__setattr__(
            self, "proposers", check_items("proposers", self.proposers, Proposer, right)
        )
        check_number_fields(self, *_LAYER_NUMBERS)
        check_optional("learned", self.learned, LearnedPatience, "a LearnedPatience, or None")
        if not self.proposers:
            raise ValueError("a layer needs at least one proposer")
        if not 1 <= self.quorum <= self.call_count:
            raise ValueError(f"a quorum of {self.quorum} does not fit {self.call_count} proposals")

    @property
    def call_count(self) -> int:
        """Calls this layer makes."""
        return sum(proposer.samples for proposer in self.proposers)

    @property
    def proposer_calls(self) -> tuple[Proposer, ...]:
        """One entry a call, in order: a proposer of three samples stands three times."""
        return tuple(p for p in self.proposers for _ in range(p.samples))


_LAYER_NUMBERS = (
    NumberField("quorum", SEED, whole=True, optional=False),
    NumberField("patience", SECONDS),
    NumberField("deadline", SECONDS),
)


@dataclass(frozen=True, slots=True)
class Aggregator:
    """
    The model that writes the answer; *fallbacks* are called in order when it cannot. Raises
    TypeError for what is no model.
    """

    model: Model
    sampling: Sampling = field(default_factory=Sampling)
    fallbacks: tuple[Model, ...] = ()

    def __post_init__(self) -> None:
        check_model("model", self.model)
        check_kind("sampling", self.sampling, Sampling, "a Sampling")
        if self.fallbacks != ():
            fallbacks = check_items("fallbacks", self.fallbacks, object, "a tuple of models")
            for index, model in enumerate(fallbacks):
                check_model(f"fallbacks[{index}]", model)
            object.__setattr__(self, "fallbacks", fallbacks)


def check_draws(draws: object) -> int:
    """How often one model is asked. Raises TypeError and ValueError for what is no such number."""
    return check_count("draws", draws, COUNT)


def check_models(name: str, value: object) -> tuple[Any, ...]:
    """
    The models and Proposers of a list. Raises TypeError, which names the argument *name*, for
    anything else.
    """
    models = check_items(name, value, object, "a list of models")
    for index, model in enumerate(models):
        if not isinstance(model, Proposer):
            check_model(f"{name}[{index}]", model)
    return models


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """
    A call that an answer takes: which model, and what it reads besides the conversation.

    *reads*: the answers it is shown, by their positions among the planned calls. *answers*:
    what it writes may be what the caller gets, so the caller's sampling counts before its own.
    *after*: positions of further calls that it waits for without reading them. *proposes*: it is
    that of a proposer of the composite's layers.
    """

    model: Model
    sampling: Sampling = field(default_factory=Sampling)
    persona: str | None = None
    reads: tuple[int, ...] = ()
    answers: bool = False
    after: tuple[int, ...] = ()
    proposes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite(ABC):
    """
    A Model made of models: a mixture, or one of its relatives under ``patterns``.

    It lists the calls that one answer takes (`planned_calls`), which is all that forecasts, caps
    and deadlines need to know of it.
    """

    layers: tuple[Layer, ...]
    name: str

    @abstractmethod
    async def complete(self, request: Request, emit: Emit | None = None) -> Completion: ...

    @abstractmethod
    def planned_calls(self) -> Sequence[PlannedCall]:
        """Every call of one answer when nothing fails, each after those that it reads."""

    @property
    def call_count(self) -> int:
        """Model calls that one answer takes when nothing fails, nested mixtures included."""
        members = [unwrap_model(call.model) for call in self.planned_calls()]
        return sum(m.call_count if isinstance(m, Composite) else 1 for m in members)

    @property
    def info(self) -> ModelInfo:
        """
        What is known of its members: the smallest of their windows, and the parameters that no
        one follows who may write the answer. Each member is shown what it can see, and charges
        its own price.
        """
        calls = self.planned_calls()
        sizes = [get_model_info(call.model).context_window for call in calls]
        writers = [call.model for call in calls if call.answers]
        refused = [
            get_model_info(model).refused_parameters for model in (*writers, *self.fallback_models)
        ]
        return ModelInfo(
            self.name,
            context_window=min((size for size in sizes if size is not None), default=None),
            refused_parameters=refused[0].intersection(*refused[1:]) if refused else frozenset(),
        )

    @property
    def layer_count(self) -> int:
        """Layers in the paper's count: the step that makes the answer is the last."""
        return len(self.layers) + 1

    @property
    def fallback_models(self) -> tuple[Model, ...]:
        """Models that are only called when others fail."""
        return ()

    @property
    def sole_answerer(self) -> Model | None:
        """
        The model that can answer without any proposer; None where the answer is one of the
        proposals.
        """
        return None

    @property
    def needed_proposer(self) -> str:
        """The name of a proposer of the last layer that fewer proposers keep; empty for any."""
        return ""

    def with_layers(self, layers: tuple[Layer, ...]) -> Self:
        """The same with other proposers. Raises ValueError where it cannot have these."""
        return replace(self, layers=layers)

    def without_proposers(self) -> Composite | None:
        """`sole_answerer` alone, under the same name; None where there is none."""
        try:
            return self.with_layers(()) if self.sole_answerer else None
        except ValueError:
            return None


def plan_layer_calls(layers: Sequence[Layer], *, answers: bool = False) -> list[PlannedCall]:
    """
    The calls of proposer layers, each reading the layer before it.

    *answers*: the last layer's proposals are what an answer is chosen from.
    """
    rows: list[PlannedCall] = []
    reads: tuple[int, ...] = ()
    for depth, layer in enumerate(layers, start=1):
        last = answers and depth == len(layers)
        begun = len(rows)
        rows += [
            PlannedCall(c.model, c.sampling, c.persona, reads, last, proposes=True)
            for c in layer.proposer_calls
        ]
        reads = tuple(range(begun, len(rows)))
    return rows


def find_proposers(composite: Composite, calls: Sequence[PlannedCall]) -> list[int]:
    """
    The positions, among its planned *calls*, of those of the proposers of *composite*, in their
    order: some plan other calls between their layers. Where none is marked, they are the first.
    """
    marked = [number for number, call in enumerate(calls) if call.proposes]
    return marked or list(range(sum(layer.call_count for layer in composite.layers)))


def plan_layers_in_turn(layers: Sequence[Layer]) -> list[PlannedCall]:
    """The calls of layers of which none reads another, but waits for it; each may answer."""
    calls: list[PlannedCall] = []
    before: tuple[int, ...] = ()
    for layer in layers:
        begun = len(calls)
        calls += [replace(call, after=before) for call in plan_layer_calls([layer], answers=True)]
        before = tuple(range(begun, len(calls)))
    return calls


def iterate_models(model: Model) -> Iterator[Model]:
    """*model* and every model inside it: in its wrappers, among its members, as a fallback."""
    yield model
    inner: list[Model] = []
    if isinstance(model, Wrapper):
        inner = [model.inner_model, *model.fallback_models]
    elif isinstance(model, Composite):
        inner = [*(call.model for call in model.planned_calls()), *model.fallback_models]
    for one in inner:
        yield from iterate_models(one)
