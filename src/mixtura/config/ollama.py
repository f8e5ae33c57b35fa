"""Where Ollama listens, and how it lists its models."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec


def ollama_url(listens: str) -> str | None:
    """
    The URL for a value of OLLAMA_HOST, None where it makes no sense.

    It may lack scheme, host or port, and may be an address that a server binds to.
    """
    scheme, sign, rest = listens.strip().rpartition("://")
    usual = {"http": 80, "https": 443}.get(scheme, 11434) if sign else 11434
    try:
        parts = urlsplit(f"//{rest}")
        port = parts.port or usual
    except ValueError:
        return None
    host = parts.hostname or "127.0.0.1"
    if not host.isprintable() or " " in host:
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    return f"{scheme or 'http'}://{host}:{port}{parts.path.rstrip('/')}"


class OllamaModel(msgspec.Struct):
    """A model that Ollama has, and its bytes."""

    name: str
    size: int = 0


class OllamaTags(msgspec.Struct):
    """What Ollama answers at ``/api/tags``."""

    models: list[OllamaModel]
