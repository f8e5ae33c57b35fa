"""A missing package is told with a command that installs it here, published or not."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from mixtura.core.missing_packages import (
    extra_requirements,
    install_command,
    missing_package_text,
)
from tests.support.paths import ROOT

DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def parsed(lines):
    return {(r.name.lower().replace("_", "-"), frozenset(r.extras), str(r.specifier))
            for r in map(Requirement, lines)}  # fmt: skip


def all_of(extra):
    for line in DECLARED[extra]:
        if line.startswith("mixtura["):
            yield from all_of(Requirement(line).extras.pop())
        else:
            yield line


@pytest.mark.parametrize("extra", sorted(DECLARED))
def test_the_requirements_of_an_extra_are_those_of_this_version_and_never_mixtura(extra):
    found = extra_requirements(extra)

    assert parsed(found) == parsed(all_of(extra))
    assert not [line for line in found if "extra" in line or line.startswith("mixtura")]


def test_the_command_is_for_this_interpreter_and_a_shell_reads_it_as_one_word_each():
    said = missing_package_text("the server", "uvicorn", "serve")

    before, _, command = said.partition(" To install it: ")
    assert before == "the server needs uvicorn, which is not installed."
    words = shlex.split(command)
    assert words[:4] == [sys.executable, "-m", "pip", "install"]
    assert parsed(words[4:]) == parsed(DECLARED["serve"])


def test_without_metadata_the_package_itself_is_installed(monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", nothing)

    assert missing_package_text("x", "uvicorn", "serve").endswith("-m pip install uvicorn")


def test_a_condition_of_a_requirement_stays_with_it(monkeypatch):
    lines = ['a>=1; python_version < "3.12" and extra == "x"', "b[c]<2; extra == 'x'", "d",
             'mixtura[y]; extra == "x"', 'mixtura[x]; extra == "y"', 'e; extra == "y"']  # fmt: skip
    monkeypatch.setattr(metadata, "requires", lambda _: lines)

    assert extra_requirements("x") == ('a>=1; python_version < "3.12"', "b[c]<2", "e")


def test_where_the_interpreter_has_no_pip_uv_is_named(tmp_path):
    file = ROOT / "src" / "mixtura" / "core" / "missing_packages.py"
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['install_command']('a<2'))"
    bare = tmp_path / "an environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    python = bare / "bin" / "python"

    done = subprocess.run([python, "-c", code, file], capture_output=True, text=True, check=True)

    assert shlex.split(done.stdout) == ["uv", "pip", "install", "--python", str(python), "a<2"]


LEAN = """
import pkgutil, sys
from importlib import import_module, metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

lines = [line for line in open(sys.argv[1]) if line[0].isalnum()]
there = {canonicalize_name(Requirement(line.split(" \\\\")[0]).name) for line in lines}
there |= {"mixtura", "pip", "setuptools", "packaging"}
missing = {
    module for module, names in metadata.packages_distributions().items()
    if there.isdisjoint(map(canonicalize_name, names))
}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

assert "inspect_ai" in missing
sys.meta_path.insert(0, Missing())
for folder in ("mixtura", "mixtura.cli", "mixtura.server"):
    import_module(folder)
    for one in pkgutil.iter_modules(sys.modules[folder].__path__, f"{folder}."):
        if one.name not in ("mixtura.__main__",):
            import_module(one.name)
"""
"""Imports the library, all commands and the server where only the packages of `make ask` are."""


def test_the_server_and_all_commands_begin_with_the_packages_of_make_ask_alone():
    command = [sys.executable, "-c", LEAN, ROOT / "requirements" / "use.txt"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.soak
def test_the_told_command_brings_what_was_missing(tmp_path):
    """The registry is asked. A wheel in an empty environment lacks llama.cpp, until it is told."""
    home = tmp_path / "a home"
    python = home / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", home / "environment"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", ROOT], check=True)
    env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    ask = [home / "environment" / "bin" / "mixtura", "ask", "-p", "smollm2-135m", "--quiet", "Hi."]

    def answer():
        return subprocess.run(
            ask, env=env, cwd=home, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    refused = answer()
    assert refused.returncode in (2, 3), refused
    command = refused.stderr.partition("To install it: ")[2].strip()
    assert shutil.which(shlex.split(command)[0]) == str(python)
    subprocess.run(command, shell=True, env=env, check=True)
    assert answer().returncode == 0


def test_a_command_without_requirements_of_ours_is_still_one():
    assert install_command("a b").endswith("install 'a b'")
