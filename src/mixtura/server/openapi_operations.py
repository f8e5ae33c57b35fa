"""Operations of the OpenAPI document: their bodies, parameters and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

JSON = "application/json"
SCHEMA_REF = "#/components/schemas/{name}"


def schema_ref(name: str) -> dict[str, str]:
    """A reference to one of the document's schemas."""
    return {"$ref": SCHEMA_REF.format(name=name)}


def json_content(name: str) -> dict[str, Any]:
    """Content of JSON that follows one of the schemas."""
    return {JSON: {"schema": schema_ref(name)}}


def response_specs(name: str, error: str, *, streams: bool = False) -> dict[str, Any]:
    """What an operation answers, and its errors."""
    content = json_content(name)
    if streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "200": {"description": "The answer", "content": content},
        "default": {"description": "Why there is none", "content": json_content(error)},
    }


def post_operation(
    summary: str, body: Any, answer: str, *, error: str = "Error", streams: bool = True
) -> dict[str, Any]:
    """An operation with a body."""
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {JSON: {"schema": body}}},
        "responses": response_specs(answer, error, streams=streams),
    }


def bodyless_operation(
    summary: str,
    answer: str,
    *,
    parameter: str | None = None,
    one_of: Sequence[str] = (),
    query: list[dict[str, Any]] | None = None,
    locked: bool = True,
) -> dict[str, Any]:
    row: dict[str, Any] = {"summary": summary, "responses": response_specs(answer, "Error")}
    if parameters := [*(query or ()), *([path_parameter(parameter, one_of)] if parameter else ())]:
        row["parameters"] = parameters
    return row if locked else row | {"security": []}


def delete_operation(summary: str, *, parameter: str) -> dict[str, Any]:
    """An operation that answers with nothing."""
    error = {"description": "Why not", "content": json_content("Error")}
    responses = {"204": {"description": "Gone"}, "default": error}
    return {"summary": summary, "parameters": [path_parameter(parameter)], "responses": responses}


def path_parameter(name: str, one_of: Sequence[str] = ()) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": "string", "minLength": 1}
    if one_of:
        shape["examples"] = list(one_of)
    return {"name": name, "in": "path", "required": True, "schema": shape}
