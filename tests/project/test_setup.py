"""The set-up that `make` does: on every Python, in any path, and with words where it cannot."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.page_visit import chromium
from tests.support.paths import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PYTHONS = ("3.11.0", "3.11.2", "3.12.0", "3.13.0", "3.14.0")
SYSTEMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"),
           ("darwin", "Darwin", "arm64"), ("win32", "Windows", "AMD64"))  # fmt: skip

# Stands in for Python: it makes an environment of itself, and pip puts a program there.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
  *"import venv"*) [ ! -e "$HOME/no-venv" ] ;;
  *"print("*) echo 3.11 ;;
  *version_info*) [ ! -e "$HOME/old" ] ;;
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pip "*) [ -e "$HOME/no-wheel" ] && { echo "error: command 'gcc' failed"; exit 1; }
    printf '#!/bin/sh\\necho "mixtura: $*"\\n' > "$(dirname "$0")/mixtura"
    chmod +x "$(dirname "$0")/mixtura" ;;
esac
"""


class Newcomer:
    """A clone in a path with spaces, and a home where Python is a double."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "a home"
        self.clone = folder / "a clone"
        self.clone.mkdir(parents=True)
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(ROOT / name, self.clone)
        shutil.copytree(ROOT / "requirements", self.clone / "requirements")
        self.tools = self.home / "tools"
        self.tools.mkdir(parents=True)
        for name in ("sh", "make", "mkdir", "cp", "chmod", "touch", "dirname", "rm", "env"):
            (self.tools / name).symlink_to(shutil.which(name) or pytest.fail(name))

    def has_python(self, *faults: str, name: str = "python3") -> Newcomer:
        (self.tools / name).write_text(FAKE_PYTHON)
        (self.tools / name).chmod(0o755)
        for fault in faults:
            (self.home / fault).touch()
        return self

    def makes(self, *words: str) -> subprocess.CompletedProcess[str]:
        env = {"HOME": str(self.home), "PATH": str(self.tools)}
        return subprocess.run(
            ["make", *words], cwd=self.clone, env=env, capture_output=True, text=True, check=False
        )

    def is_told(self, *words: str) -> str:
        """What is said where it fails; nothing half-made stays behind."""
        done = self.makes(*words)
        assert done.returncode != 0
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def newcomer(tmp_path):
    return Newcomer(tmp_path)


def test_make_ask_sets_up_answers_and_ends_with_the_way_to_install(newcomer):
    done = newcomer.has_python().makes("ask", "Q=Why $HOME?")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "Setting up (once; half a minute on a fast machine) ...",
        "mixtura: ask -- Why $HOME?",
    ]
    last = "To use the command mixtura from any folder: make install"
    assert done.stderr.splitlines()[-1] == last
    assert newcomer.makes("ask").stdout.splitlines()[0].startswith("mixtura:")  # once only


def test_who_has_the_command_on_the_path_is_not_told_to_install_it(newcomer):
    newcomer.has_python()
    (newcomer.tools / "mixtura").symlink_to("/bin/true")

    assert "make install" not in newcomer.makes("ask").stderr


def test_a_newer_python_is_found_under_its_own_name(newcomer):
    newcomer.has_python(name="python3.12")

    assert newcomer.makes("ask").returncode == 0


def test_without_python_the_packages_of_three_systems_are_named(newcomer):
    said = newcomer.is_told("ask")

    assert "Mixtura needs Python 3.11 or newer, and none is on your PATH." in said
    assert "sudo apt install python3 python3-venv" in said
    assert "make PYTHON=/path/to/python3 ask" in said


def test_a_python_that_is_too_old_is_named_and_how_to_name_another(newcomer):
    said = newcomer.has_python("old").is_told("PYTHON=python3", "test")

    assert "Mixtura needs Python 3.11 or newer, and python3 is older." in said
    assert "make PYTHON=/path/to/python3.12 test" in said


def test_a_python_that_does_not_run_is_named_and_how_to_name_another(newcomer):
    said = newcomer.is_told("PYTHON=python3.12", "ask")

    assert "python3.12 does not run as Python" in said
    assert "make PYTHON=/path/to/python3 ask" in said


def test_without_venv_the_package_that_has_it_is_named(newcomer):
    said = newcomer.has_python("no-venv").is_told("ask")

    assert "its venv module is missing" in said
    assert "sudo apt install python3.11-venv" in said
    assert not (newcomer.clone / ".venv").exists()


def test_without_a_compiler_the_packages_that_have_one_are_named(newcomer):
    said = newcomer.has_python("no-wheel").is_told("ask")

    assert said.index("command 'gcc' failed") < said.index("pip says why above")
    assert "sudo apt install build-essential python3-dev" in said
    assert "xcode-select --install" in said
    assert not (newcomer.clone / ".venv" / ".use").exists()


# ---------------------------------------------------------------- the locks


def pins(lock: Path) -> list[Requirement]:
    lines = re.findall(r"^(\S+==[^\\\n]+)", lock.read_text(), re.MULTILINE)
    return [Requirement(line.strip()) for line in lines]


def chosen(lock: Path, python: str, system: tuple[str, str, str]) -> dict[str, list[str]]:
    """The versions of each package that one machine installs."""
    machine = {
        "python_version": python.rpartition(".")[0], "python_full_version": python,
        "sys_platform": system[0], "platform_system": system[1], "platform_machine": system[2],
        "os_name": "nt" if system[0] == "win32" else "posix",
        "implementation_name": "cpython", "platform_python_implementation": "CPython",
    }  # fmt: skip
    found: dict[str, list[str]] = {}
    for pin in pins(lock):
        if pin.marker is None or pin.marker.evaluate(machine):
            found.setdefault(canonicalize_name(pin.name), []).append(str(pin.specifier))
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_has_one_hashed_version_of_each_package_on_every_machine(lock):
    blocks = re.split(r"^(?=\S+==)", lock.read_text(), flags=re.MULTILINE)
    assert [block for block in blocks if "==" in block and "--hash=sha256:" not in block] == []
    assert len(pins(lock)) == sum("==" in block for block in blocks)
    for python in PYTHONS:
        for system in SYSTEMS:
            several = {k: v for k, v in chosen(lock, python, system).items() if len(v) > 1}
            assert several == {}, (python, system)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_locks_hold_what_the_project_asks_for_and_agree_with_each_other(python):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locks = {
        name: chosen(ROOT / "requirements" / f"{name}.txt", python, SYSTEMS[0])
        for name in ("use", "test", "install")
    }
    extras = project["optional-dependencies"]
    needs = {
        "use": [extras["local"], extras["serve"]],
        "test": [],
        "install": [extras[n] for n in ("local", "serve", "eval", "report", "providers")],
    }
    for name, lists in needs.items():
        wanted = [*project["dependencies"], *(line for lines in lists for line in lines)]
        for requirement in map(Requirement, wanted if lists else []):
            if requirement.name != "mixtura":
                (version,) = locks[name][canonicalize_name(requirement.name)]
                assert requirement.specifier.contains(version.removeprefix("==")), requirement
    for package in locks["use"].keys() & locks["test"].keys():
        assert locks["use"][package] == locks["test"][package]
    for package in locks["install"].keys() & locks["test"].keys():
        assert locks["install"][package] == locks["test"][package]


def test_every_set_up_of_the_makefile_checks_hashes():
    lines = (ROOT / "Makefile").read_text().splitlines()

    assert [line for line in lines if "-r requirements/" in line and "require-hashes" not in line
            and not line.startswith("\t@$(LOCK)")] == []  # fmt: skip


def test_the_oldest_python_of_the_locks_is_the_project_s():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["requires-python"] == ">=3.11"
    assert "--python-version 3.11.0" in (ROOT / "Makefile").read_text()
    assert Version(PYTHONS[0]) == Version("3.11.0")


# ---------------------------------------------------------------- the browser


def test_without_a_browser_the_page_s_tests_are_skipped_and_say_why(monkeypatch):
    monkeypatch.setenv("MIXTURA_CHROMIUM", "/nowhere/chromium")
    monkeypatch.setenv("MIXTURA_REQUIRE", "postgres")

    with pytest.raises(pytest.skip.Exception, match=r"need Chromium: `apt-get install"), chromium():
        pass


def test_a_browser_that_does_not_start_is_as_good_as_none(monkeypatch):
    monkeypatch.setenv("MIXTURA_CHROMIUM", shutil.which("false") or "")
    monkeypatch.delenv("MIXTURA_REQUIRE", raising=False)

    with pytest.raises(pytest.skip.Exception, match="false does not start: "), chromium():
        pass


def test_where_the_browser_is_required_its_absence_is_a_failure(monkeypatch):
    monkeypatch.setenv("MIXTURA_CHROMIUM", "/nowhere/chromium")
    monkeypatch.setenv("MIXTURA_REQUIRE", "postgres,chromium")

    with pytest.raises(pytest.fail.Exception, match="the page's tests need Chromium"), chromium():
        pass


def test_ci_requires_all_that_tests_are_skipped_without():
    needs = "postgres,chromium,groff,compiler,sandbox"
    assert f"export MIXTURA_REQUIRE={needs}\n" in (ROOT / ".ci" / "run").read_text()
