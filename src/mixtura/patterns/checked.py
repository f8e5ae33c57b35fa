"""Checked: every proposal is checked by running it, and the best one is the answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any, NamedTuple, cast

import msgspec

from mixtura.core.errors import ConfigError
from mixtura.core.events import Emit
from mixtura.core.model import Model
from mixtura.core.quantities import PositiveSeconds
from mixtura.core.roles import PlannedCall
from mixtura.core.text import pluralize_count
from mixtura.core.types import Completion, Request, Sampling
from mixtura.engine.task_groups import gather_all
from mixtura.patterns.best_of import Verifier, run_verifier
from mixtura.patterns.choosing import (
    Chosen,
    Verdict,
    fallback_verdict,
    with_tool_calls_as_text,
)
from mixtura.patterns.mux import Mux
from mixtura.patterns.ranker import GREEDY_SAMPLING
from mixtura.patterns.spec import PatternParts, PatternSpec
from mixtura.patterns.verdict_calls import Judge, ask_judges
from mixtura.programs.commands import (
    CheckCommand,
    CommandNotRunError,
    CommandOutcome,
    find_code,
    run_command,
)
from mixtura.programs.examples import (
    Example,
    find_function,
    make_test,
    read_assertions,
    read_examples,
)
from mixtura.programs.program_threads import run_in_program_thread
from mixtura.programs.schema_check import SchemaCheckError, check_answers
from mixtura.prompts.synthesis import make_tests_prompt
from mixtura.protocols.thoughts.parser import without_thoughts

RunProgram = Callable[[str, str, str], Sequence[bool]]
"""Runs a program with a test for its function: whether each example holds."""


class CheckedScore(NamedTuple):
    """What a proposal passed: examples of the question first, then the class's score."""

    examples: int
    agreement: int
    """Proposals that pass the same of the model's tests, times the tests that they pass."""


