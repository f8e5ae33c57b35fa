"""What runs in the sandbox's two processes.

The candidate runs the untrusted program and answers calls of its function. The checker runs
the test, in another process: each call that the test makes is a message to the candidate, and
only the checker holds the pipe on which a verdict is given.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any, NoReturn, cast

from . import isolation, memory_import
from .channel import PipeChannel
from .plain_data import PlainDataError, decode, encode

_EXCEPTIONS: dict[str, type[BaseException]] = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
}
_ENDS_OF_ITERATIONS = (StopIteration, StopAsyncIteration)
_SHOWN = 400
"""Characters of a test's statement in a reason."""


class _StopError(BaseException):
    """The verdict stands before the test's end; a test's `except Exception` is not meant for it."""


def main() -> NoReturn:
    """Run as candidate or checker, as the command line says; the task is JSON on stdin."""
    library, reading, writing, verdicts = (int(word) for word in sys.argv[2:6])
    # Our own arguments are none of the program's business.
    sys.argv[:] = [""]
    task = json.load(sys.stdin.buffer)
    # Its own copy of the library, then nothing but these pipes and three times nowhere.
    memory_import.install_finder(library)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    channel = PipeChannel(reading, writing)
    try:
        how: str | None = isolation.isolate_process(task["seconds"], task["memory"], task["parent"])
        reason = how
    except Exception as error:  # noqa: BLE001  (whatever it is, nothing is run)
        how, reason = None, str(error)
    if verdicts < 0:
        channel.send({"isolation": how, "said": reason})
        if how:
            _run_candidate(channel, task)
    else:
        _write_report(verdicts, {"isolation": how, "said": reason})
        if how:
            _write_report(verdicts, _run_checker(channel, task))
    os._exit(0)


# ---- the candidate: nothing that it says is believed


def _run_candidate(channel: PipeChannel, task: dict[str, Any]) -> None:
    module = _new_module("solution")
    try:
        for part in ("setup", "program"):
            exec(compile(task[part], f"<{part}>", "exec", dont_inherit=True), module.__dict__)  # noqa: S102
        function = module.__dict__.get(task["entry_point"])
    except BaseException as error:  # noqa: BLE001  (whatever it was, it is the program's)
        return channel.send({"raised": _builtin_exception_name(error)})
    if not callable(function):
        return channel.send({"missing": True})
    channel.send({"ready": True})
    while True:
        try:
            call = channel.receive()
        except EOFError:
            return None
        reply = _call_function(function, call)
        try:
            channel.send(reply)
        except ValueError:
            channel.send({"strange": True})


def _call_function(function: Any, call: Any) -> dict[str, Any]:
    (arguments, named), objects = decode(call)
    try:
        result = function(*arguments, **named)
    except BaseException as error:  # noqa: BLE001
        return {"raised": _builtin_exception_name(error), "said": _error_text(error)}
    try:
        reply, _ = encode([result], objects)
    except BaseException:  # noqa: BLE001  (an iterator of its own, say)
        return {"strange": True}
    return {"returned": reply}


def _builtin_exception_name(error: BaseException) -> str:
    """The closest of Python's own exceptions."""
    kinds = type(error).__mro__
    return next(kind.__name__ for kind in kinds if _EXCEPTIONS.get(kind.__name__) is kind)


def _error_text(error: BaseException) -> str:
    try:
        return str(error)[:1000]
    except Exception:  # noqa: BLE001
        return ""


# ---- the checker


def _run_checker(channel: PipeChannel, task: dict[str, Any]) -> dict[str, Any]:
    """The verdict: what becomes of the test's `check` when it is given the candidate."""
    candidate = _RemoteCandidate(channel)
    names, entry_point = _new_module("test").__dict__, task["entry_point"]
    try:
        exec(compile(task["setup"], "<setup>", "exec", dont_inherit=True), names)  # noqa: S102
        test = compile(task["test"], "<test>", "exec", dont_inherit=True)
    except BaseException as error:  # noqa: BLE001
        return _make_verdict("unusable", f"it raised {type(error).__name__} before any call")
    names[entry_point] = candidate.make_proxy(entry_point)
    verdict = _make_verdict("passed", "its tests pass")
    try:
        candidate.wait_until_ready()
        exec(test, names)  # noqa: S102
        if not callable(names.get("check")):
            return _make_verdict("unusable", "it defines no check")
        results = names["check"](names[entry_point])
        if isinstance(results, list):
            verdict["results"] = [bool(one) for one in cast("list[object]", results)]
    except BaseException as error:  # noqa: BLE001  (an exit is no pass either)
        if "check" not in names and not candidate.calls:
            verdict = _make_verdict("unusable", f"it raised {type(error).__name__} before any call")
        else:
            verdict = _make_verdict("failed", _failure_reason(error, task["test"]))
    return candidate.verdict or verdict


