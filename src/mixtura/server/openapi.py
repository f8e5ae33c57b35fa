"""What the server offers, as an OpenAPI document made from the very types that read it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from mixtura.server.chat import ChatBody
from mixtura.server.completions import CompletionsBody
from mixtura.server.messages import Messages
from mixtura.server.pages import Planned
from mixtura.server.responses import Responses

JSON = "application/json"
REF = "#/components/schemas/{name}"


def document(names: Sequence[str], *, locked: bool) -> dict[str, Any]:
    """*names* of the models that are offered; *locked*: a key is needed."""
    bodies = (ChatBody, CompletionsBody, Responses.BODY, Messages.BODY, Planned)
    found, components = msgspec.json.schema_components(bodies, ref_template=REF)
    known = {"anyOf": [{"enum": list(names)}, {"type": "string", "minLength": 1}]}
    for body in found:
        name = body["$ref"].rpartition("/")[2]
        components[name]["properties"]["model"] = known
    components |= {
        "CountedMessages": _counted(components["MessagesBody"], ["model", "messages"]),
        "CountedResponse": _counted(components["ResponsesBody"], []),
    }
    components |= {"Error": ERROR, "MessagesError": MESSAGES_ERROR} | _ANSWERS
    body: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Mixtura",
            "version": version("mixtura"),
            "description": "Mixtures of models behind the APIs of OpenAI and Anthropic.",
        },
        "paths": _paths(found, names),
        "components": {"schemas": components},
    }
    if locked:
        body["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        body["security"] = [{"key": []}]
    return body


def _paths(bodies: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """The addresses; *bodies* of their requests in the order of ``document``."""
    chat, completions, responses, messages, plan = bodies
    return {
        "/v1/chat/completions": {"post": _call("Chat completions", chat, "ChatCompletion")},
        "/v1/completions": {"post": _call("Completions", completions, "Completion")},
        "/v1/responses": {"post": _call("Responses", responses, "Response")},
        "/v1/responses/{id}": {
            "get": _read("A stored response", "Response", parameter="id", query=_STREAM),
            "delete": _read("Delete it", "Deleted", parameter="id"),
        },
        "/v1/responses/{id}/input_items": {
            "get": _read("What it was made from", "ItemList", parameter="id", query=_ITEMS)
        },
        "/v1/responses/input_tokens": {
            "post": _call(
                "Tokens of a response's input",
                _schema("CountedResponse"),
                "InputTokens",
                streams=False,
            )
        },
        "/v1/messages": {
            "post": _call("Anthropic's messages", messages, "Message", error="MessagesError")
        },
        "/v1/messages/count_tokens": {
            "post": _call(
                "Tokens of messages",
                _schema("CountedMessages"),
                "CountedTokens",
                error="MessagesError",
                streams=False,
            )
        },
        "/v1/models": {"get": _read("The mixtures and models", "ModelList")},
        "/v1/models/{name}": {"get": _read("One of them", "Model", parameter="name", one_of=names)},
        **_own(plan),
    }


def _own(plan: Any) -> dict[str, Any]:
    """What only the page asks, and whoever runs the server."""
    return {
        "/api/setup": {"get": _read("What there is to choose from", "Object")},
        "/api/plan": {
            "post": _call("Calls and worst-case price of a plan", plan, "Object", streams=False)
        },
        "/api/runs": {"get": _read("Past runs, the newest first", "Object", query=_RUNS)},
        "/api/runs/{run}": {
            "get": _read("A run as it went", "Object", parameter="run"),
            "delete": _gone("Forget a run", parameter="run"),
        },
        "/healthz": {"get": _read("It lives", "Object", locked=False)},
        "/readyz": {"get": _read("It is ready", "Object", locked=False)},
    }


def _counted(body: dict[str, Any], required: Sequence[str]) -> dict[str, Any]:
    """The schema of a body of which only the tokens are wanted, so that less of it is needed."""
    answering = ("max_tokens", "stream", "store")
    kept = {name: form for name, form in body["properties"].items() if name not in answering}
    for name in {"model", "input"} & kept.keys() - set(required):
        kept[name] = {"anyOf": [kept[name], {"type": "null"}]}
    return {**body, "properties": kept, "required": list(required)}


def _schema(name: str) -> dict[str, str]:
    return {"$ref": REF.format(name=name)}


def _content(name: str) -> dict[str, Any]:
    return {JSON: {"schema": _schema(name)}}


def _answers(name: str, error: str, *, streams: bool = False) -> dict[str, Any]:
    content = _content(name)
    if streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "200": {"description": "The answer", "content": content},
        "default": {"description": "Why there is none", "content": _content(error)},
    }


def _call(
    summary: str, body: Any, answer: str, *, error: str = "Error", streams: bool = True
) -> dict[str, Any]:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {JSON: {"schema": body}}},
        "responses": _answers(answer, error, streams=streams),
    }


def _read(
    summary: str,
    answer: str,
    *,
    parameter: str | None = None,
    one_of: Sequence[str] = (),
    query: list[dict[str, Any]] | None = None,
    locked: bool = True,
) -> dict[str, Any]:
    row: dict[str, Any] = {"summary": summary, "responses": _answers(answer, "Error")}
    if parameters := [*(query or ()), *([_path(parameter, one_of)] if parameter else ())]:
        row["parameters"] = parameters
    return row if locked else row | {"security": []}


def _gone(summary: str, *, parameter: str) -> dict[str, Any]:
    error = {"description": "Why not", "content": _content("Error")}
    responses = {"204": {"description": "Gone"}, "default": error}
    return {"summary": summary, "parameters": [_path(parameter)], "responses": responses}


def _path(name: str, one_of: Sequence[str] = ()) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": "string", "minLength": 1}
    if one_of:
        shape["examples"] = list(one_of)
    return {"name": name, "in": "path", "required": True, "schema": shape}


_RUNS: list[dict[str, Any]] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 200}},
    {"name": "before", "in": "query", "schema": {"type": "string"}},
    {"name": "q", "in": "query", "schema": {"type": "string"}},
]

_STREAM: list[dict[str, Any]] = [
    {"name": "stream", "in": "query", "schema": {"enum": ["false"]}},
]
_ITEMS: list[dict[str, Any]] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100}},
    {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"]}},
    {"name": "after", "in": "query", "schema": {"type": "string"}},
]

_NAME = {"type": ["string", "null"]}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"}, "type": {"type": "string"},
                "param": _NAME, "code": _NAME,
            },
        }
    },
}  # fmt: skip
MESSAGES_ERROR = {
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


def _object(required: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": required}


_COUNT = {"type": "integer", "minimum": 0}
_ROWS = {"type": "array", "items": {"type": "object"}}
_ANSWERS: dict[str, Any] = {
    "Object": {"type": "object"},
    "ChatCompletion": _object(
        {
            "id": {"type": "string"},
            "object": {"const": "chat.completion"},
            "created": {"type": "integer"},
            "model": {"type": "string"},
            "choices": _ROWS | {"minItems": 1},
            "usage": _object(
                {"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT}
            ),
            "mixtura": {"type": "object"},
        }
    ),
    "Completion": _object(
        {
            "id": {"type": "string"},
            "object": {"const": "text_completion"},
            "created": {"type": "integer"},
            "model": {"type": "string"},
            "choices": _ROWS | {"minItems": 1},
            "usage": {"type": "object"},
            "mixtura": {"type": "object"},
        }
    ),
    "Response": Responses.ANSWER,
    "Deleted": _object(
        {"id": {"type": "string"}, "object": {"const": "response"}, "deleted": {"const": True}}
    ),
    "ItemList": _object(
        {
            "object": {"const": "list"},
            "data": _ROWS,
            "first_id": _NAME,
            "last_id": _NAME,
            "has_more": {"type": "boolean"},
        }
    ),
    "InputTokens": _object({"object": {"const": "response.input_tokens"}, "input_tokens": _COUNT}),
    "CountedTokens": _object({"input_tokens": _COUNT}),
    "Message": Messages.ANSWER,
    "Model": _object({"id": {"type": "string"}, "object": {"const": "model"}}),
    "ModelList": _object({"object": {"const": "list"}, "data": _ROWS}),
}
