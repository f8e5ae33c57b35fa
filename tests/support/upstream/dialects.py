"""How the families of providers say things on the wire: from words to bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

Json = dict[str, Any]

CANARY = "canary-7c1e"
"""Stands in every error text that a fault sends: it must never be read in an answer."""


@dataclass(slots=True)
class Tally:
    """The upstream's own count of one request. *cached* is in the prompt, *reasoning* in the
    completion; a completion token is one word sent, also when nobody heard it."""

    prompt: int = 0
    completion: int = 0
    reasoning: int = 0
    cached: int = 0

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        return (self.prompt, self.completion, self.cached, self.reasoning)


def counted(text: str) -> int:
    """Tokens of a text: its words."""
    return len(text.split())


def pieces(text: str) -> list[str]:
    """The text in tokens; put together they are the text again."""
    words = text.split(" ")
    return [*(f"{word} " for word in words[:-1]), words[-1]]


def frame(data: Json | str, event: str | None = None) -> bytes:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    named = f"event: {event}\n" if event else ""
    return f"{named}data: {text}\n\n".encode()


# kind of error: what OpenAI calls it (type, code), what Anthropic and llama.cpp call it
_KINDS: dict[str, tuple[str, str | None, str, str]] = {
    "rate": ("requests", "rate_limit_exceeded", "rate_limit_error", "server_error"),
    "quota": ("insufficient_quota", "insufficient_quota", "billing_error", "server_error"),
    "server": ("server_error", None, "api_error", "server_error"),
    "overloaded": ("server_error", "overloaded", "overloaded_error", "unavailable_error"),
    "invalid": ("invalid_request_error", None, "invalid_request_error", "invalid_request_error"),
    "auth": (
        "invalid_request_error", "invalid_api_key", "authentication_error", "authentication_error",
    ),
    "permission": (
        "invalid_request_error", "country_not_supported", "permission_error", "permission_error",
    ),
    "missing": (
        "invalid_request_error", "model_not_found", "not_found_error", "not_found_error",
    ),
    "filter": (
        "invalid_request_error", "content_filter", "invalid_request_error", "invalid_request_error",
    ),
    "overflow": (
        "invalid_request_error", "context_length_exceeded", "invalid_request_error",
        "exceed_context_size_error",
    ),
}  # fmt: skip

_CODES = {
    "rate": 429, "quota": 429, "server": 500, "overloaded": 503, "invalid": 400, "auth": 401,
    "permission": 403, "missing": 404, "filter": 400, "overflow": 400,
}  # fmt: skip

# what the conversation being too long is called; elsewhere the fault's own words are used
_TOO_LONG = {
    "openai": "This model's maximum context length is 8192 tokens, your messages have 9000.",
    "anthropic": "prompt is too long: 210000 tokens > 200000 maximum",
    "llamacpp": "the request exceeds the available context size, try increasing it",
}


class OpenAIVoice:
    """OpenAI chat completions."""

    name = "openai"
    prefix = ""
    path = "/chat/completions"
    done = frame("[DONE]")

    def __init__(self, body: Json, tally: Tally, number: int) -> None:
        self.body = body
        self.tally = tally
        self._number = number
        tally.prompt = counted(self.prompt)

    @property
    def prompt(self) -> str:
        """Every word that the model was shown."""
        return "\n".join(_texts(self.body.get("messages", ())))

    @property
    def wants_usage(self) -> bool:
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    def opening(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def nothing(self) -> bytes:
        """A well-formed event that brings the answer no further."""
        return self._chunk({})

    def word(self, text: str, index: int = 0) -> bytes:
        return self._chunk({"content": text}, index=index)

    def thought(self, text: str) -> bytes:
        return self._chunk({"reasoning_content": text})

    def tool(self, name: str, arguments: str) -> bytes:
        function = {"name": name, "arguments": arguments}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        return self._chunk({"tool_calls": [call]})

    def refusal(self, text: str) -> bytes:
        return self._chunk({"refusal": text})

    def finish(self, reason: str, index: int = 0) -> bytes:
        return self._chunk({}, reason, index)

    def ending(self, reason: str, *, usage: bool = True) -> bytes:
        """The finish reason and, if it was asked for, the usage after it."""
        tail = self.usage() if usage and self.wants_usage else b""
        return self.finish(reason) + tail

    def usage(self) -> bytes:
        return frame(self._head() | {"choices": [], "usage": self.usage_json()})

    def usage_json(self) -> Json:
        details = {"reasoning_tokens": self.tally.reasoning}
        return self._counted_json() | {"completion_tokens_details": details}

    def _counted_json(self) -> Json:
        tally = self.tally
        return {
            "prompt_tokens": tally.prompt,
            "completion_tokens": tally.completion,
            "total_tokens": tally.prompt + tally.completion,
            "prompt_tokens_details": {"cached_tokens": tally.cached},
        }

    def whole(self, text: str, reason: str = "stop", thoughts: str = "") -> Json:
        """An answer that is not streamed."""
        message = {"role": "assistant", "content": text, "refusal": None}
        if thoughts:
            message["reasoning_content"] = thoughts
        choice = {"index": 0, "message": message, "finish_reason": reason}
        head = self._head() | {"object": "chat.completion"}
        return head | {"choices": [choice], "usage": self.usage_json()}

    def error(self, kind: str, said: str, param: str | None = None) -> Json:
        """The body of a refusal."""
        type_, code, *_ = _KINDS[kind]
        message = _TOO_LONG[self.name] if kind == "overflow" else said
        code = "unsupported_parameter" if param else code
        message = f"{message} ({CANARY})"
        return {"error": {"message": message, "type": type_, "param": param, "code": code}}

    def error_frame(self, kind: str, said: str) -> bytes:
        """A refusal after the answer has begun."""
        return frame(self.error(kind, said))

    def _head(self) -> Json:
        return {
            "id": f"chatcmpl-{self._number}",
            "object": "chat.completion.chunk",
            "created": 1_790_000_000,
            "model": self.body.get("model"),
        }

    def _chunk(self, delta: Json, reason: str | None = None, index: int = 0) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self.wants_usage else {}
        return frame(self._head() | {"choices": [choice]} | usage)


class LlamaVoice(OpenAIVoice):
    """OpenAI chat completions as llama.cpp's server speaks them."""

    name = "llamacpp"
    prefix = "/llamacpp"

    def opening(self) -> bytes:
        return self._chunk({"role": "assistant", "content": None})

    def usage(self) -> bytes:
        timings = {"prompt_n": self.tally.prompt, "predicted_n": self.tally.completion}
        body = {"choices": [], "usage": self.usage_json(), "timings": timings}
        return frame(self._head() | body)

    def usage_json(self) -> Json:
        return self._counted_json()

    def error(self, kind: str, said: str, param: str | None = None) -> Json:
        message = _TOO_LONG[self.name] if kind == "overflow" else said
        type_ = _KINDS[kind][3]
        inner: Json = {"code": _CODES[kind], "message": f"{message} ({CANARY})", "type": type_}
        if kind == "overflow":
            inner |= {"n_prompt_tokens": 9000, "n_ctx": 8192}
        return {"error": inner}


