"""The control tokens of a model file, from its header."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from mixtura.control_tokens import Vocabulary
from mixtura.gguf import CONTROL, USER_DEFINED, read_header, shards

UNKNOWN = 2
"""The token type of what stands for unknown text, which llama.cpp finds in text, too."""

_MARKS = frozenset("<>[]|{}")
_ELEMENTS = (
    "a abbr b big blockquote body br button caption center cite code col dd del details div dl dt"
    " em figure font footer form h1 h2 h3 h4 h5 h6 head header hr html i iframe input ins kbd label"
    " li link main mark meta nav ol option p pre q script section select small span strong style"
    " sub summary sup svg table tbody td textarea tfoot th thead title tr tt u ul var"
)
_HTML = frozenset(f"<{slash}{name}>" for slash in ("", "/") for name in _ELEMENTS.split())
"""Some vocabularies have HTML's tags as tokens of their own: they are what they look like."""


def control_vocabulary(path: Path) -> Vocabulary:
    """What llama.cpp takes for control tokens when it reads text for *path*. Raises ConfigError."""
    first = shards(path)[0]
    read_header(first)
    about = first.stat()
    return _vocabulary(first, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=16)
def _vocabulary(path: Path, _size: int, _changed: int) -> Vocabulary:
    header = read_header(path)
    rows = zip(header.tokens(), header.token_types(), strict=False)
    return Vocabulary.of(token for token, kind in rows if _steers(token, kind))


def _steers(token: str, kind: int) -> bool:
    if kind in (CONTROL, UNKNOWN):
        return True
    # Added tokens may be line feeds and spaces, or words: only marks can steer a model.
    return kind == USER_DEFINED and bool(_MARKS & set(token)) and token not in _HTML
