"""`make install` puts the command on the PATH, and `make uninstall` takes all of it away again."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "scripts" / "install.py"

PROGRAM = '#!/bin/sh\necho "mixtura 9.9"\n'
FAKE_UV = """#!/bin/sh
echo "uv $*" >> "$HOME/called"
case "$1 $2" in
  "tool install") [ -e "$HOME/uv-fails" ] && exit 1
    while [ $# -gt 0 ]; do [ "$1" = --constraints ] && cp "$2" "$HOME/constraints"; shift; done
    mkdir -p "$HOME/.local/bin" "$HOME/uv-tools"
    ln -sf "$HOME/program" "$HOME/.local/bin/mixtura" ;;
  "tool dir") echo "$HOME/.local/bin" ;;
  "tool list") [ -d "$HOME/uv-tools" ] && echo "mixtura v9.9"; exit 0 ;;
  "tool uninstall") rm -r "$HOME/uv-tools" "$HOME/.local/bin/mixtura" ;;
esac
"""
FAKE_PIPX = """#!/bin/sh
echo "pipx $*" >> "$HOME/called"
case "$1" in
  install) mkdir -p "$HOME/.local/bin" "$HOME/pipx"
    ln -sf "$HOME/program" "$HOME/.local/bin/mixtura" ;;
  environment) echo "$HOME/.local/bin" ;;
  list) [ -d "$HOME/pipx" ] && echo "mixtura 9.9"; exit 0 ;;
  uninstall) rm -r "$HOME/pipx" "$HOME/.local/bin/mixtura" ;;
esac
"""
# In place of Python: its environments are folders, and pip puts the program into one.
FAKE_PYTHON = """#!/bin/sh
echo "python $*" >> "$HOME/called"
case "$1 $2" in
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip") [ -e "$HOME/pip-fails" ] && exit 1
    cp "$HOME/program" "$(dirname "$0")/mixtura" ;;
