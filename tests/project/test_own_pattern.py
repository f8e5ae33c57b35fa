"""The example of a pattern in a package of its own: printed in the guide, installed, asked."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from tests.support.loopback import Answer, loopback
from tests.support.other_packages import docs_block, install_modules, program
from tests.support.paths import ROOT

EXAMPLE = ROOT / "examples" / "own-pattern"
MODULE, PROJECT = "mixtura_cascade", EXAMPLE / "pyproject.toml"
GUIDE = "guides/own-pattern.md"


@pytest.fixture
def site(tmp_path):
    """A folder with the package as an installer leaves it there."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in rows.items())
        for group, rows in project["entry-points"].items()
    )
    code = (EXAMPLE / f"{MODULE}.py").read_text()
    return install_modules(tmp_path / "site", MODULE, {MODULE: code}, points)


def echo(body):
    """What a model of the provider says: its name, and the last message that it was shown."""
    return Answer.text(f"{body['model']}: {body['messages'][-1]['content']}")


@pytest.fixture
def folder(tmp_path):
    """A person's folder with the example's configuration; its models echo."""
    text = (EXAMPLE / "mixtura.toml").read_text()
    with loopback() as server:
        for name in ("groq/llama-3.1-8b-instant", "openai/gpt-5.4"):
            model = name.partition("/")[2]
            server.answers[model] = echo
            text += f'[models."{name}"]\nbase_url = "{server.base_url}"\nmodel = "{model}"\n'
        (tmp_path / "mixtura.toml").write_text(text)
        yield tmp_path


def test_the_guide_prints_the_files_of_the_example():
    assert docs_block(GUIDE, "class Cascade") == (EXAMPLE / f"{MODULE}.py").read_text()
    assert docs_block(GUIDE, "[build-system]", "text") == PROJECT.read_text()
    used = docs_block(GUIDE, "[mixtures.frugal]", "text")
    assert (EXAMPLE / "mixtura.toml").read_text().endswith(used)


def test_the_module_runs_by_itself_with_python_m():
    ran = subprocess.run(
        [sys.executable, "-m", MODULE], cwd=EXAMPLE, capture_output=True, text=True, check=True
    )

    assert ran.stdout == "It is 42.\n"


def test_once_installed_a_mixture_of_the_pattern_is_asked_by_its_name(site, folder):
    weak = program(folder, site, "ask", "--quiet", "-m", "frugal", "What is 6 x 7?")
    good = program(folder, site, "ask", "--quiet", "-m", "frugal", "Answer: 42?")

    assert weak.stdout == "gpt-5.4: What is 6 x 7?\n", weak.stderr
    assert good.stdout == "llama-3.1-8b-instant: Answer: 42?\n"


def test_once_installed_it_is_listed_and_drawn_like_one_of_ours(site, folder):
    listed = program(folder, site, "show", "--patterns").stdout
    drawn = program(folder, site, "show", "frugal").stdout
    named = program(folder, site, "show", "cascade").stdout

    assert docs_block(GUIDE, "cascade     a cheap", "text").strip() in listed
    assert "2 layers, at most 2 calls per answer" in drawn
    assert "asked where no 'Answer:' is in the answer" in drawn
    assert "The mixture of this pattern: frugal" in named
