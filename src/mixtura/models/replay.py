"""A recorded trace answers again, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mixtura.errors import RejectedError
from mixtura.events import Emit, Token
from mixtura.trace import Call, Trace
from mixtura.types import Completion, Request
from mixtura.wire import completion_from_json, fingerprint, fingerprint_json


class Recording(NamedTuple):
    """An answer and the pieces it came in."""

    completion: Completion
    pieces: tuple[str, ...]


class Replay:
    """
    Stands in for the model called *name*: the same request gets the recorded answer.

    A request that was never recorded raises RejectedError: nothing is made up.
    """

    def __init__(self, name: str, recordings: Mapping[str, Recording]) -> None:
        self._name = name
        self._recordings = recordings

    @classmethod
    def of(cls, name: str, trace: Trace) -> Replay:
        """From a trace in memory."""
        calls = [call for call in trace.leaves() if call.model == name and call.completion]
        return cls(name, {fingerprint(c.request, name): _recording(c) for c in calls})

    @classmethod
    def of_json(cls, name: str, data: Mapping[str, Any]) -> Replay:
        """From what ``mixtura ask --json`` printed."""
        rows = [row for row in _leaves(data["calls"]) if row["model"] == name and row["completion"]]
        return cls(
            name,
            {
                fingerprint_json(row["request"]): Recording(
                    completion_from_json(row["completion"]), tuple(row["pieces"])
                )
                for row in rows
            },
        )

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        recording = self._recordings.get(fingerprint(request, self._name))
        if recording is None:
            raise RejectedError("this request is not in the recording", model=self._name)
        if emit:
            for piece in recording.pieces:
                emit(Token(piece))
        return recording.completion


def _recording(call: Call) -> Recording:
    assert call.completion is not None
    return Recording(call.completion, tuple(call.pieces))


def _leaves(rows: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for row in rows:
        if row.get("calls"):
            yield from _leaves(row["calls"])
        else:
            yield row
