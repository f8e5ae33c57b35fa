"""A conversation's branches, and one of them as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixtura.core.attached_files import name_attached_files
from mixtura.core.text import collapse_whitespace, pluralize_count
from mixtura.protocols.openai.messages import message_from_json
from mixtura.storage.run_record import Record
from mixtura.storage.turns import question_text

MAX_HEADING_CHARS = 120


def find_branch(turns: Sequence[Record], leaf: str | None = None) -> list[Record]:
    """
    The turns that lead to the run *leaf*, the first one first; by default to the newest run.

    Runs beside a turn are in no branch. A turn whose predecessor is gone begins its branch.
    """
    named = {turn["id"]: turn for turn in turns if not turn["beside"]}
    at = named.get(leaf) if leaf else None
    if at is None and named:
        at = list(named.values())[-1]
    branch: dict[str, Record] = {}
    while at is not None and at["id"] not in branch:  # a damaged one may lead back to itself
        branch[at["id"]] = at
        at = named.get(at["previous"] or "")
    return list(branch.values())[::-1]


def conversation_markdown(conversation: Mapping[str, Any], leaf: str | None = None) -> str:
    """The branch of a conversation that leads to the run *leaf*, as Markdown."""
    branch = find_branch(conversation["turns"], leaf)
    title = collapse_whitespace(conversation["title"], MAX_HEADING_CHARS)[:MAX_HEADING_CHARS]
    parts = [
        f"# {title}",
        f"{conversation['started'][:10]}, {pluralize_count(len(branch), 'turn')}",
    ]
    for turn in branch:
        for message in turn.get("before", ()):
            text = name_attached_files(message_from_json(message).text)
            parts += [f"## {_speaker_name(message['role'])}", text]
        if turn["state"] == "damaged":
            parts.append(f"*{turn['error']}*")
            continue
        parts += ["## You", name_attached_files(question_text(turn)), f"## {turn['model']}"]
        if turn["answer"] is not None:
            parts.append(turn["answer"])
        if turn["state"] not in ("answered", "degraded"):
            parts.append(f"*{turn['state']}{': ' if turn['error'] else ''}{turn['error'] or ''}*")
        parts.append(f"*{_describe_effort(turn)}*")
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _speaker_name(role: str) -> str:
    return {"user": "You", "assistant": "Answer"}.get(role, role.capitalize())


def _describe_effort(turn: Record) -> str:
    cost = turn["cost_usd"]
    money = "cost unknown" if cost is None else f"${cost:.6f}".rstrip("0").rstrip(".")
    calls = pluralize_count(turn["asked_calls"], "call")
    return f"{calls}, {turn['seconds']:.1f} s, {money}, run {turn['id']}"
