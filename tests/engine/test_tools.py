"""Tools, pictures and turns inside a mixture: who acts, who advises, who sees."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mixtura import (
    Aggregator,
    Completion,
    ImagePart,
    Layer,
    Message,
    Mixture,
    ModelInfo,
    Proposer,
    RejectedError,
    Request,
    TextPart,
    ToolCall,
    UnavailableError,
    ask,
)
from mixtura.catalog.providers import Quirks, default_image_support
from mixtura.engine.proposal_cache import ProposalCache
from mixtura.models.fake import Scripted, echo, failing_model
from mixtura.models.model_support import ModelSupport
from mixtura.protocols.content_parts import PICTURE_STAND_IN
from tests.conftest import run

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather\nof a town",
        "parameters": {"type": "object", "properties": {"town": {}, "day": {}}},
    },
}
CALL = ToolCall("c1", "weather", '{"town":"Rome"}')
ASKED = Message("user", "Will it rain in Rome?")
CALLED = Message("assistant", "", (CALL,))
RESULT = Message("tool", "rain at noon", tool_call_id="c1")
FIRST = Request((ASKED,), tools=(WEATHER,))
SECOND = replace(FIRST, messages=(ASKED, CALLED, RESULT))


def calling():
    return Completion(Message("assistant", "", (CALL,)), "chief", "tool_calls")


def team(proposer, chief, **settings):
    layer = Layer((Proposer(proposer),))
    return Mixture(layers=(layer,), aggregator=Aggregator(chief), **settings)


def shown(request):
    return "\n".join(f"{m.role}: {m.text}" for m in request.messages)


def test_only_the_aggregator_has_the_tools_and_proposers_read_what_they_are_for():
    advisor, chief = Scripted("advisor", ["ask for the weather"]), Scripted("chief", [calling()])
    answer = run(team(advisor, chief).complete(FIRST))

    assert answer.finish_reason == "tool_calls"
    assert answer.message.tool_calls == (CALL,)
    assert advisor.asked[0].tools == ()
    assert "- weather(town, day): The weather of a town" in shown(advisor.asked[0])
    assert chief.asked[0].tools == (WEATHER,)
    assert "ask for the weather" in shown(chief.asked[0])


def test_a_proposer_reads_calls_and_their_results_as_text():
    advisor, chief = Scripted("advisor", ["take an umbrella"]), Scripted("chief", ["Yes."])
    run(team(advisor, chief).complete(SECOND))

    said = shown(advisor.asked[0])
    assert 'assistant: [called weather with {"town":"Rome"}]' in said
    assert "user: [weather returned]\nrain at noon" in said
    assert {m.role for m in advisor.asked[0].messages} == {"system", "user", "assistant"}
    assert not any(m.tool_calls or m.tool_call_id for m in advisor.asked[0].messages)
    assert chief.asked[0].messages[-1].role == "tool" or "take an umbrella" in shown(chief.asked[0])


def test_proposers_are_asked_once_for_a_users_turn_and_stand_with_its_question():
    advisor = Scripted("advisor", ["look at the forecast", "never asked"])
    chief = Scripted("chief", [calling(), "Yes, at noon."])
    mixture = team(advisor, chief, turns=ProposalCache())
    run(mixture.complete(FIRST))
    answer = run(mixture.complete(SECOND))

    assert answer.text == "Yes, at noon."
    assert len(advisor.asked) == 1
    first, second = chief.asked
    assert second.messages[: len(first.messages)] == first.messages, "the prompt's cache holds"
    assert second.messages[-1] == RESULT


def test_a_new_question_of_the_user_is_a_new_turn():
    advisor = Scripted("advisor", ["one", "two"])
    chief = Scripted("chief", [calling(), "Yes.", "No."])
    mixture = team(advisor, chief, turns=ProposalCache())
    run(mixture.complete(FIRST))
    run(mixture.complete(SECOND))
    later = (*SECOND.messages, Message("assistant", "Yes."), Message("user", "And in Oslo?"))
    run(mixture.complete(replace(SECOND, messages=later)))

    assert len(advisor.asked) == 2
    assert "two" in shown(chief.asked[2])


def test_a_turn_that_no_one_remembers_asks_the_proposers_again():
    advisor, chief = Scripted("advisor", ["umbrella"]), Scripted("chief", ["Yes."])
    run(team(advisor, chief, turns=ProposalCache()).complete(SECOND))
    assert len(advisor.asked) == 1
    assert "umbrella" in shown(chief.asked[0])


def test_without_turns_the_proposers_read_every_result():
    advisor = Scripted("advisor", ["one", "two"])
    mixture = team(advisor, Scripted("chief", [calling(), "Yes."]))
    run(mixture.complete(FIRST))
    run(mixture.complete(SECOND))
    assert len(advisor.asked) == 2


def test_turns_forget_the_oldest_first():
    kept = ProposalCache(most=2)
    for name in "abc":
        kept.put(name, ())
    assert kept.get("a") is None
    assert kept.get("b") == kept.get("c") == ()


@pytest.mark.parametrize(
    "wish",
    [
        {"tools": (WEATHER,)},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        {"extra": {"logprobs": True}},
    ],
)
def test_no_proposal_stands_in_where_a_call_or_a_form_was_asked_for(wish):
    mixture = team(echo("a"), failing_model(UnavailableError("down"), "chief"))
    with pytest.raises(UnavailableError):
        run(mixture.complete(replace(ask("q"), **wish)))


def test_no_proposal_stands_in_for_a_parameter_that_the_aggregator_refuses():
    error = RejectedError("takes no logit_bias")
    error.parameter = "logit_bias"
    with pytest.raises(RejectedError):
        run(team(echo("a"), failing_model(error, "chief")).complete(ask("q")))


# ---- pictures

PICTURE = ImagePart("data:image/png;base64,AAAA")
SEEN = Request((Message("user", (TextPart("What is this?"), PICTURE)),))


def pictures(request):
    parts = [p for m in request.messages if isinstance(m.content, tuple) for p in m.content]
    return [part for part in parts if isinstance(part, ImagePart)]


def test_pictures_reach_who_sees_and_the_blind_are_told_that_one_is_there():
    blind = Scripted("blind", ["a cat?"], info=ModelInfo("blind", supports_images=False))
    seeing = Scripted("seeing", ["a dog"])
    layer = Layer((Proposer(blind), Proposer(seeing)))
    chief = Scripted("chief", ["a dog"])
    run(Mixture(layers=(layer,), aggregator=Aggregator(chief)).complete(SEEN))

    assert pictures(blind.asked[0]) == []
    assert PICTURE_STAND_IN in shown(blind.asked[0])
    assert pictures(seeing.asked[0]) == pictures(chief.asked[0]) == [PICTURE]
    assert PICTURE_STAND_IN not in shown(seeing.asked[0])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("deepseek/deepseek-v4-pro", False),
        ("groq/llama-3.3-70b-versatile", False),
        ("together/Qwen/Qwen2.5-72B-Instruct-Turbo", False),
        ("openai/gpt-5.4", None),
        ("together/Qwen/Qwen2.5-VL-72B-Instruct", None),
        ("ollama/gemma3:4b", None),
    ],
)
def test_a_name_may_tell_that_a_model_is_blind(name, told):
    assert default_image_support(name) is told


def call_with(support, body, send, emit):
    """Send *body* as an adapter does: again after each refusal that taught something."""
    for attempt in support.attempts(body, emit):
        with attempt as fitting:
            return send(fitting)
    raise AssertionError("the last attempt raises")


@pytest.mark.parametrize(
    "said",
    [
        "this model does not support image input",
        "m is not a multimodal model",
        "No endpoints found that support image input",
        "Failed to deserialize: unknown variant `image_url`, expected `text`",
        "image input is not supported - hint: you may need to provide the mmproj",
        "Image inputs are not supported by this model",
    ],
)
def test_blindness_is_learned_from_a_refusal_and_said_once(said):
    picture = {"type": "image_url", "image_url": {"url": "data:x"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [picture]}]}
    sent, events = [], []

    def send(fitting):
        sent.append(fitting)
        if any(part["type"] == "image_url" for part in fitting["messages"][0]["content"]):
            error = RejectedError(said)
            error.status = 400
            raise error

    support = ModelSupport("m", Quirks())
    call_with(support, body, send, events.append)
    call_with(support, body, send, events.append)
    assert len(sent) == 3
    assert sent[-1]["messages"][0]["content"] == [{"type": "text", "text": PICTURE_STAND_IN}]
    assert [event.notice for event in events] == [
        "sees no pictures: each is replaced by a line of text"
    ]


def test_a_picture_that_is_broken_teaches_nothing():
    body = {"model": "m", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:x"}}]}]}  # fmt: skip

    def send(_):
        error = RejectedError("the image is not valid base64, the picture could not be read")
        error.status = 400
        raise error

    support = ModelSupport("m", Quirks())
    with pytest.raises(RejectedError):
        call_with(support, body, send, None)
    assert support.strip_unsupported(body) == body


# ---- further parameters, in each API's words


def test_how_hard_to_think_is_said_in_each_apis_words():
    from mixtura.protocols.anthropic.request import request_json as messages
    from mixtura.protocols.openai.request import request_json as chat

    hard = replace(ask("q"), extra={"reasoning_effort": "xhigh"})
    assert chat(hard, "m")["reasoning_effort"] == "xhigh"
    assert messages(hard, "m")["output_config"] == {"effort": "max"}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    both = messages(replace(hard, response_format=form), "m")["output_config"]
    assert set(both) == {"effort", "format"}
    switched = replace(ask("q"), extra={"thinking": {"type": "adaptive"}})
    assert "thinking" not in chat(switched, "m")
    assert messages(switched, "m")["thinking"] == {"type": "adaptive"}


def test_one_call_at_a_time_is_a_part_of_the_tool_choice_for_anthropic():
    from mixtura.protocols.anthropic.request import request_json

    alone = replace(FIRST, extra={"parallel_tool_calls": False})
    assert request_json(alone, "m")["tool_choice"] == {
        "type": "auto", "disable_parallel_tool_use": True,
    }  # fmt: skip


def test_what_an_api_has_no_word_for_is_refused_by_name():
    from mixtura.protocols.anthropic.request import request_json

    with pytest.raises(RejectedError, match="logprobs") as raised:
        request_json(replace(ask("q"), extra={"logprobs": True}), "m")
    assert raised.value.parameter == "logprobs"


def test_a_picture_that_a_tool_brought_follows_in_a_message_of_the_users():
    from mixtura.protocols.openai.request import request_json

    result = Message("tool", (TextPart("here"), PICTURE), tool_call_id="c1")
    rows = request_json(Request((ASKED, CALLED, result)), "m")["messages"]
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "user"]
    assert rows[2]["content"].startswith("here")
    assert rows[3]["content"] == [{"type": "image_url", "image_url": {"url": PICTURE.url}}]


# ---- log-probabilities


def test_log_probabilities_come_with_the_answer_whole_or_in_pieces_and_through_the_cache():
    from mixtura.protocols.openai.chunks import decode_chunk
    from mixtura.protocols.openai.completion_json import completion_from_json, completion_json
    from mixtura.protocols.openai.stream import ChatStreamAccumulator

    rows = [{"token": t, "logprob": -0.5, "bytes": None, "top_logprobs": []} for t in ("a", "b")]
    so_far = ChatStreamAccumulator()
    for row, text in zip(rows, ("a", "b"), strict=True):
        body = {"choices": [{"delta": {"content": text}, "logprobs": {"content": [row]}}]}
        so_far.add_chunk(decode_chunk(json.dumps(body).encode()))
    last = {"choices": [{"delta": {}, "logprobs": None, "finish_reason": "stop"}]}
    so_far.add_chunk(decode_chunk(json.dumps(last).encode()))
    answer = so_far.build_completion("m", ask("q"))
    assert answer.logprobs == tuple(rows)
    assert completion_from_json(completion_json(answer)) == answer
