"""One tool call while it streams in: its id, name, arguments and provider fields by now."""

from __future__ import annotations

from typing import Any

from mixtura.core.errors import MalformedError
from mixtura.core.types import ToolCall
from mixtura.protocols.provider_data.accumulator import merge_into
from mixtura.protocols.tool_calls.arguments import normalize_arguments, same_data, to_json
from mixtura.protocols.tool_calls.deltas import ToolCallDelta
from mixtura.protocols.tool_calls.growing_arguments import GrowingArguments

LONGEST_NAME = 10_000
"""Characters of a name that comes in pieces."""


class PartialToolCall:
    """A call as far as it came."""

    __slots__ = (
        "arguments", "delta", "id", "index", "is_closed", "name", "provider_fields", "repetition",
        "shares_index",
    )  # fmt: skip

    def __init__(self, index: int | None, delta: int) -> None:
        self.index = index
        self.delta = delta
        """The number of the delta that its last piece came in."""
        self.id = self.name = ""
        self.arguments = GrowingArguments()
        self.provider_fields: dict[str, Any] = {}
        self.repetition: ToolCallDelta | None = None
        """Its name once more when it was complete: another call, if arguments follow."""
        self.is_closed = False
        """The upstream said that it is over."""
        self.shares_index = False
        """Another call was open at its index: what came may be of either."""

    def add_delta(self, piece: ToolCallDelta) -> None:
        """Take in a piece of this call. Raises MalformedError for a name without an end."""
        self.id = self.id or piece.id
        merge_into(self.provider_fields, piece.provider_fields)
        self._extend_name(piece.name)
        given, arguments = piece.arguments, self.arguments
        if isinstance(given, str):
            repeats = bool(piece.name) and arguments.is_complete
            same = given.strip() == "{}" or same_data(given, arguments.current_text)
            if given and not (repeats and same):
                arguments.add_text(given)
        elif given is not None and (given or not arguments.whole):
            arguments.set_whole(to_json(given))

    def _extend_name(self, name: str) -> None:
        """A name comes whole, again and again, or in pieces before the arguments."""
        if not name or name == self.name:
            return
        if not self.name or name.startswith(self.name):
            self.name = name
        elif not self.arguments.has_pieces:
            if len(self.name) + len(name) > LONGEST_NAME:
                raise MalformedError(
                    f"a tool call's name has more than {LONGEST_NAME:,} characters"
                )
            self.name += name

    def is_name_repeated_by(self, piece: ToolCallDelta) -> bool:
        """Whether *piece* has only the name of this call, which is complete, and not its id."""
        if not piece.name or piece.name != self.name or piece.has_arguments:
            return False
        return self.arguments.is_complete and not (piece.id and piece.id == self.id)

    def is_repeated_by(self, piece: ToolCallDelta) -> bool:
        """Whether *piece* is the whole call again, or brings what it had a placeholder for."""
        if not piece.id or piece.id != self.id or piece.name != self.name:
            return False
        if self.arguments.is_placeholder:
            return True
        given = piece.arguments
        text = given if isinstance(given, str) else to_json(given)
        if text.strip() in ("{}", "null"):  # a placeholder after the arguments that it stood for
            return True
        return same_data(text, self.arguments.current_text)

    @property
    def is_settled(self) -> bool:
        """Its arguments are complete, and surely its own."""
        arguments = self.arguments
        return arguments.is_complete and not arguments.is_placeholder and not self.shares_index

    def take_new_arguments(self, *, is_final: bool) -> str:
        """Arguments that were not taken by now; *is_final*: no more of them comes."""
        return self.arguments.take_new(is_final=is_final, can_stream=not self.shares_index)

    def to_tool_call(self) -> ToolCall:
        """The call by now; one without arguments has an empty object."""
        id = self.id  # noqa: A001
        if self.repetition is not None:  # nothing followed: it was the end of this call
            id = id or self.repetition.id  # noqa: A001
            merge_into(self.provider_fields, self.repetition.provider_fields)
        arguments = normalize_arguments(self.arguments.current_text)
        return ToolCall(id, self.name, arguments, self.provider_fields)
