"""Server-Sent Events, read as the WHATWG standard says, from bytes in any pieces."""

from __future__ import annotations

BOM = b"\xef\xbb\xbf"


class EventTooLargeError(ValueError):
    """An event outgrew the limit: no model's answer needs that, so it is an attack or a bug."""


class Parser:
    """
    Feed bytes as they come; get the data of every event that is complete.

    Names, ids and retry fields are passed over: both dialects repeat the type inside
    their data. Lines end in LF, CR or CRLF, wherever the network cut them.
    """

    __slots__ = ("_after_cr", "_limit", "_rest", "_size", "_started")

    def __init__(self, limit: int = 8 * 1024 * 1024) -> None:
        self._rest: list[bytes] = []
        self._size = 0
        self._limit = limit
        self._after_cr = False
        self._started = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that *piece* completes. Raises EventTooLargeError."""
        if self._after_cr or b"\r" in piece:
            piece = self._with_plain_lines(piece)
        if not piece:
            return []
        if self._started and not self._rest and piece.endswith(b"\n\n"):  # nearly always
            return _events(piece[:-2].split(b"\n\n"))
        if not self._started:
            piece = b"".join((*self._rest, piece))
            self._rest = []
            if BOM.startswith(piece) and piece != BOM:  # perhaps one: wait for the rest of it
                self._rest = [piece]
                return []
            self._started = True
            piece = piece.removeprefix(BOM)
        # An event may come in thousands of pieces: joined once, when its blank line is there.
        if b"\n\n" not in piece and not (piece.startswith(b"\n") and self._open_line()):
            self._keep(piece)
            return []
        blocks = b"".join((*self._rest, piece)).split(b"\n\n")
        self._rest, self._size = [], 0
        self._keep(blocks.pop())
        return _events(blocks)

    def flush(self) -> list[bytes]:
        """What stands at the end without its blank line: many servers forget it after [DONE]."""
        rest = b"".join(self._rest)
        self._rest, self._size = [], 0
        data = _data(rest if self._started else rest.removeprefix(BOM))
        return [data] if data else []

    def _with_plain_lines(self, piece: bytes) -> bytes:
        """CR and CRLF as LF, also when the network cut a CRLF in two."""
        if self._after_cr and piece:
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        if b"\r" in piece:
            self._after_cr = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return piece

    def _open_line(self) -> bool:
        """Whether what is kept ends a line, so that one more LF ends the event."""
        return bool(self._rest) and self._rest[-1].endswith(b"\n")

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._size += len(piece)
        if self._size > self._limit:
            raise EventTooLargeError(f"an event of more than {self._limit} bytes")


def _events(blocks: list[bytes]) -> list[bytes]:
    """The data of those events that have some."""
    found: list[bytes] = []
    for block in blocks:
        one_line = block.startswith(b"data: ") and b"\n" not in block  # nearly all of them
        if data := block[6:] if one_line else _data(block):
            found.append(data)
    return found


def _data(block: bytes) -> bytes:
    """The data of one event, lines joined; empty when there is none."""
    if block.startswith(b"event: "):  # the other dialect: a name, then one line of data
        _, _, rest = block.partition(b"\n")
        if rest.startswith(b"data: ") and b"\n" not in rest:
            return rest[6:]
    lines: list[bytes] = []
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            value = line[5:]
            lines.append(value[1:] if value.startswith(b" ") else value)
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines)
