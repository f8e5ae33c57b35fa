"""
Other people's clients as their makers ship them, with the lines of docs/guides/clients.md, against
the server: each asks, has a tool run, and asks a second time.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.paths import CLIENTS
from tests.support.real_clients import NODE, install, run_client, setup
from tests.support.scripted_agent import PLAIN, acts, form, wish
from tests.support.serving import Served, serving, team
from tests.support.upstream import Script, Upstream, running

pytestmark = pytest.mark.soak

WHY, MORE = "Why is the sky blue?", "And at night?"
READ = wish("read_note", name="note.txt")
HAND_OVER = wish("transfer_to_helper")
COPY = "cp note.txt copy.txt && cat copy.txt"
SCRIPTS = CLIENTS / "real"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The server, and the provider behind it: `a` proposes, `chief` writes and acts."""
    with running(acts) as upstream:
        upstream.scripts = {"a": Script("Because of scattering.")}
        configuration = team(upstream, "a", "chief").replace("retries = 0\n", "")
        with serving(tmp_path_factory.mktemp("served"), configuration) as server:
            yield server, upstream


@dataclass
class Place:
    """Where one client works: a folder with a note in it, and a home."""

    server: Served
    upstream: Upstream
    folder: Path
    home: Path

    @property
    def note(self) -> str:
        return (self.folder / "note.txt").read_text().strip()

    def turns(self, question: str) -> int:
        """How often the proposer was asked about *question*."""
        return sum(question in record.prompt for record in self.upstream.of("a"))

    def run(self, *command, lines="", **environ):
        return run_client(command, self.folder, home=self.home, lines=lines, **environ)

    def after_lines(self, section: str, script: str, *arguments: str, language: str) -> str:
        """Run *script* behind the lines of the docs, in the folder of its packages."""
        packages = install(script.partition("/")[0])
        source = SCRIPTS / script.partition("/")[2]
        lines = setup(section, language, self.server.url)
        together = packages / source.name
        together.write_text(f"{lines}\n{source.read_text()}")
        program = NODE / "node" if source.suffix == ".mjs" else packages / "bin" / "python"
        return self.run(program, together, *arguments)


@pytest.fixture
def place(served, tmp_path):
    """After the test, no request of the client may have been refused."""
    server, upstream = served
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "note.txt").write_text(f"The word is {tmp_path.name}.\n")
    before = _refusals(server)
    yield Place(server, upstream, folder, tmp_path / "home")
    assert _refusals(server) == before, (server.url, _refusals(server))


def _refusals(server: Served) -> list[str]:
    counted = server.get("/metrics").body.decode()
    found = re.findall(r'mixtura_requests_total\{path="(/v1/\S+)",status="(\d+)"\} (\S+)', counted)
    return [f"{path} {status}: {n}" for path, status, n in found if int(status) >= 400]


def program(client: str) -> Path:
    names = {"claude-code": "claude", "continue": "cn", "qwen-code": "qwen"}
    return install(client) / "node_modules" / ".bin" / names.get(client, client)


# ---- programs that act


def codex(place, *words):
    home = place.home / ".codex"
    home.mkdir(parents=True, exist_ok=True)
    lines = setup("Codex CLI", "ini", place.server.url)
    (home / "config.toml").write_text(lines)
    return place.run(program("codex"), "exec", "--skip-git-repo-check", *words)


def test_codex_with_its_default_settings_asks_runs_a_command_and_goes_on(place):
    assert codex(place, WHY).strip() == PLAIN
    assert codex(place, "resume", "--last", MORE).strip() == PLAIN
    assert place.note in codex(place, wish("exec_command", cmd="cat note.txt"))
    assert place.turns("cat note.txt") == 1


def test_codex_applies_a_patch(place):
    patch = "*** Begin Patch\n*** Update File: note.txt\n@@\n-{}\n+Patched.\n*** End Patch"
    call = wish("exec_command", cmd=f"apply_patch <<'END'\n{patch.format(place.note)}\nEND")
    codex(place, "--sandbox", "workspace-write", call)

    assert place.note == "Patched."


