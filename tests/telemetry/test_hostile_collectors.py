"""Collectors that fail, hang or are away, and texts and names that are no good for a span."""

from __future__ import annotations

import json
import socket

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mixtura.core.call_ledger import CallLedger
from mixtura.core.events import CallStarted, Position, Proposal
from mixtura.core.types import Completion, Message, Request, Sampling
from mixtura.telemetry import conventions as names
from mixtura.telemetry.run_spans import RunSpans
from mixtura.telemetry.setup import Instruments
from tests.support import command_line
from tests.support.command_line import ANSWER
from tests.support.http_server import QuietHandler, serve_handler
from tests.support.loopback import nobody

desk = command_line.desk
KEY = "sk-proj-canaryOfTelemetry0123456789"
VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def silent():
    """A collector that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def broken():
    """A collector that answers with an error that repeats what it was sent."""

    class Handler(QuietHandler):
        def do_POST(self):
            self.send_body(400, f"bad {dict(self.headers)}\x1b[31m".encode(), "text/plain")

    with serve_handler(Handler) as address:
        yield address


@pytest.fixture
def absent():
    return f"http://{nobody()}"


@pytest.mark.parametrize("collector", ["silent", "broken", "absent"])
def test_an_answer_stands_whatever_becomes_of_its_trace_and_one_line_tells_of_it(
    collector, desk, request
):
    desk.env[VARIABLE] = request.getfixturevalue(collector)
    desk.env["OTEL_EXPORTER_OTLP_HEADERS"] = f"x-key={KEY}"

    ran = desk.run("ask", "Why?")

    assert (ran.code, ran.out) == (0, ANSWER)
    assert ran.err.count("collector") == 1
    for word in ("Traceback", "HTTPConnectionPool", "Failed to export", KEY, "\x1b"):
        assert word not in ran.err


@pytest.mark.parametrize("address", ["localhost:4317", "grpc://h:4317", f"unix:/{KEY}"])
def test_an_address_that_is_not_of_http_is_told_before_anything_is_asked(address, desk):
    desk.env[VARIABLE] = address

    said = desk.run("ask", "Why?").complaint

    assert said.startswith(f"mixtura: {VARIABLE}: ")
    assert "http://127.0.0.1:4318" in said
    assert KEY not in said
    assert desk.server.requests == []


# ---- what is in spans


def build_spans(*, content, agent, model, question, answer):
    """The spans of one run with one call, as the collector's protocol has them."""
    exporter, tracer, meter = InMemorySpanExporter(), TracerProvider(), MeterProvider()
    tracer.add_span_processor(SimpleSpanProcessor(exporter))
    instruments = Instruments(tracer, meter, captures_content=content)
    stop = (model,) * 500
    asked = Request((Message("user", question),) * 300, sampling=Sampling(stop=stop))
    reply = Completion(Message("assistant", answer), model)
    spans = RunSpans(agent, asked, instruments, lambda _: "x")
    seat = (Position(1, 0, "proposer"),)
    spans.notice_event(CallStarted(model, asked, seat, CallLedger()))
    spans.notice_event(Proposal(reply, seat))
    spans.end_run(reply, None)
    finished = exporter.get_finished_spans()
    tracer.shutdown()
    meter.shutdown()
    return encode_spans(finished).SerializeToString(), finished


HOSTILE = {
    "half a character": "name \ud83d",
    "very long": "x" * 1_000_000,
    "a key": f"name {KEY}",
    "a key at the cut": "y" * (names.MAX_CONTENT_CHARS - 40) + f" {KEY} " + "z" * 100_000,
    "a key far behind": "y" * (names.MAX_CONTENT_CHARS + 19_980) + KEY + "z" * 100_000,
    "controls": "a\0b\x1b[31m\u202e\n",
    "nothing": "",
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("content", [False, True])
def test_names_and_texts_of_every_kind_make_spans_that_can_be_sent(content, kind):
    text = HOSTILE[kind]

    sent, finished = build_spans(
        content=content, agent=text, model=text, question=text, answer=text
    )

    assert len(finished) == 2
    assert b"sk-proj-canary" not in sent
    # Content stands in both spans, asked and answered; all else is small.
    assert len(sent) < (6 * names.MAX_CONTENT_CHARS if content else 100_000)
    for span in finished:
        for name in names.CONTENT & set(span.attributes):
            json.loads(span.attributes[name])


def test_of_a_long_conversation_the_end_is_kept():
    messages = [Message("user", f"question {number} " + "x" * 5_000) for number in range(100)]

    rows = json.loads(names.input_messages(Request(tuple(messages))))

    assert 5 < len(rows) < 15
    assert rows[-1]["parts"][0]["content"].startswith("question 99 ")


def test_without_being_asked_for_no_text_is_in_a_span():
    sent, _ = build_spans(
        content=False, agent="team", model="ann", question="canary-question", answer="canary-answer"
    )

    assert b"canary" not in sent
