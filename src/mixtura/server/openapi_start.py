"""The paths that the page uses for a first run, as OpenAPI."""

from __future__ import annotations

from typing import Any


def start_path_items(responses: Any) -> dict[str, Any]:
    """Keys, servers and downloads; *responses* are those of any JSON object."""
    content = {"application/json": {"schema": {"type": "object"}}}
    body = {"required": True, "content": content}
    enter = {"summary": "Use a provider's API key from now on", "requestBody": body}
    return {
        "/api/start": {"get": _build_operation("What a first answer takes", responses)},
        "/api/keys": {"post": enter | {"responses": responses}},
        "/api/mixtures": {
            "post": {"summary": "Keep a changed team as a mixture of this server"}
            | {"requestBody": body, "responses": responses}
        },
        "/api/starter": {
            "get": _build_operation("How far the download of the starter models is", responses),
            "post": _build_operation("Download the starter models", responses),
        },
    }


def _build_operation(summary: str, responses: Any) -> dict[str, Any]:
    return {"summary": summary, "responses": responses}
