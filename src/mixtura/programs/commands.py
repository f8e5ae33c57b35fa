"""A user's own command, run on a text that a model wrote: with the user's rights, not confined."""

from __future__ import annotations

import asyncio
import io
import os
import re
import shlex
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PLACE = "{file}"
"""Stands in a command for the path of the file."""
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})(?P<behind>.*)")


class CommandNotRunError(RuntimeError):
    """The command could not be started; the message says why."""


@dataclass(frozen=True, slots=True)
class CheckCommand:
    """
    A command that ends with 0 where a file is right.

    *words* are its program and arguments, with ``{file}`` for the file's path; no shell reads
    them. *seconds* is the time that it has, *file_name* what the file is called.
    """

    words: tuple[str, ...]
    seconds: float = 30.0
    file_name: str = "answer.py"

    @classmethod
    def parse(cls, line: str, seconds: float = 30.0, file_name: str = "answer.py") -> CheckCommand:
        """
        The command of a line as one types it. Raises ValueError, with what is wrong, for a line
        without a program or without ``{file}``, and for a file name with a folder in it.
        """
        try:
            words = tuple(shlex.split(line))
        except ValueError as error:
            raise ValueError(f"check: this is not a command: {error}") from None
        if not words or not any(PLACE in word for word in words[1:]):
            raise ValueError(f"check: write {PLACE} where the file stands: pytest -q {PLACE}")
        if not file_name or file_name in (".", "..") or re.search(r"[/\\\0]", file_name):
            raise ValueError(f"file: a plain name such as answer.py, not '{file_name}'")
        return cls(words, seconds, file_name)


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """Whether the command ended with 0; *late*: it was ended when its time was over."""

    passed: bool
    late: bool = False


async def run_command(command: CheckCommand, text: str) -> CommandOutcome:
    """
    Run *command* on *text*, which is written to a file in an empty folder of its own, where the
    command works and which is its home; of the environment it gets the PATH alone. It has no
    input, and what it writes is not read. When it ends, is late or the caller is cancelled, all
    processes of its group are killed; one that left the group goes on. Raises CommandNotRunError.
    """
    with tempfile.TemporaryDirectory(prefix="mixtura-check-", ignore_cleanup_errors=True) as folder:
        file = _write_file(Path(folder, command.file_name), text)
        words = [word.replace(PLACE, str(file)) for word in command.words]
        process = await _start(words, folder)
        try:
            async with asyncio.timeout(command.seconds):
                return CommandOutcome(await process.wait() == 0)
        except TimeoutError:
            return CommandOutcome(passed=False, late=True)
        finally:
            _kill_group(process.pid)
            await asyncio.shield(process.wait())


def _write_file(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8", errors="replace")
    return file


async def _start(words: Sequence[str], folder: str) -> asyncio.subprocess.Process:
    if os.name != "posix":
        raise CommandNotRunError("check: commands are run on Linux and macOS only")
    nowhere = asyncio.subprocess.DEVNULL
    environment = {
        "PATH": os.environ.get("PATH", os.defpath), "HOME": folder, "TMPDIR": folder,
        "LANG": "C.UTF-8",
    }  # fmt: skip
    try:
        return await asyncio.create_subprocess_exec(
            *words, stdin=nowhere, stdout=nowhere, stderr=nowhere, cwd=folder, env=environment,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CommandNotRunError(f"check: {words[0]} cannot be run: {reason}") from None


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def find_code(reply: str) -> str:
    """The longest fenced block of *reply*; without one the whole of it."""
    lines = io.StringIO(reply, newline="\n").readlines()
    fences = [
        (at, match["fence"], not match["behind"].strip())
        for at, line in enumerate(lines)
        if (match := _FENCE.match(line))
    ]
    blocks: list[str] = []
    never_closed: dict[str, int] = {}  # by a fence's sign: from which length on
    begin = 0
    while begin < len(fences):
        at, fence, _ = fences[begin]
        end = None
        if len(fence) < never_closed.get(fence[0], len(fence) + 1):
            end = _find_closing(fences, begin)
        if end is None:
            never_closed[fence[0]] = min(len(fence), never_closed.get(fence[0], len(fence)))
        else:
            blocks.append("".join(lines[at + 1 : fences[end][0]]))
            begin = end
        begin += 1
    return max(blocks, key=len, default=reply)


def _find_closing(fences: Sequence[tuple[int, str, bool]], begin: int) -> int | None:
    opening = fences[begin][1]
    rest = range(begin + 1, len(fences))
    return next((i for i in rest if fences[i][2] and fences[i][1].startswith(opening)), None)
