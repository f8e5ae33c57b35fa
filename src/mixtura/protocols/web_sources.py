"""Pages that an answer rests on, as APIs name them: citations, and results of a search."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from mixtura.core.text import INVISIBLE_CHARACTERS, to_one_line
from mixtura.core.types import JsonObject, WebSource

MAX_SOURCES = 200
"""Of one answer: more, no one reads."""
MAX_URL_CHARS = 4000
MAX_TITLE_CHARS = 500
# With a space, a control or what no one sees in it, it is no address, and may steer a terminal.
_ADDRESS = re.compile(rf"https?://[^\s{INVISIBLE_CHARACTERS}\ud800-\udfff]+")


class SourceCollector:
    """The sources of one answer: those that it cites, else those that were found for it."""

    __slots__ = ("_cited", "_found")

    def __init__(self) -> None:
        self._cited: dict[str, WebSource] = {}
        self._found: dict[str, WebSource] = {}

    def add_cited(self, value: Any) -> None:
        """Take in citations of any API: an object, a list of them, or addresses."""
        _put_sources(self._cited, value)

    def add_found(self, value: Any) -> None:
        """Take in results of a search."""
        _put_sources(self._found, value)

    @property
    def sources(self) -> tuple[WebSource, ...]:
        """Each page once, in the order in which they came."""
        return tuple((self._cited or self._found).values())


def find_sources(value: Any) -> Iterator[WebSource]:
    """What in *value* is a page: an address, or an object with one in it."""
    if isinstance(value, str):
        if len(value) <= MAX_URL_CHARS and _ADDRESS.fullmatch(value):
            yield WebSource(value)
    elif isinstance(value, list):
        for row in cast("list[Any]", value):
            yield from find_sources(row)
    elif isinstance(value, dict):
        row = cast("JsonObject", value)
        inner = row.get("url_citation")  # OpenAI's has the page in an object of its own
        if isinstance(inner, dict):
            row = cast("JsonObject", inner)
        url, title = row.get("url") or row.get("link"), row.get("title")
        if isinstance(url, str):
            named = to_one_line(title[:MAX_TITLE_CHARS]) if isinstance(title, str) else ""
            yield from (source._replace(title=named) for source in find_sources(url))


def _put_sources(table: dict[str, WebSource], value: Any) -> None:
    if not value:  # nearly always
        return
    for source in find_sources(value):
        if len(table) < MAX_SOURCES:
            table.setdefault(source.url, source)
