"""The control tokens of a model file, from its header."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from mixtura.llama.gguf import CONTROL, USER_DEFINED, read_header
from mixtura.llama.model_file import shard_paths
from mixtura.prompts.control_tokens import ControlVocabulary

UNKNOWN_TOKEN = 2
"""The token type of what stands for unknown text, which llama.cpp finds in text, too."""

_CONTROL_MARKS = frozenset("<>[]|{}")
_HTML_ELEMENTS = (
    "a abbr b big blockquote body br button caption center cite code col dd del details div dl dt"
    " em figure font footer form h1 h2 h3 h4 h5 h6 head header hr html i iframe input ins kbd label"
    " li link main mark meta nav ol option p pre q script section select small span strong style"
    " sub summary sup svg table tbody td textarea tfoot th thead title tr tt u ul var"
)
_HTML_TAGS = frozenset(f"<{slash}{name}>" for slash in ("", "/") for name in _HTML_ELEMENTS.split())
"""Some vocabularies have HTML's tags as tokens of their own: they are what they look like."""


def control_vocabulary(path: Path) -> ControlVocabulary:
    """What llama.cpp takes for control tokens when it reads text for *path*. Raises ConfigError."""
    first = shard_paths(path)[0]
    read_header(first)
    about = first.stat()
    return _cached_vocabulary(first, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=16)
def _cached_vocabulary(path: Path, _size: int, _changed: int) -> ControlVocabulary:
    header = read_header(path)
    rows = zip(header.token_texts(), header.token_types(), strict=False)
    return ControlVocabulary.from_tokens(
        token for token, kind in rows if _is_control_token(token, kind)
    )


def _is_control_token(token: str, kind: int) -> bool:
    if kind in (CONTROL, UNKNOWN_TOKEN):
        return True
    # Added tokens may be line feeds and spaces, or words: only marks can steer a model.
    return kind == USER_DEFINED and bool(_CONTROL_MARKS & set(token)) and token not in _HTML_TAGS
