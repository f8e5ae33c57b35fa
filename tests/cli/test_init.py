"""`mixtura init`: a first configuration for what a machine has, whole or not at all."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from mixtura.config.local_servers import find_local_servers
from tests.support.command_line import desk
from tests.support.loopback import nobody
from tests.support.model_servers import LLAMA_CPP, LM_STUDIO, OLLAMA, VLLM, model_server

desk = desk
KEYS = {
    "OPENAI_API_KEY": "sk-proj-canary-0a1b2c3d4e5f",
    "ANTHROPIC_API_KEY": "sk-ant-canary-0a1b2c3d4e5f",
}


@pytest.fixture
def empty(desk):
    """A desk without a configuration."""
    (desk.folder / "mixtura.toml").unlink()
    return desk


def written(desk) -> dict:
    return tomllib.loads((desk.folder / "mixtura.toml").read_text())


def team(desk) -> dict:
    return written(desk)["mixtures"]["team"]


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize(
    ("pages", "title", "models"),
    [
        (OLLAMA, "Ollama", ("qwen3:8b", "llama3.2:3b")),
        (LM_STUDIO, "LM Studio", ("qwen2.5-7b-instruct", "gemma-3-12b-it")),
        (LLAMA_CPP, "llama.cpp", ("/models/Llama 3.2-3B.Q4_K_M.gguf",)),
        (VLLM, "OpenAI-compatible server", ("Qwen/Qwen3-8B",)),
    ],
    ids=["Ollama", "LM Studio", "llama.cpp", "vLLM"],
)
@pytest.mark.parametrize("form", ["{}", "{}/", "{}/v1"])
def test_a_server_is_known_by_what_it_says(pages, title, models, form):
    with model_server(pages) as address:
        (found,) = find_local_servers({}, [form.format(address)], scan=False)

    assert (found.title, found.models) == (title, models)
    assert found.base_url == f"{address}/v1"


def test_what_is_no_model_server_is_left_out():
    with model_server({"*": {"hello": "world"}}) as address:
        assert find_local_servers({}, [address, f"http://{nobody()}"], scan=False) == []


# ---------------------------------------------------------------- with flags alone


def test_keys_of_two_providers_make_a_team_with_its_price(empty):
    ran = empty.run("init", "--yes", "--no-scan", "--day-limit", "5", env=KEYS)

    assert ran.code == 0, ran.err
    assert "Found OPENAI_API_KEY" in ran.err
    assert "about $0.0" in ran.err
    assert "is ranked first by list price" in ran.err
    assert f"Wrote {empty.folder / 'mixtura.toml'}" in ran.out
    assert "Next: mixtura ask" in ran.out
    assert team(empty)["aggregator"] == "anthropic/claude-opus-5-5"
    assert written(empty)["budget"] == {"day_usd": 5.0}
    whole = ran.out + ran.err + (empty.folder / "mixtura.toml").read_text()
    assert "canary" not in whole
    assert empty.run("config", "check", env=KEYS).code == 0


@pytest.mark.parametrize("pages", [OLLAMA, LM_STUDIO, LLAMA_CPP, VLLM])
def test_the_models_of_a_server_make_a_team_that_can_be_built(pages, empty):
    with model_server(pages) as address:
        ran = empty.run("init", "--yes", "--no-scan", "--server", address)

    assert ran.code == 0, ran.err
    assert "Cost:        none" in ran.err
    assert all(m["base_url"] == f"{address}/v1" for m in written(empty)["models"].values())
    checked = empty.run("config", "check")
    assert checked.code == 0, checked.err


def test_ollama_at_its_own_address_needs_no_table(empty):
    with model_server(OLLAMA) as address:
        host = {"OLLAMA_HOST": address.removeprefix("http://")}
        ran = empty.run("init", "--yes", env=host)

    assert "Found Ollama" in ran.err
    assert "ollama/qwen3:8b" in team(empty)["layers"][0]
    assert "ollama/llama3.2:3b" in team(empty)["layers"][0]


def test_a_model_file_is_found_and_named_by_its_path(empty):
    (empty.folder / "mine.gguf").write_bytes(b"GGUF")

    empty.run("init", "--yes", "--no-scan")

    assert team(empty)["layers"] == [["./mine.gguf*3"]]


def test_with_nothing_at_all_the_file_says_so_and_stays_open(empty):
    ran = empty.run("init", "--yes", "--no-scan")

    assert ran.code == 0
    assert "Found no API key, no model server and no model file." in ran.err
    assert "mixtura pull starter" in ran.err
    assert team(empty)["layers"] == [["auto-team"]]


def test_a_team_can_be_named_with_flags(empty):
    ran = empty.run(
        "init", "--yes", "--no-scan", "-p", "gpt-5.4-mini", "-p", "claude-haiku-5-5",
        "-a", "gpt-5.4", env=KEYS,
    )  # fmt: skip

    assert ran.code == 0, ran.err
    assert team(empty)["layers"] == [["gpt-5.4-mini", "claude-haiku-5-5"]]
    assert team(empty)["aggregator"] == "gpt-5.4"


# ---------------------------------------------------------------- whole, or not at all


def test_a_file_that_is_there_is_only_replaced_by_force(desk):
    before = (desk.folder / "mixtura.toml").read_text()

    said = desk.run("init", "--yes", "--no-scan").complaint

    assert "Use --force to replace it" in said
    assert (desk.folder / "mixtura.toml").read_text() == before
    assert desk.run("init", "--yes", "--no-scan", "--force", env=KEYS).code == 0
    assert "ann" not in (desk.folder / "mixtura.toml").read_text()
    assert [path.name for path in desk.folder.iterdir()] == ["mixtura.toml"]


def test_a_team_that_means_nothing_leaves_no_file(empty):
    said = empty.run("init", "--yes", "--no-scan", "-p", "nosuch", "-a", "gpt-5.4").complaint

    assert "unknown model or mixture 'nosuch'" in said
    assert list(empty.folder.iterdir()) == []


def test_a_mistyped_name_is_told_by_its_option_and_not_by_a_line_of_a_file_that_is_not_there(empty):
    said = empty.run(
        "init", "--yes", "--no-scan", "-p", "openia/gpt-5.4", "-p", "openia/gpt-5.4*2",
        "-a", "gtp-9",
    ).complaint  # fmt: skip

    assert "-p: unknown model 'openia/gpt-5.4': did you mean 'openai/gpt-5.4'?" in said
    assert said.count("openia") == 1
    assert "-a: unknown model or mixture 'gtp-9'" in said
    assert "mixtura.toml" not in said


def test_a_key_that_the_team_lacks_is_told_before_the_first_question(empty):
    ran = empty.run("init", "--yes", "--no-scan", "-p", "openai/gpt-5.4")
    whole = empty.run("init", "--yes", "--no-scan", "--force", "-p", "openai/gpt-5.4", env=KEYS)

    assert (ran.code, whole.code) == (0, 0)
    lack = "Before the first question: openai needs an API key: OPENAI_API_KEY is not set"
    assert lack in ran.err
    assert lack not in whole.err


@pytest.mark.parametrize(
    ("member", "warm"), [("openai/gpt-5.4", True), ("claude-opus-5-5", False), ("o3", False)]
)
def test_no_temperature_is_written_for_a_team_that_refuses_one(member, warm, empty):
    ran = empty.run("init", "--yes", "--no-scan", "-p", member, "-p", "gpt-5.4-mini", env=KEYS)

    assert ran.code == 0, ran.err
    assert ("sampling" in team(empty)) is warm


def test_no_one_who_wrote_no_auto_is_shown_any(empty):
    ran = empty.run("init", "--no-scan", stdin=b"n\n\n\n\ny\n")

    assert ran.code == 0, ran.err
    assert "Proposers:   smollm2-135m*3" in ran.err
    shown = [line for line in ran.err.splitlines() if not line.startswith("Write ")]
    assert "auto" not in " ".join(shown)
    assert team(empty)["layers"] == [["auto-team"]]


def test_a_conversation_in_a_pipe_has_its_questions_on_lines_of_their_own(empty):
    ran = empty.run("init", "--no-scan", stdin=b"y\n\ny\n", env=KEYS)
    lines = ran.err.splitlines()

    questions = ("Use this team?", "Daily limit in dollars", "Write ")
    assert [sum(line.startswith(one) for line in lines) for one in questions] == [1, 1, 1]
    assert (
        empty.run("init", "--force", stdin=b"").err.splitlines()[-1].startswith("Error: Standard")
    )


def test_a_folder_that_cannot_be_made_is_told(empty):
    (empty.folder / "file").write_text("x")

    said = empty.run("init", "--yes", "--no-scan", "--config", "file/mixtura.toml").complaint

    assert "cannot be written" in said
    assert "Errno" not in said


def test_the_file_for_every_folder_lies_with_the_users_settings(empty):
    ran = empty.run("init", "--yes", "--no-scan", "--user")

    path = f"{empty.env['XDG_CONFIG_HOME']}/mixtura/mixtura.toml"
    assert f"Wrote {path}" in ran.out
    assert empty.run("config", "path").out == f"{path}\n"


# ---------------------------------------------------------------- the conversation


def test_a_conversation_changes_the_team_and_sets_a_limit(empty):
    answers = (
        b"n\ngpt-5.4,nosuch\n\ngpt-5.4-mini, claude-haiku-5-5\nclaude-opus-5-5\nlots\n2.5\ny\n"
    )

    ran = empty.run("init", "--no-scan", stdin=answers, env=KEYS)

    assert ran.code == 0, ran.err
    assert "unknown model or mixture 'nosuch'" in ran.err
    assert "'lots' is not a number" in ran.err
    assert team(empty)["layers"] == [["gpt-5.4-mini", "claude-haiku-5-5"]]
    assert written(empty)["budget"] == {"day_usd": 2.5}


def test_a_person_who_says_no_gets_no_file(empty):
    said = empty.run("init", "--no-scan", stdin=b"y\n\nn\n", env=KEYS).complaint

    assert "Nothing was written." in said
    assert list(empty.folder.iterdir()) == []


def test_an_input_that_ends_early_is_told_of_the_flag(empty):
    said = empty.run("init", "--no-scan", stdin=b"").complaint

    assert "--yes asks none" in said
    assert list(empty.folder.iterdir()) == []


# ---------------------------------------------------------------- tools with a login


@pytest.fixture
def logged_in(empty):
    """A desk of someone who is logged in to Claude Code."""
    programs = empty.folder / "programs"
    programs.mkdir()
    tool = programs / "claude"
    tool.write_text("#!/bin/sh\nexit 1\n")
    tool.chmod(0o755)
    login = Path(empty.env["HOME"], ".claude", ".credentials.json")
    login.parent.mkdir()
    login.write_text("{}")
    empty.env["PATH"] = f"{programs}{os.pathsep}{empty.env['PATH']}"
    return empty


def test_logged_in_tools_join_after_one_yes(logged_in):
    ran = logged_in.run("init", "--no-scan", stdin=b"y\ny\n\ny\n")

    assert ran.code == 0, ran.err
    assert "Let claude-code answer, too? That spends your subscription" in ran.err
    assert team(logged_in)["layers"] == [["claude-code*3"]]
    assert team(logged_in)["aggregator"] == "claude-code"


def test_logged_in_tools_join_others_and_without_a_question_no_team(logged_in):
    both = logged_in.run("init", "--no-scan", stdin=b"y\ny\n\ny\n", env=KEYS)
    joined = team(logged_in)
    none = logged_in.run("init", "--no-scan", "--yes", "--force", env=KEYS)

    assert both.code == none.code == 0
    assert joined["layers"][0][-1] == "claude-code"
    assert joined["aggregator"] == "anthropic/claude-opus-5-5"
    assert "claude-code" not in str(team(logged_in))
    assert "may join with -p: claude-code" in none.err
