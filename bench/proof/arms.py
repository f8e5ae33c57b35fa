"""The arms of the proof: what answers each set, built of Mixtura's own patterns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.proof.programs import ProgramRuns
from bench.proof.questions import CODE_TOKENS, LIAR, TEMPERATURE, WORDS_TOKENS

from mixtura import (
    Aggregator,
    BestOf,
    Chosen,
    Completion,
    Layer,
    Message,
    Mixture,
    Model,
    Proposer,
    Ranker,
    Request,
    Sampling,
    Vote,
)
from mixtura.catalog.patterns import find_pattern
from mixtura.core.events import Emit
from mixtura.patterns.checked import Checked
from mixtura.patterns.final_answer import extract_number
from mixtura.patterns.modes import Modes
from mixtura.patterns.mux import Mux


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of answering a set's items; *draws* times over, on draws that do not overlap."""

    name: str
    model: Model
    draws: int = 1


def arms_of(name: str, large: Model, small: Model, runs: ProgramRuns) -> list[Arm]:
    """The arms of the set *name*: the single models first."""
    return _BUILDERS[name](large, small, runs)


# ---- what the sets have in common


def _seats(max_tokens: int, *members: tuple[Model, int]) -> list[Proposer]:
    sampling = Sampling(temperature=TEMPERATURE, max_tokens=max_tokens)
    return [Proposer(model, sampling, count) for model, count in members]


def _written(name: str, seats: Sequence[Proposer], aggregator: Model) -> Mixture:
    return Mixture(layers=(Layer(tuple(seats)),), aggregator=Aggregator(aggregator), name=name)


def _alone(large: Model, small: Model) -> list[Arm]:
    return [
        Arm(name="large", model=large, draws=4),
        Arm(name="small", model=small, draws=4),
    ]


# ---- the sets


def _humaneval_arms(large: Model, small: Model, runs: ProgramRuns) -> list[Arm]:
    checked = Checked(run_program=runs.run_examples)
    # As long as an answer: a small model may write one test after another without an end.
    tests = Sampling(temperature=0.0, max_tokens=CODE_TOKENS)
    tested = Checked(run_program=runs.run_examples, tester=large, sampling=tests)

    def seats(*members: tuple[Model, int]) -> list[Proposer]:
        return _seats(CODE_TOKENS, *members)

    def chosen(chooser: Any, *members: tuple[Model, int]) -> Chosen:
        return Chosen.of(seats(*members), chooser)

    two, four = ((large, 2), (small, 2)), ((large, 4),)
    return [
        *_alone(large, small),
        Arm(name="checked-2+2", model=chosen(checked, *two), draws=2),
        Arm(name="checked-4", model=chosen(checked, *four)),
        Arm(
            name="checked-3", model=chosen(checked, (large, 3)),
        ),
        Arm(
            name="checked-2", model=chosen(checked, (large, 2)),
            draws=2,
        ),
        Arm(name="checked-small-4", model=chosen(checked, (small, 4))),
        Arm(name="checked-1+1", model=chosen(checked, (large, 1), (small, 1)), draws=4),
        Arm(name="checked-1+2", model=chosen(checked, (large, 1), (small, 2)), draws=2),
        Arm(name="vote-2+2", model=chosen(Vote(), *two), draws=2),
        Arm(name="vote-4", model=chosen(Vote(), *four)),
        Arm(name="mux-2+2", model=chosen(Mux(), *two), draws=2),
        Arm(name="rank-2+2", model=chosen(Ranker(large), *two)),
        Arm(name="rank-4", model=chosen(Ranker(large), *four)),
        Arm(
            name="synthesis-2+2",
            model=_written("synthesis", seats(*two), large),
        ),
        Arm(name="self-4", model=_written("self", seats(*four), large)),
        Arm(
            name="tested-2+2",
            model=chosen(tested, *two),
        ),
    ]  # fmt: skip


