"""What a judge is shown, as data, and its reply, read strictly: without a verdict there is none."""

from __future__ import annotations

from mixtura.core.types import Json
from mixtura.patterns.verdict_calls import EMPTY_REPLY_TEXT, REMINDER, JudgeReply, ask_for_verdict
from mixtura.prompts.control_tokens import neutralized_json

__all__ = ["EMPTY_REPLY_TEXT", "REMINDER", "JudgeReply", "ask_for_verdict", "material_json"]


def material_json(rows: Json) -> str:
    """What a judge is shown, as one JSON object; what is empty is left out."""
    return neutralized_json({name: value for name, value in rows.items() if value}, indent=1)
