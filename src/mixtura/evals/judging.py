"""A judge is asked: what it judges is data, its reply is read strictly, or there is no verdict."""

from __future__ import annotations

from mixtura.control_tokens import inert_json
from mixtura.patterns.verdict_calls import REMINDER, SILENCE, Said, verdict
from mixtura.types import Json

__all__ = ["REMINDER", "SILENCE", "Said", "material", "verdict"]


def material(rows: Json) -> str:
    """What a judge is shown, as one JSON object; what is empty is left out."""
    return inert_json({name: value for name, value in rows.items() if value}, indent=1)
