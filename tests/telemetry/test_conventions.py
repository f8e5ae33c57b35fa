"""Spans and metrics against OpenTelemetry's registry: every name, every type, every unit."""

from __future__ import annotations

import tomllib

from mixtura.catalog.providers import providers
from mixtura.telemetry.conventions import provider_name
from tests.support.loopback import Answer
from tests.support.paths import CASES
from tests.support.serving import serving
from tests.telemetry import test_telemetry as telemetry

desk, collector = telemetry.desk, telemetry.collector
REGISTRY = tomllib.loads((CASES / "gen_ai_conventions.toml").read_text(encoding="utf-8"))
WIRE = {"string": "string_value", "int": "int_value", "double": "double_value"}
ALL = {
    "temperature": 1, "top_p": 1, "max_tokens": 100, "seed": 7, "stop": ["END"],
}  # fmt: skip
"""What a client may ask for, whole numbers where the conventions have doubles."""


def find_mistakes(attributes):
    """Of attributes that are not ours: names that the registry has not, values of another type."""
    mistakes = []
    for one in attributes:
        if one.key.startswith("mixtura."):
            continue
        kind, wire = REGISTRY["attributes"].get(one.key), one.value.WhichOneof("value")
        if isinstance(kind, list):
            right = one.value.string_value in kind
        elif kind == "string[]":
            right = {item.WhichOneof("value") for item in one.value.array_value.values} == {
                "string_value"
            }
        else:
            right = wire == WIRE.get(kind)
        if not right:
            mistakes.append((one.key, kind, wire))
    return mistakes


def test_every_attribute_metric_and_unit_is_as_the_registry_has_it(desk, collector, tmp_path):
    text = (desk.folder / "mixtura.toml").read_text()
    desk.env["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "true"
    asked = {"model": "team", "messages": [{"role": "user", "content": "Why?"}], **ALL}
    with serving(tmp_path / "served", text, environ=desk.env) as server:
        server.post("/v1/chat/completions", asked)
        desk.server.answers["ben"] = Answer.refused(400, "no")
        server.post("/v1/chat/completions", asked)
        assert server.ended() == 0

    assert len(collector.spans) == 8
    sent = {one.key for span in collector.spans for one in span.attributes}
    for span in collector.spans:
        assert find_mistakes(span.attributes) == [], span.name
    metrics = collector.metrics
    assert {name: metric.unit for name, metric in metrics.items()} == REGISTRY["metrics"]
    for metric in metrics.values():
        assert metric.WhichOneof("data") == "histogram"
        for point in metric.histogram.data_points:
            assert find_mistakes(point.attributes) == []
            sent |= {one.key for one in point.attributes}
    # All but what only some providers tell.
    untold = {name for name in REGISTRY["attributes"] if ".usage.cache" in name}
    assert {*REGISTRY["attributes"]} - sent <= untold | {"gen_ai.usage.reasoning.output_tokens"}


def test_a_provider_that_the_registry_names_has_that_name():
    named = REGISTRY["providers"]["named"]

    for ours in providers():
        alike = [one for one in named if ours in one.replace("_", "")]
        assert provider_name(ours) in alike or not alike
    assert provider_name("google") in named
