"""The command line in this process: quick, for what needs no process or terminal of its own."""

from __future__ import annotations

import io
import logging
import os
import sys
from dataclasses import dataclass

import pytest

from mixtura.cli import main
from tests.support import command_line
from tests.support.command_line import Desk, Ran

desk = command_line.desk


@dataclass
class Shell:
    """A person's folder and environment, and `mixtura` called in it as a function."""

    desk: Desk
    capsys: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    def run(self, *words: str, stdin: bytes = b"", **env: str) -> Ran:
        with self.patch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            with pytest.raises(SystemExit) as ended:
                main(words)
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err, err
        return Ran(int(ended.value.code or 0), out, err)


@pytest.fixture
def shell(desk, capsys, monkeypatch):
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in desk.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(desk.folder)
    yield Shell(desk, capsys, monkeypatch)
    logger = logging.getLogger("mixtura")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def typed_command(tmp_path, monkeypatch, capsys):
    """A command as a person types it in a folder of theirs: its exit code and what it says."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run
