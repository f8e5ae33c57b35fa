"""Python source as a tree, read by one thread at a time."""

from __future__ import annotations

import ast
import threading

NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What parsing raises for a text that is no Python, or too deep or too large for it."""

# CPython 3.11 counts the depth of a tree in one place for all threads: where a finalizer that the
# garbage collector runs lets another thread parse meanwhile, it raises SystemError for both.
_PARSING = threading.Lock()


def parse_python(source: str, mode: str = "exec") -> ast.AST:
    """The tree of *source*; *mode* as for ``compile``. Raises one of ``NOT_PYTHON``."""
    with _PARSING:
        return ast.parse(source, mode=mode)


def read_literal(source: str) -> object:
    """The value that *source* writes down. Raises one of ``NOT_PYTHON``, or TypeError."""
    return ast.literal_eval(parse_python(source.lstrip(" \t"), "eval"))  # type: ignore[arg-type]
