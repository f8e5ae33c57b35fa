"""What an upstream's refusal means: come back soon, come back much later, or never."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from mixtura.core.errors import QuotaError, RateLimitedError
from mixtura.protocols.errors.retry_after import parse_retry_after
from mixtura.transport.client import error_from_response

GOOGLES = "You exceeded your current quota, please check your plan and billing details."
OPENAIS = "Rate limit reached for gpt-5.4 on tokens per min. Add a payment method: /account/billing"


def google(window: str, delay: str | dict[str, int | str]):
    """The shape of Google's refusals, which say the same of a minute and of a day."""
    details = [
        {"violations": [{"quotaId": f"GenerateRequestsPer{window}PerProjectPerModel-FreeTier"}]},
        {"retryDelay": delay},
    ]
    return [{"error": {"code": 429, "message": GOOGLES, "details": details}}]


def error(message: str, **more: str):
    return {"error": {"message": message, **more}}


def refused(status, body, headers=None):
    return error_from_response(status, headers or {}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("body", "headers", "wait"),
    [
        (google("Minute", "26s"), {}, 26.0),
        (error(json.dumps(google("Minute", "26s"))), {}, 26.0),
        (error(f"{GOOGLES} Please retry in 1m2.5s."), {}, 62.5),
        (error(OPENAIS, code="rate_limit_exceeded"), {"retry-after": "3"}, 3.0),
        (error("Slow down: try again in 250ms."), {}, 0.25),
        (error("Slow down: try again in 2s."), {"retry-after": "9"}, 9.0),
        (error("Wait 5 minutes before trying again"), {}, 300.0),
        (error("You can make another request in 12 seconds"), {}, 12.0),
        (error("Next request allowed in 12 seconds"), {}, 12.0),
        (error("Cooldown: 12 seconds remaining"), {}, 12.0),
        (error("Try again in 00:01:30"), {}, 90.0),
        (error("Slow down."), {"retry-after": "00:01:30"}, 90.0),
        (google("Minute", {"seconds": 34, "nanos": 500_000_000}), {}, 34.5),
        (google("Minute", {"seconds": "34"}), {}, 34.0),
    ],
)
def test_who_calls_too_fast_may_come_back_whatever_is_said_of_billing(body, headers, wait):
    found = refused(429, body, headers)

    assert type(found) is RateLimitedError
    assert found.retry_after == pytest.approx(wait)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, google("Day", "26s")),
        (429, error(GOOGLES, code="insufficient_quota")),
        (429, error("Rate limits do not matter: the money is gone", type="insufficient_quota")),
        (429, error("Your team has reached its monthly spending limit.")),
        (400, error("You have reached your specified API usage limits.")),
        (403, error("Key limit exceeded (monthly limit).")),
        (402, error("Add credits.")),
    ],
)
def test_what_is_spent_is_not_asked_for_again(status, body):
    assert type(refused(status, body)) is QuotaError


@pytest.mark.parametrize(
    "body",
    [
        error("Rate limit: at most 5 requests in 60 seconds"),
        error("Too many requests: limits reset at 00:01:30"),
        error("Too many requests: do not wait 3 times"),
        google("Minute", {}),
        google("Minute", {"seconds": -1}),
        google("Minute", {"seconds": "9" * 40}),
    ],
)
def test_what_names_no_wait_is_none(body):
    found = refused(429, body)

    assert type(found) is RateLimitedError
    assert found.retry_after is None


@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
def test_a_reset_may_be_a_unix_time(unit):
    reset = str(int((time.time() + 20) * unit))

    wait = parse_retry_after({"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset})

    assert wait is not None
    assert 15 < wait <= 20


@pytest.mark.parametrize("wrong", [timedelta(hours=-1), timedelta(0), timedelta(days=400)])
def test_a_date_is_read_by_the_clock_of_whoever_wrote_it(wrong):
    theirs = datetime.now(UTC).replace(microsecond=0) + wrong
    later = theirs + timedelta(seconds=7)

    for said in (format_datetime(later, usegmt=True), later.isoformat(), str(later.timestamp())):
        headers = {"date": format_datetime(theirs, usegmt=True), "retry-after": said}
        assert parse_retry_after(headers) == 7.0


def test_a_date_that_is_none_is_passed_over():
    assert parse_retry_after({"date": "tomorrow", "retry-after": "2"}) == 2.0
