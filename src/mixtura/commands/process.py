"""One run of a program: its prompt in, its output out, and nothing of it left afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path

from mixtura.commands.environment import RUN_VARIABLE, build_environment
from mixtura.core.errors import NotAvailableHereError, RejectedError, UnavailableError

GRACE_SECONDS = 1.0
"""That a program has to end after it was told to, before it is killed."""
PIPE_SECONDS = 1.0
"""That the output of a program that ended may stay open: a child of it may hold it."""
_READ_SIZE = 1 << 16
_KEPT_ERROR_BYTES = 16_384
LONGEST_ARGUMENT = 100_000
"""Bytes of a prompt that is an argument: Linux takes 131,072 in all."""


class CommandProcess:
    """A program that runs: *exit_code* is None until it has ended."""

    def __init__(self, process: asyncio.subprocess.Process, largest: int) -> None:
        self._process, self._largest = process, largest
        self._errors = bytearray()
        self._is_cut = False

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    @property
    def error_text(self) -> str:
        """The end of what it wrote to standard error."""
        text = self._errors.decode("utf-8", "replace")
        # The word that is cut may be the end of a secret, which nothing would find.
        return (
            text.partition(text.split(maxsplit=1)[0])[2] if self._is_cut and text.strip() else text
        )

    async def read_output(self, prompt: bytes) -> AsyncIterator[bytes]:
        """
        Write *prompt*, and yield the standard output until the program and its output have ended.

        Raises RejectedError where it writes more than it may.
        """
        feeding = asyncio.create_task(self._feed(prompt))
        listening = asyncio.create_task(self._keep_errors())
        ending = asyncio.create_task(wait_for_exit(self._process))
        left = self._largest
        try:
            while piece := await self._next_piece(ending):
                left -= len(piece)
                if left < 0:
                    raise RejectedError(f"it wrote more than {self._largest / 1024**2:g} MB: ended")
                yield piece
            await ending
            await asyncio.wait([listening], timeout=PIPE_SECONDS)
        finally:
            for task in (feeding, listening, ending):
                task.cancel()
            await asyncio.gather(feeding, listening, ending, return_exceptions=True)

    async def _next_piece(self, ending: asyncio.Task[None]) -> bytes:
        """The next output; empty at its end, or when the program ended and nothing more comes."""
        assert self._process.stdout is not None
        reading = asyncio.create_task(self._process.stdout.read(_READ_SIZE))
        try:
            await asyncio.wait([reading, ending], return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await asyncio.wait([reading], timeout=PIPE_SECONDS)
            return reading.result() if reading.done() else b""
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _feed(self, prompt: bytes) -> None:
        assert self._process.stdin is not None
        # A program that does not read its prompt to the end is no fault in itself.
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(prompt)
            await self._process.stdin.drain()
            self._process.stdin.close()

    async def _keep_errors(self) -> None:
        assert self._process.stderr is not None
        while piece := await self._process.stderr.read(_READ_SIZE):
            self._errors += piece
            self._is_cut = self._is_cut or len(self._errors) > _KEPT_ERROR_BYTES
            del self._errors[:-_KEPT_ERROR_BYTES]


@contextlib.asynccontextmanager
async def start_command(
    command: Sequence[str], passed: Sequence[str], environ: Mapping[str, str], largest: int
) -> AsyncGenerator[CommandProcess]:
    """
    Run *command* in an empty folder of its own, without keys in its environment. When the block
    ends, however it does, the program and all that it started have ended, too.

    Raises NotAvailableHereError where there is no such program.
    """
    run = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="mixtura-", ignore_cleanup_errors=True) as folder:
        try:
            process = await _create_process(command, folder, environ, passed, run)
        except FileNotFoundError:
            raise NotAvailableHereError(missing_program_message(command[0])) from None
        except OSError as error:
            said = f"{command[0]} cannot be started: {error.strerror}"
            raise UnavailableError(said) from None
        try:
            yield CommandProcess(process, largest)
        finally:
            ending = asyncio.ensure_future(end_all_processes(process, run))
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                await ending
                raise


async def _create_process(
    command: Sequence[str],
    folder: str,
    environ: Mapping[str, str],
    passed: Sequence[str],
    run: str,
) -> asyncio.subprocess.Process:
    creating = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            env=build_environment(environ, passed, run),
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(creating)
    except asyncio.CancelledError:
        # It may run by now, and so may what it started: asyncio itself would end it alone.
        with contextlib.suppress(OSError):
            await end_all_processes(await creating, run)
        raise


def missing_program_message(program: str) -> str:
    """What to say where a program is not on the PATH."""
    return f"the program '{program}' is not on your PATH: install it, or name it with its full path"


def find_program(program: str, environ: Mapping[str, str]) -> str | None:
    """The path of a program by its name or path; None where it cannot be run."""
    return shutil.which(program, path=environ.get("PATH", os.defpath))


async def wait_for_exit(process: asyncio.subprocess.Process) -> None:
    """Wait until *process* has ended, whoever else holds its pipes: its own ``wait`` would, too."""
    pause = 0.005
    while process.returncode is None:
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.1)


async def end_all_processes(process: asyncio.subprocess.Process, run: str) -> None:
    """End a program, its group, and on Linux what left the group and has the run's mark."""
    if process.returncode is None:
        _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wait_for_exit(process), GRACE_SECONDS)
    _signal_group(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    await wait_for_exit(process)
    if sys.platform == "linux":
        await asyncio.to_thread(_kill_marked, run)
    process._transport.close()  # pyright: ignore  # noqa: SLF001 - else a pipe that a child held stays


def _signal_group(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        elif process.returncode is None:
            process.send_signal(number)


def _kill_marked(run: str) -> None:
    """Kill every process that inherited the run's mark, again until there is none."""
    mark = f"{RUN_VARIABLE}={run}".encode()
    for _ in range(5):  # one that forks while it is looked for is found the next time
        environments = {pid: _read_environment(pid) for pid in _own_processes()}
        found = [pid for pid, environment in environments.items() if mark in environment]
        if not found and not any(
            _may_be_in_exec(pid) for pid, environment in environments.items() if not environment
        ):
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0 if found else 0.01)


def _may_be_in_exec(pid: int) -> bool:
    """Whether a process without an environment may be in the middle of ``exec``."""
    try:
        # Neither a zombie nor a part of the kernel, which have no environment either.
        return bool(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return False


def _own_processes() -> list[int]:
    own = os.getuid()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == own:
                found.append(int(entry.name))
    return found


def _read_environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
