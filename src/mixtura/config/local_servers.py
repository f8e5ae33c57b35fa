"""Model servers on this machine, found by asking: Ollama, LM Studio, llama.cpp, and their like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from mixtura.catalog import providers
from mixtura.config.ollama import OllamaTags, ollama_url
from mixtura.config.plan import Environment
from mixtura.transport.client import probe_json

PROBE_SECONDS = 0.5
"""That a server on this machine may take to answer."""


class FoundServer(NamedTuple):
    """A server that answered, and the models that it can run."""

    title: str
    """What it is called, for a person."""
    base_url: str
    """What stands before ``/chat/completions``."""
    models: tuple[str, ...]
    """As the server names them; those that are loaded, or largest, first."""
    provider: str | None = None
    """The provider's name in ``provider/model``; None where it is at an address of its own."""


def find_local_servers(
    environ: Environment, addresses: Sequence[str] = (), *, scan: bool = True
) -> list[FoundServer]:
    """
    The servers at *addresses*, and where *scan*, those at the usual ports of this machine.

    An address is a URL, with or without ``/v1``. What does not answer is left out.
    """
    wanted: dict[str, str | None] = dict.fromkeys(map(_root_url, addresses))
    for name, provider in providers.providers().items() if scan else ():
        if not provider.local:
            continue
        listens = environ.get(provider.address or "")
        root = ollama_url(listens) if listens else _root_url(provider.base_url)
        if root is not None:
            wanted.setdefault(root, name)
    with ThreadPoolExecutor(len(wanted) or 1) as threads:
        found = list(threads.map(_identify_server, wanted.keys(), wanted.values()))
    return [server for server in found if server is not None]


def _root_url(address: str) -> str:
    return address.rstrip("/").removesuffix("/v1")


def _identify_server(root: str, provider: str | None) -> FoundServer | None:
    """What answers at *root*; None where nothing does, or what lists no models."""
    base_url = f"{root}/v1"
    # LM Studio answers every path with status 200: only its own list tells it from others.
    studio = probe_json(f"{root}/api/v0/models", _LmStudioList, seconds=PROBE_SECONDS)
    if studio is not None:
        rows = [one for one in studio.data if one.type != "embeddings"]
        rows.sort(key=lambda one: one.state != "loaded")
        return FoundServer("LM Studio", base_url, tuple(one.id for one in rows), provider)
    if tags := probe_json(f"{root}/api/tags", OllamaTags, seconds=PROBE_SECONDS):
        ranked = sorted(tags.models, key=lambda one: one.size, reverse=True)
        names = _without_embeddings(one.name for one in ranked)
        return FoundServer("Ollama", base_url, names, provider)
    listed = probe_json(f"{base_url}/models", _ModelList, seconds=PROBE_SECONDS)
    if listed is None:
        return None
    is_llama = any(one.owned_by == "llamacpp" for one in listed.data)
    title = "llama.cpp" if is_llama else "OpenAI-compatible server"
    return FoundServer(title, base_url, _without_embeddings(r.id for r in listed.data), provider)


def _without_embeddings(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if "embed" not in name.lower())


class _LmStudioModel(msgspec.Struct):
    id: str
    type: str
    state: str = ""


class _LmStudioList(msgspec.Struct):
    data: list[_LmStudioModel]


class _ListedModel(msgspec.Struct):
    id: str
    owned_by: str = ""


class _ModelList(msgspec.Struct):
    data: list[_ListedModel]
