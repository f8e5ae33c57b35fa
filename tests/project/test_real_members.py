"""Other people's command-line tools as members: they answer, and are read as they write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.real_clients import NODE, install
from tests.support.serving import serving
from tests.support.upstream import Script, running

pytestmark = pytest.mark.soak

CLAUDE = """{"env": {"ANTHROPIC_BASE_URL": "ADDRESS", "ANTHROPIC_AUTH_TOKEN": "none",
  "ANTHROPIC_MODEL": "a", "ANTHROPIC_SMALL_FAST_MODEL": "a",
  "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}}"""
CODEX = """model = "a"
model_provider = "ours"
[model_providers.ours]
name = "ours"
base_url = "ADDRESS/v1"
wire_api = "responses"
"""
OPENCODE = """{"model": "ours/a", "provider": {"ours": {"npm": "@ai-sdk/openai-compatible",
  "options": {"baseURL": "ADDRESS/v1", "apiKey": "none"}, "models": {"a": {}}}}}"""
TOOLS = {
    "claude-code": (".claude/settings.json", CLAUDE),
    "codex": (".codex/config.toml", CODEX),
    "opencode": (".config/opencode/opencode.json", OPENCODE),
}


def ask_through(tool: str, home: Path) -> dict[str, object]:
    """What `mixtura ask --json` says of an answer of the real tool."""
    folder = install(tool)
    path = os.pathsep.join([str(folder / "node_modules" / ".bin"), str(NODE), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "mixtura", "ask", "-m", tool, "--json", "Why is the sky blue?"],
        env={"PATH": path, "HOME": str(home), "LANG": "C.UTF-8"}, cwd=home,
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_real_tool_answers_as_a_member_and_its_tokens_are_read(tool, tmp_path):
    file, text = TOOLS[tool]
    with running() as upstream:
        upstream.scripts = {"a": Script("Because of scattering.")}
        address = upstream.base_url("openai")
        table = f'[models.a]\nbase_url = "{address}"\nmodel = "a"\n'
        with serving(tmp_path / "served", table) as server:
            (tmp_path / "home" / file).parent.mkdir(parents=True)
            (tmp_path / "home" / file).write_text(text.replace("ADDRESS", server.url))
            said = ask_through(tool, tmp_path / "home")

    assert str(said["answer"]).strip() == "Because of scattering."
    assert said["cost_usd"] is None
    assert said["usage"]["prompt_tokens"] > 100
    assert not said["usage"]["estimated"]


def test_a_real_tool_without_a_login_says_what_to_run(tmp_path):
    said = ask_through("claude-code", tmp_path)

    assert said["answer"] is None
    assert "the program is not logged in: run `claude` and log in" in str(said["error"])
