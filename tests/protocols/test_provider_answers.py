"""What providers really send: every odd answer is read for what it is, streamed and whole."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura import (
    MalformedError,
    MixturaError,
    QuotaError,
    RateLimitedError,
    UnavailableError,
)
from mixtura.protocols.anthropic.events import decode_event
from mixtura.protocols.anthropic.stream import MessagesStreamAccumulator as AnthropicAssembly
from mixtura.protocols.finish_reasons import classify_finish_reason
from mixtura.protocols.openai.chunks import decode_chunk
from mixtura.protocols.openai.stream import ChatStreamAccumulator
from tests.support import paths
from tests.support.provider_streams import TIME, WEATHER, answered, calls, events, stream, whole

CASES = paths.CASES / "upstream"


def case(name: str) -> bytes:
    return (CASES / name).read_bytes()


# ---- the reported cases


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("01-calls-without-index.sse", "text/event-stream"),
        ("03-calls-in-one-piece.json", "application/json"),
    ],
)
def test_two_calls_without_an_index_are_two_calls(name, kind):
    completion, _ = answered(case(name), kind)

    assert calls(completion) == [WEATHER, TIME]
    assert completion.finish_reason == "tool_calls"


def test_a_name_in_every_piece_is_one_name():
    completion, _ = answered(case("04-name-in-every-chunk.sse"))

    assert calls(completion) == [("get_weather", {"city": "Rome"})]


def test_content_that_is_a_list_is_text_and_thought():
    completion, shown = answered(case("11-content-a-list.sse"))

    assert (completion.text, completion.reasoning) == ("Hello there.", "A greeting.")
    assert shown == "Hello there."


def test_a_chunk_without_choices_ends_no_answer():
    assert answered(case("12a-choices-null.sse"))[0].text == "Hello"


def test_a_finish_reason_of_another_api_is_understood():
    assert answered(case("13a-finish-MAX_TOKENS.sse"))[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("name", "thought", "answer"),
    [
        ("14a-think-closed-in-line.sse", "17 x 24 = 408\n\nLet me verify: 340 + 68 = 408", "408"),
        ("14b-close-after-reasoning_content.sse", "Hm.", "Four."),
    ],
)
def test_a_stray_closing_mark_leaves_no_thought_in_the_answer(name, thought, answer):
    completion, _ = answered(case(name))

    assert (completion.reasoning, completion.text) == (thought, answer)


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/event-stream", "x/y", ""])
def test_events_are_read_whatever_they_are_called(kind):
    assert answered(case("15-events-called-json.sse"), kind)[0].text == "Hello"


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/html", ""])
def test_a_whole_answer_is_read_whatever_it_is_called(kind):
    assert answered(whole({"content": "Hello"}), kind)[0].text == "Hello"


# ---- thoughts


THOUGHTS = {
    "reasoning_content": "Hm.",
    "reasoning": "Hm.",
    "reasoning_text": "Hm.",
    "thinking": "Hm.",
    "reasoning as an object": {"reasoning": {"content": "Hm."}},
    "reasoning_content as parts": {"reasoning_content": [{"type": "text", "text": "Hm."}]},
    "details": {"reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "index": 0}]},
    "a summary": {"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}]},
    "blocks": {"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "S"}]},
    "text and details": {
        "reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}],
    },
    "a part that says it is a thought": {"content": [{"text": "Hm.", "thought": True}]},
}  # fmt: skip


@pytest.mark.parametrize("how", THOUGHTS)
def test_thoughts_are_reasoning_under_whatever_name_they_come(how):
    told = THOUGHTS[how] if isinstance(THOUGHTS[how], dict) else {how: THOUGHTS[how]}
    parts = [*told.get("content", ()), {"type": "text", "text": "Paris."}]
    for body, kind in (
        (stream(told, {"content": "Paris."}), "text/event-stream"),
        (whole(told | {"content": parts}), "application/json"),
    ):
        completion, shown = answered(body, kind)
        assert (completion.text, completion.reasoning, shown) == ("Paris.", "Hm.", "Paris.")


def test_thoughts_that_are_told_once_more_in_blocks_are_told_once():
    blocks = [{"type": "thinking", "thinking": "Hm. So.", "signature": "S"}]
    body = stream(
        {"reasoning_content": "Hm. "}, {"reasoning_content": "So."},
        {"thinking_blocks": blocks}, {"content": "Paris."},
    )  # fmt: skip

    assert answered(body)[0].reasoning == "Hm. So."


def test_a_signature_beside_the_thought_that_it_signs_is_kept():
    thought = {"type": "thinking_delta", "thinking": "Hm.", "signature": "S"}
    body = events(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
        {"type": "content_block_delta", "index": 0, "delta": thought},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text"}},
        {"type": "content_block_delta", "index": 1, "delta": {"text": "Paris."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    )
    data = answered(body, anthropic=True)[0].message.provider_data

    assert data
    assert data.blocks[0] == {"type": "thinking", "thinking": "Hm.", "signature": "S"}


# ---- odd pieces


HELLO = {"choices": [{"index": 0, "delta": {"content": "Hello"}}]}
ODD = {
    "null": "null",
    "a comment in data": ": keep-alive",
    "a word in data": "OPENROUTER PROCESSING",
    "an empty list": "[]",
    "a number": "3",
    "no choices": {"choices": None},
    "a choice that is null": {"choices": [None]},
    "a delta that is null": {"choices": [{"index": 0, "delta": None}]},
    "nulls everywhere": {
        "id": None, "object": None, "error": None, "usage": None,
        "choices": [{
            "index": None, "finish_reason": None, "logprobs": None,
            "delta": {
                "content": None, "role": None, "tool_calls": None, "reasoning": None,
                "refusal": None, "function_call": None, "audio": None,
            },
        }],
    },
    "an error that is none": {"choices": [], "error": None},
    "an empty error beside choices": {"choices": [{"index": 0, "delta": {}}], "error": {}},
    "usage that is a list": {"choices": [], "usage": [1]},
    "usage that is text": {"choices": [], "usage": "12 tokens"},
    "log-probabilities that are text": {"choices": [{"delta": {}, "logprobs": "none"}]},
    "a role that is a number": {"choices": [{"delta": {"role": 7}}]},
    "a reason that is a number": {"choices": [{"delta": {}, "finish_reason": 0}]},
    "an index that is text": {"choices": [{"index": "0", "delta": {}}]},
    "a reason that says nothing": {"choices": [{"delta": {}, "finish_reason": "null"}]},
    "unknown fields": {"choices": [{"delta": {"sound": {"x": [1]}}}], "provider": {"a": 1}},
    "an unknown object": {"object": "ping", "timings": [1, 2]},
    "a list of one": [{"choices": [{"index": 0, "delta": {}}]}],
    "calls that are empty": {"choices": [{"index": 0, "delta": {"tool_calls": []}}]},
    "a whole message afterwards": {"choices": [{"index": 0, "message": {"content": "Hello"}}]},
    "a whole message beside an empty delta": {
        "choices": [{"index": 0, "delta": {}, "message": {"content": "Hello", "tool_calls": None}}]
    },
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_piece_never_ends_a_good_answer(odd):
    body = events(HELLO, ODD[odd]) + stream({"content": " there."})

    completion, shown = answered(body)

    assert (completion.text, shown) == ("Hello there.", "Hello there.")
    assert completion.finish_reason == "stop"


NUMBERS = st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.text(max_size=3)
FITTING = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)


@given(
    st.sampled_from(["id", "object", "created", "model", "usage", "service_tier", "x"]),
    st.sampled_from(["index", "logprobs", "native_finish_reason", "y"]),
    st.sampled_from(["role", "refusal", "audio", "annotations", "z"]),
    st.lists(FITTING, min_size=3, max_size=3),
)
def test_whatever_stands_in_an_optional_field_the_text_is_read(outer, choice, delta, odd):
    row = {
        outer: odd[0],
        "choices": [{choice: odd[1], "delta": {delta: odd[2], "content": "Hello"}}],
    }
    if choice == "index" and type(odd[1]) is int and odd[1] != 0:
        return  # another answer's
    if row.get("object") == "error":
        return
    so_far = ChatStreamAccumulator()
    so_far.add_chunk(decode_chunk(json.dumps(row).encode()))

    assert so_far.take_new().text == "Hello"


@given(
    st.sampled_from(["index", "usage", "message", "content_block", "stop_reason", "x"]),
    st.sampled_from(["type", "citations", "stop_details", "stop_sequence", "y"]),
    st.lists(FITTING, min_size=2, max_size=2),
)
def test_whatever_stands_in_an_optional_field_of_a_message_the_text_is_read(outer, inner, odd):
    row = {"type": "content_block_delta", outer: odd[0], "delta": {inner: odd[1], "text": "Hello"}}
    so_far = AnthropicAssembly()
    so_far.add_chunk(decode_event(json.dumps(row).encode()))

    assert so_far.take_new().text == "Hello"


def test_messages_that_have_all_by_now_in_each_piece_are_one_answer():
    rows = [{"choices": [{"message": {"content": text}}]} for text in ("He", "Hello", "Hello you")]
    end = {"choices": [{"message": {"content": "Hello you"}, "finish_reason": "stop"}]}

    completion, shown = answered(events(*rows, end, "[DONE]"))

    assert completion.text == shown == "Hello you"


def test_an_answer_that_is_cut_inside_a_piece_is_no_whole_answer():
    body = events(HELLO, '{"choices": [{"delta": {"content": " th')

    with pytest.raises(MalformedError):
        answered(body)


@pytest.mark.parametrize("after", ["[DONE]", "[done]", "{broken", '{"choices": [{"delta"'])
def test_an_answer_that_is_whole_stays_good_whatever_follows(after):
    reason = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    assert answered(events(HELLO, reason, after))[0].text == "Hello"

    text = {"type": "text_delta", "text": "Hello"}
    message = [
        {"type": "content_block_delta", "index": 0, "delta": text},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    ]
    for rows in (message, [*message, {"type": "message_stop"}]):
        assert answered(events(*rows, after), anthropic=True)[0].text == "Hello"


@pytest.mark.parametrize("anthropic", [False, True])
def test_an_end_without_a_reason_is_no_end(anthropic):
    text = {"type": "content_block_delta", "index": 0, "delta": {"text": "Hello"}}
    with pytest.raises(MixturaError, match="cut off"):
        answered(events(text if anthropic else HELLO, "[DONE]"), anthropic=anthropic)


def test_content_that_cannot_be_shown_is_named():
    parts = [{"type": "text", "text": "Here: "}, {"type": "image_url", "image_url": {"url": "x"}}]

    completion, _ = answered(stream({"content": parts}))

    assert completion.text == "Here: "
    assert completion.degraded == ("a part of the type image_url",)


def test_an_error_is_no_odd_piece():
    with pytest.raises(MixturaError, match="overloaded"):
        answered(events(HELLO, {"error": {"message": "overloaded", "code": 529}}))


ERRORS = {
    "credits": ({"code": 402, "message": "Insufficient credits"}, QuotaError),
    "too fast": ({"code": "429", "message": "Slow down, retry in 12s"}, RateLimitedError),
    "down": ({"code": 502, "message": "Upstream died"}, UnavailableError),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("reason", ["error", "stop", None])
def test_an_error_in_a_choice_is_that_error(name, reason):
    told, kind = ERRORS[name]
    choice = {"index": 0, "finish_reason": reason, "error": told}
    part = {"role": "assistant", "content": ""}
    piece = events(HELLO, {"choices": [choice | {"delta": part}]})
    answer = json.dumps({"choices": [choice | {"message": part}]}).encode()

    for body, type_ in ((piece, "text/event-stream"), (answer, "application/json")):
        with pytest.raises(kind, match=told["message"]) as caught:
            answered(body, type_)
        assert getattr(caught.value, "retry_after", None) == (12 if name == "too fast" else None)


def test_an_error_that_groq_tells_beside_its_choices_is_that_error():
    with pytest.raises(UnavailableError, match="out of time"):
        answered(events(HELLO, {"choices": [], "x_groq": {"id": "r", "error": "out of time"}}))


@pytest.mark.parametrize("where", ["top", "choice"])
def test_an_error_that_says_nothing_is_none(where):
    none = {"error": {"code": 0, "message": "", "type": None}}
    choice = {"delta": {"content": "Hello"}} | (none if where == "choice" else {})
    row = {"choices": [choice]} | (none if where == "top" else {})

    assert answered(events(row) + stream({"content": "."}))[0].text == "Hello."


LAST_ERRORS = {
    "a line of its own": 'error: {"code": 429, "message": "too many"}\n\n',
    "after a word": 'data: error: {"code": "429", "message": "too many"}\n\n',
    "named": 'event: error\ndata: {"message": "too many requests"}\n\n',
    "bare": '{"error": {"message": "too many", "type": "rate_limit_error"}}',
    "bare, below": '\n{"error": {"message": "too many", "code": 429}}\n',
}


@pytest.mark.parametrize("how", LAST_ERRORS)
def test_an_error_at_a_stream_s_end_is_what_it_says(how):
    with pytest.raises(RateLimitedError, match="too many"):
        answered(events(HELLO) + LAST_ERRORS[how].encode())


@pytest.mark.parametrize("how", LAST_ERRORS)
def test_an_error_at_the_end_of_messages_is_what_it_says(how):
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}

    with pytest.raises(RateLimitedError, match="too many"):
        answered(events(block) + LAST_ERRORS[how].encode(), anthropic=True)


def test_events_that_one_line_end_parts_are_read():
    body = stream({"content": "Hello"}, {"content": " there."}).replace(b"\n\n", b"\n")

    completion, shown = answered(body)

    assert (completion.text, shown, completion.finish_reason) == ("Hello there.",) * 2 + ("stop",)
    assert completion.usage.prompt_tokens == 5


def test_a_whole_message_may_have_its_text_in_no_block():
    row = {"type": "message", "content": "Hi.", "stop_reason": "end_turn"}

    completion, _ = answered(json.dumps(row).encode(), "application/json", anthropic=True)

    assert (completion.text, completion.finish_reason) == ("Hi.", "stop")


# ---- usage


COUNTS = {"prompt_tokens": 5000, "completion_tokens": 300, "total_tokens": 5300}
TOLD = {
    "in the choice": ({"usage": COUNTS}, {}),
    "in the choice, null above": ({"usage": COUNTS}, {"usage": None}),
    "beside the choices": ({}, {"x_groq": {"id": "r", "usage": COUNTS}}),
    "at the top, which counts": ({"usage": {"prompt_tokens": 1}}, {"usage": COUNTS}),
    "in other names": ({}, {"usage": {
        "input_tokens": 5000, "output_tokens": 300,
        "input_tokens_details": {"cached_tokens": 40},
        "output_tokens_details": {"reasoning_tokens": 20},
    }}),
}  # fmt: skip


@pytest.mark.parametrize("where", TOLD)
def test_usage_is_read_wherever_it_is_told(where):
    inside, beside = TOLD[where]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"} | inside]} | beside
    message = {"index": 0, "message": {"content": "Hi."}, "finish_reason": "stop"} | inside
    answer = {"choices": [message]} | beside

    for body, kind in (
        (events(HELLO, end, "[DONE]"), "text/event-stream"),
        (json.dumps(answer).encode(), "application/json"),
    ):
        usage = answered(body, kind)[0].usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (5000, 300)
        assert not usage.estimated
        cached = (40, 20) if where == "in other names" else (0, 0)
        assert (usage.cached_tokens, usage.reasoning_tokens) == cached


@pytest.mark.parametrize("told", [-5, 5000.0, "5000", 10**9, True])
@pytest.mark.parametrize("where", ["choice", "beside", "other names"])
def test_usage_that_makes_no_sense_is_refused_wherever_it_is_told(where, told):
    counts = {"prompt_tokens": told, "completion_tokens": 3}
    choice = {"delta": {"content": "Hi."}, "finish_reason": "stop"}
    row = {
        "choice": {"choices": [choice | {"usage": counts}]},
        "beside": {"choices": [choice], "x_groq": {"usage": counts}},
        "other names": {"choices": [choice], "usage": {"input_tokens": told, "output_tokens": 3}},
    }[where]

    assert answered(events(row))[0].usage.estimated


def test_a_cache_that_may_stand_apart_from_the_input_is_not_guessed_at():
    usage = {"input_tokens": 5, "cache_read_input_tokens": 900, "output_tokens": 3}
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage}

    assert answered(events(HELLO, end))[0].usage.estimated


# ---- finish reasons


REASONS = {
    "stop": ["stop", "STOP", "end_turn", "eos", "EOS_TOKEN", "stop_sequence", "COMPLETE",
             "completed", "FINISH_REASON_STOP", "FinishReason.STOP", "done", "endTurn", "EndTurn",
             "stopSequence", "stop_sequence_reached", "END_OF_TEXT", "endoftext", "REASON_STOP",
             "<|im_end|>", "</s>", "<|return|>", "stopCriteriaMet", "ENDOFTURN",
             "stop_on_eos", "eom_id",
             {"type": "stop", "matched": 2}, {"reason": "STOP"}],
    "length": ["length", "LENGTH", "MAX_TOKENS", "max_output_tokens", "model_length", "ERR?",
               "max_length", "incomplete", "pause_turn", "model_context_window_exceeded",
               "something new", "OTHER", "maxTokens", "REASON_MAX_LEN", "time_limit",
               1, 2.5, False, True, 0, {"type": "length", "length": 4}, {"type": 7}, {}, ["stop"]],
    "tool_calls": ["tool_calls", "TOOL_CALL", "tool-calls", "function_call", "tool_use",
                   "toolUse", "toolCalls", "REASON_TOOL_CALLS"],
    "content_filter": ["content_filter", "SAFETY", "RECITATION", "PROHIBITED_CONTENT",
                       "content-filter", "refusal", "BLOCKLIST", "SPII", "contentFiltered",
                       "guardrailIntervened", "IMAGE_PROHIBITED_CONTENT", "MODEL_ARMOR", "blocked",
                       "moderation"],
    "failed": ["error", "ABORT", "cancelled", "insufficient_system_resource",
               "MALFORMED_FUNCTION_CALL", "malformed_tool_use", "MALFORMED_RESPONSE",
               "server_error",
               {"type": "abort", "message": "gone"}],
}  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), [(o, t) for o, some in REASONS.items() for t in some])
def test_a_finish_reason_means_the_same_whoever_says_it(ours, theirs):
    for body, kind in (
        (stream({"content": "Hello"}, finish=theirs), "text/event-stream"),
        (whole({"content": "Hello"}, theirs), "application/json"),
    ):
        if ours in ("failed", "content_filter"):
            with pytest.raises(MixturaError):
                answered(body, kind)
        else:
            wanted = "length" if ours == "tool_calls" else ours  # where no call came
            assert answered(body, kind)[0].finish_reason == wanted


def test_a_stop_reason_that_is_unknown_is_incomplete_for_messages_too():
    body = events(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "of_next_year"}},
        {"type": "message_stop"},
    )

    assert answered(body, anthropic=True)[0].finish_reason == "length"


@pytest.mark.parametrize("goes_on", [False, 0, "", "null", "NOT_FINISHED", "REASON_INVALID"])
def test_a_stream_cut_off_where_its_reason_says_that_it_goes_on_is_no_answer(goes_on):
    rows = [{"choices": [{"delta": {"content": text}, "finish_reason": goes_on}]} for text in "ab"]

    with pytest.raises(UnavailableError, match="cut off"):
        answered(events(*rows, {"choices": [{"delta": {}, "finish_reason": goes_on}]}))


@given(st.text(alphabet="abcdefghij_", min_size=1).map(lambda text: f"new_{text}"))
def test_no_unknown_reason_is_a_stop(reason):
    assert classify_finish_reason(reason) == "length"
