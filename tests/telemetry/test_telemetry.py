"""Traces and metrics as a collector on loopback gets them from `mixtura ask` and `serve`."""

from __future__ import annotations

import gzip
import subprocess
import sys

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes

from mixtura.core.credentials import environment_secrets
from mixtura.core.types import Usage
from mixtura.telemetry.setup import Instruments
from tests.support import command_line
from tests.support.http_server import QuietHandler, serve_handler
from tests.support.loopback import Answer
from tests.support.serving import serving

desk = command_line.desk
KNOWN = {
    value
    for names in (gen_ai_attributes, error_attributes)
    for key, value in vars(names).items()
    if key.isupper() and isinstance(value, str)
}
"""Every attribute that the conventions' registry has for calls of models."""


class Collected:
    """What a collector got."""

    def __init__(self):
        self.bodies = {"/v1/traces": [], "/v1/metrics": []}
        self.headers = []

    @property
    def spans(self):
        found = []
        for body in self.bodies["/v1/traces"]:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    found += scope.spans
        return found

    @property
    def services(self):
        return {
            attribute.value.string_value
            for body in self.bodies["/v1/traces"]
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }

    @property
    def metrics(self):
        found = {}
        for body in self.bodies["/v1/metrics"]:
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    found |= {metric.name: metric for metric in scope.metrics}
        return found


@pytest.fixture
def collector(desk):
    collected = Collected()

    class Handler(QuietHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collected.bodies[self.path].append(body)
            collected.headers.append({k.lower(): v for k, v in self.headers.items()})
            self.send_body(200, b"", "application/x-protobuf")

    with serve_handler(Handler) as address:
        desk.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = address
        yield collected


def attributes(span):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def test_a_run_is_a_span_with_its_calls_beneath_it_in_the_names_of_the_conventions(desk, collector):
    assert desk.run("ask", "Why?", "--temperature", "0.5").code == 0

    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"invoke_agent team", "chat ann", "chat ben", "chat chief"}
    run = spans["invoke_agent team"]
    assert {span.parent_span_id for name, span in spans.items() if span is not run} == {run.span_id}
    assert len({span.trace_id for span in spans.values()}) == 1
    assert [event.name for event in run.events] == ["mixtura.layer_finished"]
    said = attributes(spans["chat ann"])
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.provider.name"] == "openai"
    assert said["gen_ai.request.model"] == "ann"
    # `--temperature` is for the final answer.
    assert attributes(spans["chat chief"])["gen_ai.request.temperature"] == 0.5
    assert said["gen_ai.usage.input_tokens"] == 11
    assert isinstance(said["gen_ai.usage.output_tokens"], int)
    assert isinstance(said["gen_ai.response.time_to_first_chunk"], float)
    assert said["gen_ai.response.finish_reasons"].values[0].string_value == "stop"
    for span in spans.values():
        names = attributes(span)
        assert {name for name in names if not name.startswith("mixtura.")} <= KNOWN
        assert not {"gen_ai.input.messages", "gen_ai.output.messages"} & set(names)
    assert set(collector.metrics) == {
        gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION,
        gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE,
    }
    assert collector.metrics["gen_ai.client.operation.duration"].unit == "s"
    assert collector.metrics["gen_ai.client.token.usage"].unit == "{token}"


def test_upstreams_get_the_trace_that_they_belong_to_and_without_a_collector_none(desk, collector):
    desk.run("ask", "Why?")
    trace = collector.spans[0].trace_id.hex()
    sent = [headers["traceparent"] for headers in desk.server.headers]
    del desk.env["OTEL_EXPORTER_OTLP_ENDPOINT"]
    desk.server.headers.clear()
    desk.run("ask", "Why?")

    assert {parent.split("-")[1] for parent in sent} == {trace}
    assert len(desk.server.headers) == 3
    assert all(headers.get("traceparent") is None for headers in desk.server.headers)


