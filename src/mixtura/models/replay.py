"""A recorded trace answers again, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mixtura.core.arguments import check_kind, check_mapping, check_name
from mixtura.core.errors import RejectedError
from mixtura.core.events import Emit, Token
from mixtura.core.types import Completion, Request
from mixtura.engine.trace import CallTrace, Trace
from mixtura.protocols.openai.completion_json import completion_from_json
from mixtura.protocols.openai.request_fingerprints import body_fingerprint, request_fingerprint


class RecordedAnswer(NamedTuple):
    """An answer and the pieces it came in."""

    completion: Completion
    pieces: tuple[str, ...]


class Replay:
    """
    Stands in for the model called *name*: the same request gets the recorded answer.

    A request that was never recorded raises RejectedError: nothing is made up. Raises TypeError and
    ValueError for arguments that are none.
    """

    def __init__(self, name: str, recordings: Mapping[str, RecordedAnswer]) -> None:
        check_name("name", name)
        check_mapping("recordings", recordings)
        self._name = name
        self._recordings = recordings

    @classmethod
    def from_trace(cls, name: str, trace: Trace) -> Replay:
        """From a trace in memory. Raises TypeError for what is none."""
        check_kind("trace", trace, Trace, "a Trace, as from Recorder().build_trace()")
        calls = [call for call in trace.leaf_calls() if call.model == name and call.completion]
        return cls(name, {request_fingerprint(c.request, name): _recorded_answer(c) for c in calls})

    @classmethod
    def from_json(cls, name: str, data: Mapping[str, Any]) -> Replay:
        """
        From what ``mixtura ask --json`` printed. Raises ValueError and TypeError for what it does
        not print.
        """
        check_mapping("data", data, "what `mixtura ask --json` printed, as a dict")
        if not isinstance(data.get("calls"), list | tuple):
            raise ValueError("data: `calls` is missing: give what `mixtura ask --json` printed")
        rows = [
            row for row in _leaf_calls(data["calls"]) if row["model"] == name and row["completion"]
        ]
        return cls(
            name,
            {
                body_fingerprint(row["request"]): RecordedAnswer(
                    completion_from_json(row["completion"]), tuple(row["pieces"])
                )
                for row in rows
            },
        )

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        recording = self._recordings.get(request_fingerprint(request, self._name))
        if recording is None:
            raise RejectedError("this request is not in the recording", model=self._name)
        if emit:
            for piece in recording.pieces:
                emit(Token(piece))
        return recording.completion


def _recorded_answer(call: CallTrace) -> RecordedAnswer:
    assert call.completion is not None
    return RecordedAnswer(call.completion, tuple(call.pieces))


def _leaf_calls(rows: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for row in rows:
        if row.get("calls"):
            yield from _leaf_calls(row["calls"])
        else:
            yield row