class _RemoteCandidate:
    """The function under test, in another process; nothing that it sends is trusted."""

    def __init__(self, channel: PipeChannel) -> None:
        self._channel = channel
        self.calls = 0
        self.verdict: dict[str, Any] | None = None
        """What stands whatever the test makes of it, even where it caught the error."""

    def make_proxy(self, name: str) -> Any:
        """The function as the test sees it."""

        def proxy(*arguments: Any, **named: Any) -> Any:
            return self._call_remote(arguments, named)

        proxy.__name__ = proxy.__qualname__ = name
        return proxy

    def wait_until_ready(self) -> None:
        """Return when it is ready for calls; raises _StopError where it never will be."""
        try:
            first = self._channel.receive()
            if first["isolation"] is None:
                self._stop_with_verdict("refused", str(first["said"]))
        except (EOFError, OSError, ValueError):
            self._stop_with_verdict("refused", "the process for the program did not start")
        reply = self._receive_reply()
        if reply.get("missing") is True:
            self._stop_with_verdict("failed", "it does not define the function")
        if reply.get("ready") is not True:
            self._stop_with_verdict(
                "failed",
                f"{_describe_exception(_exception_kind(reply.get('raised')))} before any test",
            )

    def _call_remote(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self.calls += 1
        try:
            message, objects = encode([arguments, named])
            self._channel.send(message)
        except OSError:
            self._stop_with_verdict("ended")
        except (ValueError, RecursionError):  # not plain, or too much
            self._stop_with_verdict("unusable", "it calls the function with what is no plain data")
        reply = self._receive_reply()
        if "returned" in reply:
            try:
                return decode(reply["returned"], objects, message["rows"])[0][0]
            except (PlainDataError, IndexError):
                self._stop_with_verdict("failed", "its result cannot be read")
        if "raised" in reply:
            raise _rebuild_exception(_exception_kind(reply["raised"]), reply.get("said"))
        return self._stop_with_verdict("failed", "it returned what is no plain data")

    def _receive_reply(self) -> dict[str, Any]:
        reply: object = None
        try:
            reply = self._channel.receive()
        except (EOFError, OSError):
            self._stop_with_verdict("ended")
        except ValueError:
            self._stop_with_verdict("failed", "its reply cannot be read")
        if not isinstance(reply, dict):
            self._stop_with_verdict("failed", "its reply cannot be read")
        return cast("dict[str, Any]", reply)

    def _stop_with_verdict(self, outcome: str, reason: str = "") -> NoReturn:
        self.verdict = self.verdict or _make_verdict(outcome, reason)
        raise _StopError


def _exception_kind(name: object) -> type[BaseException]:
    return _EXCEPTIONS.get(name, Exception) if isinstance(name, str) else Exception


def _rebuild_exception(kind: type[BaseException], message: object) -> BaseException:
    """An exception such as the candidate's; some can only be made with more than a text."""
    if issubclass(kind, _ENDS_OF_ITERATIONS):
        # As in a generator (PEP 479): `map` or `zip` in a test would take it for the end of the
        # examples, so that none of them is looked at.
        return RuntimeError(f"it raised {kind.__name__}")
    for one in kind.__mro__:
        with suppress(TypeError):
            return one(message if isinstance(message, str) else "")
    return Exception()


def _describe_exception(kind: type[BaseException]) -> str:
    return "it ran out of memory" if kind is MemoryError else f"it raised {kind.__name__}"


def _failure_reason(error: BaseException, test: str) -> str:
    """What failed, in words of the test alone: no text of the program's, nor what it returned."""
    frame, line = error.__traceback__, 0
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<test>":
            line = frame.tb_lineno
        frame = frame.tb_next
    where = _statement_at_line(test, line)
    if isinstance(error, AssertionError):
        return f"a test failed: {where}"
    kind = next(one for one in type(error).__mro__ if _EXCEPTIONS.get(one.__name__) is one)
    return f"{_describe_exception(kind)} in: {where}"


def _statement_at_line(test: str, line: int) -> str:
    """The smallest statement that stands on a line of the test, on one line."""
    import ast  # only a failed test takes the time

    statement = ""
    for node in ast.walk(ast.parse(test)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or line):
            statement = ast.get_source_segment(test, node) or statement
    statement = " ".join(statement.split())
    return statement if len(statement) <= _SHOWN else statement[:_SHOWN] + " ..."


def _new_module(name: str) -> ModuleType:
    """A module for definitions that is not `__main__`; classes in it find their own names there."""
    module = sys.modules[name] = ModuleType(name)
    return module


def _make_verdict(outcome: str, reason: str) -> dict[str, Any]:
    return {"outcome": outcome, "reason": reason}


def _write_report(descriptor: int, row: dict[str, Any]) -> None:
    os.write(descriptor, json.dumps(row).encode() + b"\n")
