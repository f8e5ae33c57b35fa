"""A user's own command as the check of `checked`: on a file, with little around it."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from mixtura import ask
from mixtura.core.errors import ConfigError
from mixtura.patterns import Chosen
from mixtura.patterns.checked import Checked
from mixtura.programs.commands import CheckCommand, CommandOutcome, find_code, run_command
from tests.conftest import run
from tests.support.pattern_models import read, team

PYTHON = shlex.quote(sys.executable)
RUNS = CheckCommand.parse(f"{PYTHON} {{file}}")
ASK = ask("Write a program.")


def block(code):
    return f"Here:\n```python\n{code}\n```\nDone."


def outcome(code, command=RUNS):
    return run(run_command(command, code))


def test_the_proposal_whose_code_passes_is_the_answer():
    texts = [block("raise SystemExit(1)"), block("print('fine')"), "no program at all"]
    model = Chosen.of(team(*texts), Checked(command=RUNS))

    answer = run(model.complete(ASK))

    assert (answer.text, answer.degraded) == (texts[1], ())
    assert model.call_count == len(answer.charges) == 3


def test_where_none_passes_they_are_counted_and_that_is_said():
    texts = [block("1 / 0"), block("1 / 0"), block("raise OSError")]

    answer = run(Chosen.of(team(*texts), Checked(command=RUNS)).complete(ASK))

    assert (answer.text, answer.degraded) == (texts[0], ("no proposal passes the check",))


def test_a_command_that_is_not_there_checks_nothing_and_that_is_said():
    command = CheckCommand.parse("/nowhere/pytest -q {file}")

    answer = run(Chosen.of(team("a", "a", "b"), Checked(command=command)).complete(ASK))

    assert answer.text == "a"
    assert answer.degraded == ("check: /nowhere/pytest cannot be run: No such file or directory",)


def test_a_check_that_takes_too_long_is_no_pass_and_that_is_said():
    command = CheckCommand.parse(f"{PYTHON} {{file}}", seconds=0.5)
    texts = [block("while True: pass"), block("while True: pass")]

    answer = run(Chosen.of(team(*texts), Checked(command=command)).complete(ASK))

    assert answer.degraded == (
        "no proposal passes the check", "the check took more than 0.5 s on 2",
    )  # fmt: skip


def test_a_program_for_the_questions_function_is_written_whole():
    question = ask('def double(n):\n    """Twice n."""\n')
    texts = ["    return n + 1", "    return 2 * n"]
    code = "import sys; sys.path.insert(0, '.'); import answer; assert answer.double(5) == 10"
    command = CheckCommand.parse(f"{PYTHON} -c {shlex.quote(code)} {{file}}")

    answer = run(Chosen.of(team(*texts), Checked(command=command)).complete(question))

    assert answer.text == texts[1]


def test_a_file_of_another_language_has_the_code_alone():
    question = ask("Write this in shell:\n\ndef double(n):\n    return 2 * n\n")
    texts = ["```sh\nexit 1\n```", "```sh\nexit 0\n```"]
    command = CheckCommand.parse("sh {file}", file_name="double.sh")

    answer = run(Chosen.of(team(*texts), Checked(command=command)).complete(question))

    assert (answer.text, answer.degraded) == (texts[1], ())


# ---- what a command has around it


def test_it_has_an_empty_folder_and_hardly_an_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "not-for-programs")
    code = """
