"""Which APIs the server speaks: ours, and those that other packages add."""

from __future__ import annotations

from functools import cache

from mixtura.catalog.entry_points import find_entry_points, load_entry_point
from mixtura.core.errors import ConfigError
from mixtura.server.apis.anthropic_messages import MessagesApi
from mixtura.server.apis.base import ServedApi
from mixtura.server.apis.openai_chat import ChatCompletionsApi
from mixtura.server.apis.openai_completions import CompletionsApi
from mixtura.server.apis.openai_responses import ResponsesApi

ENTRY_POINT_GROUP = "mixtura.dialects"
"""Other packages name it in their metadata, so it keeps its old name."""
ANTHROPIC_MESSAGES = MessagesApi()
BUILT_IN: tuple[ServedApi, ...] = (
    ChatCompletionsApi(),
    CompletionsApi(),
    ResponsesApi(),
    ANTHROPIC_MESSAGES,
)
"""No other package can take the path of one of these."""


@cache
def served_apis() -> tuple[ServedApi, ...]:
    """Every API that is served. Raises ConfigError for one that cannot be loaded or served."""
    served = list(BUILT_IN)
    for name in sorted(find_entry_points(ENTRY_POINT_GROUP)):
        api = load_entry_point(ENTRY_POINT_GROUP, name, ServedApi)
        if api is not None:
            _check_path(name, api, {other.path for other in served})
            served.append(api)
    return tuple(served)


def served_paths() -> tuple[str, ...]:
    """Their addresses."""
    return tuple(api.path for api in served_apis())


def _check_path(name: str, api: ServedApi, taken: set[str]) -> None:
    if not api.path.startswith("/"):
        raise ConfigError(f"the API '{name}' has the path '{api.path}': it must begin with /")
    if api.path in taken:
        raise ConfigError(f"the API '{name}' has the path '{api.path}', which is taken already")
