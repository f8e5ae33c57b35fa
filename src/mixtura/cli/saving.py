"""A conversation as a file: Markdown, JSON, or HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mixtura.record import Record, compared, moment, question
from mixtura.text import visible
from mixtura.types import Message


@dataclass(frozen=True, slots=True)
class Turn:
    """A question that was answered, and its run."""

    question: str
    answer: str
    run: Record

    @property
    def messages(self) -> tuple[Message, Message]:
        return Message("user", self.question), Message("assistant", self.answer)


def save(turns: Sequence[Turn], file: Path) -> None:
    """
    Write it in the form that the file's name asks for: what the runs have, in which no key
    is. Raises OSError.
    """
    form = {".json": _json, ".html": _html, ".htm": _html}.get(file.suffix.lower(), _markdown)
    file.write_text(form([turn.run for turn in turns]), encoding="utf-8")


def _markdown(runs: Sequence[Record]) -> str:
    begun = moment(runs[0]["started"]).astimezone()
    parts = [f"# A conversation, {begun:%Y-%m-%d %H:%M}"]
    parts += [f"## System\n\n{message['content']}" for message in _opening(runs)]
    for run in runs:
        parts.append(f"## You\n\n{question(run)}")
        parts.append(f"## {run['model']}\n\n{visible(run['answer']).strip()}")
        parts.append(f"*Run {run['id']}*")
    return "\n\n".join(parts) + "\n"


def _json(runs: Sequence[Record]) -> str:
    """The messages as chat completions has them, and every run that made one."""
    said = _opening(runs)
    for run in runs:
        said.append({"role": "user", "content": question(run)})
        said.append({"role": "assistant", "content": run["answer"]})
    return json.dumps({"messages": said, "runs": runs}, ensure_ascii=False, indent=1) + "\n"


def _html(runs: Sequence[Record]) -> str:
    """The last run, which has all that was said before it."""
    from mixtura.server import page

    return page.exported(compared(runs[-1]))


def _opening(runs: Sequence[Record]) -> list[Record]:
    return [m for m in runs[0]["request"]["messages"] if m["role"] == "system"]
