"""Numbers from upstreams: what makes no sense ends or costs one call, and hurts no other."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura import (
    MalformedError,
    ModelError,
    Notice,
    RateLimitedError,
    RejectedError,
    UnavailableError,
    ask,
)
from mixtura.core.quantities import LONGEST_CLOSURE, MAX_TOKENS
from mixtura.models.anthropic import Anthropic
from mixtura.models.openai import OpenAI
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
from mixtura.protocols.anthropic import events as anthropic_events
from mixtura.protocols.anthropic.stream import MessagesStreamAccumulator
from mixtura.protocols.errors.retry_after import parse_retry_after
from mixtura.protocols.openai import chunks
from mixtura.protocols.openai.stream import ChatStreamAccumulator
from mixtura.storage.spending import DailySpendLedger
from mixtura.storage.sqlite import SqliteStore
from mixtura.transport.client import CallTimeouts, error_from_response
from tests.conftest import run
from tests.support.config_files import priced_model
from tests.support.serving import serving
from tests.support.upstream import Script, running

CLOCKS = CallTimeouts(connect=20, first_token=60, progress=60, total=120)
QUESTION = ask("One two three four five six seven eight nine ten?")
ANSWER = "Yes and no."
NONSENSE = (
    str(2**62), str(2**63), str(2**64), str(10**9), "9" * 5000, "-1", "1.5", "12.0", "1e308",
    "1e999", '"12"', "true", "[]", "{}", "NaN", "Infinity", "-Infinity", "[" * 500 + "]" * 500,
)  # fmt: skip
FIELDS = {
    "openai": (
        "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details.cached_tokens",
        "prompt_tokens_details.cache_write_tokens", "completion_tokens_details.reasoning_tokens",
        "prompt_cache_hit_tokens",
    ),
    "anthropic": (
        "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
        "output_tokens_details.thinking_tokens",
    ),
}  # fmt: skip
HONEST = {
    "openai": '"prompt_tokens": 12, "completion_tokens": 3',
    "anthropic": '"input_tokens": 12, "output_tokens": 3',
}
DIALECTS = {"openai": OpenAI, "anthropic": Anthropic}


def usage_with(dialect: str, field: str, value: str) -> str:
    """A usage object as JSON in which one field, perhaps inside another, is *value*."""
    outer, dot, inner = field.partition(".")
    odd = f'"{outer}": {{"{inner}": {value}}}' if dot else f'"{outer}": {value}'
    rest = ", ".join(row for row in HONEST[dialect].split(", ") if not row.startswith(f'"{outer}"'))
    return f"{{{', '.join(filter(None, (rest, odd)))}}}"


def telling(usage: str, *, streamed: bool):
    """A good answer whose usage is this text."""

    async def play(wire_):
        voice = wire_.voice
        if not streamed:
            whole = voice.whole(ANSWER) | {"usage": 0}
            text = json.dumps(whole).replace('"usage": 0', f'"usage": {usage}')
            await wire_.reply(200, text, kind="application/json")
            return
        await wire_.head()
        await wire_.send(voice.opening())
        await wire_.say("Yes ", "and ", "no.")
        if voice.name == "anthropic":
            delta = '{"stop_reason": "end_turn"}'
            end = f'{{"type": "message_delta", "delta": {delta}, "usage": {usage}}}'
            await wire_.send(f"event: message_delta\ndata: {end}\n\n".encode())
        else:
            await wire_.send(voice.finish("stop"))
            await wire_.send(f'data: {{"choices": [], "usage": {usage}}}\n\n'.encode())
        await wire_.send(voice.done)
        await wire_.end()

    return play


def saying(data: bytes):
    """A stream that begins well and goes on with this event."""

    async def play(wire_):
        await wire_.head()
        await wire_.send(wire_.voice.opening())
        await wire_.send(b"data: " + data + b"\n\n")
        await wire_.end()

    return play


def refusing(status: int, body: str, headers=None):
    async def play(wire_):
        await wire_.reply(status, body, headers, kind="application/json")

    return play


def nested(depth: int, inner: str = "1") -> str:
    return '{"a":' * depth + inner + "}" * depth


async def asked(model):
    """The answer or the error, and the notices."""
    notices = []

    def emit(event):
        if isinstance(event, Notice):
            notices.append(event.notice)

    try:
        return await model.complete(QUESTION, emit), notices
    except Exception as error:  # noqa: BLE001 - what it is, is what the tests look at
        return error, notices


def outcomes(plays, dialect):
    """What comes of one call for each play, all at once."""
    with running() as upstream:
        for name, play in plays.items():
            upstream.scripts[name] = Script(ever=play)
        url = upstream.base_url(dialect)
        models = [DIALECTS[dialect](name, url, name=name, timeouts=CLOCKS) for name in plays]

        async def all_of_them():
            return await asyncio.gather(*map(asked, models))

        return dict(zip(plays, run(all_of_them()), strict=True))


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_usage_beyond_any_sense_is_counted_anew_and_said_whatever_field_it_is_in(dialect, streamed):
    cases = {
        f"{field} {value[:12]} {len(value)}": usage_with(dialect, field, value)
        for field in FIELDS[dialect]
        for value in NONSENSE
    }
    cases |= {f"usage {value[:12]} {len(value)}": value for value in NONSENSE if value != "{}"}
    plays = {name: telling(usage, streamed=streamed) for name, usage in cases.items()}
    for name, (answer, notices) in outcomes(plays, dialect).items():
        assert not isinstance(answer, BaseException), f"{name}: {answer!r}"
        assert answer.text == ANSWER, name
        usage = answer.usage
        assert 1 <= usage.prompt_tokens <= 100, f"{name}: {usage}"
        assert 1 <= usage.completion_tokens <= 20, f"{name}: {usage}"
        assert 0 <= usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens, name
        assert 0 <= usage.reasoning_tokens <= usage.completion_tokens, name
        assert any("implausible usage" in notice for notice in notices), f"{name}: {notices}"


def test_what_is_null_or_left_out_is_counted_here_without_a_complaint():
    cases = ("null", "{}", '{"prompt_tokens": null, "completion_tokens": null}')
    plays = {usage: telling(usage, streamed=True) for usage in cases}
    for name, (answer, notices) in outcomes(plays, "openai").items():
        assert answer.usage.estimated, name
        assert answer.usage.completion_tokens == 3, name
        assert notices == [], name


def test_of_usage_told_twice_the_last_counts_and_nonsense_after_sense_is_no_count():
    twice = '{"prompt_tokens": 12, "completion_tokens": 3}'
    wrong = '{"prompt_tokens": -12, "completion_tokens": 3}'

    def both(first, second):
        async def play(wire_):
            await wire_.head()
            await wire_.send(wire_.voice.opening())
            await wire_.say("Yes ", "and ", "no.")
            for usage in (first, second):
                await wire_.send(f'data: {{"choices": [], "usage": {usage}}}\n\n'.encode())
            await wire_.send(wire_.voice.finish("stop"))
            await wire_.send(wire_.voice.done)
            await wire_.end()

        return play

    found = outcomes({"same": both(twice, twice), "worse": both(twice, wrong)}, "openai")
    same, worse = found["same"][0].usage, found["worse"][0].usage
    assert (same.prompt_tokens, same.completion_tokens, same.estimated) == (12, 3, False)
    assert worse.estimated
    assert found["worse"][1]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_details_that_contradict_the_whole_are_left_out_and_said(dialect):
    details = {
        "openai": (
            '"prompt_tokens_details": {"cached_tokens": 13}',
            '"completion_tokens_details": {"reasoning_tokens": 4}',
        ),
        "anthropic": ('"output_tokens_details": {"thinking_tokens": 4}',),
    }[dialect]
    plays = {d: telling(f"{{{HONEST[dialect]}, {d}}}", streamed=True) for d in details}
    for name, (answer, notices) in outcomes(plays, dialect).items():
        usage = answer.usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (12, 3), name
        assert (usage.cached_tokens, usage.reasoning_tokens) == (0, 0), name
        assert len(notices) == 1, name


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = sorted({part for names in FIELDS.values() for name in names for part in name.split(".")})


@settings(deadline=None, max_examples=300)
@given(ANY_JSON | st.dictionaries(st.sampled_from(NAMES), ANY_JSON, max_size=6))
def test_any_json_as_usage_gives_counts_that_make_sense(usage):
    text = json.dumps(usage)
    chat = ChatStreamAccumulator()
    choice = {"index": 0, "delta": {"content": ANSWER}, "finish_reason": "stop"}
    chat.add_chunk(chunks.decode_chunk(json.dumps({"choices": [choice]}).encode()))
    chat.add_chunk(chunks.decode_chunk(f'{{"choices": [], "usage": {text}}}'.encode()))
    message = MessagesStreamAccumulator()
    block = '{"type": "text", "text": "x"}'
    begun = f'{{"type": "content_block_start", "index": 0, "content_block": {block}}}'
    message.add_chunk(anthropic_events.decode_event(begun.encode()))
    ended = f'{{"type": "message_delta", "delta": {{"stop_reason": "end_turn"}}, "usage": {text}}}'
    message.add_chunk(anthropic_events.decode_event(ended.encode()))
    for answer in (chat.build_completion("m", QUESTION), message.build_completion("m", QUESTION)):
        used = answer.usage
        assert 1 <= used.prompt_tokens <= 3 * MAX_TOKENS
        assert 0 <= used.completion_tokens <= 2 * MAX_TOKENS
        assert 0 <= used.cached_tokens + used.cache_write_tokens <= used.prompt_tokens
        assert 0 <= used.reasoning_tokens <= used.completion_tokens


# ---- waits

NOW = datetime(2026, 11, 28, tzinfo=UTC)
WAITS = {
    "1e308": LONGEST_CLOSURE, "99999999999": LONGEST_CLOSURE,
    "9" * 90: LONGEST_CLOSURE, "9" * 9000: None,
    "inf": None, "Infinity": None, "nan": None, "-5": None, "-1e308": None, "": None, "soon": None,
    "99999999999h": LONGEST_CLOSURE, "9" * 90 + "h": LONGEST_CLOSURE, "1m30s": 90.0,
    "86400": LONGEST_CLOSURE,
    "Fri, 31 Dec 9999 23:59:59 GMT": LONGEST_CLOSURE, "9999-12-31T23:59:59Z": LONGEST_CLOSURE,
    "9999-12-31T23:59:59-23:59": LONGEST_CLOSURE, "0001-01-01T00:00:00+23:59": 0.0,
    "Thu, 01 Jan 1970 00:00:00 GMT": 0.0, "Thu, 99 Foo 99999 99:99:99 GMT": None,
    "Sat, 28 Nov 2026 00:00:30 GMT": 30.0, "1e5000": None, "0": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("told", WAITS)
def test_a_wait_is_a_sane_number_of_seconds_or_none_whatever_a_header_says(told):
    for name in ("retry-after", "x-ratelimit-reset-requests", "anthropic-ratelimit-tokens-reset"):
        assert parse_retry_after({name: told}, now=NOW) == WAITS[told], name
    assert (parse_retry_after({"retry-after-ms": told}) or 0.0) <= LONGEST_CLOSURE
    for words in (f"try again in {told}", f'{{"retryDelay": "{told}"}}'):
        assert 0 <= (parse_retry_after({}, words.encode(), NOW) or 0.0) <= LONGEST_CLOSURE


@given(st.text() | st.floats().map(str) | st.integers().map(str) | st.datetimes().map(str))
def test_no_text_in_a_header_is_a_wait_beyond_sense(told):
    for name in ("retry-after", "retry-after-ms", "x-ratelimit-reset", "date"):
        assert 0 <= (parse_retry_after({name: told, "retry-after": told}) or 0.0) <= LONGEST_CLOSURE


@pytest.mark.parametrize("told", [t for t, wait in WAITS.items() if wait == LONGEST_CLOSURE])
def test_no_upstreams_word_closes_its_endpoint_for_longer_than_the_stated_time(told):
    now = 0.0
    with running() as upstream:
        body = json.dumps({"error": {"message": "slow down"}})
        upstream.scripts["m"] = Script(ANSWER, plays=[refusing(429, body, {"Retry-After": told})])
        gate = RateLimiter(RateLimits(), clock=lambda: now)
        model = Limited(OpenAI("m", upstream.base_url(), timeouts=CLOCKS), gate)

        async def twice():
            nonlocal now
            first, _ = await asked(model)
            second, _ = await asked(model)
            now += LONGEST_CLOSURE + 1
            third, _ = await asked(model)
            return first, second, third

        first, second, third = run(twice())

    assert isinstance(first, RateLimitedError)
    assert isinstance(second, RateLimitedError)
    assert len(upstream.records) == 2
    assert third.text == ANSWER


# ---- depth

DEEP = (1_000, 10_000)


@pytest.mark.parametrize("depth", DEEP)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RejectedError),
        (429, RateLimitedError),
        (500, UnavailableError),
        (503, UnavailableError),
    ],
)
def test_an_error_however_deep_is_the_error_of_its_status(depth, status, kind):
    deep = nested(depth)
    bodies = (
        deep,
        f'{{"error": {deep}}}',
        f'{{"error": {{"message": {deep}, "code": {deep}}}}}',
        "[" * depth + "]" * depth,
        "[" * depth,
    )
    for body in bodies:
        assert type(error_from_response(status, {}, body.encode())) is kind
    number = f'{{"error": {{"message": "no", "code": {"9" * 5000}, "param": NaN}}}}'
    assert type(error_from_response(status, {}, number.encode())) is kind


@pytest.mark.parametrize("dialect", DIALECTS)
def test_events_and_errors_a_thousand_deep_end_one_call_with_an_error_of_ours(dialect):
    plays, kinds = {}, {}
    for depth in DEEP:
        deep = nested(depth)
        events = {
            "an error": (f'{{"error": {{"message": "wait", "code": 429, "x": {deep}}}}}', 429),
            "an error's text": (f'{{"error": {{"message": {deep}}}}}', 500),
            "an event": (deep, None),
            "a list": ("[" * depth + "]" * depth, None),
            "an open list": ("[" * depth, None),
            "choices": (f'{{"choices": [{deep}], "content_block": {deep}}}', None),
            "the usage": (f'{{"choices": [], "type": "message_delta", "usage": {deep}}}', None),
        }
        for name, (data, status) in events.items():
            plays[f"{name} {depth}"] = saying(data.encode())
            kinds[f"{name} {depth}"] = {429: RateLimitedError, 500: UnavailableError}.get(status)
        plays[f"whole {depth}"] = refusing(200, deep)
        plays[f"refused {depth}"] = refusing(400, f'{{"error": {{"message": {deep}}}}}')
        kinds[f"refused {depth}"] = RejectedError
    for name, (error, _) in outcomes(plays, dialect).items():
        assert isinstance(error, ModelError), f"{name}: {error!r}"
        assert isinstance(error, kinds.get(name) or (MalformedError, UnavailableError)), name
        assert len(str(error)) < 2000, name


# ---- limits that refusals tell


@pytest.mark.parametrize("bound", ["0", "1", "-5", "15", "9" * 400, "9" * 6000, "1e2"])
def test_a_bound_beyond_sense_in_a_refusal_is_not_learned(bound):
    said = json.dumps({"error": {"message": f"max_tokens must be at most {bound}"}})
    with running() as upstream:
        upstream.scripts["m"] = Script(ANSWER, plays=[refusing(400, said)] * 5)
        model = OpenAI("m", upstream.base_url(), timeouts=CLOCKS)
        from dataclasses import replace

        from mixtura import Sampling

        request = replace(QUESTION, sampling=Sampling(max_tokens=500))

        async def again():
            for _ in range(6):
                try:
                    return await model.complete(request)
                except RejectedError:
                    continue
            return None

        answer = run(again())
        sent = [
            r.body.get("max_tokens", r.body.get("max_completion_tokens")) for r in upstream.records
        ]

    assert answer is not None
    assert all(most is None or most >= 16 for most in sent), sent


# ---- the ledger of the day


@pytest.mark.parametrize(
    ("dollars", "tokens"),
    [
        (1.0, 2**62), (1.0, 2**63), (1.0, 10**40), (1.0, -5), (float("nan"), 1), (float("inf"), 1),
        (-1.0, 1), (1e308, 2**62),
    ],
)  # fmt: skip
def test_no_number_poisons_the_ledger_of_the_day(stores, dollars, tokens):
    store = stores.open()
    store.check_usable()
    mine, others = DailySpendLedger(store, "mine"), DailySpendLedger(store, "others")
    for _ in range(3):
        hold = mine.reserve(0.0, 0, None, None)
        assert hold is not None
        mine.settle(hold, dollars, tokens)
    assert not store.settlements.pending
    assert others.reserve(1.0, 100, 5.0, 1000) is not None
    used, used_tokens = mine.used_today()
    assert 0 <= used < float("inf")
    assert used_tokens >= 0
    assert mine.reserve(0.0, 1, None, 10) is None or used_tokens < 10


def test_a_ledger_that_version_0_1_left_with_impossible_sums_refuses_no_one(tmp_path):
    path = tmp_path / "store.sqlite"
    store = SqliteStore(path)
    book = DailySpendLedger(store, "day")
    book.used_today()
    day = book._current_day()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO spent VALUES ('day', ?, 0.5, ?)", (day, 2**63 - 1))
        rows = [("day", day, 0.1, 2**62)] * 3
        db.executemany("INSERT INTO held (purse, day, dollars, tokens) VALUES (?, ?, ?, ?)", rows)
    assert book.reserve(0.1, 10, 5.0, None) is not None
    hold = book.reserve(0.1, 10, 5.0, None)
    book.settle(hold, 0.1, 10)
    assert not store.settlements.pending
    store.close()


# ---- the server

CONFIG = """
cache = {{ use = false }}
runs = {{ keep = true }}
budget = {{ day_usd = 50.0, day_tokens = 5000000 }}
[mixtures.both]
layers = [["good", "bad"]]
aggregator = "good"
"""
CONFIG += priced_model("good") + priced_model("bad", "{other}")


def bad_plays():
    deep = nested(2000)
    for streamed in (True, False):
        for value in NONSENSE:
            for field in ("prompt_tokens", "completion_tokens", "total_tokens"):
                yield telling(usage_with("openai", field, value), streamed=streamed)
            yield telling(value, streamed=streamed)
    for event in (deep, f'{{"error": {deep}}}', "[" * 3000, f'{{"error": {{"message": {deep}}}}}'):
        yield saying(event.encode())
        yield refusing(200, event)
        for status in (400, 500, 503):
            yield refusing(status, event)
    logprobs = json.dumps({"choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": 0}]})
    yield saying(logprobs.replace('"logprobs": 0', f'"logprobs": {deep}').encode())
    for wait in WAITS:  # the last ones: they close the endpoint
        yield refusing(429, '{"error": {"message": "later"}}', {"Retry-After": wait})


def test_one_bad_upstream_changes_nothing_for_the_calls_of_others_in_the_same_server(tmp_path):
    plays = list(bad_plays())
    with running() as good, running() as bad:
        good.scripts["good"] = Script("All is well.")
        bad.scripts["bad"] = Script("Fine.", plays=plays)
        config = CONFIG.format(url=good.base_url(), other=bad.base_url())
        with serving(tmp_path, config) as server:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(4) as pool:

                def others(i):
                    told = server.chat(f"number {i}", "good")
                    return told.status, told.status == 200 and told.json["choices"][0]["message"]

                for i in range(len(plays)):
                    beside = [pool.submit(others, 2 * i + k) for k in (0, 1)]
                    name = "both" if i % 10 == 0 else "bad"
                    odd = server.chat(f"odd {i}", name, stream=bool(i % 2))
                    assert odd.status in (200, 400, 429, 502, 503), (i, odd.status, odd.body)
                    assert b"internal_error" not in odd.body, (i, odd.body)
                    for told in beside:
                        status, message = told.result()
                        assert status == 200, i
                        assert message["content"] == "All is well.", i
            after = server.chat("And now?", "good")
            assert after.status == 200
        log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert len(bad.records) > len(plays) - 2 * len(WAITS)
    (store,) = tmp_path.glob("state/**/*.sqlite")
    with closing(sqlite3.connect(store)) as db, db:
        dollars, tokens = db.execute("SELECT sum(dollars), sum(tokens) FROM spent").fetchone()
        held = db.execute("SELECT count(*) FROM held").fetchone()
    assert tokens < 200 * (len(plays) * 4)
    assert dollars < 1
    assert held == (0,)
