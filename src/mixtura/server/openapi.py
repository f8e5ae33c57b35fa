"""The OpenAPI document, made from the types that decode the requests."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from mixtura.server.apis.anthropic_messages import MessagesDialect
from mixtura.server.apis.openai_chat_body import ChatBody
from mixtura.server.apis.openai_completions import CompletionsBody
from mixtura.server.apis.openai_responses import ResponsesDialect
from mixtura.server.openapi_start import start_path_items
from mixtura.server.page_plan import PlanRequest

JSON = "application/json"
SCHEMA_REF = "#/components/schemas/{name}"


def openapi_document(names: Sequence[str], paths: Sequence[str], *, locked: bool) -> dict[str, Any]:
    """Of models called *names* and APIs served at *paths*; *locked*: a key is needed."""
    bodies = (
        ChatBody,
        CompletionsBody,
        ResponsesDialect.REQUEST_TYPE,
        MessagesDialect.REQUEST_TYPE,
        PlanRequest,
    )
    found, components = msgspec.json.schema_components(bodies, ref_template=SCHEMA_REF)
    known = {"anyOf": [{"enum": list(names)}, {"type": "string", "minLength": 1}]}
    for body in found:
        name = body["$ref"].rpartition("/")[2]
        components[name]["properties"]["model"] = known
    components |= {
        "CountedMessages": _count_body_schema(components["MessagesBody"], ["model", "messages"]),
        "CountedResponse": _count_body_schema(components["ResponsesBody"], []),
    }
    components |= {
        "Error": ERROR_SCHEMA,
        "MessagesError": MESSAGES_ERROR_SCHEMA,
    } | _RESPONSE_SCHEMAS
    body: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Mixtura",
            "version": version("mixtura"),
            "description": "Mixtures of models behind the APIs of OpenAI and Anthropic.",
        },
        "paths": dict.fromkeys(paths, _UNKNOWN_API) | _path_items(found, names),
        "components": {"schemas": components},
    }
    if locked:
        body["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        body["security"] = [{"key": []}]
    return body


def _path_items(bodies: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """The paths; *bodies* of their requests in the order of ``openapi_document``."""
    chat, completions, responses, messages, plan = bodies
    return {
        "/v1/chat/completions": {
            "post": _post_operation("Chat completions", chat, "ChatCompletion")
        },
        "/v1/completions": {"post": _post_operation("Completions", completions, "Completion")},
        "/v1/responses": {"post": _post_operation("Responses", responses, "Response")},
        "/v1/responses/{id}": {
            "get": _bodyless_operation(
                "A stored response", "Response", parameter="id", query=_STREAM_QUERY
            ),
            "delete": _bodyless_operation("Delete it", "Deleted", parameter="id"),
        },
        "/v1/responses/{id}/input_items": {
            "get": _bodyless_operation(
                "What it was made from", "ItemList", parameter="id", query=_ITEMS_QUERY
            )
        },
        "/v1/responses/input_tokens": {
            "post": _post_operation(
                "Tokens of a response's input",
                _schema_ref("CountedResponse"),
                "InputTokens",
                streams=False,
            )
        },
        "/v1/messages": {
            "post": _post_operation(
                "Anthropic's messages", messages, "Message", error="MessagesError"
            )
        },
        "/v1/messages/count_tokens": {
            "post": _post_operation(
                "Tokens of messages",
                _schema_ref("CountedMessages"),
                "CountedTokens",
                error="MessagesError",
                streams=False,
            )
        },
        "/v1/models": {"get": _bodyless_operation("The mixtures and models", "ModelList")},
        "/v1/models/{name}": {
            "get": _bodyless_operation("One of them", "Model", parameter="name", one_of=names)
        },
        **_batch_path_items(),
        **_own_path_items(chat, plan),
        **start_path_items(_response_specs("Object", "Error", streams=False)),
    }


def _batch_path_items() -> dict[str, Any]:
    """The paths for files and batches of them."""
    form = {"multipart/form-data": {"schema": _UPLOAD_SCHEMA}}
    upload = _post_operation("Upload a file", {}, "File", streams=False)
    upload["requestBody"] = {"required": True, "content": form}
    content = _bodyless_operation("What it holds", "Object", parameter="id")
    content["responses"]["200"]["content"] = {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
    }
    return {
        "/v1/files": {
            "get": _bodyless_operation("Files, the newest first", "ItemList", query=_FILES_QUERY),
            "post": upload,
        },
        "/v1/files/{id}": {
            "get": _bodyless_operation("A file", "File", parameter="id"),
            "delete": _bodyless_operation("Delete it", "DeletedFile", parameter="id"),
        },
        "/v1/files/{id}/content": {"get": content},
        "/v1/batches": {
            "get": _bodyless_operation("Batches, the newest first", "ItemList", query=_PAGE_QUERY),
            "post": _post_operation("Begin a batch", _BATCH_BODY_SCHEMA, "Batch", streams=False),
        },
        "/v1/batches/{id}": {"get": _bodyless_operation("A batch", "Batch", parameter="id")},
        "/v1/batches/{id}/cancel": {
            "post": _bodyless_operation("Cancel it", "Batch", parameter="id")
        },
    }


def _own_path_items(chat: Any, plan: Any) -> dict[str, Any]:
    """The paths for the page, and for monitoring."""
    return {
        "/api/setup": {"get": _bodyless_operation("What there is to choose from", "Object")},
        "/api/plan": {
            "post": _post_operation(
                "Calls and worst-case price of a plan", plan, "Object", streams=False
            )
        },
        "/api/runs": {
            "get": _bodyless_operation("Past runs, the newest first", "Object", query=_RUNS_QUERY),
            "post": _post_operation(
                "Begin a run that outlives the request", chat, "Object", streams=False
            ),
        },
        "/api/runs/{run}/events": {
            "get": {
                "summary": "Follow a run that was begun so, from its start",
                "parameters": [_path_parameter("run")],
                "responses": _response_specs("Object", "Error", streams=True),
            }
        },
        "/api/runs/{run}/control": {
            "post": _delete_operation("Answer now, or leave a proposer out", parameter="run")
            | {"requestBody": {"required": True, "content": _json_content("Object")}}
        },
        "/api/runs/{run}/stop": {"post": _delete_operation("End such a run", parameter="run")},
        "/api/runs/{run}": {
            "get": _bodyless_operation("A run as it went", "Object", parameter="run"),
            "delete": _delete_operation("Forget a run", parameter="run"),
        },
        "/healthz": {"get": _bodyless_operation("It lives", "Object", locked=False)},
        "/readyz": {"get": _bodyless_operation("It is ready", "Object", locked=False)},
    }


def _count_body_schema(body: dict[str, Any], required: Sequence[str]) -> dict[str, Any]:
    """The schema of a body of which only the tokens are wanted, so that less of it is needed."""
    answering = ("max_tokens", "stream", "store")
    kept = {name: form for name, form in body["properties"].items() if name not in answering}
    for name in {"model", "input"} & kept.keys() - set(required):
        kept[name] = {"anyOf": [kept[name], {"type": "null"}]}
    return {**body, "properties": kept, "required": list(required)}


def _schema_ref(name: str) -> dict[str, str]:
    return {"$ref": SCHEMA_REF.format(name=name)}


def _json_content(name: str) -> dict[str, Any]:
    return {JSON: {"schema": _schema_ref(name)}}


def _response_specs(name: str, error: str, *, streams: bool = False) -> dict[str, Any]:
    content = _json_content(name)
    if streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "200": {"description": "The answer", "content": content},
        "default": {"description": "Why there is none", "content": _json_content(error)},
    }


def _post_operation(
    summary: str, body: Any, answer: str, *, error: str = "Error", streams: bool = True
) -> dict[str, Any]:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {JSON: {"schema": body}}},
        "responses": _response_specs(answer, error, streams=streams),
    }


def _bodyless_operation(
    summary: str,
    answer: str,
    *,
    parameter: str | None = None,
    one_of: Sequence[str] = (),
    query: list[dict[str, Any]] | None = None,
    locked: bool = True,
) -> dict[str, Any]:
    row: dict[str, Any] = {"summary": summary, "responses": _response_specs(answer, "Error")}
    if parameters := [*(query or ()), *([_path_parameter(parameter, one_of)] if parameter else ())]:
        row["parameters"] = parameters
    return row if locked else row | {"security": []}


def _delete_operation(summary: str, *, parameter: str) -> dict[str, Any]:
    error = {"description": "Why not", "content": _json_content("Error")}
    responses = {"204": {"description": "Gone"}, "default": error}
    return {"summary": summary, "parameters": [_path_parameter(parameter)], "responses": responses}


def _path_parameter(name: str, one_of: Sequence[str] = ()) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": "string", "minLength": 1}
    if one_of:
        shape["examples"] = list(one_of)
    return {"name": name, "in": "path", "required": True, "schema": shape}


_UNKNOWN_API: dict[str, Any] = {
    "post": _post_operation("An API of another package", {"type": "object"}, "Object")
}
_RUNS_QUERY: list[dict[str, Any]] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 200}},
    {"name": "before", "in": "query", "schema": {"type": "string"}},
    {"name": "q", "in": "query", "schema": {"type": "string"}},
]

_STREAM_QUERY: list[dict[str, Any]] = [
    {"name": "stream", "in": "query", "schema": {"enum": ["false"]}},
]
_ITEMS_QUERY: list[dict[str, Any]] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100}},
    {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"]}},
    {"name": "after", "in": "query", "schema": {"type": "string"}},
]

_PAGE_QUERY: list[dict[str, Any]] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100}},
    {"name": "after", "in": "query", "schema": {"type": "string"}},
]
_FILES_QUERY: list[dict[str, Any]] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 10000}},
    {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"]}},
    {"name": "after", "in": "query", "schema": {"type": "string"}},
    {"name": "purpose", "in": "query", "schema": {"type": "string"}},
]
_UPLOAD_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"enum": ["batch"]},
    },
}
_BATCH_BODY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["input_file_id", "endpoint", "completion_window"],
    "properties": {
        "input_file_id": {"type": "string"},
        "endpoint": {"enum": ["/v1/chat/completions"]},
        "completion_window": {"enum": ["24h"]},
        "metadata": {
            "type": ["object", "null"],
            "additionalProperties": {"type": "string"},
        },
    },
}

_NULLABLE_TEXT = {"type": ["string", "null"]}
ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"}, "type": {"type": "string"},
                "param": _NULLABLE_TEXT, "code": _NULLABLE_TEXT,
            },
        }
    },
}  # fmt: skip
MESSAGES_ERROR_SCHEMA = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
    },
}


def _object_schema(required: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": required}


_COUNT_SCHEMA = {"type": "integer", "minimum": 0}
_ROWS_SCHEMA = {"type": "array", "items": {"type": "object"}}


def _completion_schema(kind: str, usage: dict[str, Any]) -> dict[str, Any]:
    return _object_schema(
        {
            "id": {"type": "string"},
            "object": {"const": kind},
            "created": {"type": "integer"},
            "model": {"type": "string"},
            "choices": _ROWS_SCHEMA | {"minItems": 1},
            "usage": usage,
            "mixtura": {"type": "object"},
        }
    )


_RESPONSE_SCHEMAS: dict[str, Any] = {
    "Object": {"type": "object"},
    "ChatCompletion": _completion_schema(
        "chat.completion",
        _object_schema(
            dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), _COUNT_SCHEMA)
        ),
    ),
    "Completion": _completion_schema("text_completion", {"type": "object"}),
    "Response": ResponsesDialect.RESPONSE_SCHEMA,
    "Deleted": _object_schema(
        {"id": {"type": "string"}, "object": {"const": "response"}, "deleted": {"const": True}}
    ),
    "ItemList": _object_schema(
        {
            "object": {"const": "list"},
            "data": _ROWS_SCHEMA,
            "first_id": _NULLABLE_TEXT,
            "last_id": _NULLABLE_TEXT,
            "has_more": {"type": "boolean"},
        }
    ),
    "File": _object_schema(
        {
            "id": {"type": "string"},
            "object": {"const": "file"},
            "bytes": _COUNT_SCHEMA,
            "created_at": {"type": "integer"},
            "filename": {"type": "string"},
            "purpose": {"type": "string"},
        }
    ),
    "DeletedFile": _object_schema(
        {"id": {"type": "string"}, "object": {"const": "file"}, "deleted": {"const": True}}
    ),
    "Batch": _object_schema(
        {
            "id": {"type": "string"},
            "object": {"const": "batch"},
            "endpoint": {"type": "string"},
            "input_file_id": {"type": "string"},
            "completion_window": {"type": "string"},
            "status": {"type": "string"},
            "created_at": {"type": "integer"},
            "request_counts": {"type": "object"},
        }
    ),
    "InputTokens": _object_schema(
        {"object": {"const": "response.input_tokens"}, "input_tokens": _COUNT_SCHEMA}
    ),
    "CountedTokens": _object_schema({"input_tokens": _COUNT_SCHEMA}),
    "Message": MessagesDialect.RESPONSE_SCHEMA,
    "Model": _object_schema({"id": {"type": "string"}, "object": {"const": "model"}}),
    "ModelList": _object_schema({"object": {"const": "list"}, "data": _ROWS_SCHEMA}),
}