def test_codex_calls_a_tool_that_stands_in_a_namespace(place):
    said = codex(place, wish("spawn_agent", message=WHY))

    assert "agent_id" in said or "nickname" in said, said
    assert "unsupported call" not in said


def test_claude_code_asks_runs_its_tools_and_goes_on(place):
    lines = setup("Claude Code", "bash", place.server.url)
    claude = [program("claude-code"), "-p"]

    assert place.run(*claude, WHY, lines=lines).strip() == PLAIN
    assert place.run(*claude, "--continue", MORE, lines=lines).strip() == PLAIN
    call = wish("Bash", command=COPY, description="Copies the note.")
    assert place.note in place.run(*claude, call, "--allowedTools", "Bash", lines=lines)
    assert (place.folder / "copy.txt").read_text().strip() == place.note
    assert place.turns(COPY) == 1
    made = place.folder / "made.txt"
    call = wish("Write", file_path=str(made), content="Written.")
    place.run(*claude, call, "--allowedTools", "Write", lines=lines)
    assert made.read_text() == "Written."


def test_opencode_asks_runs_its_tools_and_goes_on(place):
    lines = setup("opencode", "json", place.server.url)
    (place.folder / "opencode.json").write_text(lines)
    run = [program("opencode"), "run"]

    assert place.run(*run, WHY).strip() == PLAIN
    assert place.run(*run, "--continue", MORE).strip() == PLAIN
    call = wish("bash", command=COPY, description="Copies the note.")
    assert place.note in place.run(*run, call)
    assert (place.folder / "copy.txt").exists()


def test_cline_asks_and_runs_its_tools(place):
    lines = setup("Cline", "bash", place.server.url)
    cline, state = program("cline"), ("--data-dir", str(place.home / "state"))
    place.home.mkdir()
    named = f"cline() {{ '{cline}' \"$@\" {' '.join(state)}; }}\n{lines}"

    assert PLAIN in place.run(cline, *state, WHY, lines=named)
    assert place.note in place.run(cline, *state, wish("run_commands", commands=[COPY]))
    assert (place.folder / "copy.txt").exists()


def test_continue_asks_and_runs_its_tools(place):
    config = place.folder / "config.yaml"
    config.write_text(setup("Continue", "yaml", place.server.url))
    cn = [program("continue"), "--config", config, "--auto", "-p"]

    assert place.run(*cn, WHY).strip() == PLAIN
    assert place.note in place.run(*cn, wish("Bash", command=COPY))
    assert (place.folder / "copy.txt").exists()


def test_qwen_code_asks_runs_its_tools_and_goes_on(place):
    lines = setup("Qwen Code", "bash", place.server.url)
    settings = place.home / ".qwen" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"privacy": {"usageStatisticsEnabled": false}}')
    # It asks a proxy for every address, those of this machine, too.
    none = {"HTTP_PROXY": "", "HTTPS_PROXY": ""}
    qwen = [program("qwen-code"), "--yolo"]

    assert place.run(*qwen, WHY, lines=lines, **none).strip() == PLAIN
    assert place.run(*qwen, "--continue", MORE, lines=lines, **none).strip() == PLAIN
    call = wish("run_shell_command", command=COPY, is_background=False)
    assert place.note in place.run(*qwen, call, lines=lines, **none)
    assert (place.folder / "copy.txt").exists()


def test_aider_edits_a_file_and_commits_it(place):
    lines = setup("aider", "bash", place.server.url)
    for words in (("init", "-q"), ("config", "user.email", "a@b.c"), ("config", "user.name", "a")):
        subprocess.run(["git", *words], cwd=place.folder, check=True)
    edited = place.folder / "program.py"
    edited.write_text("print('old')\n")
    quiet = ["--yes-always", "--no-check-update", "--analytics-disable", "--no-show-model-warnings"]
    aider = install("aider") / "bin" / "aider"

    said = place.run(aider, *quiet, "--message", "Please edit program.py", edited, lines=lines)

    assert edited.read_text().strip() == "print('edited')"
    assert "Applied edit to program.py" in said
    assert "Commit" in said


# ---- libraries


