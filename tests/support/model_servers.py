"""Servers on loopback that list their models as Ollama, LM Studio and llama.cpp's server do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.http_server import QuietHandler, serve_handler

Pages = dict[str, Any]

OLLAMA: Pages = {
    "/api/tags": {
        "models": [
            {"name": "llama3.2:3b", "model": "llama3.2:3b", "size": 2_019_393_189},
            {"name": "nomic-embed-text:latest", "size": 274_302_450},
            {"name": "qwen3:8b", "model": "qwen3:8b", "size": 5_225_388_164},
        ]
    },
    "/v1/models": {
        "object": "list",
        "data": [{"id": "llama3.2:3b", "object": "model", "owned_by": "library"}],
    },
}

LM_STUDIO: Pages = {
    "/api/v0/models": {
        "object": "list",
        "data": [
            {"id": "text-embedding-nomic", "object": "model", "type": "embeddings",
             "state": "not-loaded", "max_context_length": 2048},
            {"id": "gemma-3-12b-it", "object": "model", "type": "vlm", "state": "not-loaded",
             "quantization": "4bit", "max_context_length": 131072},
            {"id": "qwen2.5-7b-instruct", "object": "model", "type": "llm", "state": "loaded",
             "quantization": "Q4_K_M", "max_context_length": 32768},
        ],
    },
    # Unknown paths are answered with status 200 and an error.
    "*": {"error": "Unexpected endpoint or method. (GET /api/tags). Returning 200 anyway"},
}  # fmt: skip

LLAMA_CPP: Pages = {
    "/v1/models": {
        "models": [{"name": "/models/Llama 3.2-3B.Q4_K_M.gguf", "type": "model"}],
        "object": "list",
        "data": [
            {"id": "/models/Llama 3.2-3B.Q4_K_M.gguf", "object": "model", "owned_by": "llamacpp",
             "created": 1735142223, "meta": {"n_vocab": 128256, "n_ctx_train": 131072}},
        ],
    },
    "/props": {"total_slots": 1, "model_path": "/models/Llama 3.2-3B.Q4_K_M.gguf"},
}  # fmt: skip

VLLM: Pages = {
    "/v1/models": {
        "object": "list",
        "data": [{"id": "Qwen/Qwen3-8B", "object": "model", "owned_by": "vllm"}],
    }
}


@contextmanager
def model_server(pages: Pages) -> Iterator[str]:
    """A server with these pages; the address that it has."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            found = pages.get(self.path, pages.get("*"))
            if found is None:
                self.send_json(404, {"error": "not found"})
            else:
                self.send_json(200, found)

    with serve_handler(Handler) as url:
        yield url