class AnthropicVoice:
    """Anthropic messages: blocks that are opened and closed around the words."""

    name = "anthropic"
    prefix = ""
    path = "/messages"
    done = frame({"type": "message_stop"}, "message_stop")
    wants_usage = True
    _REASONS: ClassVar = {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
    }

    def __init__(self, body: Json, tally: Tally, number: int) -> None:
        self.body = body
        self.tally = tally
        self._number = number
        self._block: str | None = None
        self._index = -1
        tally.prompt = counted(self.prompt)

    @property
    def prompt(self) -> str:
        system = self.body.get("system") or ""
        said = [{"content": system}, *self.body.get("messages", ())]
        return "\n".join(_texts(said))

    def opening(self) -> bytes:
        tally = self.tally
        usage = {
            "input_tokens": tally.prompt - tally.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": tally.cached,
            "output_tokens": 1,  # real ones say 1 here: the last count is the whole, not a summand
        }
        message = self._message([], None) | {"usage": usage}
        return _typed("message_start", message=message) + self.nothing()

    def nothing(self) -> bytes:
        return _typed("ping")

    def word(self, text: str, index: int = 0) -> bytes:
        return self._delta("text", {"type": "text_delta", "text": text})

    def thought(self, text: str) -> bytes:
        return self._delta("thinking", {"type": "thinking_delta", "thinking": text})

    def tool(self, name: str, arguments: str) -> bytes:
        start = self._close() + self._open(
            {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}
        )
        delta = {"type": "input_json_delta", "partial_json": arguments}
        return start + _typed("content_block_delta", index=self._index, delta=delta)

    def finish(self, reason: str, index: int = 0) -> bytes:
        """The stop reason; Anthropic counts in the same event."""
        return self._close() + self._stopped(reason, {"output_tokens": self.tally.completion})

    def ending(self, reason: str, *, usage: bool = True) -> bytes:
        return self._close() + self._stopped(reason, self.usage_json() if usage else None)

    def usage_json(self) -> Json:
        spent: Json = {"output_tokens": self.tally.completion}
        if self.tally.reasoning:
            spent["output_tokens_details"] = {"thinking_tokens": self.tally.reasoning}
        return spent

    def whole(self, text: str, reason: str = "stop", thoughts: str = "") -> Json:
        content: list[Json] = [{"type": "text", "text": text}] if text else []
        if thoughts:
            content.insert(0, {"type": "thinking", "thinking": thoughts, "signature": "sig"})
        usage = {
            "input_tokens": self.tally.prompt - self.tally.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self.tally.cached,
        }
        told = self._message(content, self._REASONS.get(reason, reason))
        return told | {"usage": usage | self.usage_json()}

    def error(self, kind: str, said: str, param: str | None = None) -> Json:
        message = _TOO_LONG[self.name] if kind == "overflow" else said
        inner = {"type": _KINDS[kind][2], "message": f"{message} ({CANARY})"}
        return {"type": "error", "error": inner, "request_id": f"req_{self._number}"}

    def error_frame(self, kind: str, said: str) -> bytes:
        return frame(self.error(kind, said), "error")

    def _message(self, content: list[Json], reason: str | None) -> Json:
        return {
            "id": f"msg_{self._number}",
            "type": "message",
            "role": "assistant",
            "model": self.body.get("model"),
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
        }

    def _stopped(self, reason: str, usage: Json | None) -> bytes:
        delta = {"stop_reason": self._REASONS.get(reason, reason), "stop_sequence": None}
        return _typed("message_delta", delta=delta, **({"usage": usage} if usage else {}))

    def _delta(self, kind: str, delta: Json) -> bytes:
        start = b""
        if self._block != kind:
            empty = {"type": kind, ("text" if kind == "text" else "thinking"): ""}
            start = self._close() + self._open(empty)
        return start + _typed("content_block_delta", index=self._index, delta=delta)

    def _open(self, block: Json) -> bytes:
        self._index += 1
        self._block = block["type"]
        return _typed("content_block_start", index=self._index, content_block=block)

    def _close(self) -> bytes:
        if self._block is None:
            return b""
        signed = b""
        if self._block == "thinking":
            delta = {"type": "signature_delta", "signature": "c2ln"}
            signed = _typed("content_block_delta", index=self._index, delta=delta)
        self._block = None
        return signed + _typed("content_block_stop", index=self._index)


Voice = OpenAIVoice | LlamaVoice | AnthropicVoice
VOICES: tuple[type[Voice], ...] = (OpenAIVoice, LlamaVoice, AnthropicVoice)


def _typed(kind: str, **rest: Any) -> bytes:
    return frame({"type": kind, **rest}, kind)


def _texts(messages: Any) -> Iterator[str]:
    for message in messages:
        content = message.get("content") or ""
        if isinstance(content, str):
            yield content
            continue
        for part in content:
            if isinstance(part.get("text"), str):
                yield part["text"]
