"""The command-line tools that are known by name, played by programs that write as they do."""

from __future__ import annotations

import json
import os

import pytest

from mixtura import Usage, ask
from mixtura.catalog.command_tools import command_tools
from mixtura.config.config import load
from mixtura.config.registry import USE_COMMANDS
from tests.conftest import run
from tests.support import command_programs as programs
from tests.support import shell as in_process
from tests.support.command_programs import write_program
from tests.support.loopback import loopback, nobody

desk = in_process.desk
shell = in_process.shell
pytestmark = pytest.mark.skipif(os.name != "posix", reason="these programs begin with #!")

TOOLS = {
    "claude-code": ("claude", programs.CLAUDE, "Paris it is.", Usage(12, 3, 5)),
    "codex": ("codex", programs.CODEX, "It is Paris.", Usage(11, 4, 2)),
    "gemini-cli": ("gemini", programs.GEMINI, "Paris.", Usage(10, 4, 3, reasoning_tokens=1)),
    "opencode": ("opencode", programs.OPENCODE, "Paris", Usage(10, 1, 1)),
    "llm": ("llm", programs.ECHO, "Where?", None),
    "ollama-run": ("ollama", programs.ECHO, "Where?", None),
}


@pytest.fixture
def machine(shell, monkeypatch):
    """A machine with nothing on it: no key, no server, an empty home; tools go into its `bin`."""
    folder = shell.desk.folder
    (folder / "bin").mkdir()
    (folder / "home").mkdir()
    (folder / "mixtura.toml").unlink()
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("OLLAMA_HOST", nobody())
    return folder


def install(machine, tool: str, *, logged_in: bool = True) -> None:
    program, source, *_ = TOOLS[tool]
    write_program(machine / "bin", program, source)
    if logged_in:
        file = machine / "home" / command_tools()[tool].login_files[-1].removeprefix("~/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")


@pytest.mark.parametrize("tool", TOOLS)
def test_each_known_tool_is_a_model_by_its_name(tool, machine):
    install(machine, tool, logged_in=bool(command_tools()[tool].login_files))
    name = "ollama-run/llama3.2:3b" if tool == "ollama-run" else tool
    config = load(None, environ=os.environ, folder=machine)

    answer = run(config.model(name).complete(ask("Where?")))

    *_, text, usage = TOOLS[tool]
    assert answer.text == text
    if usage is not None:
        assert answer.usage == usage
    assert config.usage_cost(name, answer.usage) is None


def test_every_known_tool_is_played_here():
    assert set(TOOLS) == set(command_tools())


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ("claude-code", '{"type":"result","is_error":true,"result":"Please run /login"}'),
        ("codex", '{"type":"turn.failed","error":{"message":"401 Unauthorized"}}'),
        ("opencode", '{"type":"error","error":{"data":{"message":"API key is missing"}}}'),
    ],
)  # fmt: skip
def test_a_tool_that_wants_a_login_says_what_to_run(tool, said, machine, shell):
    write_program(machine / "bin", TOOLS[tool][0], f"print({said!r}); raise SystemExit(1)")

    result = shell.run("ask", "-m", tool, "--quiet", "Where?")

    assert result.code == 3
    assert "the program is not logged in" in result.err
    assert command_tools()[tool].log_in in result.err


def test_a_model_of_a_tool_is_named_behind_a_slash(machine):
    write_program(
        machine / "bin",
        "claude",
        "import json, sys; print(json.dumps("
        "{'type': 'result', 'is_error': False, 'result': ' '.join(sys.argv[-2:])}))",
    )
    write_program(
        machine / "bin",
        "codex",
        "import json, sys; print(json.dumps({'type':"
        "'item.completed', 'item': {'type': 'agent_message', 'text': ' '.join(sys.argv[-3:])}}))",
    )
    config = load(None, environ=os.environ, folder=machine)

    assert run(config.model("claude-code/opus").complete(ask("?"))).text == "--model opus"
    assert run(config.model("codex/gpt-6").complete(ask("?"))).text == "--model gpt-6 -"


def test_doctor_lists_the_tools_with_their_versions_and_logins(machine, shell):
    install(machine, "claude-code")
    install(machine, "codex", logged_in=False)

    found = json.loads(shell.run("doctor", "--json").out)["commands"]

    assert [(one["name"], one["version"], one["logged_in"]) for one in found] == [
        ("claude-code", "2.1.197", True),
        ("codex", "0.171.0", False),
    ]
    assert found[1]["log_in"] == "run `codex login`"
    assert found[0]["path"] == str(machine / "bin" / "claude")
    assert "claude-code" in json.loads(shell.run("models", "--json").out)["commands"]