@dataclass(frozen=True, slots=True)
class Checked:
    """
    Chooses by checks that are run, not by opinion.

    A question that asks for a Python function: each proposal's program runs in the sandbox, with
    the examples of the question, and with tests that *tester* writes; a class of programs that
    pass the same tests scores its size times the tests (CodeT: Chen et al. 2022, arXiv
    2207.10397, section 2). Most examples first, then the highest score; ties by `Mux`.

    A request for JSON with a schema: proposals that do not fit it are out; one that calls tools is
    no answer yet and stays. *check*, a function of
    the request and a proposal, gives a score in place of either; *command* does on a proposal's
    code in a file, outside the sandbox: where it ends with 0 the proposal passes. Where nothing
    can be checked the choice is `Mux`'s, and the answer says so in ``degraded``.
    """

    check: Verifier | None = None
    tester: Model | None = None
    sampling: Sampling = field(default=GREEDY_SAMPLING)
    """Of the tests."""
    run_program: RunProgram | None = None
    """By default the sandbox of `mixtura.programs`."""
    command: CheckCommand | None = None

    @property
    def name(self) -> str:
        return "checked"

    def planned_calls(self, proposals: int) -> Sequence[PlannedCall]:  # noqa: ARG002
        """One call of the tester, where there is one."""
        return [PlannedCall(self.tester, self.sampling)] if self.tester else ()

    async def choose(
        self, request: Request, proposals: Sequence[Completion], emit: Emit | None
    ) -> Verdict:
        """The proposal that passes most. Raises what a function *check* raises."""
        if self.check is not None:
            return await self._choose_by_function(self.check, request, proposals)
        if self.command is not None:
            return await _choose_by_command(self.command, request, proposals)
        if schema := _response_schema(request):
            return await self._choose_by_schema(schema, request, proposals)
        question = last_question(request)
        function = await run_in_program_thread(partial(find_function, question))
        if function is None:
            return await _choose_by_count(
                request, proposals, range(len(proposals)),
                "nothing to run: the question has no head of a Python function, and no assert",
            )  # fmt: skip
        return await self._choose_by_running(request, proposals, emit, question, function)

    async def _choose_by_running(
        self,
        request: Request,
        proposals: Sequence[Completion],
        emit: Emit | None,
        question: str,
        function: str,
    ) -> Verdict:
        examples = await run_in_program_thread(partial(read_examples, question, function))
        tests, problem = await self._write_tests(request, emit, function)
        tests = [test for test in tests if test not in examples]
        if not examples and not tests:
            said = problem or "nothing to run: the question has no examples"
            return await _choose_by_count(request, proposals, range(len(proposals)), said)
        try:
            results = await self._run_all(proposals, question, function, examples, tests)
        except ProgramsNotRunError as error:
            every = range(len(proposals))
            return await _choose_by_count(request, proposals, every, str(error))
        scores = score_results(results, len(examples))
        best = max(scores)
        tied = [i for i, score in enumerate(scores) if score == best]
        verdict = await _choose_by_count(request, proposals, tied, "")
        passed = sum(results[verdict.which])
        count = pluralize_count(len(examples) + len(tests), "check")
        notices = [problem] if problem else []
        if not passed:
            notices.append("no proposal passes any check")
        others = [str(sum(one)) for i, one in enumerate(results) if i != verdict.which]
        why = f"it passes {passed} of {count}, the others {', '.join(others)}"
        return Verdict(verdict.which, why, tuple(notices))

    async def _run_all(
        self,
        proposals: Sequence[Completion],
        question: str,
        function: str,
        examples: list[Example],
        tests: list[Example],
    ) -> list[tuple[bool, ...]]:
        texts = [with_tool_calls_as_text(proposal).text for proposal in proposals]
        programs = await read_programs(texts, question, function)
        distinct, test = list(dict.fromkeys(programs)), make_test([*examples, *tests])
        ended = await run_programs(distinct, test, function, self.run_program)
        found = dict(zip(distinct, ended, strict=True))
        broken = [one for one in distinct if not found[one]] if examples and tests else []
        if broken:  # at a model's test, perhaps: that takes nothing from the question's examples
            again = await run_programs(broken, make_test(examples), function, self.run_program)
            found |= zip(broken, again, strict=True)
        width = max(map(len, found.values()), default=0)
        # A program that broke off gives no list: it passes none.
        return [(*found[one], *(False,) * (width - len(found[one]))) for one in programs]

    async def _write_tests(
        self, request: Request, emit: Emit | None, function: str
    ) -> tuple[list[Example], str]:
        """The tests that the tester writes, and why there are none."""
        if self.tester is None:
            return [], ""

        def read(reply: Completion) -> list[Example] | None:
            return read_assertions(reply.text, function) or None

        judge = Judge(self.tester, read)
        layout = make_tests_prompt(function)
        error = await ask_judges([judge], layout, request, self.sampling, emit)
        if error:
            return [], f"the tester {self.tester.name} failed: {error}"
        if judge.verdict is None:
            return [], f"the tester {self.tester.name} wrote no test that can be used"
        return judge.verdict, ""

    async def _choose_by_function(
        self, check: Verifier, request: Request, proposals: Sequence[Completion]
    ) -> Verdict:
        marks = await run_verifier(check, request, proposals)
        scores = [mark.score for mark in marks if mark.score is not None]
        problems = tuple(mark.problem for mark in marks if mark.score is None)
        if not scores:
            return fallback_verdict(proposals, problems[0])
        best = max(scores)
        tied = [i for i, mark in enumerate(marks) if mark.score == best]
        verdict = await _choose_by_count(request, proposals, tied, "")
        return Verdict(verdict.which, f"a score of {best:g}, the highest", problems)

    async def _choose_by_schema(
        self, schema: Any, request: Request, proposals: Sequence[Completion]
    ) -> Verdict:
        texts, stop, every = [one.text for one in proposals], Event(), range(len(proposals))
        try:
            rows = await run_in_program_thread(partial(check_answers, schema, texts, stop=stop))
        except SchemaCheckError as error:
            return await _choose_by_count(request, proposals, every, str(error))
        finally:
            stop.set()
        # What calls tools is no answer yet: the schema is for the one that comes after.
        fits = [i for i in every if rows[i] or proposals[i].message.tool_calls]
        if not fits:
            said = "no proposal fits the schema"
            return await _choose_by_count(request, proposals, every, said)
        verdict = await _choose_by_count(request, proposals, fits, "")
        return Verdict(verdict.which, f"{len(fits)} of {len(proposals)} fit the schema")


