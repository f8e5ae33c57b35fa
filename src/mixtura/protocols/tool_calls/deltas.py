"""Pieces of tool calls: those that a stream brings in, and those that are passed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call, as far as the upstream says what it belongs to."""

    index: int | None
    id: str
    name: str
    arguments: Any
    """Text, or an object where the upstream parsed it already."""
    provider_fields: dict[str, Any] = field(default_factory=dict[str, Any])
    """Fields that the upstream wants back with the call."""

    @property
    def is_empty(self) -> bool:
        """It has no content: some servers send such entries beside a text."""
        nothing = self.arguments is None or self.arguments == ""
        return nothing and not (self.id or self.name or self.provider_fields)

    @property
    def has_arguments(self) -> bool:
        """There is more in its arguments than white space or an empty object."""
        given = self.arguments
        return bool(given.strip()) if isinstance(given, str) else given not in (None, {})


@dataclass(frozen=True, slots=True)
class ToolCallUpdate:
    """New arguments of call number *place*, counted from 0; *over*: its last update."""

    place: int
    id: str
    name: str
    arguments: str
    over: bool
