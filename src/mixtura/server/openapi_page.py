"""What the OpenAPI document says of the page's own API: runs and conversations."""

from __future__ import annotations

from typing import Any

from mixtura.server.openapi_operations import (
    bodyless_operation,
    delete_operation,
    json_content,
    path_parameter,
    post_operation,
    response_specs,
)


def own_path_items(chat: Any, plan: Any) -> dict[str, Any]:
    """The paths for the page, and for monitoring."""
    return {
        "/api/setup": {"get": bodyless_operation("What there is to choose from", "Object")},
        "/api/plan": {
            "post": post_operation(
                "Calls and worst-case price of a plan", plan, "Object", streams=False
            )
        },
        "/api/runs": {
            "get": bodyless_operation("Past runs, the newest first", "Object", query=_RUNS_QUERY),
            "post": post_operation(
                "Begin a run that outlives the request", chat, "Object", streams=False
            ),
        },
        "/api/runs/{run}/events": {
            "get": {
                "summary": "Follow a run that was begun so, from its start",
                "parameters": [path_parameter("run")],
                "responses": response_specs("Object", "Error", streams=True),
            }
        },
        "/api/runs/{run}/control": {
            "post": delete_operation("Answer now, or leave a proposer out", parameter="run")
            | {"requestBody": {"required": True, "content": json_content("Object")}}
        },
        "/api/runs/{run}/stop": {"post": delete_operation("End such a run", parameter="run")},
        "/api/runs/{run}": {
            "get": bodyless_operation("A run as it went", "Object", parameter="run"),
            "delete": delete_operation("Forget a run", parameter="run"),
        },
        **_conversation_path_items(),
        "/healthz": {"get": bodyless_operation("It lives", "Object", locked=False)},
        "/readyz": {"get": bodyless_operation("It is ready", "Object", locked=False)},
    }


def _conversation_path_items() -> dict[str, Any]:
    rename = delete_operation("Give it a title", parameter="name") | {"requestBody": _TITLE_BODY}
    return {
        "/api/conversations": {
            "get": bodyless_operation(
                "Conversations, the newest first", "Object", query=_RUNS_QUERY
            )
        },
        "/api/conversations/{name}": {
            "get": bodyless_operation("All its turns at a glance", "Object", parameter="name"),
            "patch": rename,
            "delete": delete_operation("Forget all its runs", parameter="name"),
        },
        "/api/conversations/{name}/json": {
            "get": bodyless_operation("With its whole runs", "Object", parameter="name")
        },
        "/api/conversations/{name}/markdown": {"get": _MARKDOWN_OPERATION},
    }


_TITLE_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["title"],
                "properties": {"title": {"type": "string", "maxLength": 200}},
            }
        }
    },
}
_MARKDOWN_OPERATION: dict[str, Any] = {
    "summary": "One of its branches as Markdown",
    "parameters": [
        path_parameter("name"),
        {"name": "run", "in": "query", "schema": {"type": "string"}},
    ],
    "responses": {
        "200": {"description": "It", "content": {"text/markdown": {"schema": {"type": "string"}}}},
        "default": {"description": "Why there is none", "content": json_content("Error")},
    },
}
_RUNS_QUERY: list[dict[str, Any]] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 200}},
    {"name": "before", "in": "query", "schema": {"type": "string"}},
    {"name": "q", "in": "query", "schema": {"type": "string"}},
]
