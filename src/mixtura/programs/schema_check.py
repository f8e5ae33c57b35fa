"""Whether answers fit a client's schema; one that takes long is checked where it can be ended.

A pattern, or references that branch, can take any time on a short text, and nothing ends a search
that has begun: so such a schema is tried in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from mixtura.core.json_schema import find_mismatches, read_json_answer
from mixtura.core.text import to_one_line

_MAX_SECONDS = 10.0
_MAX_MEMORY = 1024**3
_QUICK_STEPS = 1_000_000
"""Characters of the schema times those of the answers, up to which it is tried at once."""
_SLOW_KEYWORDS = ('"pattern', '"$ref', '"$dynamicRef', '"$recursiveRef', '"unique', '"unevaluated')
_CHILD_COMMAND = (
    "import json, sys; task = json.load(sys.stdin.buffer); sys.path[:] = task['path'];"
    " from mixtura.programs.schema_check import main; main(task)"
)
_SHOWN = 200


class SchemaCheckError(ValueError):
    """The schema cannot be used: it is none, or takes too long; the message says which."""


def check_answers(
    schema: Any,
    texts: Sequence[str],
    *,
    seconds: float = _MAX_SECONDS,
    stop: threading.Event | None = None,
) -> list[bool]:
    """
    Whether each of *texts* is JSON that fits *schema*, within *seconds* for all of them.

    Ends early where *stop* is set. Raises SchemaCheckError.
    """
    try:
        written = json.dumps(schema)
    except (ValueError, TypeError, RecursionError):
        raise SchemaCheckError("the schema is no JSON, or nested too deep") from None
    slow = len(written) * sum(map(len, texts)) > _QUICK_STEPS
    if not slow and not any(keyword in written for keyword in _SLOW_KEYWORDS):
        return _check_here(schema, texts)
    task = {"schema": schema, "texts": list(texts), "seconds": seconds, "path": sys.path}
    answer = _run_child(json.dumps(task).encode(), seconds, stop or threading.Event())
    if "problem" in answer:
        raise SchemaCheckError(answer["problem"])
    return [bool(one) for one in answer["fits"]]


def _check_here(schema: Any, texts: Sequence[str]) -> list[bool]:
    from jsonschema import Draft202012Validator, exceptions

    try:
        Draft202012Validator.check_schema(schema)
    except exceptions.SchemaError as error:
        said = to_one_line(f"{error.json_path}: {error.message}")[:_SHOWN]
        raise SchemaCheckError(f"the schema cannot be used: {said}") from None
    except RecursionError:
        raise SchemaCheckError("the schema is nested too deep") from None
    return [_fits(text, schema) for text in texts]


def _fits(text: str, schema: Any) -> bool:
    try:
        data = read_json_answer(text)
    except ValueError:
        return False
    try:
        return not find_mismatches(schema, data)
    except Exception as error:  # noqa: BLE001  (references to what is no schema raise anything)
        said = to_one_line(str(error))[:_SHOWN]
        raise SchemaCheckError(f"the schema cannot be used: {said}") from None


def _run_child(task: bytes, seconds: float, stop: threading.Event) -> dict[str, Any]:
    with subprocess.Popen(  # noqa: S603  (our own command)
        [sys.executable, "-I", "-B", "-c", _CHILD_COMMAND],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as child:  # fmt: skip
        until, given, said = time.monotonic() + seconds, cast("bytes | None", task), b""
        try:
            while time.monotonic() < until and not stop.is_set():
                with suppress(subprocess.TimeoutExpired):
                    said, _ = child.communicate(given, timeout=0.1)
                    break
                given = None  # it is kept, and written on
            else:
                raise SchemaCheckError(f"the schema took more than {seconds:g} s")
        finally:
            child.kill()
    try:
        return cast("dict[str, Any]", json.loads(said))
    except ValueError:
        # The system ended it: for its time, or for its memory.
        raise SchemaCheckError("the schema takes too much time or memory") from None


def main(task: dict[str, Any]) -> None:
    """What the process does: checks, and writes its answer as JSON."""
    with suppress(ImportError):  # not on Windows
        import resource

        seconds = round(task["seconds"]) + 1
        for what, most in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, _MAX_MEMORY)):
            with suppress(ValueError, OSError):
                resource.setrlimit(what, (most, most))
    try:
        answer: dict[str, Any] = {"fits": _check_here(task["schema"], task["texts"])}
    except SchemaCheckError as error:
        answer = {"problem": str(error)}
    sys.stdout.write(json.dumps(answer))
