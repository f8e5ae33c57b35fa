"""Request bodies that come compressed."""

from __future__ import annotations

import zlib

from mixtura.server.apis.base import ApiError

ACCEPTED_ENCODINGS = "gzip, deflate"
MAX_GZIP_MEMBERS = 1_000
"""Parts of a gzip body, each compressed for itself: clients send one."""
_OUTPUT_CHUNK_BYTES = 256 * 1024
_INPUT_CHUNK_BYTES = 16 * 1024
"""Bytes given to zlib at once: it copies what it has not used at the end of every member."""
# zlib tells the two formats apart by this argument.
_WINDOW_BITS = {
    "gzip": (zlib.MAX_WBITS | 16,),
    "x-gzip": (zlib.MAX_WBITS | 16,),
    "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS),  # some clients send it without its head
}


def parse_content_encoding(header: str) -> str | None:
    """
    The compression of a body by its ``Content-Encoding``; None for none. Raises ApiError (415) for
    one that is not supported.
    """
    names = [name.strip().lower() for name in header.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if not names:
        return None
    if len(names) > 1 or names[0] not in _WINDOW_BITS:
        message = (
            f"`Content-Encoding: {', '.join(names)[:80]}` is not read here:"
            f" send {ACCEPTED_ENCODINGS} or none"
        )
        raise ApiError(415, message, code="unsupported_encoding")
    return names[0]


def decompress_body(data: bytes, name: str, most: int) -> bytes | None:
    """
    A body without its compression; None where it would have more than *most* bytes: no more
    than those are ever made. Raises ApiError for what is cut off or no such data.
    """
    for wrapping in _WINDOW_BITS[name]:
        try:
            return _inflate_members(data, wrapping, most)
        except zlib.error:
            continue
    raise ApiError(400, f"the body is not whole {name} data, as its `Content-Encoding` says")


def _inflate_members(data: bytes, wrapping: int, most: int) -> bytes | None:
    pieces: list[bytes] = []
    view, at, members = memoryview(data), 0, 0
    while at < len(data):  # gzip data may have several members
        members += 1
        if members > MAX_GZIP_MEMBERS:
            raise ApiError(
                400, f"the body has more than {MAX_GZIP_MEMBERS:,} compressed members: send one"
            )
        inflater = zlib.decompressobj(wrapping)
        while not inflater.eof:
            given = inflater.unconsumed_tail
            if not given:
                given = view[at : at + _INPUT_CHUNK_BYTES]
                at += len(given)
            # In bounded steps: a few bytes may stand for gigabytes.
            piece = inflater.decompress(given, _OUTPUT_CHUNK_BYTES)
            most -= len(piece)
            if most < 0:
                return None
            pieces.append(piece)
            if not piece and not given and not inflater.eof:
                raise zlib.error("cut off")
        at -= len(inflater.unused_data)
    return b"".join(pieces)
