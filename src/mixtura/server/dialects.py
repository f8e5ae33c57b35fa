"""Which APIs the server speaks: ours, and those that other packages add."""

from __future__ import annotations

from functools import cache

from mixtura.catalog.entry_points import find_entry_points, load_entry_point
from mixtura.core.errors import ConfigError
from mixtura.server.apis.anthropic_messages import MessagesDialect
from mixtura.server.apis.base import Dialect
from mixtura.server.apis.openai_chat import ChatDialect
from mixtura.server.apis.openai_completions import CompletionsDialect
from mixtura.server.apis.openai_responses import ResponsesDialect

ENTRY_POINT_GROUP = "mixtura.dialects"
ANTHROPIC_MESSAGES = MessagesDialect()
BUILT_IN: tuple[Dialect, ...] = (
    ChatDialect(),
    CompletionsDialect(),
    ResponsesDialect(),
    ANTHROPIC_MESSAGES,
)
"""No other package can take the path of one of these."""


@cache
def served_dialects() -> tuple[Dialect, ...]:
    """Every API that is served. Raises ConfigError for one that cannot be loaded or served."""
    served = list(BUILT_IN)
    for name in sorted(find_entry_points(ENTRY_POINT_GROUP)):
        dialect = load_entry_point(ENTRY_POINT_GROUP, name, Dialect)
        if dialect is not None:
            _check_path(name, dialect, {other.path for other in served})
            served.append(dialect)
    return tuple(served)


def served_paths() -> tuple[str, ...]:
    """Their addresses."""
    return tuple(dialect.path for dialect in served_dialects())


def _check_path(name: str, dialect: Dialect, taken: set[str]) -> None:
    if not dialect.path.startswith("/"):
        raise ConfigError(f"the API '{name}' has the path '{dialect.path}': it must begin with /")
    if dialect.path in taken:
        raise ConfigError(f"the API '{name}' has the path '{dialect.path}', which is taken already")
