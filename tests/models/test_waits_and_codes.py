"""What a refusal says of when to come back, and what its code means."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura import (
    QuotaError,
    RateLimitedError,
    RejectedError,
    ask,
)
from mixtura.core.errors import MalformedError, ModelError
from mixtura.core.quantities import LONGEST_CLOSURE, parse_wait
from mixtura.models.anthropic import Anthropic
from mixtura.models.openai import OpenAI
from mixtura.protocols.errors.retry_after import parse_retry_after
from mixtura.transport.client import error_from_response, error_from_stream
from tests.conftest import run
from tests.support.refusal_cases import cases, error
from tests.support.upstream import Script, Wire, running

# ---- waits


NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
SOON = NOW + timedelta(seconds=90)
MS = str(int(SOON.timestamp() * 1000))
WAITS = [
    ({"retry-after": "20"}, {}, 20),
    ({"Retry-After": "1.5"}, {}, 1.5),
    ({"retry-after": format_datetime(SOON, usegmt=True)}, {}, 90),
    ({"retry-after-ms": "2500"}, {}, 2.5),
    ({"x-ms-retry-after-ms": "2500"}, {}, 2.5),
    ({"x-ratelimit-reset-requests": "1m2.5s"}, {}, 62.5),
    ({"x-ratelimit-reset-tokens": "6ms"}, {}, 0.006),
    ({"x-ratelimit-reset": str(int(SOON.timestamp()))}, {}, 90),
    ({"X-RateLimit-Reset": MS}, {}, 90),
    ({"x-ratelimit-reset": SOON.isoformat()}, {}, 90),
    ({"ratelimit-reset": "30"}, {}, 30),
    ({"ratelimit": "limit=10, remaining=0, reset=30"}, {}, 30),
    ({"anthropic-ratelimit-tokens-reset": SOON.isoformat()}, {}, 90),
    ({"x-ratelimit-reset-tokens": "9s", "x-ratelimit-remaining-tokens": "5"}, {}, None),
    ({}, error("Rate limit reached. Please try again in 20 s."), 20),
    ({}, error("Please try again in 1.5s."), 1.5),
    ({}, error("Try again in 500 ms"), 0.5),
    ({}, error("Please retry in 2 minutes 3 seconds."), 123),
    ({}, error("Please retry after 20 seconds."), 20),
    ({}, error("Please try again in 9m38.016s. Need more tokens?"), 578.016),
    ({}, error("Please wait 30 seconds before you try again"), 30),
    ({}, error("The limit resets in 1 hour and 2 minutes."), LONGEST_CLOSURE),
    ({}, error("Quota exceeded, retry in 34.074824224s."), 34.074824224),
    ({}, error("x", details=[{"@type": "RetryInfo", "retryDelay": "34s"}]), 34),
    ({}, [error("x", details=[{"retryDelay": "0.5s"}])], 0.5),
    ({}, error("x", metadata={"headers": {"X-RateLimit-Reset": MS}}), 90),
    ({}, error("x", metadata={"raw": json.dumps(error("Please try again in 7s."))}), 7),
    ({}, error("x", retry_after=12), 12),
    ({}, {"detail": "slow down", "retry_after_ms": 1500}, 1.5),
    ({}, error("x", type="usage_limit_reached", resets_in_seconds=300), 300),
    ({}, error("x", resets_at=int(SOON.timestamp())), 90),
    ({"retry-after": "2"}, error("Please try again in 9s."), 9),
    ({"retry-after": "-5"}, {}, None),
    ({"retry-after": "soon"}, {}, None),
    ({"retry-after": "1e400"}, {}, None),
    ({"retry-after": "999999"}, {}, LONGEST_CLOSURE),
    ({}, error("请求过于频繁，请在 5 秒后重试"), 5),
    ({}, error("请 2 分钟后再试"), 120),
    ({}, {"error": "Model m is currently loading", "estimated_time": 20.0}, 20),
    ({}, error("音频最长 20 秒"), None),
    ({}, error("Use at most 20 s of audio"), None),
    ({}, error("Your account was created 20 days ago"), None),
    ({}, error("Requests that take 600 s or more fail"), None),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "body", "seconds"), WAITS)
def test_a_wait_is_read_wherever_and_however_it_is_told(headers, body, seconds):
    found = parse_retry_after(headers, json.dumps(body).encode(), NOW)

    assert found == (None if seconds is None else pytest.approx(seconds))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 59), st.sampled_from(["h", "m", "s", "ms"])), min_size=1,
        unique_by=lambda row: row[1],
    ),
    st.sampled_from(["", " "]),
    st.sampled_from(["", " ", ", ", " and "]),
)  # fmt: skip
def test_a_duration_is_read_in_any_spelling(parts, space, between):
    order = ["h", "m", "s", "ms"]
    parts.sort(key=lambda row: order.index(row[1]))
    words = {"h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}
    value = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    wanted = min(sum(number * value[unit] for number, unit in parts), LONGEST_CLOSURE)

    short = between.join(f"{number}{space}{unit}" for number, unit in parts)
    spelled = " ".join(f"{number} {words[unit]}" for number, unit in parts)

    for text in (short, short.upper().replace("MS", "ms"), spelled):
        assert parse_wait(text, NOW) == pytest.approx(wanted), text


# ---- codes


@pytest.mark.parametrize("row", cases("code"), ids=lambda row: json.dumps(row["body"])[:60])
def test_an_error_inside_a_200_is_what_its_code_means_whole_and_streamed(row):
    body = row["body"]
    data = json.dumps(body, ensure_ascii=False)

    async def whole(wire: Wire) -> None:
        await wire.reply(200, body)

    async def streamed(wire: Wire) -> None:
        await wire.head()
        await wire.send(f"data: {data}\n\n".encode())
        await wire.end()

    with running() as upstream:
        upstream.scripts["whole"] = Script(ever=whole)
        upstream.scripts["streamed"] = Script(ever=streamed)
        for name in upstream.scripts:
            for model in (
                OpenAI(name, upstream.base_url("openai")),
                Anthropic(name, upstream.base_url("anthropic")),
            ):
                with pytest.raises(ModelError) as caught:
                    run(model.complete(ask("Why?")))
                assert type(caught.value).__name__ == row["error"], (name, caught.value)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"type": "heartbeat", "message": "processing", "status": "ok", "code": 200},
        {"message": "working", "code": 0},
        {"status": "in_progress", "message": "still there", "progress": 40},
        {"choices": [], "usage": None},
    ],
)
def test_what_is_no_error_ends_no_answer(data):
    async def play(wire: Wire) -> None:
        await wire.head()
        await wire.send(f"data: {json.dumps(data)}\n\n".encode())
        await wire.send(wire.voice.opening())
        await wire.say("Because.")
        await wire.send(wire.voice.ending("stop"))
        await wire.send(wire.voice.done)
        await wire.end()

    with running() as upstream:
        upstream.scripts["m"] = Script(ever=play)
        assert (
            run(OpenAI("m", upstream.base_url("openai")).complete(ask("Why?"))).text == "Because."
        )


def test_a_whole_body_without_choices_or_an_error_is_malformed():
    with running() as upstream:
        upstream.scripts["m"] = Script(ever=lambda wire: wire.reply(200, {"object": "nothing"}))
        with pytest.raises(MalformedError):
            run(OpenAI("m", upstream.base_url("openai")).complete(ask("Why?")))


def test_a_general_status_gives_way_to_a_code_that_says_more():
    body = json.dumps(error("slow", code="rate_limit_exceeded")).encode()
    assert type(error_from_response(400, {}, body)) is RateLimitedError
    assert type(error_from_response(401, {}, body)) is RejectedError
    assert type(error_from_stream(body, {})) is RateLimitedError


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "API key USD spend limit exceeded. Your account may still have USD balance"),
        (403, "Your newly created team doesn't have any credits yet."),
        (412, "Account is suspended, possibly due to reaching the monthly spending limit"),
        (400, "Budget has been exceeded! Current cost: 5.1, Max budget: 5.0"),
        (400, "ExceededBudget: User=x over budget. Spend=2.0, Budget=1.0"),
    ],
)
def test_a_budget_that_is_spent_is_a_quota_in_any_words(status, said):
    assert type(error_from_response(status, {}, json.dumps(error(said)).encode())) is QuotaError


def test_a_body_of_digits_states_no_wait_and_is_read_once():
    # Each of them as the beginning of a number: seconds, in which the server answered nobody.
    for body in ("1" * 20_000, "try again in " + "1" * 20_000, "再" + "1." * 10_000):
        for _ in range(20):
            assert parse_retry_after({}, body.encode(), NOW) is None
    assert parse_retry_after({}, "请在12秒后重试".encode(), NOW) == 12.0
