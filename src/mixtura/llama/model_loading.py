"""Has a started process load a model file: the request, the reply, the errors."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import Any

import msgspec

from mixtura.core.errors import ConfigError, MixturaError, TimedOutError, UnavailableError
from mixtura.core.missing_packages import missing_package_text
from mixtura.core.text import to_one_line
from mixtura.llama import gguf
from mixtura.llama.process_exit import ProcessExit
from mixtura.llama.process_output import ProcessOutput, readable_descriptors

LONGEST_REPLY = 1 << 16


class _LoadReply(msgspec.Struct, forbid_unknown_fields=True):
    ready: bool = False
    refused: str | None = None
    missing: str | None = None


class ModelLoad:
    """The loading of *path* by a process that was just started, for at most *limit* seconds."""

    def __init__(self, path: Path, limit: float, output: ProcessOutput) -> None:
        self._path = path
        self._limit = limit
        self._output = output

    def load_over(self, control: socket.socket, start: dict[str, Any]) -> bool:
        """
        Send *start* to the process and wait until the model is loaded.

        False when the process ended, or broke its protocol, first. Raises ConfigError,
        TimedOutError, UnavailableError.
        """
        until = time.monotonic() + self._limit
        # A process that was killed at this moment resets the connection; how it ended says why.
        with contextlib.suppress(ConnectionError):
            control.sendall(msgspec.json.encode(start) + b"\n")
        reply = b""
        while not reply.endswith(b"\n"):
            wait = until - time.monotonic()
            ready = readable_descriptors(
                (control.fileno(), self._output.descriptor), max(wait, 0.0)
            )
            if not ready:
                raise self._timeout_error()
            if self._output.descriptor in ready:
                self._output.read_available()
            if control.fileno() in ready:
                data = b""
                with contextlib.suppress(ConnectionError):
                    data = control.recv(LONGEST_REPLY)
                reply += data
                if not data or len(reply) > LONGEST_REPLY:
                    return False
        self._check_reply(reply)
        return True

    def _check_reply(self, reply: bytes) -> None:
        try:
            said = msgspec.json.decode(reply, type=_LoadReply)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UnavailableError("the process for llama.cpp broke its protocol") from None
        if said.missing is not None:
            raise ConfigError(_import_failure_text(said.missing))
        if said.refused is not None:
            self._output.read_available()
            why = self._output.log.cause_of_refusal() or to_one_line(said.refused)[:200]
            raise self._unloadable_file_error(why)

    def exit_error(self, death: ProcessExit, *, killed: bool) -> MixturaError:
        """The error for a process that ended while it loaded. *killed*: by this program."""
        if killed:
            return UnavailableError(death.words)
        if death.crashed:
            return self._unloadable_file_error(death.words)
        return UnavailableError(
            f"while {self._path} was loaded, {death.words}: is there memory enough?"
        )

    def _timeout_error(self) -> MixturaError:
        if self._output.log.weights_loaded:
            return self._unloadable_file_error(f"it does not end within {self._limit:.0f} s")
        return TimedOutError(
            f"llama.cpp did not load {self._path} within {self._limit:.0f} s: it is damaged, or"
            " needs a longer limit on this machine"
        )

    def _unloadable_file_error(self, why: str) -> ConfigError:
        if self._output.log.weights_loaded:
            return ConfigError(f"the chat template in {self._path} is broken: {why}")
        return ConfigError(
            f"llama.cpp cannot load {self._path}: it is damaged, or of a kind unknown to it;"
            f" {gguf.PULL_ADVICE} ({why})"
        )


def _import_failure_text(reason: str) -> str:
    """Why llama.cpp cannot be imported: it is not there, or a library of the system is not."""
    library = reason.partition(":")[0]
    if reason.startswith("No module named") or "cannot open shared object" not in reason:
        return missing_package_text("a model on this machine", "xllamacpp", "local")
    package = {"libgomp.so.1": "libgomp1", "libstdc++.so.6": "libstdc++6"}.get(library, library)
    return (
        f"llama.cpp, which runs models on this machine, needs the system library {library}."
        f" On Debian and Ubuntu: sudo apt install {package}"
    )
