"""Other people's agents call the tools of `mixtura mcp`, and so does the official inspector."""

from __future__ import annotations

import json
import sys

import pytest

from tests.project import test_real_clients as real_clients
from tests.project.test_real_clients import program
from tests.support.paths import ROOT
from tests.support.real_clients import setup
from tests.support.scripted_agent import wish

pytestmark = pytest.mark.soak

served = real_clients.served
place = real_clients.place
ASK = wish("ask", question="Why is the sky blue?", mixture="sage")
SERVER = [sys.executable, "-m", "mixtura", "mcp"]


@pytest.fixture
def sage(place):
    """A model that answers as no other: what it says was said by way of the tool."""
    file = place.folder / "sage.toml"
    said = 'default = "sage"\n[models.sage]\ncommand = ["sh", "-c", "cat > /dev/null; echo S-42"]\n'
    file.write_text(said)
    return [*SERVER, "--config", str(file)]


def test_claude_code_asks_a_mixture_through_its_tool(place, sage):
    config = {"mcpServers": {"mixtura": {"command": sage[0], "args": sage[1:]}}}
    (place.folder / "mcp.json").write_text(json.dumps(config))
    lines = setup("Claude Code", "bash", place.server.url)

    said = place.run(
        program("claude-code"), "-p", ASK, "--mcp-config", "mcp.json",
        "--allowedTools", "mcp__mixtura__ask", lines=lines, ENABLE_TOOL_SEARCH="false",
    )  # fmt: skip

    assert "S-42" in said


def test_codex_asks_a_mixture_through_its_tool(place, sage):
    home = place.home / ".codex"
    home.mkdir(parents=True, exist_ok=True)
    lines = setup("Codex CLI", "ini", place.server.url)
    table = (
        f"\n[mcp_servers.mixtura]\ncommand = {json.dumps(sage[0])}\nargs = {json.dumps(sage[1:])}\n"
    )
    waits = "default_tools_approval_mode = 'approve'\nrequired = true\nstartup_timeout_sec = 60\n"
    (home / "config.toml").write_text(lines + table + waits)

    assert "S-42" in place.run(program("codex"), "exec", "--skip-git-repo-check", ASK)


def test_opencode_asks_a_mixture_through_its_tool(place, sage):
    config = json.loads(setup("opencode", "json", place.server.url))
    config["mcp"] = {"mixtura": {"type": "local", "command": sage, "enabled": True}}
    (place.folder / "opencode.json").write_text(json.dumps(config))

    assert "S-42" in place.run(program("opencode"), "run", ASK)


def test_the_plugin_of_claude_code_passes_its_own_validator(place):
    folder = ROOT / "integrations" / "claude-code"

    # It ends with an error where the manifest or a skill is none.
    said = place.run(program("claude-code"), "plugin", "validate", folder)

    assert "Validation passed" in said
    for skill in ("council-review", "second-opinion"):
        assert f"mixtura:{skill}" in said


@pytest.mark.usefixtures("sage")
def test_the_official_inspector_lists_the_tools_and_calls_one(place):
    inspector = real_clients.install("mcp-inspector") / "node_modules" / ".bin" / "mcp-inspector"

    # Its own --config would take ours: it is found in the folder instead.
    (place.folder / "sage.toml").rename(place.folder / "mixtura.toml")

    listed = place.run(inspector, "--cli", *SERVER, "--method", "tools/list")
    called = place.run(
        inspector, "--cli", *SERVER, "--method", "tools/call", "--tool-name", "ask",
        "--tool-arg", "question=Why?", "--tool-arg", "mixture=sage",
    )  # fmt: skip

    tools = json.loads(listed)["tools"]
    assert {one["name"] for one in tools} == {"ask", "review", "compare", "models"}
    assert all(one["inputSchema"] and one["outputSchema"] for one in tools)
    assert json.loads(called)["structuredContent"]["answer"].strip() == "S-42"