# ---------------------------------------------------------------- with nothing configured


def test_tools_answer_only_where_someone_allowed_it(machine, monkeypatch):
    install(machine, "claude-code")
    install(machine, "codex")

    unasked = load(None, environ=os.environ, folder=machine).registry.auto_defaults()
    monkeypatch.setenv(USE_COMMANDS, "1")
    allowed = load(None, environ=os.environ, folder=machine).registry.auto_defaults()
    (machine / "mixtura.toml").write_text("use_commands = true\n")
    monkeypatch.setenv(USE_COMMANDS, "0")
    refused = load(None, environ=os.environ, folder=machine).registry.auto_defaults()
    monkeypatch.delenv(USE_COMMANDS)
    in_file = load(None, environ=os.environ, folder=machine).registry.auto_defaults()

    assert unasked.is_embedded
    assert refused.is_embedded
    assert [seat.model for seat in allowed.team] == ["claude-code", "codex"]
    assert allowed.aggregator == in_file.aggregator == "claude-code"
    assert "Claude Code and Codex send the question" in allowed.why


def test_a_tool_that_nobody_is_logged_in_to_is_not_used(machine, monkeypatch):
    install(machine, "codex", logged_in=False)
    monkeypatch.setenv(USE_COMMANDS, "1")

    assert load(None, environ=os.environ, folder=machine).registry.auto_defaults().is_embedded


def test_who_has_only_a_tool_and_ollama_gets_a_team_of_both_that_says_who_sees_the_question(
    machine, shell, monkeypatch
):
    install(machine, "claude-code")
    with loopback() as ollama:
        ollama.tags = [
            {"name": "llama3.2:3b", "size": 3}, {"name": "llama3.1:8b", "size": 8},
            {"name": "qwen3:4b", "size": 4},
        ]  # fmt: skip
        monkeypatch.setenv("OLLAMA_HOST", ollama.host)
        found = " ".join(shell.run("doctor").out.split())
        before = shell.run("ask", "Where is the Louvre?")
        monkeypatch.setenv(USE_COMMANDS, "1")
        result = shell.run("ask", "Where is the Louvre?")

    assert "asks you first whether Claude Code may answer, too" in found
    assert "try one with --call ollama/llama3.1:8b." in found
    assert "Claude Code is installed here, and you are logged in." in before.err
    assert f"{USE_COMMANDS}=1" in before.err
    assert "claude-code" not in before.err
    assert result.out == "Paris it is.\n"
    said = " ".join(result.err.split())
    assert "Using claude-code, ollama/llama3.1:8b, ollama/qwen3:4b" in said
    assert "Claude Code sends the question to the tool's maker" in said
    assert "Ollama answers on its port and keeps it on this machine" in said


def test_a_key_comes_before_all_tools_and_nothing_is_offered(machine, shell, monkeypatch):
    install(machine, "claude-code")
    monkeypatch.setenv("GROQ_API_KEY", "k")

    result = shell.run("ask", "--dry-run", "Where?")

    assert "Claude Code" not in result.err


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('command = []', "the program is missing"),
        ('command = ["x"]\nmodel = "y"', "model has no effect beside `command`"),
        ('command = ["x"]\nprovider = "openai"\nmodel = "y"', "or name a known tool: claude-code"),
        ('provider = "ollama-run"', "`model` is missing: which model `ollama` should run"),
        ('provider = "codex"\nbase_url = "http://127.0.0.1/v1"', "not both"),
        ('command = ["x"]\nthreads = 2', "threads has no effect on a program"),
        ('command = ["x"]\nenvironment = ["OPENAI_API_KEY"]', "OPENAI_API_KEY names a secret"),
        ('command = ["x"]\nenvironment = ["A=b"]', "names of variables"),
        ('command = ["x"]\ntimeouts = { first_token = 3 }', "`total` is how long"),
        ('model = "a.gguf"\nenvironment = ["A"]', "environment is for programs"),
    ],
)  # fmt: skip
def test_a_wrong_table_of_a_program_is_told_with_its_line(table, said, machine, shell):
    (machine / "mixtura.toml").write_text(f"[models.mine]\n{table}\n")

    result = shell.run("config", "check")

    assert result.code == 2
    assert said in " ".join(result.err.split())
    assert "mixtura.toml:" in result.err
