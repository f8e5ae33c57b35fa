"""The wrappers and doubles: retrying, limited, replay, fake."""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar

import pytest

from mixtura import (
    Aggregator,
    CallRestarted,
    Charge,
    ContextOverflowError,
    EmptyAnswerError,
    Layer,
    Mixture,
    ModelError,
    Proposer,
    QuotaError,
    RateLimitedError,
    Recorder,
    RejectedError,
    Request,
    Sampling,
    Token,
    UnavailableError,
    Usage,
    ask,
)
from mixtura.catalog.providers import Quirks
from mixtura.engine.trace import trace_json
from mixtura.models.fake import FailedCall, Scripted, echo, failing_model, slow_model
from mixtura.models.hosted import HostedModel
from mixtura.models.replay import Replay
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
from mixtura.models.wrappers.retry import Retrying
from mixtura.protocols.answer_accumulator import AnswerAccumulator
from tests.conftest import run
from tests.support.byte_server import serving

ASK = ask("Why?")


def retrying(*script, waits=None, **options):
    async def sleep(seconds):
        if waits is not None:
            waits.append(seconds)

    return Retrying(Scripted("m", script), sleep=sleep, **options)


@pytest.mark.parametrize("error", [UnavailableError("503"), RateLimitedError("429")])
def test_what_may_work_later_is_tried_again(error):
    assert run(retrying(error, "fine").complete(ASK)).text == "fine"


@pytest.mark.parametrize(
    "error", [RejectedError("400"), ContextOverflowError("long"), QuotaError("spent")]
)
def test_what_will_not_work_is_not_tried_again(error):
    model = Scripted("m", [error, "fine"])

    with pytest.raises(type(error)):
        run(Retrying(model).complete(ASK))
    assert len(model.asked) == 1


def test_an_empty_answer_is_tried_once_more_and_then_given_up():
    with pytest.raises(EmptyAnswerError):
        run(retrying(EmptyAnswerError("."), EmptyAnswerError("."), "x", attempts=5).complete(ASK))


def test_the_upstreams_wish_to_wait_is_obeyed_and_one_that_is_too_long_is_not_waited_for():
    waits = []
    run(retrying(RateLimitedError("429").with_retry_after(7.0), "fine", waits=waits).complete(ASK))
    assert 7.0 <= waits[0] <= 7.7

    with pytest.raises(RateLimitedError):
        run(retrying(RateLimitedError("429").with_retry_after(3600.0), "fine").complete(ASK))


def test_waits_without_a_wish_grow_and_are_never_the_same_for_all():
    waits = []
    errors = [UnavailableError("503")] * 4
    run(retrying(*errors, "fine", waits=waits, attempts=5, first_wait=1.0).complete(ASK))

    assert all(0.5 * 2**i <= w <= 2**i for i, w in enumerate(waits))


def test_failed_attempts_stay_on_the_bill():
    error = FailedCall(UnavailableError("cut"), (Charge("m", Usage(10, 3), "failed"),))
    answer = run(retrying(error, "fine").complete(ASK))

    assert [c.outcome for c in answer.charges] == ["retried", "answer"]
    assert answer.charges[0].usage == Usage(10, 3)


def test_an_answer_a_person_has_seen_a_part_of_is_not_begun_again_but_a_draft_is():
    def broken():
        error = UnavailableError("cut")
        error.shown = True
        return error

    with pytest.raises(UnavailableError):
        run(retrying(broken(), "fine").complete(ASK, lambda _: None))

    events = []
    draft = Request(ASK.messages, draft=True)
    assert run(retrying(broken(), "fine").complete(draft, events.append)).text == "fine"
    assert isinstance(events[0], CallRestarted)


def test_a_gate_lets_in_so_many_at_once_whoever_asks():
    gate, models = (
        RateLimiter(RateLimits(concurrency=2)),
        [slow_model(0.01, name=str(i)) for i in range(5)],
    )
    most = 0

    async def watched():
        nonlocal most
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(Limited(m, gate).complete(ASK)) for m in models]
            while not all(t.done() for t in tasks):
                most = max(most, sum(m.in_flight for m in models))
                await asyncio.sleep(0.001)

    run(watched())
    run(watched())  # a gate serves one event loop after another
    assert most == 2


