"""Messages for addresses that other servers have and this one has not."""

from __future__ import annotations

from collections.abc import Sequence

UNSERVED_FEATURES = {
    "assistants": "assistants",
    "audio": "speech",
    "chatkit": "ChatKit",
    "complete": "Anthropic's text completions",
    "containers": "containers",
    "conversations": "conversations",
    "edits": "edits",
    "embeddings": "embeddings",
    "engines": "engines",
    "environments": "environments",
    "evals": "evaluations",
    "fine_tuning": "fine-tuning",
    "fine-tunes": "fine-tuning",
    "images": "image generation",
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
    "videos": "video generation",
}
"""By what follows ``/v1/``."""
MODELS = ("/v1/models",)
MODELS_AND_BATCHES = (*MODELS, "/v1/files", "/v1/batches")
"""What is served beside the APIs, to clients of OpenAI's."""


def unserved_feature(path: str) -> str | None:
    """
    The feature that other servers have at *path* and this one has not; None for any other path.
    """
    known = path.removeprefix("/v1/") if path.startswith("/v1/") else ""
    if known.startswith("responses/") and known.endswith("/cancel"):
        return "background responses"
    for name, what in UNSERVED_FEATURES.items():
        if known == name or known.startswith(f"{name}/"):
            return what
    return None


def not_found_message(path: str, served: Sequence[str], others: Sequence[str] = MODELS) -> str:
    """
    Why there is nothing at *path*; *served*: the addresses of the APIs, *others*: what is there
    beside them.
    """
    there = f"the server offers POST {_join_words(served)}, and {_join_words(others)}"
    served = (*served, *others)
    if what := unserved_feature(path):
        return f"not served here: {what}; {there}"
    if f"/v1{path}" in served:
        return f"there is nothing at {path}: did you mean /v1{path}? The base URL ends with /v1"
    if path.startswith("/v1/v1/") and path.removeprefix("/v1") in served:
        return f"there is nothing at {path}: the base URL is without /v1 for this client"
    return f"there is nothing at {path}; {there}"


def _join_words(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
