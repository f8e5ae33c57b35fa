"""The program as a process in a folder of its own, with models on loopback, and a real terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.forked_program import MixturaProcess
from tests.support.loopback import Answer, Json, Loopback, loopback, nobody


@dataclass
class Desk:
    """A person's folder, home and environment, and a server with their models."""

    folder: Path
    server: Loopback
    env: dict[str, str]
    started: ExitStack

    def write(self, text: str, name: str = "mixtura.toml") -> Path:
        (self.folder / name).write_text(text, encoding="utf-8")
        return self.folder / name

    def model(self, name: str, more: str = "") -> str:
        """A model's table: the server answers under the model's own name."""
        address = f'base_url = "{self.server.base_url}"\nmodel = "{name}"\nretries = 0\n'
        return f"[models.{json.dumps(name)}]\n{address}{more}\n"

    def start(self, *words: str | bytes, **streams: object) -> subprocess.Popen[bytes]:
        usual = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "cwd": self.folder,
            "env": self.env,
        }
        process = MixturaProcess(words, **{**usual, **streams})
        self.started.enter_context(process)
        self.started.callback(process.kill)  # a test that failed may have left it running
        return process

    def run(
        self, *words: str | bytes, stdin: bytes | None = None, env: Mapping[str, str] | None = None
    ) -> Ran:
        source = {"stdin": subprocess.PIPE} if stdin is not None else {}
        process = self.start(*words, **source, env={**self.env, **(env or {})})
        out, err = process.communicate(stdin, timeout=60)
        return Ran(process.returncode, out.decode(), err.decode())


@dataclass(frozen=True)
class Ran:
    """What a process said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Json:
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """What was said of wrong use: exit code 2, no answer, no traceback."""
        assert self.code == 2, (self.out, self.err)
        assert self.out == ""
        assert "Traceback" not in self.err, self.err
        return self.err


@pytest.fixture
def desk(tmp_path) -> Iterator[Desk]:
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    env = {k: v for k, v in os.environ.items() if k in ("PATH", "SYSTEMROOT", "VIRTUAL_ENV")}
    env |= {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "OLLAMA_HOST": nobody(),
        "LANG": "C.UTF-8",
    }
    with loopback() as server, ExitStack() as started:
        server.answers = {
            "ann": Answer.text("Air scatters blue light.", prompt_tokens=11),
            "ben": Answer.text("It is Rayleigh scattering.", prompt_tokens=12),
            "chief": Answer.text("Because air scatters blue light most.", prompt_tokens=50),
        }
        desk = Desk(folder, server, env, started)
        price = "price = { input = 1.0, output = 10.0 }"
        models = "".join(desk.model(name, price) for name in server.answers)
        team = '[mixtures.team]\nlayers = [["ann", "ben"]]\naggregator = "chief"\n'
        desk.write(f'default = "team"\n{models}{team}')
        yield desk


ANSWER = "Because air scatters blue light most.\n"


def last_message(request: Json) -> str:
    return request["messages"][-1]["content"]


HOSTILE = (
    "\x1b[2J\x1b[31mred\x1b[0m \x1b]8;;http://bad.example\x07link\x1b]8;;\x07 "
    "\x1b]52;c;aGk=\x07\x1b]0;owned\x07 [bold]b[/bold] [/b] [link=x] "
    "\u202egnp.exe\u202c \rover \x9b31m \x07\x08 {{proposals}} end."
)


CSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
MOVED = re.compile(r"\x1b\[\d*[A-HJK]|\r\n?")
"""The cursor goes elsewhere: what follows is another line."""


@dataclass
class Terminal:
    """A real pseudo-terminal with the program at work in it."""

    process: subprocess.Popen[bytes]
    master: int
    drawn: bytes = b""

    @property
    def raw(self) -> str:
        """All it sent; the last character may be half there."""
        return self.drawn.decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        """Every line ever drawn, without its colours."""
        return CSI.sub("", MOVED.sub("\n", self.raw)).split("\n")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def read(self, until: str | None = None) -> None:
        """Take in what it draws: to its end, or until *until* has been drawn."""
        while until is None or until not in self.text:
            try:
                piece = os.read(self.master, 65536)
            except OSError:  # how a terminal says that its program has left
                piece = b""
            if not piece:
                assert until is None, f"it ended before it said {until!r}: {self.text}"
                return
            self.drawn += piece

    def close(self) -> int:
        self.read()
        return self.process.wait(20)


def terminal(
    desk: Desk, *words: str, width: int = 100, height: int = 30, kind: str = "xterm-256color"
) -> Terminal:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    desk.env["TERM"] = kind
    process = desk.start(*words, stdin=slave, stdout=slave, stderr=slave, controlling_terminal=True)
    os.close(slave)
    desk.started.callback(os.close, master)
    return Terminal(process, master)