def team():
    a, chief = Scripted("a", ["first  draft\n", "second"]), Scripted("chief", ["the answer "])
    row = Layer((Proposer(a, Sampling(temperature=0.5), samples=2),))
    return Mixture(layers=(row,), aggregator=Aggregator(chief))


def replayed(make):
    recorder, original, again = Recorder(), [], []
    answer = run(team().complete(ASK, lambda e: (original.append(e), recorder(e))))
    a, chief = make("a", recorder.build_trace()), make("chief", recorder.build_trace())
    row = Layer((Proposer(a, Sampling(temperature=0.5), samples=2),))
    twin = Mixture(layers=(row,), aggregator=Aggregator(chief))

    assert run(twin.complete(ASK, again.append)) == answer
    for one in (original, again):
        assert one
    assert [e for e in again if isinstance(e, Token)] == [
        e for e in original if isinstance(e, Token)
    ]


def test_a_recorded_trace_answers_again_byte_for_byte_token_for_token():
    replayed(Replay.from_trace)


def test_a_trace_that_went_through_json_answers_again_too():
    def make(name, trace):
        data = json.loads(json.dumps(trace_json(trace, lambda *_: None)))
        return Replay.from_json(name, data)

    replayed(make)


def test_a_replay_makes_up_nothing():
    with pytest.raises(RejectedError, match="not in the recording"):
        run(Replay("a", {}).complete(ASK))


def test_the_doubles_do_what_their_names_say():
    assert run(echo().complete(ASK)).text == "Why?"
    with pytest.raises(ModelError, match="no"):
        run(failing_model(ModelError("no")).complete(ASK))
    with pytest.raises(AssertionError, match="more than its script has"):
        run(Scripted("m", []).complete(ASK))


# ---- an API of another form


class Said(AnswerAccumulator):
    def add_chunk(self, event):
        self._text.new_texts.append(event["text"])
        self.finish_reason, self.ended = "stop", True


class OwnForm(HostedModel):
    """An adapter of another package, whose API's bodies are *form*."""

    path = "/say"
    missing_end = "end"
    form: ClassVar = {}

    def _request_body(self, request):
        return {"model": self._model, "stream": True} | self.form

    def _request_headers(self, body):
        return self._headers

    def _create_accumulator(self):
        return Said()

    def _decode_event(self, data):
        return json.loads(data)

    def _is_error(self, event, data):
        return "error" in event

    def _check_whole_answer(self, event):
        pass


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"messages": [{"author": "user", "text": "Why?"}]}, "no such model"),
        ({"messages": [{"role": "system", "text": "Why?"}]}, "system messages are not supported"),
        ({"messages": ["Why?"]}, "no such model"),
        ({"messages": "Why?"}, "no such model"),
        ({"text": "Why?"}, "Function call is missing a thought_signature"),
        ({"text": "Why?"}, "reasoning_content must be passed back"),
        ({"text": "Why?", "max_tokens": None}, "max_tokens: at most 100 completion tokens"),
        ({"text": "Why?", "max_tokens": None}, "more credits: you can only afford 30 tokens"),
    ],
)
def test_a_refusal_by_an_api_of_another_form_is_told_as_it_is(form, said, monkeypatch):
    monkeypatch.setattr(OwnForm, "form", form)
    body = json.dumps({"error": {"message": said}}).encode()
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"

    async def refuse(peer):
        while True:
            await peer.request()
            await peer.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    async def refused():
        async with serving(refuse) as server:
            with pytest.raises(ModelError) as told:
                await OwnForm("m", f"http://{server.host}").complete(ASK)
        return str(told.value)

    assert said in run(refused())


def test_a_model_of_which_much_is_known_is_asked_by_an_api_of_another_form(monkeypatch):
    monkeypatch.setattr(OwnForm, "form", {"messages": ["Why?"], "max_tokens": None})
    known = Quirks(refuses=frozenset({"the role system", "reasoning_content"}), most_tokens=9)
    body = b'{"text": "Because."}'

    async def answer(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        await peer.send(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    async def answered():
        async with serving(answer) as server:
            return await OwnForm("m", f"http://{server.host}", quirks=known).complete(ASK)

    assert run(answered()).text == "Because."
