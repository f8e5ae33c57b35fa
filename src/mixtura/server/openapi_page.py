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
        **_past_run_path_items(),
        "/healthz": {"get": bodyless_operation("It lives", "Object", locked=False)},
        "/readyz": {"get": bodyless_operation("It is ready", "Object", locked=False)},
    }


def _past_run_path_items() -> dict[str, Any]:
    """The paths for what is done with runs that are over."""
    again = bodyless_operation(
        "Ask for what is missing, or for the answer", "Object", parameter="run"
    )
    report = bodyless_operation("Report where the proposals agree", "Object", parameter="run")
    choice = bodyless_operation("Keep which of two answers is better", "Object")
    part = bodyless_operation("Choices as files for an evaluation", "Object", parameter="part")
    part["responses"]["200"]["content"] = {"application/jsonl": {"schema": {"type": "string"}}}
    part["parameters"] += [
        {"name": name, "in": "query", "schema": {"type": "string"}} for name in ("mixture", "model")
    ]
    return {
        "/api/runs/{run}/again": {"post": again | {"requestBody": _body_of(_AGAIN_FIELDS, "ask")}},
        "/api/runs/{run}/agreement": {
            "post": report | {"requestBody": _body_of({"dry_run": {"type": "boolean"}})}
        },
        "/api/choices": {
            "get": bodyless_operation("How often what was preferred", "Object"),
            "post": choice | {"requestBody": _body_of(_CHOICE_FIELDS, *_CHOICE_FIELDS)},
        },
        "/api/choices/{part}": {"get": part},
    }


def _body_of(fields: dict[str, Any], *required: str) -> dict[str, Any]:
    schema = {"type": "object", "required": list(required), "properties": fields}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


_AGAIN_FIELDS: dict[str, Any] = {
    "ask": {"enum": ["missing", "answer"]},
    "aggregator": {"type": ["string", "null"]},
    "instruction": {"type": ["string", "null"], "maxLength": 20_000},
    "dry_run": {"type": "boolean"},
}
_CHOICE_FIELDS: dict[str, Any] = {
    "run": {"type": "string"},
    "beside": {"type": "string"},
    "choice": {"enum": ["mixture", "model", "tie"]},
}


def _conversation_path_items() -> dict[str, Any]:
    rename = delete_operation("Give it a title", parameter="name") | {
        "requestBody": _body_of({"title": {"type": "string", "maxLength": 200}}, "title")
    }
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
