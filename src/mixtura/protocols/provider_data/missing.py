"""A further try of a request that was refused for provider data which no one has any more."""

from __future__ import annotations

import re

from mixtura.core.errors import ModelError, RejectedError
from mixtura.core.types import JsonObject
from mixtura.protocols.provider_data.fields import tool_call_fields

_PLACEHOLDER_SIGNATURE = "skip_thought_signature_validator"
"""What Google's documentation gives as the signature of a call that another model made."""

_MISSING_SIGNATURE = re.compile(r"missing a `?'?thought_?signature", re.IGNORECASE)
_MISSING_REASONING = re.compile(
    r"(?is)reasoning_content\b.{0,80}(?:must be passed back|missing|is required)"
    r"|missing .{0,10}reasoning_content"
)
_MISSING_THINKING = re.compile(
    r"(?is)expected .{0,3}thinking.{0,30}but found|must start with a thinking block"
    r"|thinking\b.{0,40} must be passed back"
)


class MissingDataFallback:
    """
    The stand-in, for one request, for provider data that is lost: another model made the call, or
    the server that remembered it was started anew.
    """

    def __init__(self) -> None:
        self._kind = ""

    def learn_from_error(self, error: ModelError, sent: JsonObject) -> str | None:
        """The notice of a further try; None where *error* leads to none."""
        if self._kind or not isinstance(error, RejectedError) or error.answer_began:
            return None
        message = str(error)
        if _MISSING_SIGNATURE.search(message):
            self._kind = "signature"
        elif "thinking" in sent and _MISSING_THINKING.search(message):
            self._kind = "blocks"
        elif _MISSING_REASONING.search(message):
            self._kind = "thoughts"
        if not self._kind or self.apply_to_body(sent) == sent:
            return None
        if self._kind == "blocks":
            return "its thinking of this turn is lost: asked without thinking"
        return "its thoughts of this turn are lost: a stand-in is sent"

    def apply_to_body(self, body: JsonObject) -> JsonObject:
        """*body* with the stand-in, if one is needed."""
        match self._kind:
            case "signature":
                return body | {"messages": [_add_signature(m) for m in body["messages"]]}
            case "thoughts":
                return body | {"messages": [_add_empty_reasoning(m) for m in body["messages"]]}
            case "blocks":
                return {name: value for name, value in body.items() if name != "thinking"}
            case _:
                return body


def _add_signature(message: JsonObject) -> JsonObject:
    """The message with a stand-in signature on its first call, which counts for all of them."""
    calls = message.get("tool_calls")
    if not calls or tool_call_fields(calls[0]):
        return message
    first = calls[0] | {"extra_content": {"google": {"thought_signature": _PLACEHOLDER_SIGNATURE}}}
    return message | {"tool_calls": [first, *calls[1:]]}


def _add_empty_reasoning(message: JsonObject) -> JsonObject:
    if message.get("role") != "assistant" or "reasoning_content" in message:
        return message
    return message | {"reasoning_content": ""}
