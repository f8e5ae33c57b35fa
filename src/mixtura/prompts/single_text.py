"""A conversation as one text, for a program that reads nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable

from mixtura.core.types import Message, Request

SHORTEST_LINE = "====="
_TITLES = {"user": "User", "assistant": "Assistant", "tool": "Result of a tool"}


def write_as_one_text(request: Request) -> str:
    """
    The conversation of *request* as one text: a question alone as it is; else each turn under a
    title, between lines that stand in no turn.
    """
    system = [one.text for one in request.messages if one.role in ("system", "developer")]
    turns = [one for one in request.messages if one.role not in ("system", "developer")]
    form = _describe_form(request)
    if len(turns) == 1 and turns[0].role == "user" and not system and not form:
        return turns[0].text
    parts = [*system, *form]
    if len(turns) == 1:
        return "\n\n".join([*parts, turns[0].text])
    line = _choose_line(map(_turn_text, turns))
    shown = "\n".join(f"{line} {_TITLES[one.role]}\n{_turn_text(one)}" for one in turns)
    parts.append(
        "Below is a conversation, its turns divided by lines that begin with"
        f" {line} and say who speaks. Write the assistant's next turn, and nothing else."
    )
    return "\n\n".join([*parts, f"{shown}\n{line} Assistant"])


def _turn_text(turn: Message) -> str:
    calls = [f"(called the tool {call.name} with {call.arguments})" for call in turn.tool_calls]
    return "\n".join(filter(None, [turn.text, *calls]))


def _choose_line(texts: Iterable[str]) -> str:
    """Equals signs that no line of *texts* begins with."""
    # Each line is looked at once, however long it is.
    rows = (row for text in texts for row in text.splitlines() if row.startswith(SHORTEST_LINE))
    longest = max((len(row) - len(row.lstrip("=")) + 1 for row in rows), default=0)
    return "=" * max(longest, len(SHORTEST_LINE))


def _describe_form(request: Request) -> list[str]:
    form = request.response_format
    if not form or form.get("type") == "text":
        return []
    schema = form.get("json_schema", {}).get("schema")
    wanted = f" that matches this JSON schema: {json.dumps(schema)}" if schema else ""
    return [f"Answer with one JSON value{wanted}. Write no other text and no code fence."]
