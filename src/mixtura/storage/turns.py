"""A run as a turn of a conversation: where it stands, its words, and what is shown of it there."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from mixtura.core import large_json
from mixtura.core.errors import MixturaError
from mixtura.protocols.openai.messages import message_from_json
from mixtura.storage.run_record import Record, iter_leaf_calls, parse_timestamp, restore_trace

DAMAGED_TEXT = "(this run is damaged)"
"""Stands for what cannot be read of a run."""
UNFINISHED_ERROR = "the process that made this run ended before it was kept"
UNPACK_ERRORS = (
    zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError,
    ValueError, AttributeError, MixturaError,
)  # fmt: skip
"""What reading a body raises that is no run's."""
LOST_PICTURE = "[There was a picture here. It was not kept.]"
MAX_SEARCHED_CHARS = 400_000
"""Characters of a run's question and answer that searches look at."""
MAX_SEARCH_WORDS = 16
MAX_WORD_CHARS = 100
"""Of a word that is looked for: one that nearly stands in many places takes time by its length."""


class TurnPlace(NamedTuple):
    """Where a run stands in a conversation."""

    conversation: str = ""
    """The id of its first run; empty for a run that begins one."""
    previous: str = ""
    """The run that it goes on from; empty at the beginning. Runs with the same are branches."""
    beside: str = ""
    """The run whose question it answers once more, for comparison; empty for a turn."""
    draw: int = 0
    """How many runs at this place have an answer already: a cached one is not given again."""
    blind: str = ""
    """Which of two answers without names is shown first: "mixture" or "model"; empty with names."""


class TurnRow(NamedTuple):
    """A run's row in the table of turns."""

    run: str
    conversation: str
    previous: str
    beside: str
    words: str
    glance: bytes
    """What `build_turn_view` makes of the run, compressed."""


TURN_COLUMNS = ", ".join(TurnRow._fields)


def build_turn_row(run: Record) -> TurnRow:
    """The row of a run as it is kept, without a secret in it."""
    seen = build_turn_view(run)
    words = _searched_words(seen)
    return TurnRow(
        run["id"],
        run.get("conversation") or run["id"],
        run.get("previous") or "",
        run.get("beside") or "",
        words,
        zlib.compress(large_json.encode(seen)),
    )


def build_turn_view(run: Record) -> Record:
    """
    What a conversation shows of a run: question, answer, who took part and how it ended.

    *before*, the messages that came before the question, only where no other run has them.
    """
    messages: list[Record] = run["request"]["messages"] if run["request"] else []
    last = max((i for i, one in enumerate(messages) if one["role"] == "user"), default=-1)
    more: Record = {"before": messages[: max(last, 0)]} if not run.get("previous") else {}
    if run.get("blind"):
        more["blind"] = run["blind"]
    return {
        "id": run["id"],
        "conversation": run.get("conversation") or run["id"],
        "previous": run.get("previous") or None,
        "beside": run.get("beside") or None,
        "message": messages[last] if last >= 0 else None,
        **more,
        "answer": run["answer"],
        "state": run["state"],
        "error": run["error"],
        "started": run["started"],
        "seconds": run["seconds"],
        "cost_usd": run["cost_usd"],
        "usage": run["usage"],
        "model": run["model"],
        "asked": run.get("asked"),
        "left_out": run["left_out"],
        "agreement": run.get("agreement"),
        "confidence": run.get("confidence"),
        "asked_calls": sum(1 for _ in iter_leaf_calls(run["calls"])),
        "calls": [_call_view(row) for row in run["calls"]],
    }


def unpack_run(body: Any, run: str) -> Record:
    """A recorded run from its body. Raises UNPACK_ERRORS where it is damaged or another run's."""
    whole: Record = large_json.decode(zlib.decompress(body))
    if whole["id"] != run:
        raise ValueError("it is another run's")
    restore_trace(whole)  # raises where anything is missing or of another form
    parse_timestamp(whole["started"])
    return whole


def read_turn_view(packed: Any, run: str) -> Record | None:
    """A turn's view as it was written; None where it is damaged or another run's."""
    try:
        seen: Record = large_json.decode(zlib.decompress(packed))
        return seen if seen["id"] == run else None
    except UNPACK_ERRORS:
        return None


def without_lost_pictures(messages: Sequence[Record]) -> list[Record]:
    """Recorded messages as they can be sent again: a note for each picture that was not kept."""
    return [
        {**message, "content": [_part_or_note(part) for part in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _part_or_note(part: Record) -> Record:
    image: Record = part.get("image_url") or {}
    address = str(image.get("url", ""))
    return {"type": "text", "text": LOST_PICTURE} if address.startswith("data:") else part


def question_text(seen: Mapping[str, Any]) -> str:
    """The question in a turn's view, attached files and all."""
    message = seen["message"]
    return message_from_json(message).text if message else ""


def fold_words(query: str) -> list[str]:
    """The words that a search looks for, as they are kept."""
    words = query.casefold().replace("\0", "").split()[:MAX_SEARCH_WORDS]
    return [word[:MAX_WORD_CHARS] for word in words]


def like_pattern(word: str) -> str:
    """A pattern for LIKE with the escape ``!`` that finds *word* anywhere."""
    for sign in "!%_":
        word = word.replace(sign, f"!{sign}")
    return f"%{word}%"


def _searched_words(seen: Record) -> str:
    text = f"{question_text(seen)}\n{seen['answer'] or ''}"
    whole = f"{seen['model'] or ''} {seen['id']}\n{text[:MAX_SEARCHED_CHARS]}"
    return whole.casefold().replace("\0", "")


def _call_view(row: Record) -> Record:
    ended = "done" if row["completion"] else "stopped"
    return {
        "role": row["role"],
        "layer": row["layer"],
        "index": row["index"],
        "model": row["model"],
        "state": "failed" if row["error"] is not None else ended,
    }
