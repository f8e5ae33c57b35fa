"""HTTP as uvicorn speaks it, with bounds on what comes before a request's body."""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mixtura.server.answering import WHOLE
from mixtura.server.sites import TARGET

LARGEST_HEAD = 64 * 1024
"""Bytes of a request before its body, beyond which it is not heard to its end."""


class Protocol(HttpToolsProtocol):
    """A request's head must come within *patience* seconds and be of a decent size."""

    patience = 30.0
    _alarm: asyncio.TimerHandle | None = None
    _begun = False
    _head: int | None = None
    """Bytes of a head that is not whole yet; None while it has only begun."""

    @classmethod
    def within(cls, seconds: float) -> type[Protocol]:
        return type("Protocol", (cls,), {"patience": seconds})

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._alarm = self.loop.call_later(self.patience, transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._begun:  # nearly always: the head came as one
            if self._alarm is None and self.cycle and self.cycle.response_complete:
                # an empty line, or a body that no one wants: no request, and uvicorn's own clock
                # for lines without one was stopped by it
                self._alarm = self.loop.call_later(self.patience, self.transport.close)
            return
        if self._alarm is None:
            self._alarm = self.loop.call_later(self.patience, self._too_late)
        if self._head is not None:
            self._head += len(data)
        else:  # behind another request, most of the piece may be that one's body
            self._head = 0 if self.cycle else len(data)
        if self._head > LARGEST_HEAD:
            self.send_400_response(f"The head is larger than {LARGEST_HEAD} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._heard()
        self._begun, self._head = True, None

    def on_headers_complete(self) -> None:
        self._heard()
        if not self.url.startswith(b"/"):  # else uvicorn would pass over the host in it
            scheme, sign, rest = self.url.partition(b"://")
            if sign:
                web = scheme.lower() in (b"http", b"https")
                host = re.split(b"[/?#]", rest, maxsplit=1)[0] if web else b""
                cast("dict[str, Any]", self.scope)[TARGET] = host
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        cast("dict[str, Any]", self.scope)[WHOLE] = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard()
        super().connection_lost(exc)

    def _heard(self) -> None:
        self._begun = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _too_late(self) -> None:
        self.send_400_response(f"The head did not come within {self.patience:g} s.")
