"""What a refusal says of one request alone: how long its answer can still be."""

from __future__ import annotations

from typing import Any

from mixtura.engine import drafts_can_be_cut
from mixtura.errors import ContextOverflowError, ModelError

JsonObject = dict[str, Any]

NAMES = ("max_tokens", "max_completion_tokens")


class RequestBound:
    """
    The room that is left in a window, or the tokens that an account can still pay for: leads to
    one further try within it, and is forgotten with the request.
    """

    def __init__(self) -> None:
        self._most: int | None = None
        self._name = NAMES[0]

    def learn(self, error: ModelError, sent: JsonObject, *, name: str) -> str | None:
        """
        What is to be said of a further try; None where *error* leads to none. *name* of the
        bound where the request *sent* had none.
        """
        most = error.limits.for_this_request
        if self._most is not None or most is None or error.charges:
            return None
        overflow = isinstance(error, ContextOverflowError)
        if overflow and drafts_can_be_cut():  # better than a short answer
            return None
        self._name = next((n for n in NAMES if n in sent), name)
        asked = sent.get(self._name)
        if asked is not None and asked <= most:
            return None
        self._most = most
        why = "its window has room for" if overflow else "the account can pay for"
        return f"answers with at most {most} tokens this time: {why} no more"

    def applied(self, body: JsonObject) -> JsonObject:
        if self._most is None:
            return body
        return body | {self._name: min(body.get(self._name, self._most), self._most)}