async def _choose_by_command(
    command: CheckCommand, request: Request, proposals: Sequence[Completion]
) -> Verdict:
    """Of those on whose code *command* ends with 0 the choice of `Mux`; of all where none is."""
    texts = [with_tool_calls_as_text(proposal).text for proposal in proposals]
    question = last_question(request) if command.file_name.endswith(".py") else ""
    codes = await run_in_program_thread(partial(_read_codes, texts, question))
    turn = asyncio.Semaphore(os.cpu_count() or 1)

    async def run_in_turn(code: str) -> CommandOutcome:
        async with turn:
            return await run_command(command, code)

    distinct, every = list(dict.fromkeys(codes)), range(len(proposals))
    try:
        ended = await gather_all(map(run_in_turn, distinct))
    except CommandNotRunError as error:
        return await _choose_by_count(request, proposals, every, str(error))
    outcomes = dict(zip(distinct, ended, strict=True))
    passed = [i for i in every if outcomes[codes[i]].passed]
    late = sum(outcomes[code].late for code in codes)
    notices = [f"the check took more than {command.seconds:g} s on {late}"] if late else []
    if not passed:
        verdict = await _choose_by_count(request, proposals, every, "no proposal passes the check")
        return Verdict(verdict.which, verdict.why, (*verdict.degraded, *notices))
    verdict = await _choose_by_count(request, proposals, passed, "")
    return Verdict(verdict.which, f"{len(passed)} of {len(proposals)} pass the check", (*notices,))


def _read_codes(texts: Sequence[str], question: str) -> list[str]:
    if (function := find_function(question)) is None:
        return [find_code(without_thoughts(text)) for text in texts]
    from mixtura.programs.code_blocks import extract_program  # with a parser of Markdown

    return [extract_program(text, question, function) for text in texts]


def last_question(request: Request) -> str:
    """The text of the user's last message."""
    return next((m.text for m in reversed(request.messages) if m.role == "user"), "")


async def _choose_by_count(
    request: Request, proposals: Sequence[Completion], among: Sequence[int], problem: str
) -> Verdict:
    """The choice of `Mux` *among* some proposals; *problem* is why nothing else decides."""
    verdict = await Mux().choose(request, [proposals[i] for i in among], None)
    notices = (problem, *verdict.degraded) if problem else ()
    return Verdict(among[verdict.which], verdict.why, notices)


def score_results(results: Sequence[Sequence[bool]], examples: int) -> list[CheckedScore]:
    """Each proposal's score, of what it passed: *examples* of the question, then tests."""
    scores: list[CheckedScore] = []
    for row in results:
        tests = tuple(row[examples:])
        size = sum(tuple(other[examples:]) == tests for other in results)
        scores.append(CheckedScore(sum(row[:examples]), size * sum(tests)))
    return scores


class ProgramsNotRunError(RuntimeError):
    """No program can be run here; the message says why."""


async def read_programs(texts: Sequence[str], question: str, function: str) -> list[str]:
    """The program with *function* in each of *texts*, which answer *question*."""
    from mixtura.programs.code_blocks import extract_program  # with a parser of Markdown
    from mixtura.programs.methods import call_as_function

    def read(text: str) -> str:
        return call_as_function(extract_program(text, question, function), function)

    return [await run_in_program_thread(partial(read, text)) for text in texts]


