"""Questions, answers and schemas that take for ever to read: they cost one call, and no other."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mixtura import Layer, Proposer, ask
from mixtura.patterns import Chosen
from mixtura.patterns.checked import Checked
from mixtura.patterns.modes import Modes
from mixtura.programs.schema_check import SchemaCheckError, check_answers
from tests.conftest import run
from tests.support.hostile_programs import SLOW_QUESTIONS, SLOW_REPLIES
from tests.support.pattern_models import team, watched

QUESTION = 'Write this:\n\ndef f(n):\n    """Twice n.\n    >>> f(2)\n    4\n    """\n'
SLEEPS = "```python\nimport time\ndef f(n):\n    time.sleep({number} + 600)\n```"
READS = """
import resource
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from mixtura.programs.code_blocks import extract_program
from mixtura.programs.commands import find_code
from mixtura.programs.examples import find_function, read_assertions, read_examples
from tests.support.hostile_programs import SLOW_QUESTIONS, SLOW_REPLIES
for question in SLOW_QUESTIONS.values():
    find_function(question), read_examples(question, "f"), read_assertions(question, "f")
for reply in SLOW_REPLIES.values():
    extract_program(reply, "def f(n):\\n", "f"), find_code(reply)
print("done")
"""


@pytest.mark.skipif(os.name != "posix", reason="no limit of processor time here")
def test_what_is_slow_to_read_takes_bounded_time():
    """Each took minutes to days; all together are read in seconds of the processor."""
    told = subprocess.run([sys.executable, "-c", READS], capture_output=True, text=True)

    assert told.stdout == "done\n", (told.returncode, told.stderr[-2000:])
    assert len(SLOW_QUESTIONS) + len(SLOW_REPLIES) >= 25


@pytest.mark.parametrize(
    "line",
    [
        "f(1) == 1e999", "f(1e999) == 1", f">>> f(0x{'f' * 5000})", f">>> f({'-' * 2500}1)",
        f">>> f({'1+' * 2000}1)", f">>> f(x{'.x' * 2000})", f"f({'[' * 99}) == 1",
    ],
)  # fmt: skip
def test_an_example_that_cannot_be_written_again_is_none_and_the_others_count(line):
    ran = []

    def run_program(text, test, function):
        ran.append(test)
        return (True,)

    question = f"{QUESTION}\n{line}\n1\n"
    answer, _ = watched(
        Chosen.of(team("def f(n): return 2 * n", "x"), Checked(run_program=run_program)),
        ask(question),
    )

    assert not answer.degraded
    names: dict = {}
    exec(ran[0], names)
    assert names["EXAMPLES"] == [((2,), 4)]


def test_programs_that_wait_take_no_thread_that_others_need():
    """Those of asyncio itself look up names and write to disk: programs held all of them."""
    go, waiting = threading.Event(), []

    def run_program(text, test, function):
        waiting.append(text)
        assert go.wait(120)
        return (True,)

    drafts = [SLEEPS.format(number=number) for number in range(40)]
    solves = [draft.replace("f(n)", "solve()") for draft in drafts]
    row = [Proposer(one) for solve in solves for one in team("Answer: 7", solve)]

    async def main():
        model = Chosen.of(team(*drafts), Checked(run_program=run_program))
        other = Modes(layers=(Layer(tuple(row)),), run_program=run_program)
        calls = [asyncio.create_task(one.complete(ask(QUESTION))) for one in (model, other)]
        while not waiting:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(100):
            found = await asyncio.gather(*(asyncio.to_thread(int, "7") for _ in range(40)))
        go.set()
        await asyncio.gather(*calls)
        return found

    assert run(main()) == [7] * 40


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_client_that_hangs_up_leaves_no_program_running():
    def children():
        tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        return {pid for one in tasks for pid in one.read_text().split()}

    before = children()
    drafts = [SLEEPS.format(number=number) for number in range(6)]

    async def main():
        model = Chosen.of(team(*drafts), Checked())
        call = asyncio.create_task(model.complete(ask(QUESTION)))
        while not children() - before:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        began = time.monotonic()
        while children() - before:
            await asyncio.sleep(0.05)
            # Six programs have 30 s each on the clock; to be called off takes none of it.
            assert time.monotonic() < began + 25

    run(main())


A_PATTERN = {"type": "string", "pattern": "^(a+)+$"}
BRANCHES = {
    "$defs": {
        **{f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)},
        "a40": False,
    },
    "$ref": "#/$defs/a0",
}
SLOW_SCHEMAS = {
    "a pattern": (A_PATTERN, '"' + "a" * 60 + '!"'),
    "a pattern of names": ({"patternProperties": {"^(a+)+$": {}}}, '{"' + "a" * 60 + '!": 1}'),
    "references that branch": (BRANCHES, "1"),
    "a long list without doubles": (
        {"uniqueItems": True}, json.dumps([{"a": i} for i in range(40_000)]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOW_SCHEMAS)
def test_a_schema_that_takes_for_ever_is_ended_in_words(name):
    schema, text = SLOW_SCHEMAS[name]

    with pytest.raises(SchemaCheckError, match=r"more than 2 s|too much time"):
        check_answers(schema, [text], seconds=2)


WRONG_SCHEMAS = [
    {"type": "nonsense"}, {"type": 5}, {"minimum": "x"}, {"multipleOf": 0}, {"items": 5},
    {"pattern": "("}, {"required": 3}, [1], "x", 5, {"$ref": "#"}, {"$ref": "#/nowhere"},
    {"$ref": "http://127.0.0.1:9/x"}, {"$ref": "#/properties", "properties": {"type": 1}},
    {"$ref": 5}, {"$id": "::", "$ref": "x"}, {"$dynamicRef": "#x"}, {"$defs": 5},
]  # fmt: skip


@pytest.mark.parametrize("schema", WRONG_SCHEMAS, ids=str)
def test_a_clients_schema_that_is_none_is_told_and_the_answers_are_counted(schema):
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    request = replace(ask("A number?"), response_format=wanted)

    answer, _ = watched(Chosen.of(team("5", "5", "{}"), Checked()), request)

    assert answer.text == "5"
    (said,) = answer.degraded
    assert "schema" in said
    assert len(said) < 400


def test_a_schema_with_a_pattern_is_held_to_it():
    schema = {"properties": {"a": {"pattern": "^[a-c]+$"}}}

    assert check_answers(schema, ['{"a": "abc"}', '{"a": "abd"}', "{}"]) == [True, False, True]
