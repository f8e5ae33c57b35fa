"""Tokens before an upstream counts them: the same for a window, a minute, a bill and a cap."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura import ImagePart, Message, OtherPart, Request, Sampling, TextPart, ToolCall
from mixtura.billing.forecast import forecast_calls
from mixtura.core.token_estimate import count_message_tokens, estimate_tokens, token_upper_bound
from mixtura.core.types import ProviderData
from mixtura.models.fake import Scripted, echo
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
from mixtura.prompts.context_fitting import tokens_left
from mixtura.protocols.usage_estimates import estimate_usage
from tests.conftest import run

ANSWER = 300
TEXTS = st.text(max_size=40) | st.sampled_from(["word " * 200, "7" * 300, "{}[]" * 80, "Ж" * 99])
PARTS = (
    st.builds(TextPart, TEXTS)
    | st.just(ImagePart("https://example.org/a.png"))
    | TEXTS.map(lambda text: OtherPart({"type": "file", "file": {"file_data": text}}))
)
CALLS = st.builds(lambda name, said: ToolCall("t1", name, said), TEXTS, TEXTS)
MESSAGES = st.builds(
    lambda content, calls, kept: Message(
        "assistant" if calls or kept else "user",
        content,
        tuple(calls),
        provider_data=ProviderData("o", {"reasoning_content": kept}) if kept else None,
    ),
    TEXTS | st.lists(PARTS, min_size=1, max_size=3).map(tuple),
    st.lists(CALLS, max_size=2),
    st.none() | TEXTS,
)
TOOLS = TEXTS.map(lambda text: {"type": "function", "function": {"name": "f", "about": text}})
REQUESTS = st.builds(
    lambda messages, tools: Request(
        tuple(messages), Sampling(max_tokens=ANSWER), tools=tuple(tools)
    ),
    st.lists(MESSAGES, min_size=1, max_size=4),
    st.lists(TOOLS, max_size=2),
)


async def admitted_in_a_minute(request, tokens_a_minute):
    """How many of two such requests an endpoint's limit lets in at once."""
    model = Scripted("m", ["one", "two"])
    gate = RateLimiter(RateLimits(tokens_per_minute=tokens_a_minute), clock=lambda: 1000.0)
    tasks = [asyncio.create_task(Limited(model, gate).complete(request)) for _ in range(2)]
    for _ in range(20):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return len(model.asked)


@given(REQUESTS)
def test_a_request_has_the_same_tokens_for_a_bill_a_window_and_a_minute_and_no_cap_holds_less(
    request,
):
    counted = estimate_usage(request, "").prompt_tokens

    assert tokens_left(request, 10**6) == 10**6 - counted - ANSWER
    assert run(admitted_in_a_minute(request, 2 * (counted + ANSWER))) == 2
    assert run(admitted_in_a_minute(request, 2 * (counted + ANSWER) - 1)) == 1
    (call,) = forecast_calls(echo("m"), request)
    assert call.usage.prompt_tokens >= counted


@given(REQUESTS, MESSAGES)
@settings(max_examples=60)
def test_a_message_more_is_as_many_tokens_more_as_it_has_alone(request, message):
    longer = Request((*request.messages, message), request.sampling, tools=request.tools)

    assert (
        estimate_usage(longer, "").prompt_tokens
        == estimate_usage(request, "").prompt_tokens + count_message_tokens(message)
    )  # fmt: skip


@given(st.text(), st.text())
def test_a_text_never_has_more_tokens_than_its_upper_bound_nor_less_than_a_part_of_it(one, other):
    assert 1 <= estimate_tokens(one) <= token_upper_bound(one)
    assert max(estimate_tokens(one), estimate_tokens(other)) <= estimate_tokens(one + other)


# A text, and its tokens by o200k_base, as gpt-tokenizer 4.0 counts them.
COUNTED = {
    "prose": (
        (
            "The committee met on Tuesday to discuss the proposal that had been revised twice since"
            " spring. Most agreed that the costs were reasonable, but asked for a clearer plan."
        ),
        34,
    ),
    "code": (
        (
            "def fair_share(sizes, space):\n    left, remaining = space, len(sizes)\n"
            "    for size in sorted(sizes):\n        cap = left // remaining\n"
            "        if size > cap:\n            return cap\n        left -= size\n"
        ),
        49,
    ),
    "json": ('{"id":17,"name":"user 17","ok":true,"score":0.4921,"tags":["a","b"]},' * 3, 85),
    "german": (
        (
            "Der Ausschuss tagte am Dienstag, um den Vorschlag zu besprechen, der seit dem Frühjahr"
            " zweimal überarbeitet worden war. Die meisten hielten die Kosten für angemessen."
        ),
        36,
    ),
    "chinese": ("委员会周二开会讨论了自春季以来两次修订的提案。大多数成员认为费用合理。", 26),
    "russian": (
        "Комитет собрался во вторник, чтобы обсудить предложение, дважды пересмотренное с весны.",
        24,
    ),
}


@pytest.mark.parametrize("kind", COUNTED)
def test_a_text_is_taken_for_rather_too_many_tokens_than_too_few(kind):
    text, tokens = COUNTED[kind]

    assert tokens <= estimate_tokens(text) <= 2.3 * tokens
    assert token_upper_bound(text) >= 1.5 * tokens