esac
"""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Person:
    """Someone with a home of their own, in a path with spaces, and only the tools named."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.tools = home / "tools"
        self.tools.mkdir(parents=True)
        executable(home / "program", PROGRAM)
        self.path = [self.tools, home / ".local" / "bin", Path("/usr/bin"), Path("/bin")]

    def has(self, name: str, text: str) -> None:
        executable(self.tools / name, text)

    def runs(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the script as ``make`` does, with *words*; pip and venv are doubles."""
        double = self.tools / "double-of-python"
        executable(double, FAKE_PYTHON)
        start = (
            "import runpy, sys; program = sys.argv[1]; sys.argv[:] = sys.argv[2:];"
            "sys.executable = program; runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        given = {
            "HOME": str(self.home), "SHELL": "/bin/bash",
            "PATH": os.pathsep.join(map(str, self.path)),
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-c", start, double, SCRIPT, *words], env=given | env,
            capture_output=True, text=True, check=False, cwd=self.home,
        )  # fmt: skip

    @property
    def called(self) -> str:
        return (self.home / "called").read_text()

    @property
    def files(self) -> set[str]:
        found = {str(path.relative_to(self.home)) for path in self.home.rglob("*")}
        return {path for path in found if not path.startswith(("tools", "called", "constraints"))}


@pytest.fixture
def person(tmp_path):
    if shutil.which("uv", path="/usr/bin:/bin") or shutil.which("pipx", path="/usr/bin:/bin"):
        pytest.skip("this system has uv or pipx of its own in /usr/bin")
    return Person(tmp_path / "a home")


EMPTY = {"program"}
FOLDERS = {".local", ".local/bin", ".local/share"}


def test_without_uv_and_pipx_there_is_an_environment_and_a_link_and_both_go_again(person):
    done = person.runs("install")

    assert done.returncode == 0, done.stderr
    assert f"Installed mixtura 9.9: {person.home}/.local/bin/mixtura" in done.stdout
    assert 'Try it: mixtura ask "' in done.stdout
    link = person.home / ".local" / "bin" / "mixtura"
    assert link.is_symlink()
    assert person.home / ".local" / "share" / "mixtura" in link.readlink().parents
    assert f"--require-hashes -r {ROOT}/requirements/install.txt" in person.called

    done = person.runs("uninstall")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Removed mixtura")
    assert "Kept: your configuration" in done.stdout
    assert person.files - FOLDERS == EMPTY


def test_a_home_that_is_a_link_is_the_same_home(person, tmp_path):
    linked = tmp_path / "link to a home"
    linked.symlink_to(person.home)
    assert person.runs("install", HOME=str(linked)).returncode == 0
    assert person.runs("install").returncode == 0
    assert person.runs("install", HOME=str(linked)).returncode == 0

    done = person.runs("uninstall")

    assert done.returncode == 0, done.stderr
    assert person.files - FOLDERS == EMPTY


def test_a_tool_that_cannot_uninstall_keeps_no_other_from_it(person):
    person.runs("install")
    person.has("uv", "#!/bin/sh\nexit 3\n")

    done = person.runs("uninstall")

    assert done.returncode == 1
    assert done.stdout.startswith("Removed mixtura (an environment of its own)")
    assert "make uninstall: uv: uv cannot list its tools" in done.stderr
    assert person.files - FOLDERS == EMPTY


@pytest.mark.parametrize("name", ['say "hi"', "five $HOME", "a `tick`", "back\\slash", "it's"])
def test_the_command_that_adds_a_folder_to_the_path_adds_that_one(name, person, tmp_path):
    folder = tmp_path / name
    said = subprocess.run(
        [sys.executable, "-c", (f"import runpy; m = runpy.run_path({str(SCRIPT)!r});"
         f"from pathlib import Path; print(m['path_command'](Path({str(folder)!r})))")],
        env={"HOME": str(person.home), "SHELL": "/bin/bash"}, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    subprocess.run(["/bin/sh", "-c", said], env={"HOME": str(person.home)}, check=True)
    shown = subprocess.run(
        ["/bin/sh", "-c", '. "$HOME/.bashrc"; printf %s "$PATH"'],
        env={"HOME": str(person.home), "PATH": "/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert shown.stdout == f"{folder}:/bin"


def test_installing_twice_leaves_one_environment(person):
    person.runs("install")
    first = (person.home / ".local" / "bin" / "mixtura").readlink()

    assert person.runs("install").returncode == 0

    (kept,) = (person.home / ".local" / "share" / "mixtura" / "environments").iterdir()
    assert (person.home / ".local" / "bin" / "mixtura").readlink().parents[1] == kept
    assert not first.exists()


def test_a_failed_update_leaves_the_command_that_was_there(person):
    person.runs("install")
    before = person.files
    (person.home / "pip-fails").touch()

    done = person.runs("install")

    assert done.returncode == 1
    assert "the packages could not be installed" in done.stderr
    assert "Traceback" not in done.stderr
    assert person.files - {"pip-fails"} == before
    assert (person.home / ".local" / "bin" / "mixtura").exists()


def test_a_first_install_that_fails_leaves_nothing(person):
    (person.home / "pip-fails").touch()

    assert person.runs("install").returncode == 1

    assert person.files - FOLDERS == EMPTY | {"pip-fails"}


def test_a_program_of_someone_else_is_not_overwritten(person):
    executable(person.home / ".local" / "bin" / "mixtura", "#!/bin/sh\necho other\n")

    done = person.runs("install")
    person.runs("uninstall")

    assert done.returncode == 1
    assert ".local/bin/mixtura exists and was not made by `make install`" in done.stderr
    assert "other" in (person.home / ".local" / "bin" / "mixtura").read_text()


@pytest.mark.parametrize(("tool", "text"), [("uv", FAKE_UV), ("pipx", FAKE_PIPX)])
def test_a_tool_that_people_have_is_used_and_asked_to_remove_it(tool, text, person):
    person.has(tool, text)

    done = person.runs("install")

    assert done.returncode == 0, done.stderr
    assert f"Installing mixtura with {tool}" in done.stdout
    assert (
        f"mixtura[local,serve,eval,report,providers,pdf,mcp,privacy,telemetry] @ {ROOT.as_uri()}"
        in person.called
    )
    assert "-m venv" not in person.called

    done = person.runs("uninstall")

    assert done.stdout.startswith(f"Removed mixtura ({tool})")
    assert person.files - FOLDERS == EMPTY


def test_an_environment_of_uv_has_pip_which_downloads_models(person):
    person.has("uv", FAKE_UV)
    person.runs("install")

    assert "--with pip " in person.called


def test_uv_is_given_the_tested_versions_as_constraints_without_hashes(person):
    person.has("uv", FAKE_UV)
    person.runs("install")

    lines = (person.home / "constraints").read_text().splitlines()

    assert len(lines) > 100
    assert not [line for line in lines if "hash" in line or "[" in line or line.endswith("\\")]
    assert [line for line in lines if line.startswith("soupsieve==") and "python_full" in line]


def test_where_uv_fails_the_environment_is_made_after_all(person):
    person.has("uv", FAKE_UV)
    (person.home / "uv-fails").touch()

    done = person.runs("install")

    assert done.returncode == 0, done.stderr
    assert "uv could not install it" in done.stderr
    assert (person.home / ".local" / "bin" / "mixtura").is_symlink()


def test_an_environment_of_before_goes_when_a_tool_takes_over(person):
    person.runs("install")
    person.has("uv", FAKE_UV)

    person.runs("install")

    assert not (person.home / ".local" / "share" / "mixtura").exists()
    assert (person.home / ".local" / "bin" / "mixtura").read_text() == PROGRAM


@pytest.mark.parametrize(
    ("shell", "said"),
    [("/bin/bash", ">> ~/.bashrc"), ("/bin/zsh", ">> ~/.zshrc"), ("/bin/dash", ">> ~/.profile"),
     ("/usr/bin/fish", "fish_add_path ")],
)  # fmt: skip
def test_a_folder_that_is_not_on_the_path_is_told_with_the_command_that_adds_it(
    shell, said, person
):
    del person.path[1]

    done = person.runs("install", SHELL=shell)

    assert ".local/bin is not on your PATH yet" in done.stdout
    command = next(line.strip() for line in done.stdout.splitlines() if said in line)
    if "fish" in shell:
        return
    (person.home / said.rpartition("/")[2]).touch()
    find = f'. "$HOME/{said.rpartition("/")[2]}"; command -v mixtura'
    found = subprocess.run(
        ["sh", "-c", f"{command}\n{find}"], env={"HOME": str(person.home), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == f"{person.home}/.local/bin/mixtura"


def test_another_mixtura_that_comes_first_is_told(person):
    person.has("mixtura", PROGRAM)

    assert "comes first on your PATH" in person.runs("install").stdout


def test_nothing_installed_is_nothing_to_remove(person):
    done = person.runs("uninstall")

    assert done.returncode == 0
    assert "not installed" in done.stdout
    assert person.files == EMPTY


def test_make_and_the_script_install_the_same_extras():
    script = SCRIPT.read_text()
    listed = script.partition("EXTRAS = (")[2].partition(")")[0]
    words = [word.strip(' "') for word in listed.split(",")]

    assert (
        f"INSTALLED := $(addprefix --extra ,{' '.join(words)})" in (ROOT / "Makefile").read_text()
    )


@pytest.mark.soak
@pytest.mark.parametrize("tool", ["venv", "uv", "pipx"])
def test_the_real_thing_answers_and_goes_again(tool, tmp_path):
    """The registry is asked. uv and pipx come from it, too."""
    home = tmp_path / "a home"
    tools = tmp_path / "tools"
    bins = [home / ".local" / "bin", tools / "bin", Path("/usr/bin"), Path("/bin")]
    subprocess.run([sys.executable, "-m", "venv", tools], check=True)
    if tool != "venv":
        subprocess.run([tools / "bin" / "pip", "install", "-q", tool], check=True)
    home.mkdir()
    env = {"HOME": str(home), "PATH": os.pathsep.join(map(str, bins))}
    env |= {name: value for name, value in os.environ.items() if name.startswith(("SSL_", "PIP_"))}

    def make(target: str) -> str:
        command = ["make", "-s", f"PYTHON={sys.executable}", f"WITH={tool}", target]
        done = subprocess.run(
            command, env=env, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    for _ in range(2):
        assert "Try it: mixtura ask" in make("install")
    said = subprocess.run(
        ["mixtura", "ask", "-p", "smollm2-135m", "--quiet", "Hi."], env=env, cwd=home,
        capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert said.stdout.strip()
    make("uninstall")
    assert not (home / ".local" / "bin" / "mixtura").exists()
    assert not (home / ".local" / "share" / "mixtura").exists()
