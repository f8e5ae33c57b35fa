"""Modes: half of the seats answer in words, half as a program that is run, until two agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import msgspec

from mixtura.core.errors import ConfigError, QuorumNotMetError
from mixtura.core.roles import Layer, PlannedCall, Proposer, plan_layers_in_turn
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.types import Completion
from mixtura.engine.final_step import FinalStep
from mixtura.engine.layer import LayersResult
from mixtura.engine.pattern import Pattern
from mixtura.patterns.answer_groups import AnswerReader
from mixtura.patterns.checked import (
    ProgramsNotRunError,
    RunProgram,
    last_question,
    read_programs,
    run_programs,
)
from mixtura.patterns.choosing import medoid_position
from mixtura.patterns.final_answer import EXTRACTORS, extract_marked
from mixtura.patterns.spec import PatternSpec, require_proposers
from mixtura.patterns.vote import check_extract
from mixtura.prompts.instructions import load_text
from mixtura.prompts.synthesis import Synthesis

ENTRY_POINT = "solve"
UNCONFIRMED = "no answer in words is what a program computes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes(Pattern):
    """
    Two modes (arXiv 2604.17433; 2510.21513): of each
    layer every other call answers in words, the others write a program, which is run in the
    sandbox. Layers are asked one after another until an answer in words is what a program
    computes; the first such answer is the answer. After the last one the most frequent answer in
    words is, and ``degraded`` says so.

    Answers are read by *extract*. What fails, and programs that cannot be run, are said in
    ``degraded``. Raises ValueError without layers, or where one has but one call.
    """

    extract: AnswerReader | str = "auto"
    run_program: RunProgram | None = None
    """By default the sandbox of `mixtura.programs`."""
    name: str = "modes"
    proposals_answer = True

    def __post_init__(self) -> None:
        Pattern.__post_init__(self)
        if not self.layers or any(layer.call_count < 2 for layer in self.layers):
            raise ValueError(
                "layers: each layer needs two calls or more: one in words and one for a program"
            )

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:  # noqa: ARG002
        """None: running programs calls no model."""
        return ()

    def planned_calls(self) -> Sequence[PlannedCall]:
        """Every layer's calls, at most; none reads another's, but waits for them."""
        return plan_layers_in_turn([_with_modes(layer) for layer in self.layers])

    async def run_proposers(self, step: FinalStep, synthesis: Synthesis) -> LayersResult:  # noqa: ARG002
        """
        The answers in words of every layer that was asked, the agreed one first where there is
        one. Raises QuorumNotMetError where all failed.
        """
        words: list[Completion] = []
        programs: list[str] = []
        notices: list[str] = []
        question = last_question(step.request)
        for depth, layer in step.layers_to_ask(self.layers):
            try:
                result = await step.ask_layer(
                    _with_modes(layer), (), depth=depth, answers=True, in_turn=self.layers
                )
            except QuorumNotMetError as error:
                if depth == len(self.layers) and not words:
                    raise
                notices += [f"layer {depth}: {one.model} failed: {one}" for one in error.causes]
                continue
            notices += result.notices(depth, drafts=False)
            placed = list(zip(result.places, result.proposals, strict=True))
            words += [proposal for place, proposal in placed if place % 2 == 0]
            written = [proposal.text for place, proposal in placed if place % 2]
            programs += await read_programs(written, question, ENTRY_POINT)
            try:
                agreed = await self._find_agreement(words, programs)
            except ProgramsNotRunError as error:
                notices.append(str(error))
                break
            if agreed is not None:
                found = (words[agreed], *words[:agreed], *words[agreed + 1 :])
                return LayersResult(found, tuple(notices))
        return LayersResult(tuple(words), (*notices, UNCONFIRMED))

    def _read_answer(self, proposal: Completion) -> str | None:
        if proposal.finish_reason != "stop":
            return None
        if self.extract == "auto":
            return extract_marked(proposal.text)
        read = EXTRACTORS[self.extract] if isinstance(self.extract, str) else self.extract
        return read(proposal.text)

    async def _find_agreement(
        self, words: Sequence[Completion], programs: Sequence[str]
    ) -> int | None:
        """The first of *words* whose answer a program computes. Raises ProgramsNotRunError."""
        answers = [self._read_answer(one) for one in words]
        wanted = list(dict.fromkeys(answer for answer in answers if answer is not None))
        if not wanted or not programs:
            return None
        test, distinct = make_comparison(wanted), list(dict.fromkeys(programs))
        held = {
            answer
            for row in await run_programs(distinct, test, ENTRY_POINT, self.run_program)
            for answer, holds in zip(wanted, row, strict=False)
            if holds
        }
        return next((i for i, answer in enumerate(answers) if answer in held), None)

    async def write_answer(self, step: FinalStep) -> Completion:
        """Answer from the proposals. Raises QuorumNotMetError without any, or as *extract* does."""
        if not step.proposals:
            raise QuorumNotMetError(len(self.layers), 1, 0, ())
        if UNCONFIRMED not in step.degraded:
            return step.choose(0, "a program computes the same")
        answers = [self._read_answer(one) for one in step.proposals]
        counts = Counter(answer for answer in answers if answer is not None)
        if not counts:
            return step.choose(medoid_position(step.proposals), "the closest to the others")
        answer, votes = counts.most_common(1)[0]
        count = pluralize_count(len(answers), "answer")
        why = f"{votes} of {count} in words say {to_one_line(answer)[:80]}"
        return step.choose(answers.index(answer), why)


def _with_modes(layer: Layer) -> Layer:
    """The layer's calls, every other one asked for a program."""
    texts = (load_text("mode_words.md").strip(), load_text("mode_program.md").strip())
    calls = tuple(
        replace(call, samples=1, persona=_join_personas(call, texts[number % 2]))
        for number, call in enumerate(layer.proposer_calls)
    )
    return replace(layer, proposers=calls)


