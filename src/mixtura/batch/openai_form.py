"""The OpenAI batch file format: a request of its input, lines of its output and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from mixtura.batch.prompt_form import parse_messages
from mixtura.core.errors import ConfigError
from mixtura.core.quantities import ANSWER_TOKENS, SEED, SHARE, TEMPERATURE, NumberRange
from mixtura.core.types import Completion, JsonObject, Request, Sampling, Usage
from mixtura.protocols.openai.completion_json import sources_json
from mixtura.protocols.openai.messages import message_json

URL = "/v1/chat/completions"
_IGNORED = {"model", "messages", "stream", "stream_options", "user", "metadata", "store", "n"}
_SAMPLING = {"temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed"}
_OWN = {"tools", "tool_choice", "response_format"}


def build_request(fields: Mapping[str, Any], sampling: Sampling) -> Request:
    """
    The request of a line; *sampling* counts where the line says nothing. Raises ConfigError,
    without the place.
    """
    if not isinstance(fields.get("custom_id"), str):
        raise ConfigError("`custom_id` must be a text")
    if fields.get("method") != "POST":
        raise ConfigError('`method` must be "POST"')
    if fields.get("url") != URL:
        raise ConfigError(f"`url` must be {URL}, the only one that a mixture answers")
    if not isinstance(fields.get("body"), dict):
        raise ConfigError("`body` must be an object: the request")
    body = cast(dict[str, Any], fields["body"])
    if not isinstance(body.get("messages"), list):
        raise ConfigError("`body.messages` must be a list of messages")
    if body.get("n") not in (None, 1):
        raise ConfigError("`body.n` must be 1: a mixture gives one answer")
    tools: list[Any] = body.get("tools") or []
    if not _is_list_of(tools, dict):
        raise ConfigError("`body.tools` must be a list of objects")
    for name, kinds in (("tool_choice", (str, dict)), ("response_format", (dict,))):
        if not isinstance(body.get(name), (*kinds, type(None))):
            raise ConfigError(f"`body.{name}` has the wrong type")
    return Request(
        parse_messages(body["messages"]),
        _parse_sampling(body).with_defaults(sampling),
        tools=tuple(tools),
        tool_choice=body.get("tool_choice"),
        response_format=body.get("response_format"),
        extra={k: v for k, v in body.items() if k not in _IGNORED | _SAMPLING | _OWN},
    )


def _is_list_of(value: Any, kind: type) -> bool:
    rows = cast(list[Any], value) if isinstance(value, list) else None
    return rows is not None and all(isinstance(one, kind) for one in rows)


def _parse_sampling(body: Mapping[str, Any]) -> Sampling:
    def number(name: str, kind: type[int] | tuple[type, ...], right: NumberRange) -> Any:
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            raise ConfigError(f"`body.{name}` must be a number")
        if value is not None and (problem := right.range_error(value)):
            raise ConfigError(f"`body.{name}`: {problem}")
        return value

    stop: Any = body.get("stop")
    stops: list[Any] = [stop] if isinstance(stop, str) else stop or []
    if not _is_list_of(stops, str):
        raise ConfigError("`body.stop` must be a text or a list of texts")
    longest = number("max_completion_tokens", int, ANSWER_TOKENS)
    return Sampling(
        number("temperature", (int, float), TEMPERATURE),
        number("top_p", (int, float), SHARE),
        number("max_tokens", int, ANSWER_TOKENS) if longest is None else longest,
        tuple(stops) or None,
        number("seed", int, SEED),
    )


def usage_object(usage: Usage) -> JsonObject:
    """Token counts as chat completions have them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def answer_summary(completion: Completion, cost: float | None) -> JsonObject:
    """What every form of a row says of its answer, beside it: price, failures, pages found."""
    return {
        "cost_usd": cost,
        "degraded": list(completion.degraded),
        **sources_json(completion.sources),
    }


def result_line(
    custom_id: str,
    key: str,
    model: str,
    completion: Completion,
    usage: Usage,
    cost: float | None,
    *,
    created: int,
) -> JsonObject:
    """A line of the output. *key* names the row; *created*: seconds since the epoch."""
    choice = {
        "index": 0,
        "message": message_json(completion.message),
        "logprobs": None,
        "finish_reason": completion.finish_reason,
    }
    body = {
        "id": f"chatcmpl-{key}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": usage_object(usage),
        "mixtura": answer_summary(completion, cost),
    }
    return response_line(custom_id, key, body)


def response_line(
    custom_id: str, key: str, body: Mapping[str, Any], *, status: int = 200
) -> JsonObject:
    """A line of the output with the *body* of an answer."""
    response = {"status_code": status, "request_id": f"req_{key}", "body": body}
    return {"id": f"batch_req_{key}", "custom_id": custom_id, "response": response, "error": None}


def error_line(custom_id: str, key: str, code: str, message: str) -> JsonObject:
    """A line of the file of errors."""
    return {
        "id": f"batch_req_{key}",
        "custom_id": custom_id,
        "response": None,
        "error": {"code": code, "message": message},
    }
