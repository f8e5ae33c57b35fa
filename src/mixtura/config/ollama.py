"""Where Ollama listens, and which models it serves."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from mixtura.catalog import providers
from mixtura.config.plan import Environment
from mixtura.transport.client import probe_json


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


def ollama_models(environ: Environment) -> list[str] | None:
    """Names of the models that Ollama serves, the largest first; None if it does not answer."""
    provider = providers.providers()["ollama"]
    listens = environ.get(provider.address or "")
    url = ollama_url(listens) if listens else provider.base_url.removesuffix("/v1")
    if url is None:
        return None
    found = probe_json(f"{url}/api/tags", OllamaTags, seconds=0.5)
    if found is None:
        return None
    ranked = sorted(found.models, key=lambda m: m.size, reverse=True)
    return [m.name for m in ranked if "embed" not in m.name]


class OllamaModel(msgspec.Struct):
    """A model that Ollama has, and its bytes."""

    name: str
    size: int = 0


class OllamaTags(msgspec.Struct):
    """What Ollama answers at ``/api/tags``."""

    models: list[OllamaModel]
