"""What a refusal says of one request alone: how long its answer can still be."""

from __future__ import annotations

from mixtura.core.errors import ContextOverflowError, ModelError
from mixtura.core.types import JsonObject
from mixtura.engine.call_context import can_truncate_drafts

OUTPUT_LIMIT_NAMES = ("max_tokens", "max_completion_tokens")


class RequestTokenCap:
    """
    The room that is left in a window, or the tokens that an account can still pay for: leads to
    one further try within it, and is forgotten with the request.
    """

    def __init__(self) -> None:
        self._most: int | None = None
        self._name = OUTPUT_LIMIT_NAMES[0]

    def learn_from_error(self, error: ModelError, sent: JsonObject, *, name: str) -> str | None:
        """
        What is to be said of a further try; None where *error* leads to none. *name* of the
        bound where the request *sent* had none.
        """
        most = error.limits.request_output_limit
        if self._most is not None or most is None or error.answer_began:
            return None
        overflow = isinstance(error, ContextOverflowError)
        if overflow and can_truncate_drafts():  # better than a short answer
            return None
        self._name = next((n for n in OUTPUT_LIMIT_NAMES if n in sent), name)
        asked = sent.get(self._name)
        if asked is not None and asked <= most:
            return None
        self._most = most
        why = "its context window has no room for" if overflow else "the account cannot pay for"
        return f"answers with at most {most} tokens this time: {why} more"

    def apply_to_body(self, body: JsonObject) -> JsonObject:
        if self._most is None:
            return body
        return body | {self._name: min(body.get(self._name, self._most), self._most)}
