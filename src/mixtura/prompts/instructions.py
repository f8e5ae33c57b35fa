"""Instruction texts: read from mixtura/texts, filled in, and added to a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources

from mixtura.core.types import Message, Part, Request, TextPart

PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
"""A place in an instruction text that a value is filled in at: ``{{name}}``."""


def append_system_text(request: Request, text: str) -> Request:
    """Append *text* to the system message, or insert a system message in front."""
    messages = request.messages
    if not messages or messages[0].role not in ("system", "developer"):
        return replace(request, messages=(Message("system", text), *messages))
    first = replace(messages[0], content=_join_content(messages[0], text))
    return replace(request, messages=(first, *messages[1:]))


def append_user_text(request: Request, text: str) -> Request:
    """
    Append *text* to the last message where that is the user's, else as a new user message.

    Many chat templates refuse two user messages in a row.
    """
    messages = request.messages
    if not messages or messages[-1].role != "user":
        return replace(request, messages=(*messages, Message("user", text)))
    last = replace(messages[-1], content=_join_content(messages[-1], text))
    return replace(request, messages=(*messages[:-1], last))


def _join_content(message: Message, text: str) -> str | tuple[Part, ...]:
    if isinstance(message.content, str):
        return f"{message.content}\n\n{text}" if message.content else text
    return (*message.content, TextPart(text))


def fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    """Replace each ``{{name}}`` by its value, in one pass: values are not filled in again."""
    return PLACEHOLDER.sub(lambda m: values.get(m[1], m[0]), text)


@cache
def load_text(name: str) -> str:
    """
    The text of a file of mixtura/texts, read once. Raises OSError where the package has no such
    file.
    """
    return (resources.files("mixtura") / "texts" / name).read_text(encoding="utf-8")


@cache
def prompt_variants() -> tuple[str, ...]:
    """Ways to go about a question that change nothing about it, for draws of one model."""
    return tuple(load_text("variants.md").strip().split("\n\n"))
