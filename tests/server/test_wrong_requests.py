"""Wrong requests as data: the status, and what is said is wrong and would be right."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from tests.support import chat_server
from tests.support.wrong_inputs import CANARY, TRACES

upstream, server = chat_server.upstream, chat_server.server
ASK = [{"role": "user", "content": "Why?"}]
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"

REQUESTS = {
    "no JSON": (CHAT, b"hello", 400, ("JSON",)),
    "a list": (CHAT, [], 400, ("object",)),
    "no messages": (CHAT, {"model": "team"}, 400, ("messages",)),
    "no message": (CHAT, {"model": "team", "messages": []}, 400, ("messages",)),
    "a role that none is": (
        CHAT, {"model": "team", "messages": [{"role": "boss", "content": "x"}]}, 400, ("role",)
    ),
    "a model that none is": (CHAT, {"model": "tem", "messages": ASK}, 404, ("tem", "team")),
    "a key for a model": (CHAT, {"model": CANARY, "messages": ASK}, 404, ("API key",)),
    "a model's number": (CHAT, {"model": 5, "messages": ASK}, 400, ("model",)),
    "a temperature that is a word": (
        CHAT, {"model": "team", "messages": ASK, "temperature": "hot"}, 400, ("temperature",)
    ),
    "a temperature below zero": (
        CHAT, {"model": "team", "messages": ASK, "temperature": -1}, 400, ("temperature", "0")
    ),
    "no tokens": (CHAT, {"model": "team", "messages": ASK, "max_tokens": 0}, 400, ("max_tokens",)),
    "an input that is missing": (RESPONSES, {"model": "team"}, 400, ("input",)),
    "an earlier response that none is": (
        RESPONSES, {"model": "team", "input": "x", "previous_response_id": "resp_no"}, 400,
        ("resp_no",),
    ),
    "messages without a limit": (
        MESSAGES, {"model": "team", "messages": ASK}, 400, ("max_tokens",)
    ),
    "a path that none is": ("/v1/chat/completion", {}, 404, ("/v1/chat/completion",)),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_a_wrong_request_is_told_what_is_wrong(name, server):
    path, body, status, said = REQUESTS[name]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.url}{path}", data, headers)

    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)

    with caught.value as answer:
        text = answer.read().decode()
    assert answer.status == status, text
    message = json.loads(text)["error"]["message"]
    assert all(piece in message for piece in said), message
    assert CANARY not in text
    assert not [trace for trace in TRACES if trace in text], text
