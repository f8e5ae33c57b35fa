"""Texts of runs as a browser or an agent can show them: one that is too long is cut."""

from __future__ import annotations

from typing import Any, cast

MAX_SHOWN_CHARS = 500_000
"""Characters of a text that the page gets; `mixtura show RUN --json` has all of them."""


def shorten_texts(data: Any) -> Any:
    """A run as a browser can show it: a text that is too long is cut, and says so."""
    if isinstance(data, str):
        more = len(data) - MAX_SHOWN_CHARS
        return data if more <= 0 else f"{data[:MAX_SHOWN_CHARS]}\n\n[… {more:,} letters more …]"
    if isinstance(data, list):
        rows = cast("list[Any]", data)
        if rows and isinstance(rows[0], str):  # the pieces that a text came in
            return rows if sum(map(len, rows)) <= MAX_SHOWN_CHARS else []
        return [shorten_texts(row) for row in rows]
    if isinstance(data, dict):
        return {key: shorten_texts(value) for key, value in cast("dict[str, Any]", data).items()}
    return data