def test_texts_are_in_spans_only_where_a_person_asks_for_it(desk, collector):
    desk.env["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "true"

    desk.run("ask", "Why so blue?")

    (chief,) = [span for span in collector.spans if span.name == "chat chief"]
    assert "Why so blue?" in attributes(chief)["gen_ai.input.messages"]
    assert "Because air scatters" in attributes(chief)["gen_ai.output.messages"]


def test_a_call_that_fails_says_its_kind_of_error_and_the_run_goes_on(desk, collector):
    desk.server.answers["ben"] = Answer.refused(400, "no")

    assert desk.run("ask", "Why?").code == 0

    spans = {span.name: attributes(span) for span in collector.spans}
    assert spans["chat ben"]["error.type"] == "RejectedError"
    assert "error.type" not in spans["invoke_agent team"]


def test_a_propagator_that_does_not_exist_is_told_in_words(desk, collector):
    desk.env["OTEL_PROPAGATORS"] = "pigeon"

    for words in (("ask", "Why?"), ("mcp",)):
        # A new interpreter: ours has read the variables already.
        program = [sys.executable, "-m", "mixtura", *words]
        ran = subprocess.run(
            program, cwd=desk.folder, env=desk.env, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "pigeon" in command_line.Ran(ran.returncode, ran.stdout, ran.stderr).complaint


def test_the_server_continues_the_trace_of_its_client(desk, collector, tmp_path):
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    text = (desk.folder / "mixtura.toml").read_text()
    with serving(tmp_path / "served", text, environ=desk.env) as server:
        server.post(
            "/v1/chat/completions",
            {"model": "team", "messages": [{"role": "user", "content": "Why?"}]},
            traceparent=f"00-{trace}-{parent}-01",
        )
        assert server.ended() == 0

    (run,) = [span for span in collector.spans if span.name == "invoke_agent team"]
    assert run.trace_id.hex() == trace
    assert run.parent_span_id.hex() == parent


def test_a_collector_that_only_takes_traces_gets_no_metrics(desk, collector):
    address = desk.env.pop("OTEL_EXPORTER_OTLP_ENDPOINT")
    desk.env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = f"{address}/v1/traces"

    assert desk.run("ask", "Why?").code == 0

    assert len(collector.spans) == 4
    assert collector.metrics == {}


def test_names_that_clients_make_up_grow_no_memory_and_a_key_among_them_is_hidden():
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, reader, tracer = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    tracer.add_span_processor(SimpleSpanProcessor(exporter))
    meter = MeterProvider([reader])
    instruments = Instruments(tracer, meter, captures_content=True)
    key = "sk-proj-canaryOfTelemetry0123456789"
    said = {"gen_ai.request.model": key, "gen_ai.request.stop_sequences": [key, "end"]}

    instruments.start_span(f"chat {key}", None, said).end()
    for number in range(3_000):
        instruments.record_call(1.0, "chat", "x", f"name-{number} {key}", None, Usage(1, 1))

    points = [
        point
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]
    assert 3 < len(points) <= 3 * 502
    assert sum(point.count for point in points) == 3 * 3_000
    assert key not in str([point.attributes for point in points])
    assert key not in str([span.to_json() for span in exporter.get_finished_spans()])
    meter.shutdown()
    tracer.shutdown()


def test_a_collectors_key_is_a_secret_like_any_other():
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=canaryOfCollector01%2B,x=1"}

    assert "canaryOfCollector01+" in environment_secrets(headers)


def test_upstreams_get_the_span_of_their_own_call_as_parent(desk, collector):
    assert desk.run("ask", "Why?").code == 0

    spans = {span.name: span.span_id.hex() for span in collector.spans}
    sent = {
        request["model"]: headers["traceparent"].split("-")[2]
        for request, headers in zip(desk.server.requests, desk.server.headers, strict=True)
    }
    assert sent == {name: spans[f"chat {name}"] for name in ("ann", "ben", "chief")}


def test_a_table_names_the_collector_its_headers_and_the_service(desk, collector):
    address = desk.env.pop("OTEL_EXPORTER_OTLP_ENDPOINT")
    desk.env["COLLECTOR_HEADERS"] = "Authorization=Basic%20abc-123-secret,x-team=blue"
    own = (desk.folder / "mixtura.toml").read_text()
    table = f'[telemetry]\nendpoint = "{address}"\nheaders_env = "COLLECTOR_HEADERS"\n'
    desk.write(f'{own}\n{table}content = true\nservice_name = "council"\n')

    assert desk.run("ask", "Why so blue?").code == 0
    shown = desk.run("config", "show").out
    checked = desk.run("doctor", "--json", "--call", "ann")

    (chief,) = [span for span in collector.spans if span.name == "chat chief"]
    assert "Why so blue?" in attributes(chief)["gen_ai.input.messages"]
    assert {"council"} == collector.services
    assert {"Basic abc-123-secret"} == {one.get("authorization") for one in collector.headers}
    assert address in shown
    assert checked.json["telemetry"] == {
        "traces": f"{address}/v1/traces", "metrics": f"{address}/v1/metrics", "content": True,
        "service_name": "council", "answers": True, "error": None,
    }  # fmt: skip
    assert "abc-123" not in shown + checked.out


def test_what_the_environment_says_of_a_collector_counts_over_the_table(desk, collector):
    own = (desk.folder / "mixtura.toml").read_text()
    table = '[telemetry]\nendpoint = "http://127.0.0.1:9"\nheaders_env = "COLLECTOR_HEADERS"\n'
    desk.write(own + table)
    desk.env["COLLECTOR_HEADERS"] = "Authorization=for-another-place-123"

    assert desk.run("ask", "Why?").code == 0

    assert len(collector.spans) == 4
    assert {None} == {one.get("authorization") for one in collector.headers}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('endpoint = "localhost:4318"', "telemetry.endpoint: the address of a collector"),
        ('endpoint = "https://me:pw123456@x.example"', "must hold no login"),
        ('headers_env = "Authorization=Basic x"', "the name of a variable"),
        ('endpoint = "http://127.0.0.1:9"\nheaders_env = "NOT_THERE"', "NOT_THERE is not set"),
    ],
)
def test_a_wrong_table_is_told_in_words(desk, table, said):
    own = (desk.folder / "mixtura.toml").read_text()
    desk.write(f"{own}\n[telemetry]\n{table}\n")

    assert said in desk.run("ask", "Why?").complaint


def test_what_a_member_is_not_shown_is_in_no_span(desk, collector):
    desk.env["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "true"
    desk.server.answers["ben"] = Answer.text("Write to [EMAIL_1].")
    own = (desk.folder / "mixtura.toml").read_text()
    desk.write(own.replace('model = "ben"\n', 'model = "ben"\nredact = true\n'))

    assert desk.run("ask", "Who is anna@example.com?").code == 0

    said = [str(attributes(span)) for span in collector.spans]
    assert not any("anna@example.com" in text for text in said)
    assert sum("Who is [EMAIL_1]?" in text for text in said) == 4