import os, sys
assert os.listdir() == [os.path.basename(__file__)] == ["answer.py"]
assert os.environ["HOME"] == os.environ["TMPDIR"] == os.getcwd() == os.path.dirname(__file__)
assert set(os.environ) <= {"PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "PWD", "__CF_USER_TEXT_ENCODING"}
assert sys.stdin.read() == ""
print("x" * 1_000_000)
"""  # noqa: E501

    assert outcome(code) == CommandOutcome(passed=True)


def test_its_folder_is_gone_afterwards(tmp_path):
    kept = tmp_path / "where"

    assert outcome(f"import os\nopen({str(kept)!r}, 'w').write(os.getcwd())").passed
    assert not Path(kept.read_text()).exists()


def test_a_folder_that_cannot_be_removed_does_not_stop_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = """
import os
folder = os.getcwd()
os.remove(__file__)
os.chdir("/")
os.rmdir(folder)
os.symlink("/", folder)
"""

    assert outcome(code) == CommandOutcome(passed=True)


LEAVES_A_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({path!r}, "w").write(str(child.pid))
{then}
"""


def is_alive(pid):
    with suppress(ProcessLookupError):
        state = Path(f"/proc/{pid}/stat")
        if state.exists():
            return state.read_text().rpartition(")")[2].split()[0] not in "ZX"
        os.kill(pid, 0)
        return True
    return False


def assert_ends(pid):
    """The kernel takes a moment to end a process that was killed."""
    end = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < end, "it is still there"
        os.sched_yield()


@pytest.mark.parametrize("then", ["", "raise SystemExit(3)", "child.wait()"])
def test_no_process_of_its_group_is_left(then, tmp_path):
    path = tmp_path / "pid"
    command = CheckCommand.parse(f"{PYTHON} {{file}}", seconds=3)

    outcome(LEAVES_A_CHILD.format(path=str(path), then=then), command)

    assert_ends(int(path.read_text()))


def test_a_run_that_is_cancelled_leaves_no_process(tmp_path):
    path = tmp_path / "pid"

    async def cancel_midway():
        code = LEAVES_A_CHILD.format(path=str(path), then="child.wait()")
        task = asyncio.create_task(run_command(RUNS, code))
        while not (path.exists() and path.read_text()):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancel_midway())

    assert_ends(int(path.read_text()))


def test_no_shell_reads_the_command(tmp_path):
    command = CheckCommand.parse(f"{PYTHON} {{file}} ; touch {tmp_path}/x $HOME")

    assert outcome(
        "import sys; assert sys.argv[1] == ';' and sys.argv[4] == '$HOME'", command
    ).passed
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("plain", "plain"),
        ("a\n```\nx\n```\nb\n~~~py\nlonger\n~~~\n", "longer\n"),
        ("````md\n```\nx\n```\n````", "```\nx\n```\n"),
        ("```\nopen", "```\nopen"),
        ("```\nopen\n~~~\nx\n~~~\n", "x\n"),
        ("```\r\nx\r\n```\r\n", "x\r\n"),
        ("   ~~~x\ny\n   ~~~~  \n    ~~~\n", "y\n"),
        ("~~~x\n" * 100_000, "~~~x\n" * 100_000),
        ("~~~x\n" * 100_000 + "~~~", "~~~x\n" * 99_999),
    ],
)
def test_the_longest_block_is_the_code(reply, code):
    assert find_code(reply) == code


# ---- in a file


def built(body, folder):
    config = read(f'pattern = "checked"\nlayers = [["quick*2"]]\n{body}', folder)
    return config.build_mixture(config.mixture_spec("t"))


def test_a_file_says_which_command(tmp_path):
    model = built(
        'check = "pytest -q {file}"\noutside_sandbox = true\nseconds = 9\nfile = "test_it.py"',
        tmp_path,
    )

    wanted = CheckCommand(("pytest", "-q", "{file}"), 9, "test_it.py")
    assert model.chooser.command == wanted
    assert built("", tmp_path).chooser.command is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('check = "pytest -q {file}"', "outside the sandbox, with your rights"),
        ('check = "pytest -q"\noutside_sandbox = true', "check: write {file} where"),
        ('check = "{file}"\noutside_sandbox = true', "check: write {file} where"),
        ('check = "pytest \'{file}"\noutside_sandbox = true', "check: this is not a command"),
        ('check = "x {file}"\noutside_sandbox = true\nfile = "../x"', "file: a plain name"),
        ('check = "x {file}"\noutside_sandbox = true\nseconds = 0', "seconds"),
        ('check = "x {file}"\noutside_sandbox = true\ntester = "quick"', "tester: "),
    ],
)
def test_wrong_settings_are_told(body, words, tmp_path):
    with pytest.raises(ConfigError) as caught:
        built(body, tmp_path)

    assert words in str(caught.value)


def test_show_says_that_it_is_outside_the_sandbox(tmp_path):
    config = read(
        'pattern = "checked"\nlayers = [["quick"]]\ncheck = "x {file}"\noutside_sandbox = true',
        tmp_path,
    )

    wanted = "runs `x {file}` on each proposal, outside the sandbox"
    assert config.mixture_spec("t").final_step_text == wanted
