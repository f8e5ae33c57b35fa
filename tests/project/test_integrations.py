"""What stands in integrations/, run as its host runs it, as far as that installs here."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.command_line import desk  # noqa: F401 - a fixture
from tests.support.loopback import Answer
from tests.support.other_packages import install_modules
from tests.support.paths import ROOT
from tests.support.serving import READY, serving

FOLDER = ROOT / "integrations"
CLIENTS = Path(sys.prefix) / "clients"
ANSWER = "Because air scatters blue light most."


def add_judged_team(desk):  # noqa: F811
    """A mixture `few` with the same members and a judge of their drafts."""
    desk.server.answers["picker"] = Answer.text('{"best": [1]}')
    layers = 'pattern = "sparse"\nlayers = [["ann", "ben"]]\naggregator = "chief"'
    text = (desk.folder / "mixtura.toml").read_text() + desk.model("picker")
    desk.write(f'{text}[mixtures.few]\n{layers}\njudge = "picker"\nkeep = 1\n')


# ---- llm


@pytest.fixture
def llm(desk, tmp_path):  # noqa: F811
    """The `llm` command with the plugin, as `llm install` leaves it."""
    source = (FOLDER / "llm-mixtura" / "llm_mixtura.py").read_text()
    points = tomllib.loads((FOLDER / "llm-mixtura" / "pyproject.toml").read_text())
    module = points["project"]["entry-points"]["llm"]["mixtura"]
    site = install_modules(
        tmp_path / "site", "llm_mixtura", {module: source}, f"[llm]\nmixtura = {module}\n"
    )
    (others,) = CLIENTS.glob("lib/python*/site-packages")
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r}); sys.path.append({str(others)!r});"
        "from llm.cli import cli; cli()"
    )
    env = desk.env | {"LLM_USER_PATH": str(tmp_path / "llm"), "NO_PROXY": "*"}

    def run(*words, code=0):
        done = subprocess.run(
            [sys.executable, "-c", program, *words], cwd=desk.folder, env=env, text=True,
            capture_output=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_a_mixture_is_a_model_of_the_llm_command(llm, desk):  # noqa: F811
    listed = llm("models")
    said = llm("-m", "mixtura/team", "-s", "Be brief.", "Why?")
    again = llm("-c", "--no-stream", "And at night?")
    logged = json.loads(llm("logs", "--json", "-n", "1"))[0]

    assert "Mixtura: mixtura\n" in listed
    assert "mixtura/team" in listed
    assert said.strip() == again.strip() == ANSWER
    asked = desk.server.asked("ann")[-1]["messages"]
    assert [row["content"] for row in asked] == ["Be brief.", "Why?", ANSWER, "And at night?"]
    kept = logged["response_json"]
    kept = json.loads(kept) if isinstance(kept, str) else kept
    assert {row["model"] for row in kept["proposals"]} == {"ann", "ben"}
    assert kept["cost_usd"] > 0
    assert logged["input_tokens"] == 73


def test_llm_keeps_drafts_as_proposals_and_no_verdict(llm, desk):  # noqa: F811
    add_judged_team(desk)
    llm("-m", "mixtura/few", "Why?")
    logged = json.loads(llm("logs", "--json", "-n", "1"))[0]["response_json"]

    kept = json.loads(logged) if isinstance(logged, str) else logged
    assert sorted(row["model"] for row in kept["proposals"]) == ["ann", "ben"]


def test_llm_says_in_words_why_there_is_no_answer(llm):
    said = llm("-m", "mixtura/team", "-o", "max_cost", "0", "Why?", code=1)

    assert "Error: " in said
    assert "Traceback" not in said


# ---- Open WebUI


def load_pipe():
    path = FOLDER / "open-webui" / "mixtura_pipe.py"
    spec = importlib.util.spec_from_file_location("mixtura_pipe", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["mixtura_pipe"] = module
    spec.loader.exec_module(module)
    return module.Pipe()


@pytest.mark.parametrize("team", ["team", "few"])
def test_the_pipe_of_open_webui_shows_the_proposals_above_the_answer(desk, tmp_path, team):  # noqa: F811
    told = []
    add_judged_team(desk)

    async def tell(event):
        told.append(event["data"]["description"])

    async def talk(pipe):
        names = [row["id"] for row in await pipe.pipes()]
        body = {"model": f"mixtura.{team}", "messages": [{"role": "user", "content": "Why?"}]}
        return names, "".join([piece async for piece in pipe.pipe(body, tell)])

    text = (desk.folder / "mixtura.toml").read_text()
    with serving(tmp_path / "served", text, environ=desk.env) as server:
        pipe = load_pipe()
        pipe.valves.base_url = server.base_url
        names, said = asyncio.run(talk(pipe))

    assert "team" in names
    folds = re.findall(r"<summary>(.+?)</summary>\n\n(.+?)\n\n</details>", said, re.DOTALL)
    assert sorted(folds) == [
        ("ann proposed", "> Air scatters blue light."),
        ("ben proposed", "> It is Rayleigh scattering."),
    ]
    assert said.endswith(f"</details>\n\n{ANSWER}")
    assert "ann is asked" in told
    assert told[-1].startswith("$0." if team == "team" else "cost unknown")


# ---- a Space of Hugging Face


def test_the_space_serves_the_page_with_the_key_of_its_secret(desk):  # noqa: F811
    space = FOLDER / "huggingface-space"
    front = space.joinpath("README.md").read_text().split("---")[1]
    settings = dict(re.findall(r"^(\w+): (.+)$", front, re.MULTILINE))
    served = tomllib.loads(space.joinpath("mixtura.toml").read_text())["serve"]
    assert settings["sdk"] == "docker"
    assert int(settings["app_port"]) == served["port"]
    copied = re.findall(r"^COPY (.+) \S+$", space.joinpath("Dockerfile").read_text(), re.MULTILINE)
    for name in " ".join(copied).split():
        assert any((folder / name).exists() for folder in (space, ROOT)), name

    bin_folder = Path(sys.executable).parent
    env = desk.env | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "MIXTURA_SPACE_KEY": sha256(b"visitor").hexdigest(),
    }
    with subprocess.Popen(
        ["sh", "start.sh", "--port", "0"], cwd=space, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        lines = iter(process.stdout.readline, "")
        started = any(READY.search(line) for line in lines)
        process.terminate()

    assert started