def _join_personas(call: Proposer, text: str) -> str:
    return f"{call.persona}\n\n{text}" if call.persona else text


def make_comparison(answers: Sequence[str]) -> str:
    """A test whose `check` says for each of *answers* whether the function returns it."""
    wanted = [_as_literal(answer) for answer in answers]
    return (
        f"WANTED = {wanted!r}\n"
        "def same(value, wanted):\n"
        "    if isinstance(value, str):\n"
        "        if not isinstance(wanted, str):\n"
        "            try:\n"
        "                value = float(value.replace(',', '').strip(' $%'))\n"
        "            except ValueError:\n"
        "                return False\n"
        "        else:\n"
        "            return ' '.join(value.casefold().split()) == wanted.casefold()\n"
        "    if isinstance(value, bool) or not isinstance(value, (int, float)):\n"
        "        return False\n"
        "    if isinstance(wanted, str):\n"
        "        return False\n"
        "    return abs(value - wanted) <= min(1e-6 * max(1.0, abs(wanted)), 0.001)\n"
        "def check(candidate):\n"
        "    value = candidate()\n"
        "    return [same(value, wanted) for wanted in WANTED]\n"
    )


def _as_literal(answer: str) -> float | int | str:
    try:
        number = Fraction(answer)
        # Exactly: another whole number is another answer, however close it is for its size.
        return int(number) if number.denominator == 1 else float(number)
    except (ValueError, ZeroDivisionError, OverflowError):
        return answer


class ModesSettings(msgspec.Struct, frozen=True):
    """The settings of `Modes` in a file. Raises ConfigError for an *extract* it cannot have."""

    extract: str = "auto"

    def __post_init__(self) -> None:
        if self.extract == "text":
            problem = "extract: 'modes' compares final answers: 'text' has none"
            raise ConfigError(problem, key="extract")
        check_extract(self.extract, "auto")


PATTERN = PatternSpec(
    help="an answer in words that a program, which another seat wrote, computes as well",
    kind=Modes,
    settings=ModesSettings,
    final_step="every other call is a program that is run; the answer is where the two agree",
    action="runs the programs",
    check_layers=require_proposers("they answer in two ways"),
    may_stop_early=True,
)
