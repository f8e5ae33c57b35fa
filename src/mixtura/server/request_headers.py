"""Reads one header of an HTTP request."""

from __future__ import annotations

from starlette.types import Scope


def request_header(scope: Scope, name: bytes) -> str:
    """The first value of a request's header, its *name* in lower case; empty where none is."""
    for known, value in scope["headers"]:
        if known == name:
            return value.decode("latin-1")
    return ""