def _gsm8k_arms(large: Model, small: Model, runs: ProgramRuns) -> list[Arm]:
    two = _seats(WORDS_TOKENS, (large, 2), (small, 2))
    four = _seats(WORDS_TOKENS, (large, 4))
    # One answer in words and one program, and two more only where they do not agree.
    pairs = (Layer(tuple(_seats(WORDS_TOKENS, (large, 2)))),) * 2
    return [
        *_alone(large, small),
        Arm(name="vote-4", model=Chosen.of(four, Vote(extract_number))),
        Arm(name="vote-2+2", model=Chosen.of(two, Vote(extract_number)), draws=2),
        Arm(name="mux-2+2", model=Chosen.of(two, Mux(extract_number)), draws=2),
        Arm(name="rank-4", model=Chosen.of(four, Ranker(large))),
        Arm(
            name="synthesis-2+2",
            model=_written("synthesis", two, large),
        ),
        Arm(name="self-4", model=_written("self", four, large)),
        Arm(
            name="modes-4",
            model=Modes(layers=pairs, extract="number", run_program=runs.run_examples),
        ),
    ]  # fmt: skip


def _program_arms(large: Model, small: Model, runs: ProgramRuns) -> list[Arm]:  # noqa: ARG001
    """A probe: the arm of two modes was planned only if programs did about as well as words."""
    return [Arm(name="large", model=large)]


def _ifeval_arms(large: Model, small: Model, runs: ProgramRuns) -> list[Arm]:  # noqa: ARG001
    seats = _seats(WORDS_TOKENS, (large, 2), (small, 2))
    four = _seats(WORDS_TOKENS, (large, 4))
    return [
        *_alone(large, small),
        Arm(
            name="synthesis-2+2",
            model=_written("synthesis", seats, large),
        ),
        Arm(name="self-4", model=_written("self", four, large)),
        Arm(name="rank-4", model=Chosen.of(four, Ranker(large))),
        Arm(
            name="judged-4",
            model=Chosen.of(four, BestOf(large)),
        ),
    ]  # fmt: skip


def _deception_arms(large: Model, small: Model, runs: ProgramRuns) -> list[Arm]:  # noqa: ARG001
    # Four members with a vote each, all of the same weights: three draws of one member would share
    # one vote, and the liar would have the other.
    honest = [
        _seats(WORDS_TOKENS, (_Member(large, f"member {draw + 1}", draw), 1))[0]
        for draw in range(3)
    ]
    liar = replace(_seats(WORDS_TOKENS, (_Member(large, "liar", 0), 1))[0], persona=LIAR)
    seats = [*honest, liar]
    arms = [
        Arm(name="large", model=large, draws=4),
        Arm(
            name="liar",
            model=_Told(large, LIAR), draws=1,
        ),
        Arm(
            name="honest",
            model=_written("honest", honest, large),
        ),
        Arm(
            name="plain",
            model=_written("plain", seats, large),
        ),
        Arm(
            name="mux",
            model=Chosen.of(seats, Mux(extract_number)),
        ),
        Arm(
            name="vote",
            model=Chosen.of(seats, Vote(extract_number)),
        ),
    ]  # fmt: skip
    if (robust := find_pattern("robust")) is not None:
        build: Callable[..., Model] = robust.kind
        model = build(layers=(Layer(tuple(seats)),), aggregator=Aggregator(large), extract="number")
        arms.append(Arm(name="robust", model=model))
    return arms


class _Member:
    """The draw numbered *draw* of a model, as a member of its own that is called *name*."""

    def __init__(self, model: Model, name: str, draw: int) -> None:
        self._model = model
        self._draw = draw
        self.name = name

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        said = await self._model.complete(replace(request, draw=self._draw), emit)
        return replace(said, model=self.name)


class _Told:
    """A model with a message of the system in front, as a proposer with a persona has it."""

    def __init__(self, model: Model, persona: str) -> None:
        self._model, self._persona = model, persona
        self.name = model.name

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        messages = (Message("system", self._persona), *request.messages)
        return await self._model.complete(replace(request, messages=messages), emit)


_BUILDERS: Mapping[str, Callable[[Model, Model, ProgramRuns], list[Arm]]] = {
    "humaneval": _humaneval_arms,
    "gsm8k": _gsm8k_arms,
    "gsm8k-programs": _program_arms,
    "ifeval": _ifeval_arms,
    "deception": _deception_arms,
}
