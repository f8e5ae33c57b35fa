"""Which HTTP clients there are by name: ours, aiohttp's, and those that other packages add."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from mixtura.catalog.entry_points import find_entry_points, load_entry_point
from mixtura.core.errors import ConfigError
from mixtura.core.text import unknown_name_message
from mixtura.transport.base import Transport

ENTRY_POINT_GROUP = "mixtura.transports"
DEFAULT_TRANSPORT = "built-in"
OWN_TRANSPORTS = (DEFAULT_TRANSPORT, "aiohttp")
"""No other package can take the place of one of these."""


def transport_names() -> list[str]:
    """Every transport's name, ours first; nothing is loaded for it."""
    others = find_entry_points(ENTRY_POINT_GROUP)
    return [*OWN_TRANSPORTS, *sorted(name for name in others if name not in OWN_TRANSPORTS)]


def check_transport_name(name: str) -> None:
    """Raises ConfigError for a name that no transport has."""
    if name not in (known := transport_names()):
        said = unknown_name_message("transport", name, known)
        raise ConfigError(f"transport: {said}", key="transport")


@lru_cache(maxsize=64)
def create_transport(
    name: str, client_certificate: Path | None = None, client_key: Path | None = None
) -> Transport:
    """
    The transport of that name, the same one for the same settings: it keeps connections.

    Raises ConfigError where there is none, its library is missing, its package is broken, or the
    files hold no certificate with its key.
    """
    check_transport_name(name)
    files = {"client_certificate": client_certificate, "client_key": client_key}
    given: dict[str, Any] = {setting: file for setting, file in files.items() if file is not None}
    if name == DEFAULT_TRANSPORT:
        from mixtura.transport.pool import BUILT_IN, Http1Transport

        return Http1Transport(**given) if given else BUILT_IN
    if name == "aiohttp":
        from mixtura.transport.aiohttp_transport import AiohttpTransport

        return AiohttpTransport(**given)
    kind = load_entry_point(ENTRY_POINT_GROUP, name, type)
    try:
        made = kind(**given) if kind else None
    except TypeError as error:
        takes = " with a client certificate" if given else ""
        said = f"transport: '{name}' cannot be made{takes}: {error}"
        raise ConfigError(said, key="transport") from None
    if not isinstance(made, Transport):
        said = f"transport: '{name}' is not a transport: it needs `send_request` and `close`"
        raise ConfigError(said, key="transport")
    return made
