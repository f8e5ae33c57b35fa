"""Values as TOML text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def key_to_toml(name: str) -> str:
    """A key of a table, with quotation marks where it needs them."""
    return name if _BARE_KEY.fullmatch(name) else value_to_toml(name)


def value_to_toml(value: Any) -> str:
    """A value on one line; in a table, what is None is left out."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        table = cast("Mapping[str, Any]", value)
        there = {key: inner for key, inner in table.items() if inner is not None}
        inner = ", ".join(f"{key_to_toml(k)} = {value_to_toml(v)}" for k, v in there.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(value_to_toml, cast('Sequence[Any]', value)))}]"
    text = json.dumps("" if value is None else str(value), ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")
