"""Sequential: any number of draws, merged a window at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import msgspec

from mixtura.core.arguments import NumberField, check_number_fields
from mixtura.core.errors import ConfigError, QuorumNotMetError
from mixtura.core.model import Model
from mixtura.core.quantities import SEED
from mixtura.core.roles import Aggregator, Layer, PlannedCall, Proposer, check_draws
from mixtura.core.types import Completion, Sampling
from mixtura.engine.aggregated_pattern import AggregatedPattern
from mixtura.engine.final_step import FinalStep
from mixtura.patterns.choosing import medoid_position
from mixtura.patterns.spec import PatternParts, PatternSpec, require_one_layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequential(AggregatedPattern):
    """
    Self-MoA-Seq (Li et al. 2025, arXiv 2502.00674, section 5 and figure 1).

    All draws are made at once. The aggregator reads the first *width* of them; then, again
    and again, what it wrote and as many new draws as make *width* texts; what it writes last
    is the answer. So no call reads more than *width* texts, however many draws there are.
    *repeat*: how often its last text stands among them, to weigh more than a draw does.

    A step that fails leaves the text closest to the others of its window in its place, and
    the answer says so in ``degraded``. Raises ValueError for more layers than one, or where
    *repeat* leaves no place for a new draw.
    """

    width: int = 6
    repeat: int = 1
    name: str = "sequential"

    def __post_init__(self) -> None:
        AggregatedPattern.__post_init__(self)
        check_number_fields(
            self,
            NumberField("width", SEED, whole=True, optional=False),
            NumberField("repeat", SEED, whole=True, optional=False),
        )
        if len(self.layers) > 1:
            raise ValueError("a sequential run has one layer of draws")
        if not 1 <= self.repeat < self.width:
            raise ValueError(
                f"width, repeat: {self.repeat} of {self.width} places leave none for a new draw"
            )

    @classmethod
    def of(
        cls,
        model: Model,
        draws: int,
        *,
        aggregator: Model | None = None,
        width: int = 6,
        temperature: float | None = 0.7,
        name: str = "sequential",
    ) -> Self:
        """
        The common case: *draws* of one model; *aggregator*, by default the same model, merges them.
        Raises ValueError for fewer draws than 1 or fewer places than 2, TypeError for what is no
        model or no number.
        """
        drawn = Proposer(model, Sampling(temperature=temperature), check_draws(draws))
        last = Aggregator(model if aggregator is None else aggregator)
        return cls(layers=(Layer((drawn,)),), aggregator=last, width=width, name=name)

    @property
    def _draw_count(self) -> int:
        return self.layers[0].call_count if self.layers else 0

    def _draft_windows(self, drafts: int) -> list[range]:
        return draft_windows(drafts, self.width, self.repeat)

    @property
    def final_layers(self) -> tuple[str, ...]:
        return (self.aggregator.model.name,) * len(self._draft_windows(self._draw_count))

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:
        last, steps = self.aggregator, self._draft_windows(len(reads))
        calls: list[PlannedCall] = []
        before: tuple[int, ...] = ()
        for number, fresh in enumerate(steps):
            shown = (*before, *(reads[i] for i in fresh))
            answers = number == len(steps) - 1
            calls.append(PlannedCall(last.model, last.sampling, reads=shown, answers=answers))
            before = (len(reads) + number,) * self.repeat
        return calls

    async def condense_proposals(self, step: FinalStep) -> Sequence[Completion]:
        """The texts of the last window, after every step but the last."""
        drafts = step.proposals
        *steps, last = self._draft_windows(len(drafts))
        best: tuple[Completion, ...] = ()
        # Each step is a layer in the paper's count: the answer's own is the last.
        for depth, fresh in enumerate(steps, start=self.layer_count - len(steps)):
            window = (*best, *(drafts[i] for i in fresh))
            best = (await self._merge_window(step, window, depth),) * self.repeat
        return (*best, *(drafts[i] for i in last))

    async def _merge_window(
        self, step: FinalStep, window: Sequence[Completion], depth: int
    ) -> Completion:
        """
        One window merged: by the aggregator, else by a fallback; else the text closest to the
        others.
        """
        for model in (self.aggregator.model, *self.aggregator.fallbacks):
            layer = Layer((Proposer(model, self.aggregator.sampling),))
            try:
                result = await step.ask_layer(layer, window, depth=depth)
            except QuorumNotMetError as error:
                step.add_notices(f"layer {depth}: {model.name} failed: {error.causes[0]}")
            else:
                (text,) = result.proposals
                step.add_notices(*(f"layer {depth}: {model.name}: {n}" for n in text.degraded))
                return text
        step.add_notices(f"layer {depth}: the text closest to the others stands in for it")
        return window[medoid_position(window)]


def draft_windows(drafts: int, width: int, repeat: int = 1) -> list[range]:
    """
    The drafts that are new in each step: *width* in the first, then as many as there is room
    for beside *repeat* copies of what the step before wrote.
    """
    ends = [min(width, drafts)]
    while ends[-1] < drafts:
        ends.append(min(ends[-1] + width - repeat, drafts))
    return [range(begun, end) for begun, end in zip([0, *ends], ends, strict=False)]


class SequentialSettings(msgspec.Struct, frozen=True):
    """
    The settings of `Sequential` in a file: *window* is its width. Raises ConfigError where *repeat*
    leaves no place for a new draw.
    """

    window: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 6
    repeat: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1

    def __post_init__(self) -> None:
        if self.repeat >= self.window:
            key = "repeat" if self.repeat > 1 else "window"
            problem = f"{self.repeat} of {self.window} texts leave no room for a new draw"
            raise ConfigError(f"{key}: {problem}", key=key)


def _count_steps(settings: SequentialSettings, draws: int) -> int:
    return len(draft_windows(draws, settings.window, settings.repeat))


def _build(parts: PatternParts) -> Sequential:
    return parts.build_aggregated(
        Sequential, width=parts.settings.window, repeat=parts.settings.repeat
    )


PATTERN = PatternSpec(
    help="a synthesis of any number of draws, at most `window` texts at a time",
    kind=Sequential,
    build=_build,
    settings=SequentialSettings,
    aggregator="the model that merges the draws",
    final_step="the aggregator, at most {window} texts at a time",
    check_layers=require_one_layer("of draws"),
    final_layer_count=_count_steps,
)
