"""A client's tools under names that every model takes, and the tool that a model's call is for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from mixtura.core.types import Json

MAX_NAME_CHARS = 64
"""Characters of a function's name that every provider takes."""
_VALID_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_NAME_CHARS}}}")
_NAMESPACE_SEPARATOR = "__"
"""Stands between a namespace and a name where both are one."""
_DIGEST_CHARS = 8


@dataclass(frozen=True, slots=True)
class Tool:
    """
    A tool that the caller runs, as the caller describes it.

    *kind* says what form its calls have there: ``function``, ``custom`` (free text) or a type of
    the API's own, such as ``local_shell``. *native* is the tool as Anthropic's API takes it.
    """

    name: str
    kind: str = "function"
    namespace: str | None = None
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None
    native: Json | None = None

    @property
    def unique_key(self) -> tuple[str, str, str]:
        """Its kind, namespace and name, which no other tool of a request shares."""
        named = self.kind in ("function", "custom")
        return ("" if named else self.kind, self.namespace or "", self.name)


class Toolbox:
    """
    The tools of one request, each under a flat name: unique, of at most 64 letters, digits,
    ``_`` and ``-``. *left_out* are labels of tools that no model is offered.
    """

    def __init__(self, tools: Sequence[Tool] = (), left_out: Sequence[str] = ()) -> None:
        self.left_out = tuple(dict.fromkeys(left_out))
        self._flat: dict[tuple[str, str, str], str] = {}
        self._tools: dict[str, Tool] = {}
        for tool in sorted(tools, key=lambda tool: _join_name(tool) != tool.name):
            name = self._unique_name(tool)  # names that are flat already keep theirs
            self._flat[tool.unique_key] = name
            self._tools[name] = tool
        self.offer_tools(tools)

    def offer_tools(self, tools: Sequence[Tool]) -> None:
        """Offer *tools* alone, which are among those that have flat names here."""
        self.tools = tuple(tools)
        self._meant: dict[str, Tool | None] = {}
        """By a tool's own name, alone or after its namespace; None where several have it."""
        self._kinds: dict[str, Tool] = {}
        """The first of each kind."""
        for tool in self.tools:
            names = {tool.name, f"{tool.namespace}.{tool.name}" if tool.namespace else tool.name}
            for name in names:
                self._meant[name] = None if name in self._meant else tool
            self._kinds.setdefault(tool.kind, tool)

    def _unique_name(self, tool: Tool) -> str:
        name = _join_name(tool)
        return name if name not in self._tools else _shorten_name(tool, name)

    def flat_name(self, name: str, namespace: str | None = None, kind: str = "function") -> str:
        """The flat name of a tool, also of one that is offered no more: calls of it remain."""
        tool = Tool(name, kind, namespace or None)
        return self._flat.get(tool.unique_key) or self._unique_name(tool)

    def find_tool(
        self, name: str, namespace: str | None = None, kind: str = "function"
    ) -> Tool | None:
        """A tool by the name that its client gives it."""
        flat = self._flat.get(Tool(name, kind, namespace or None).unique_key)
        return self._tools[flat] if flat else None

    def find_by_flat_name(self, flat: str) -> Tool:
        """
        The tool that a model calls by its flat name, or by its own where only one has that; an
        unknown name is taken as it is.
        """
        if (tool := self._tools.get(flat)) is not None:
            return tool
        # Models leave a namespace out, or write it with a dot.
        return self._meant.get(flat) or Tool(flat)

    def first_of_kinds(self, kinds: Sequence[str]) -> Tool | None:
        """The first tool that is of one of *kinds*."""
        return next((tool for kind, tool in self._kinds.items() if kind in kinds), None)

    def keep_only(self, tools: Sequence[Tool]) -> Toolbox:
        """The same names, and *tools* alone are offered."""
        # Names stay as they are: the conversation has calls of tools that are not offered now.
        fewer = copy(self)
        keys = {tool.unique_key for tool in tools}
        fewer.offer_tools([tool for tool in self.tools if tool.unique_key in keys])
        return fewer

    def as_functions(self) -> tuple[Json, ...]:
        """The tools as functions of chat completions."""
        return tuple(_function_json(self._flat[tool.unique_key], tool) for tool in self.tools)


def _function_json(name: str, tool: Tool) -> Json:
    optional = {
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    given: dict[str, Any] = {key: value for key, value in optional.items() if value is not None}
    native: Mapping[str, Any] = {"native": tool.native} if tool.native else {}
    return {"type": "function", "function": {"name": name} | given, **native}


def _join_name(tool: Tool) -> str:
    """A flat name that may be taken already."""
    name = tool.name
    if tool.namespace:
        between = "" if tool.namespace.endswith(_NAMESPACE_SEPARATOR) else _NAMESPACE_SEPARATOR
        name = f"{tool.namespace}{between}{name}"
    if _VALID_NAME.fullmatch(name):
        return name
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    fits = len(clean) <= MAX_NAME_CHARS and re.search("[A-Za-z0-9]", clean)
    return clean if fits else _shorten_name(tool, clean)


def _shorten_name(tool: Tool, name: str) -> str:
    """*name* cut, with letters of its own for this tool."""
    # A hash, not a counter: the name must not depend on which other tools a request has.
    own = blake2b(repr(tool.unique_key).encode(), digest_size=_DIGEST_CHARS // 2).hexdigest()
    return f"{name[: MAX_NAME_CHARS - _DIGEST_CHARS - 1]}_{own}"
