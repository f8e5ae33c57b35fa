"""JSON of any size, decoded and encoded in steps: a thread that does it stops no other for long."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import msgspec

STEP_BYTES = 256 * 1024
"""Bytes that one step decodes; a step cannot be interrupted."""
MAX_SPLIT_DEPTH = 5
"""Levels that are taken apart: messages in a call's request in a run."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder()
_text = msgspec.json.Decoder(str)


def decode(data: bytes | msgspec.Raw) -> Any:
    """
    *data* as Python objects, decoded in steps. Raises msgspec.DecodeError for what is no JSON.
    """
    return _decode_level(data, 0)


def _decode_level(data: bytes | msgspec.Raw, level: int) -> Any:
    if len(data) > STEP_BYTES:
        match bytes(memoryview(data)[:64]).lstrip()[:1]:
            case b'"':
                with suppress(msgspec.DecodeError):  # whose position would be that in a step
                    return _decode_text(bytes(data).strip())
            case _ if level >= MAX_SPLIT_DEPTH:
                pass
            case b"{":
                return {k: _decode_level(v, level + 1) for k, v in _object.decode(data).items()}
            case b"[":
                return [_decode_level(value, level + 1) for value in _array.decode(data)]
            case _:
                pass
    return _any.decode(data)


_SAFE_CUT = re.compile(rb"[ -!#-\[\]-~]{13}")
"""
Plain characters before none of which an escape can be unfinished: the longest one is a pair of
surrogates, twelve bytes.
"""


def _decode_text(data: bytes) -> str:
    """A JSON text with its quotation marks, decoded in steps."""
    pieces: list[str] = []
    at, end = 1, len(data) - 1
    while end - at > STEP_BYTES:
        found = _SAFE_CUT.search(data, at + STEP_BYTES, min(at + 2 * STEP_BYTES, end))
        if found is None:
            break
        pieces.append(_text.decode(b'"%b"' % data[at : found.end()]))
        at = found.end()
    pieces.append(_text.decode(b'"%b' % data[at:]))
    return "".join(pieces)


def encode(data: Any) -> bytes:
    """*data* as JSON."""
    return b"".join(_encode_level(data, 0))


def _encode_level(data: Any, level: int) -> Iterator[bytes]:
    if level < MAX_SPLIT_DEPTH and isinstance(data, dict) and data:
        opening = b"{"
        for key, value in cast("dict[str, Any]", data).items():
            yield opening + msgspec.json.encode(key) + b":"
            yield from _encode_level(value, level + 1)
            opening = b","
        yield b"}"
    elif level < MAX_SPLIT_DEPTH and isinstance(data, list) and len(cast("list[Any]", data)) > 0:
        rows = cast("list[Any]", data)
        # Only rows of objects can be large each; numbers and texts are encoded in one go.
        if isinstance(rows[0], dict):
            opening = b"["
            for value in rows:
                yield opening
                yield from _encode_level(value, level + 1)
                opening = b","
            yield b"]"
        else:
            yield msgspec.json.encode(rows)
    elif isinstance(data, str) and len(data) > STEP_BYTES:
        yield b'"'
        for at in range(0, len(data), STEP_BYTES):
            yield msgspec.json.encode(data[at : at + STEP_BYTES])[1:-1]
        yield b'"'
    else:
        yield msgspec.json.encode(data)
