"""JSON of any size, decoded and encoded in steps: a thread that does it stops no other for long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import msgspec

STEP_BYTES = 256 * 1024
"""Bytes that one step decodes; a step cannot be interrupted."""
MAX_SPLIT_DEPTH = 5
"""Levels that are taken apart: messages in a call's request in a run."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder()


def decode(data: bytes | msgspec.Raw) -> Any:
    """What *data* says. Raises what msgspec's decoder raises."""
    return _decode_level(data, 0)


def _decode_level(data: bytes | msgspec.Raw, level: int) -> Any:
    if len(data) > STEP_BYTES and level < MAX_SPLIT_DEPTH:
        match bytes(memoryview(data)[:64]).lstrip()[:1]:
            case b"{":
                return {k: _decode_level(v, level + 1) for k, v in _object.decode(data).items()}
            case b"[":
                return [_decode_level(value, level + 1) for value in _array.decode(data)]
            case _:
                pass
    return _any.decode(data)


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
        if isinstance(rows[0], dict):
            opening = b"["
            for value in rows:
                yield opening
                yield from _encode_level(value, level + 1)
                opening = b","
            yield b"]"
        else:
            yield msgspec.json.encode(rows)
    else:
        yield msgspec.json.encode(data)
