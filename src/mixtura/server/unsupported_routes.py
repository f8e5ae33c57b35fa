"""What other servers have under the same addresses and this one has not, said in words."""

from __future__ import annotations

from collections.abc import Collection

UNSERVED_FEATURES = {
    "assistants": "assistants",
    "audio": "speech",
    "batches": "batches",
    "chatkit": "ChatKit",
    "complete": "Anthropic's text completions",
    "containers": "containers",
    "conversations": "conversations",
    "edits": "edits",
    "embeddings": "embeddings",
    "engines": "engines",
    "environments": "environments",
    "evals": "evaluations",
    "files": "files",
    "fine_tuning": "fine-tuning",
    "fine-tunes": "fine-tuning",
    "images": "the making of pictures",
    "memory_stores": "memory stores",
    "messages/batches": "batches",
    "moderations": "moderation",
    "organization": "the organization's administration",
    "organizations": "the organization's administration",
    "projects": "projects",
    "realtime": "realtime sessions",
    "rerank": "reranking",
    "responses/compact": "compaction",
    "sessions": "sessions",
    "skills": "skills",
    "threads": "threads",
    "uploads": "uploads",
    "vector_stores": "vector stores",
    "videos": "the making of videos",
}
"""By what follows ``/v1/``."""
SERVED_TEXT = (
    "POST /v1/chat/completions, /v1/completions, /v1/responses and /v1/messages, and GET /v1/models"
)


def unserved_feature(path: str) -> str | None:
    """What is missing, where *path* is one that other servers have."""
    known = path.removeprefix("/v1/") if path.startswith("/v1/") else ""
    if known.startswith("responses/") and known.endswith("/cancel"):
        return "background responses"
    for name, what in UNSERVED_FEATURES.items():
        if known == name or known.startswith(f"{name}/"):
            return what
    return None


def not_found_message(path: str, served: Collection[str]) -> str:
    """Why there is nothing at *path*; *served*: the addresses that there are."""
    if what := unserved_feature(path):
        return f"{what} cannot be had here; there are {SERVED_TEXT}"
    if f"/v1{path}" in served:
        return f"there is nothing at {path}: did you mean /v1{path}? The base URL ends with /v1"
    if path.startswith("/v1/v1/") and path.removeprefix("/v1") in served:
        return f"there is nothing at {path}: the base URL is without /v1 for this client"
    return f"there is nothing at {path}; there are {SERVED_TEXT}"
