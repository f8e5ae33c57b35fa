"""In which APIs a hosted model can be asked: ours, and those that other packages add."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mixtura.catalog.entry_points import find_entry_points, load_entry_point
from mixtura.core.errors import ConfigError
from mixtura.core.text import unknown_name_message
from mixtura.models.hosted import HostedModel

ENTRY_POINT_GROUP = "mixtura.adapters"


def _load_openai() -> type[HostedModel]:
    from mixtura.models.openai import OpenAI

    return OpenAI


def _load_anthropic() -> type[HostedModel]:
    from mixtura.models.anthropic import Anthropic

    return Anthropic


BUILT_IN: Mapping[str, Callable[[], type[HostedModel]]] = {
    "openai": _load_openai,
    "anthropic": _load_anthropic,
}
"""No other package can take the place of one of these; each is imported where it is used."""


def find_adapter(dialect: str) -> type[HostedModel]:
    """The adapter for an API. Raises ConfigError where there is none, or a broken one."""
    if load := BUILT_IN.get(dialect):
        return load()
    adapter = load_entry_point(ENTRY_POINT_GROUP, dialect, type)
    if adapter is None:
        known = [*BUILT_IN, *sorted(find_entry_points(ENTRY_POINT_GROUP))]
        raise ConfigError(unknown_name_message("dialect", dialect, known), key="provider")
    if not issubclass(adapter, HostedModel):
        raise ConfigError(f"the adapter '{dialect}' is not a HostedModel", key="provider")
    return adapter
