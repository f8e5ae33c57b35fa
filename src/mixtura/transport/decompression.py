"""Hands the body of an answer to its reader, decompressed a bounded step at a time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from mixtura.core.errors import MalformedError, UnavailableError
from mixtura.core.redaction import redact_secrets
from mixtura.transport.base import Sink
from mixtura.transport.connection_errors import BROKE_OFF

DECOMPRESS_STEP_BYTES = 256 * 1024
"""Bytes that one step of decompression may yield, however few they come from."""


class BodyFeed:
    """
    Feeds a sink with a body.

    *pieces*: the list that pieces of the body are received into. *encoding*: the answer's
    Content-Encoding; raises MalformedError for one that is not known.
    """

    def __init__(self, sink: Sink, pieces: list[bytes], encoding: str) -> None:
        self._sink = sink
        self._pieces = pieces
        self._decompressor = create_decompressor(encoding)
        self.steps: Iterator[bytes] | None = None
        """What is left to decompress of the pieces received."""

    def feed_step(self, complete: bool) -> bool:
        """Feed what was received, or a part of it; *complete*: no more comes. True: enough."""
        if self._pieces and self.steps is None:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            if self._decompressor is None:
                if self._sink(data):
                    return True
            else:
                self.steps = self._decompressor.decompress(data)
        if self.steps is not None:
            plain = next(self.steps, None)
            if plain is None:
                self.steps = None
            elif self._sink(plain):
                return True
        if not complete or self.steps is not None or self._pieces:
            return False
        if self._decompressor is not None and self._decompressor.is_truncated:
            raise UnavailableError(BROKE_OFF)
        return self._sink(b"")


class BodyDecompressor:
    """Decompresses a body in steps, so that a small piece never becomes too much at once."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._stream: Any = None

    @property
    def is_truncated(self) -> bool:
        """It began and did not end."""
        return self._stream is not None and not self._stream.eof

    def decompress(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            # «deflate» has a header by its standard, and none from some servers
            bare = self._bits == zlib.MAX_WBITS and data[0] & 0x0F != zlib.DEFLATED
            self._stream = zlib.decompressobj(-self._bits if bare else self._bits)
        while data and not self._stream.eof:
            try:
                plain = self._stream.decompress(data, DECOMPRESS_STEP_BYTES)
            except zlib.error:
                raise MalformedError("the answer's compressed data are invalid") from None
            if plain:
                yield plain
            data = self._stream.unconsumed_tail


def create_decompressor(encoding: str) -> BodyDecompressor | None:
    """For a Content-Encoding; requests ask for none, but some servers compress all the same."""
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return BodyDecompressor(zlib.MAX_WBITS | 16)
        case "deflate":
            return BodyDecompressor(zlib.MAX_WBITS)
        case other:
            shown = redact_secrets(other)[:40]
            raise MalformedError(f"the answer is compressed as {shown!r}, which was not requested")