@pytest.mark.parametrize("version", ["ai-sdk-7", "ai-sdk-6"])
def test_the_ai_sdk_works_with_each_of_its_providers(version, place):
    said = place.after_lines(
        "AI SDK", f"{version}/ai_sdk.mjs", place.server.base_url, PLAIN, READ, language="js"
    )

    assert said.count("works") == 4


def test_the_agents_sdk_works_in_python(place):
    lines = setup("Agents SDK", "bash", place.server.url)
    python = install("agents-sdk") / "bin" / "python"
    said = place.run(
        python, SCRIPTS / "agents_sdk.py", PLAIN, READ, HAND_OVER, lines=lines,
        OPENAI_AGENTS_DISABLE_TRACING="1",
    )  # fmt: skip

    assert said.count("works") == 2


def test_the_agents_sdk_works_in_javascript(place):
    lines = setup("Agents SDK", "bash", place.server.url)
    script = install("agents-sdk-js") / "agents_sdk.mjs"
    shutil.copy(SCRIPTS / script.name, script)
    said = place.run(
        NODE / "node", script, PLAIN, READ, HAND_OVER, lines=lines,
        OPENAI_AGENTS_DISABLE_TRACING="1",
    )  # fmt: skip

    assert said.count("works") == 2


def test_litellms_sdk_works_over_each_api(place):
    said = place.after_lines("LiteLLM", "litellm/litellm_sdk.py", PLAIN, READ, language="py")

    assert said.count("works") == 5


def test_litellms_proxy_works_in_front_of_mixtura_and_behind_it(place):
    (place.folder / "config.yaml").write_text(setup("LiteLLM", "yaml", place.server.url))
    with proxy(place) as address:
        key = {"Authorization": f"Bearer {PROXY_KEY}"}
        asked = [{"role": "user", "content": WHY}]
        chat = {"model": "team", "messages": asked}
        for path, body in {
            "/v1/chat/completions": chat,
            "/v1/responses": {"model": "team", "input": WHY},
            "/v1/messages": chat | {"max_tokens": 50},
        }.items():
            for stream in (False, True):
                said = posted(address + path, body | {"stream": stream}, key)
                assert all(word in said for word in PLAIN.split()), (path, said)  # in pieces
        behind = f'[models.proxied]\nbase_url = "{address}/v1"\nmodel = "team"\n'
        behind = f'default = "proxied"\n{behind}api_key_env = "PROXY_KEY"\n'
        known = {"PROXY_KEY": PROXY_KEY}
        with serving(place.folder / "behind", behind, environ=known) as server:
            assert server.chat(WHY).json["choices"][0]["message"]["content"] == PLAIN


PROXY_KEY = "sk-made-up-for-this-test"


@contextmanager
def proxy(place):
    """LiteLLM's proxy on a free port, with the configuration in the place's folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    python = install("litellm") / "bin"
    place.home.mkdir()
    env = {
        "HOME": str(place.home), "PATH": f"{python}:/usr/bin:/bin", "LITELLM_MASTER_KEY": PROXY_KEY,
        "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }  # fmt: skip
    command = [python / "litellm", "--config", "config.yaml", "--host", "127.0.0.1"]
    with (place.folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=place.folder, env=env, stdout=log, stderr=log
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _until_ready(f"{address}/health/liveliness", process)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _until_ready(address, process):
    import time

    for _ in range(240):
        assert process.poll() is None, "the proxy did not begin"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the proxy is not ready")


def posted(address, body, headers):
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as reply:
        return reply.read().decode()


def test_instructor_gets_its_form_by_a_tool_and_by_a_schema(place):
    call = wish("Town", name="Rome")
    said = place.after_lines(
        "instructor", "instructor/instructor_form.py", call, form(name="Rome"), language="py"
    )

    assert "works" in said


def test_langchain_works_over_each_api(place):
    said = place.after_lines(
        "LangChain", "langchain/langchain_agents.py", PLAIN, READ, language="py"
    )

    assert said.count("works") == 4


def test_pydantic_ai_works_over_each_api(place):
    said = place.after_lines(
        "pydantic-ai", "pydantic-ai/pydantic_agents.py", place.server.url, PLAIN, READ,
        language="py",
    )  # fmt: skip

    assert said.count("works") == 3
