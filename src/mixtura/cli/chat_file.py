"""A conversation as a file: Markdown, JSON, or HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mixtura.core.text import strip_invisible
from mixtura.core.types import Message
from mixtura.storage.run_record import (
    Record,
    add_text_comparison,
    last_user_question,
    parse_timestamp,
)


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """A question that was answered, and its run."""

    question: Message
    """With the files that went with it."""
    answer: str
    run: Record

    @property
    def messages(self) -> tuple[Message, Message]:
        return self.question, Message("assistant", self.answer)


def save_turns(turns: Sequence[ChatTurn], file: Path) -> None:
    """Write the turns in the form that the file's name asks for; no key is in what runs recorded.

    Raises OSError.
    """
    form = {".json": _to_json, ".html": _to_html, ".htm": _to_html}.get(
        file.suffix.lower(), _to_markdown
    )
    file.write_text(form([turn.run for turn in turns]), encoding="utf-8")


def _to_markdown(runs: Sequence[Record]) -> str:
    begun = parse_timestamp(runs[0]["started"]).astimezone()
    parts = [f"# A conversation, {begun:%Y-%m-%d %H:%M}"]
    parts += [f"## System\n\n{message['content']}" for message in _system_messages(runs)]
    for run in runs:
        parts.append(f"## You\n\n{last_user_question(run)}")
        parts.append(f"## {run['model']}\n\n{strip_invisible(run['answer']).strip()}")
        parts.append(f"*Run {run['id']}*")
    return "\n\n".join(parts) + "\n"


def _to_json(runs: Sequence[Record]) -> str:
    """The messages as chat completions has them, and every run that made one."""
    messages = _system_messages(runs)
    for run in runs:
        said = [m for m in run["request"]["messages"] if m["role"] == "user"]
        messages.append({"role": "user", "content": said[-1]["content"]})
        messages.append({"role": "assistant", "content": run["answer"]})
    return json.dumps({"messages": messages, "runs": runs}, ensure_ascii=False, indent=1) + "\n"


def _to_html(runs: Sequence[Record]) -> str:
    """The last run, which has all that was said before it."""
    from mixtura.web import assets

    return assets.export_run(add_text_comparison(runs[-1]))


def _system_messages(runs: Sequence[Record]) -> list[Record]:
    return [m for m in runs[0]["request"]["messages"] if m["role"] == "system"]