async def run_programs(
    programs: Sequence[str], test: str, function: str, run: RunProgram | None
) -> list[Sequence[bool]]:
    """
    Which examples of *test* hold for each program, by *run* or else in the sandbox; whoever is
    cancelled leaves none running there. Raises ProgramsNotRunError.
    """
    stop = Event()
    run = run or partial(run_in_sandbox, stop=stop)
    jobs = [partial(run, program, test, function) for program in programs]
    try:
        return await gather_all(map(run_in_program_thread, jobs))
    finally:
        stop.set()


def run_in_sandbox(
    program: str, test: str, function: str, stop: Event | None = None
) -> Sequence[bool]:
    """
    Whether each example of *test* holds for *function* of *program*, run where it can reach
    nothing. Raises ProgramsNotRunError where this machine confines no programs.
    """
    try:
        from mixtura.programs.sandbox import SandboxError, check_program, ensure_available
    except ModuleNotFoundError:  # it stands on what only Linux and macOS have
        raise ProgramsNotRunError("programs are only run on Linux and macOS") from None
    try:
        ensure_available()
    except SandboxError as error:
        raise ProgramsNotRunError(str(error)) from None
    try:
        return check_program(program, test, function, stop=stop).results
    except SandboxError:  # this program or its test cannot be used: it passes nothing
        return ()


def _response_schema(request: Request) -> Any:
    """The JSON schema that the answer must fit, where the request has one."""
    wanted = request.response_format or {}
    given: Any = wanted.get("json_schema") if wanted.get("type") == "json_schema" else None
    return cast("dict[str, Any]", given).get("schema") if isinstance(given, dict) else None


class CheckedSettings(msgspec.Struct, frozen=True):
    """
    In a file: *tester* is a model that writes tests, *check* a command that is run on each proposal
    with *seconds* of time, its code in *file*; *outside_sandbox* says that this is wanted.
    Raises ConfigError where they do not go together.
    """

    tester: str = ""
    check: str = ""
    outside_sandbox: bool = False
    seconds: PositiveSeconds = 30.0
    file: str = "answer.py"

    def command(self) -> CheckCommand | None:
        """The command of *check*, where there is one. Raises ValueError where it is none."""
        return CheckCommand.parse(self.check, self.seconds, self.file) if self.check else None

    def __post_init__(self) -> None:
        for one in () if self.check else msgspec.structs.fields(self):
            if one.name != "tester" and getattr(self, one.name) != one.default:
                raise ConfigError(f"{one.name}: has no effect without `check`", key=one.name)
        if self.check and not self.outside_sandbox:
            problem = (
                "check: this command runs what models wrote outside the sandbox, with your rights:"
                " it can read your files and use the network. To allow it, set"
                " `outside_sandbox = true`"
            )
            raise ConfigError(problem, key="check")
        if self.check and self.tester:
            raise ConfigError("tester: a `check` takes the place of tests", key="tester")
        try:
            self.command()
        except ValueError as error:
            raise ConfigError(str(error), key=str(error).partition(":")[0]) from None


def _describe_final_step(settings: CheckedSettings) -> str:
    if settings.check:
        return f"runs `{settings.check}` on each proposal, outside the sandbox"
    return "runs the proposals: the one that passes most checks is the answer"


def _build(parts: PatternParts) -> Chosen:
    chooser = Checked(tester=parts.models.get("tester"), command=parts.settings.command())
    return parts.build_kind(Chosen, chooser=chooser)


PATTERN = PatternSpec(
    name="checked",
    help="the proposal that passes most checks: programs are run, JSON is held to its schema",
    build=_build,
    settings=CheckedSettings,
    model_settings=("tester",),
    describe_final_step=_describe_final_step,
    role="checks",
    action="runs the drafts",
)
