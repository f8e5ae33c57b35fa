"""A hand on a run under way: answer now, leave one proposer out, ask it or another anew."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import NamedTuple

from mixtura.core.arguments import check_kind
from mixtura.core.context_values import hold_value
from mixtura.core.errors import MixturaError
from mixtura.core.events import Position
from mixtura.core.model import Model
from mixtura.core.roles import Proposer
from mixtura.core.types import Completion
from mixtura.engine.proposer_replacement import ASKED_ANEW, LayerSeats
from mixtura.engine.stragglers import LateCalls, ProposerTask

ANSWER_NOW = "still under way when an answer was asked for"
LEFT_OUT = "left out by hand"


class ControlError(MixturaError):
    """What was asked of a run is not possible as it stands; the message says why."""


class OpenLayer(NamedTuple):
    """A layer whose calls are under way."""

    tasks: Mapping[Position, ProposerTask]
    calls: Mapping[Position, Proposer]
    seats: LayerSeats
    late: LateCalls
    quorum: int

    @property
    def waiting_positions(self) -> list[Position]:
        """The calls that still count."""
        return [
            position
            for position, task in self.tasks.items()
            if not task.done()
            and position not in self.late.cut
            and not self.seats.is_parked(position)
        ]

    @property
    def answered(self) -> int:
        """How many proposals there are."""
        return sum(
            not task.cancelled() and not task.exception() and isinstance(task.result(), Completion)
            for task in self.tasks.values()
            if task.done()
        )

    def cut_call(self, position: Position, why: str) -> None:
        """Cancel one call; its outcome says *why*."""
        self.late.cut[position] = why
        self.tasks[position].cancel()


class RunControl:
    """
    Steers the run that is begun within ``control_run(control)``, from the same event loop.

    It reaches the layers of the outermost mixture; one that sits in a seat is a call like others.
    """

    def __init__(self) -> None:
        self._layers: list[OpenLayer] = []
        self.is_answering_now = False
        """Layers that have not begun are passed over."""

    def answer_now(self) -> None:
        """
        End the calls under way; the last step reads the proposals that are there, and what the
        others had written where that is long enough. Raises ControlError where the layer's
        quorum is not met, or no layer is under way.
        """
        for layer in (layers := self._open_layers()):
            if layer.answered < layer.quorum:
                raise ControlError(
                    f"the answer needs {layer.quorum} proposals, {layer.answered} are there"
                )
        self.is_answering_now = True
        for layer in layers:
            for position in layer.waiting_positions:
                layer.late.answered_without.add(position)
                layer.cut_call(position, ANSWER_NOW)

    def leave_out(self, depth: int, index: int) -> None:
        """
        End the call of proposer *index* (from 0) of layer *depth* (from 1); nothing that it wrote
        is used. Raises ControlError where it is not under way or the quorum needs it.
        """
        position = Position(depth, index, "proposer")
        found = [layer for layer in self._open_layers() if position in layer.waiting_positions]
        if not found:
            raise ControlError(f"proposer {index + 1} of layer {depth} is not under way")
        for layer in found:
            if layer.answered + len(layer.waiting_positions) - 1 < layer.quorum:
                raise ControlError(
                    f"the answer needs {layer.quorum} proposals: without this one too few are left"
                )
        for layer in found:
            layer.late.left_out.add(position)
            layer.cut_call(position, LEFT_OUT)

    def ask_again(self, depth: int, index: int, model: Model | None = None) -> None:
        """
        Ask proposer *index* (from 0) of layer *depth* (from 1) once more, or *model* in its place,
        with its persona and sampling. What it had written is not used, what it has cost by then is
        paid. Raises ControlError where it has answered, or its layer is not under way.
        """
        position = Position(depth, index, "proposer")
        found = [
            layer
            for layer in self._open_layers()
            if position in layer.waiting_positions or layer.seats.is_parked(position)
        ]
        if not found:
            raise ControlError(f"proposer {index + 1} of layer {depth} is not under way")
        for layer in found:
            proposer = layer.calls[position]
            if model is not None:
                proposer = replace(proposer, model=model)
            if layer.seats.ask_next(position, proposer):
                layer.late.left_out.add(position)
                layer.cut_call(position, ASKED_ANEW)

    def _open_layers(self) -> list[OpenLayer]:
        if not self._layers:
            raise ControlError("no proposers are under way")
        return self._layers

    @contextmanager
    def hold_layer(self, layer: OpenLayer) -> Generator[None]:
        """In this block, the calls of *layer* can be steered."""
        self._layers.append(layer)
        try:
            yield
        finally:
            # By identity: two runs of one control may look alike.
            self._layers = [one for one in self._layers if one is not layer]


_CONTROL: ContextVar[RunControl | None] = ContextVar("control", default=None)


def control_run(control: RunControl | None) -> AbstractContextManager[None]:
    """In this block, a run is steered by *control*. Raises TypeError for what is none."""
    if control is not None:
        check_kind("control", control, RunControl, "a RunControl(), or None")
    return hold_value(_CONTROL, control)


def current_control() -> RunControl | None:
    """The control of the run under way."""
    return _CONTROL.get()
