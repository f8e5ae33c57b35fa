"""Token counts of an answer of Anthropic's messages API, which come in several events."""

from __future__ import annotations

import msgspec

from mixtura.core.quantities import (
    is_null,
    parse_search_count,
    parse_token_count,
    redacted_excerpt,
)
from mixtura.core.types import Usage
from mixtura.protocols.openai.usage import decode_object_fields

_COUNT_FIELDS = (
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
)  # fmt: skip

_SEARCHES = "web_search_requests"


class MessagesUsage:
    """
    The newest of each token count. Counts are cumulative, and one that an event leaves out keeps
    its value. What makes no sense is described in *doubts*, a list that the caller owns.
    """

    __slots__ = ("_counts", "_doubts")

    def __init__(self, doubts: list[str]) -> None:
        self._doubts = doubts
        self._counts: dict[str, int | None] = {}
        """None stands for a count that makes no sense."""

    def add_counts(self, usage: msgspec.Raw) -> None:
        """Take over the counts of an event's ``usage``."""
        fields = decode_object_fields(usage, "usage", self._doubts)
        details = fields.get("output_tokens_details")
        inner = decode_object_fields(details, "output_tokens_details", self._doubts)
        stated = {name: fields.get(name) for name in _COUNT_FIELDS}
        stated["thinking_tokens"] = inner.get("thinking_tokens")
        own = decode_object_fields(fields.get("server_tool_use"), "server_tool_use", self._doubts)
        stated[_SEARCHES] = own.get(_SEARCHES)
        for name, value in stated.items():
            if not is_null(value):
                parse = parse_search_count if name == _SEARCHES else parse_token_count
                self._counts[name] = parse(value)
                if self._counts[name] is None:
                    self._doubts.append(f"{name} {redacted_excerpt(value)}")

    def sum_counts(self, *, final: bool) -> Usage | None:
        """The usage so far; None where a count makes no sense, so that it must be estimated."""
        stated = {name: self._counts.get(name, 0) for name in _COUNT_FIELDS}
        counts = {name: count for name, count in stated.items() if count is not None}
        if len(counts) < len(_COUNT_FIELDS):
            return None
        read, wrote = counts["cache_read_input_tokens"], counts["output_tokens"]
        written = counts["cache_creation_input_tokens"]
        thought = self._counts.get("thinking_tokens") or 0
        if thought > wrote and final:
            self._doubts.append(f"thinking_tokens {thought} of {wrote}")
        return Usage(
            # input_tokens excludes what the cache read and wrote; prompt_tokens includes it
            prompt_tokens=counts["input_tokens"] + read + written,
            completion_tokens=wrote,
            cached_tokens=read,
            cache_write_tokens=written,
            reasoning_tokens=thought if thought <= wrote else 0,
            estimated=not final,
            searches=self._counts.get(_SEARCHES) or 0,
        )
