"""Server-Sent Events, read as the WHATWG standard says, from bytes in any pieces."""

from __future__ import annotations

import msgspec

from mixtura.protocols.errors.bodies import encode_error_event, is_error_json

BOM = b"\xef\xbb\xbf"


class EventTooLargeError(ValueError):
    """An event exceeds the limit: no model's answer is that long, so it is an attack or a bug."""


class SseParser:
    """
    Feed bytes as they come; get the data of every event that is complete.

    Names, ids and retry fields are ignored: both APIs repeat the type inside their data. Lines
    end in LF, CR or CRLF, wherever the network cut them. Beyond the standard, events that are
    separated by a single line end are recognized, and so is a line that is an error.
    """

    __slots__ = ("_after_cr", "_limit", "_rest", "_size", "_started")

    def __init__(self, limit: int = 8 * 1024 * 1024) -> None:
        self._rest: list[bytes] = []
        self._size = 0
        self._limit = limit
        self._after_cr = False
        self._started = False

    def feed(self, piece: bytes) -> list[bytes]:
        """
        The data of the events that *piece* completes. Raises EventTooLargeError when an event is
        larger than the limit.
        """
        if self._after_cr or b"\r" in piece:
            piece = self._normalize_line_ends(piece)
        if not piece:
            return []
        if self._started and not self._rest and piece.endswith(b"\n\n"):  # nearly always
            return _parse_events(piece[:-2].split(b"\n\n"))
        if not self._started:
            piece = b"".join((*self._rest, piece))
            self._rest = []
            if BOM.startswith(piece) and piece != BOM:  # perhaps one: wait for the rest of it
                self._rest = [piece]
                return []
            self._started = True
            piece = piece.removeprefix(BOM)
        # An event may come in thousands of pieces: joined once, when its blank line is there.
        if b"\n\n" not in piece and not (piece.startswith(b"\n") and self._ends_with_newline()):
            self._buffer_piece(piece)
            return []
        blocks = b"".join((*self._rest, piece)).split(b"\n\n")
        self._rest, self._size = [], 0
        self._buffer_piece(blocks.pop())
        return _parse_events(blocks)

    def flush(self) -> list[bytes]:
        """The event at the end that lacks its blank line: many servers forget it after [DONE]."""
        rest = b"".join(self._rest)
        self._rest, self._size = [], 0
        return _parse_events([rest if self._started else rest.removeprefix(BOM)])

    def _normalize_line_ends(self, piece: bytes) -> bytes:
        """CR and CRLF as LF, also when the network cut a CRLF in two."""
        if self._after_cr and piece:
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        if b"\r" in piece:
            self._after_cr = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return piece

    def _ends_with_newline(self) -> bool:
        """Whether what is kept ends a line, so that one more LF ends the event."""
        return bool(self._rest) and self._rest[-1].endswith(b"\n")

    def _buffer_piece(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._size += len(piece)
        if self._size > self._limit:
            raise EventTooLargeError(f"an event of more than {self._limit} bytes")


def _parse_events(blocks: list[bytes]) -> list[bytes]:
    """The data of those events that have some."""
    events: list[bytes] = []
    for block in blocks:
        if block.startswith(b"data: {") and b"\n" not in block:  # nearly all of them
            events.append(block[6:])
        else:
            events += _parse_event(block)
    return events


_DONE = b"[DONE]"


def _parse_event(block: bytes) -> list[bytes]:
    """The data of one event, lines joined; errors that stand beside it as events of their own."""
    name, _, rest = block.partition(b"\n")
    failed = name in (b"event: error", b"event:error")
    named = block.startswith(b"event: ") and not failed
    if named and rest.startswith(b"data: {") and b"\n" not in rest:  # the other dialect
        return [rest[6:]]
    lines: list[bytes] = []
    errors: list[bytes] = []
    bare: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"error":  # llama.cpp's older servers
            errors.append(encode_error_event(value))
        elif bare or line.startswith(b"{"):
            bare.append(line)
    events = [_strip_error_prefix(data, failed=failed) for data in _split_joined_events(lines)]
    if bare and is_error_json(b"\n".join(bare)):  # a server that forgets that it streams
        errors.append(b"\n".join(bare).strip())
    return [data for data in (*events, *errors) if data]


def _strip_error_prefix(data: bytes, *, failed: bool) -> bytes:
    """Data, or the error that it is where its event or it itself begins by saying so."""
    word, colon, text = data.partition(b":")
    if colon and word.strip().lower() == b"error":
        return encode_error_event(text)
    return encode_error_event(data) if failed and data != _DONE else data


def _split_joined_events(lines: list[bytes]) -> list[bytes]:
    """
    The lines of one event joined. Where each is a whole object, the joined text would be no
    JSON: then a server has separated its events by one line end, and each line is one.
    """
    full = [line for line in lines if line]
    # JSON over several lines is legal, whole objects on each are not one JSON.
    if len(full) > 1 and all(line == _DONE or _is_json_object(line) for line in full):
        return full
    return [b"\n".join(lines)]


def split_json_lines(body: bytes) -> list[bytes]:
    """The lines of a *body* of several JSON objects, one a line; empty for any other."""
    lines = [line for line in body.split(b"\n") if line.strip()]
    return lines if len(lines) > 1 and all(map(_is_json_object, lines)) else []


def _is_json_object(line: bytes) -> bool:
    if not line.startswith(b"{"):
        return False
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
