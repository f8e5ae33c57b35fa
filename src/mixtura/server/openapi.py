"""The OpenAPI document, made from the types that decode the requests."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from mixtura.server.apis.anthropic_messages import MessagesApi
from mixtura.server.apis.openai_chat_body import ChatBody
from mixtura.server.apis.openai_completions import CompletionsBody
from mixtura.server.apis.openai_responses import ResponsesApi
from mixtura.server.batch_rows import ENDPOINTS
from mixtura.server.file_routes import MAX_EXPIRY_SECONDS, MIN_EXPIRY_SECONDS
from mixtura.server.openapi_operations import (
    SCHEMA_REF,
    bodyless_operation,
    post_operation,
    response_specs,
    schema_ref,
)
from mixtura.server.openapi_page import own_path_items
from mixtura.server.openapi_start import start_path_items
from mixtura.server.page_plan import PlanRequest


def openapi_document(names: Sequence[str], paths: Sequence[str], *, locked: bool) -> dict[str, Any]:
    """Of models called *names* and APIs served at *paths*; *locked*: a key is needed."""
    bodies = (
        ChatBody,
        CompletionsBody,
        ResponsesApi.REQUEST_TYPE,
        MessagesApi.REQUEST_TYPE,
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
            "post": post_operation("Chat completions", chat, "ChatCompletion")
        },
        "/v1/completions": {"post": post_operation("Completions", completions, "Completion")},
        "/v1/responses": {"post": post_operation("Responses", responses, "Response")},
        "/v1/responses/{id}": {
            "get": bodyless_operation(
                "A stored response", "Response", parameter="id", query=_STREAM_QUERY
            ),
            "delete": bodyless_operation("Delete it", "Deleted", parameter="id"),
        },
        "/v1/responses/{id}/input_items": {
            "get": bodyless_operation(
                "What it was made from", "ItemList", parameter="id", query=_ITEMS_QUERY
            )
        },
        "/v1/responses/input_tokens": {
            "post": post_operation(
                "Tokens of a response's input",
                schema_ref("CountedResponse"),
                "InputTokens",
                streams=False,
            )
        },
        "/v1/messages": {
            "post": post_operation(
                "Anthropic's messages", messages, "Message", error="MessagesError"
            )
        },
        "/v1/messages/count_tokens": {
            "post": post_operation(
                "Tokens of messages",
                schema_ref("CountedMessages"),
                "CountedTokens",
                error="MessagesError",
                streams=False,
            )
        },
        "/v1/models": {"get": bodyless_operation("The mixtures and models", "ModelList")},
        "/v1/models/{name}": {
            "get": bodyless_operation("One of them", "Model", parameter="name", one_of=names)
        },
        **_batch_path_items(),
        **own_path_items(chat, plan),
        **start_path_items(response_specs("Object", "Error", streams=False)),
    }


def _batch_path_items() -> dict[str, Any]:
    """The paths for files and batches of them."""
    form = {"multipart/form-data": {"schema": _UPLOAD_SCHEMA}}
    upload = post_operation("Upload a file", {}, "File", streams=False)
    upload["requestBody"] = {"required": True, "content": form}
    content = bodyless_operation("What it holds", "Object", parameter="id")
    content["responses"]["200"]["content"] = {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
    }
    return {
        "/v1/files": {
            "get": bodyless_operation("Files, the newest first", "ItemList", query=_FILES_QUERY),
            "post": upload,
        },
        "/v1/files/{id}": {
            "get": bodyless_operation("A file", "File", parameter="id"),
            "delete": bodyless_operation("Delete it", "DeletedFile", parameter="id"),
        },
        "/v1/files/{id}/content": {"get": content},
        "/v1/batches": {
            "get": bodyless_operation("Batches, the newest first", "ItemList", query=_PAGE_QUERY),
            "post": post_operation("Begin a batch", _BATCH_BODY_SCHEMA, "Batch", streams=False),
        },
        "/v1/batches/{id}": {"get": bodyless_operation("A batch", "Batch", parameter="id")},
        "/v1/batches/{id}/cancel": {
            "post": bodyless_operation("Cancel it", "Batch", parameter="id")
        },
    }


def _count_body_schema(body: dict[str, Any], required: Sequence[str]) -> dict[str, Any]:
    """The schema of a body of which only the tokens are wanted, so that less of it is needed."""
    answering = ("max_tokens", "stream", "store")
    kept = {name: form for name, form in body["properties"].items() if name not in answering}
    for name in {"model", "input"} & kept.keys() - set(required):
        kept[name] = {"anyOf": [kept[name], {"type": "null"}]}
    return {**body, "properties": kept, "required": list(required)}


_UNKNOWN_API: dict[str, Any] = {
    "post": post_operation("An API of another package", {"type": "object"}, "Object")
}
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
        "endpoint": {"enum": [*ENDPOINTS]},
        "completion_window": {"enum": ["24h"]},
        "metadata": {
            "type": ["object", "null"],
            "additionalProperties": {"type": "string"},
        },
        "output_expires_after": {
            "type": ["object", "null"],
            "required": ["anchor", "seconds"],
            "properties": {
                "anchor": {"const": "created_at"},
                "seconds": {
                    "type": "integer",
                    "minimum": MIN_EXPIRY_SECONDS, "maximum": MAX_EXPIRY_SECONDS,
                },
            },
        },
    },
}  # fmt: skip

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
    "Response": ResponsesApi.RESPONSE_SCHEMA,
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
    "Message": MessagesApi.RESPONSE_SCHEMA,
    "Model": _object_schema({"id": {"type": "string"}, "object": {"const": "model"}}),
    "ModelList": _object_schema({"object": {"const": "list"}, "data": _ROWS_SCHEMA}),
}
