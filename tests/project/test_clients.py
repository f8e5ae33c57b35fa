"""Other people's clients, as they are installed, against the server: no special case anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import CLIENTS, ROOT
from tests.support.serving import serving, team
from tests.support.upstream import Script, running
from tests.support.upstream.faults import FAULTS

SCRIPTS = CLIENTS
OTHERS = Path(sys.prefix) / "clients" / "bin"
"""The environment of those that want other versions than the tests do; `make test` makes it."""
ANSWER = "Light scatters, blue most."
MIXTURES = """
[mixtures.agent]
layers = [["a"]]
aggregator = "caller"
[mixtures.agent-loop]
layers = [["a"]]
aggregator = "loop"
[mixtures.json]
layers = [["a"]]
aggregator = "former"
"""


@pytest.fixture(scope="module")
def base_url(tmp_path_factory):
    weather = ("weather", '{"town": "Rome"}')

    def otherwise(record):
        if record.model == "loop":  # calls the tool until it sees a result
            done = any(m["role"] == "tool" for m in record.body["messages"])
            return Script(ANSWER) if done else Script("", tool=weather)
        return Script("All is well.")

    fault = next(f for f in FAULTS if f.name == "500").play(0)
    with running(otherwise) as upstream:
        upstream.scripts = {
            "a": Script("Because of scattering."),
            "chief": Script(ANSWER),
            "caller": Script("", tool=weather),
            "former": Script('{"name": "Rome"}'),
            "broken": Script("x", ever=fault),
        }
        names = ("a", "broken", "caller", "loop", "former", "chief")
        configuration = team(upstream, *names, more=MIXTURES)
        proposers = '["a", "broken", "caller", "loop", "former"]'
        configuration = configuration.replace(proposers, '["a"]')
        with serving(tmp_path_factory.mktemp("clients"), configuration) as server:
            yield server.base_url


def ran(python, *arguments, **environ):
    names = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")
    env = {k: v for k, v in os.environ.items() if k not in names} | {"NO_PROXY": "*"} | environ
    done = subprocess.run(
        [python, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize(
    "script", ["openai_chat", "openai_responses", "anthropic_messages", "pydantic_agent"]
)
def test_a_client_of_this_environment_works_with_the_server(script, base_url):
    ran(
        sys.executable,
        "-W",
        "error::DeprecationWarning:__main__",
        SCRIPTS / f"{script}.py",
        base_url,
    )


@pytest.mark.parametrize("script", ["langchain_chat", "any_llm"])
def test_a_client_of_another_environment_works_with_the_server(script, base_url):
    assert OTHERS.is_dir(), "`make test` makes the environment of these clients"
    ran(OTHERS / "python", SCRIPTS / f"{script}.py", base_url)


def test_the_llm_command_works_with_the_server(base_url, tmp_path):
    assert OTHERS.is_dir(), "`make test` makes the environment of these clients"
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: mixture\n  model_name: default\n  api_base: {base_url}\n"
    )
    home = {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}
    for more in ((), ("--no-stream",)):
        said = ran(OTHERS / "llm", "-m", "mixture", *more, "Why is the sky blue?", **home)
        assert said.strip() == ANSWER


def test_the_example_in_the_docs_works(base_url, tmp_path):
    text = (ROOT / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
    code = text.partition("```py\n")[2].partition("```")[0]
    assert "http://127.0.0.1:6498/v1" in code
    script = tmp_path / "example.py"
    script.write_text(code.replace("http://127.0.0.1:6498/v1", base_url))
    assert ran(sys.executable, script).strip() == ANSWER
