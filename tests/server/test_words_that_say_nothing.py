"""What a client says without wanting anything by it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.served_team import MORE, PATHS, Team, team

ASK = {"messages": [{"role": "user", "content": "Why?"}]}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("nothing")) as one:
        yield one


@pytest.mark.parametrize("member", ["o", "c"])
@pytest.mark.parametrize("said", [{"logprobs": False}, {"logprobs": False, "top_logprobs": 0}])
def test_no_log_probabilities_are_asked_of_no_model(served: Team, member: str, said: dict):
    answer = served.ask("chat", ASK | said, member)

    assert answer.status == 200, answer.body
    (sent,) = served.sent(member)
    assert not {"logprobs", "top_logprobs"} & sent.keys()


@pytest.mark.parametrize("api", PATHS)
def test_a_body_may_begin_with_a_byte_order_mark(served: Team, api: str):
    asked = {"input": "Why?"} if api == "responses" else ASK
    body = json.dumps({"model": "o", **MORE[api], **asked}).encode("utf-8-sig")

    assert served.served.post(PATHS[api], body).status == 200


@pytest.mark.parametrize(("choice", "sent"), [("auto", ("auto", None)), ("none", ("none", None))])
def test_a_choice_of_tools_may_stand_in_an_object(served: Team, choice: str, sent: tuple):
    answer = served.ask("chat", ASK | {"tools": [FUNCTION], "tool_choice": {"type": choice}})

    assert answer.status == 200, answer.body
    assert served.sent("o")[0].get("tool_choice") in sent
