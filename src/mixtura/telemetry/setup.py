"""OpenTelemetry's SDK: whether it is wanted, loaded only then, and what our spans need of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from mixtura.core.errors import ConfigError
from mixtura.core.missing_packages import missing_package_text
from mixtura.telemetry import conventions as names
from mixtura.telemetry.last_export import send_rest_at_exit

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
METRICS_ENDPOINT = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
"""Variables that say where a collector is: one of them turns telemetry on."""
CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
MAX_MEASURED = 500
"""Operations, providers and models that metrics tell apart; the others are one."""
OTHER = "other"
MAX_VALUE_CHARS, MAX_VALUES = 1_000, 20
"""Of an attribute that is no content: who answers chooses names, and thousands of spans wait."""
_CONTENT_WORDS = ("true", "span_only", "span_and_event")


class TelemetrySettings(NamedTuple):
    """
    What a configuration says; OpenTelemetry's own variables count over it. *headers*: as
    OTEL_EXPORTER_OTLP_HEADERS has them.
    """

    traces: str | None = None
    """The collector's address for traces; None: they are not sent."""
    metrics: str | None = None
    headers: str = ""
    content: bool | None = None
    """Whether texts are part of spans; None: as the variable says."""
    service_name: str | None = None


NOTHING = TelemetrySettings()


def effective_settings(
    environ: Mapping[str, str], settings: TelemetrySettings = NOTHING
) -> TelemetrySettings:
    """
    What is in effect. An address in the environment takes the place of the file's addresses and
    headers: a file's headers go to the file's collector alone.
    """
    named = {name: value.strip() for name, value in environ.items() if value.strip()}
    common = named.get(ENDPOINT, "").rstrip("/")
    if named.keys() & {ENDPOINT, TRACES_ENDPOINT, METRICS_ENDPOINT}:
        settings = settings._replace(
            traces=named.get(TRACES_ENDPOINT) or (common and f"{common}/v1/traces") or None,
            metrics=named.get(METRICS_ENDPOINT) or (common and f"{common}/v1/metrics") or None,
            headers="",
        )
    if "OTEL_EXPORTER_OTLP_HEADERS" in named:
        settings = settings._replace(headers="")
    if named.get("OTEL_SDK_DISABLED", "").lower() == "true":
        settings = settings._replace(traces=None, metrics=None)
    if CONTENT_VARIABLE in named:
        settings = settings._replace(content=named[CONTENT_VARIABLE].lower() in _CONTENT_WORDS)
    name = named.get("OTEL_SERVICE_NAME") or settings.service_name
    return settings._replace(content=bool(settings.content), service_name=name or "mixtura")


class Instruments:
    """A tracer and two histograms; *captures_content*: texts are part of spans."""

    def __init__(
        self, tracer_provider: Any, meter_provider: Any, *, captures_content: bool
    ) -> None:
        self._tracer = tracer_provider.get_tracer("mixtura", version("mixtura"))
        meter = meter_provider.get_meter("mixtura", version("mixtura"))
        self._duration = meter.create_histogram(
            names.DURATION, unit="s", description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=names.DURATION_BOUNDS,
        )  # fmt: skip
        self._tokens = meter.create_histogram(
            names.TOKENS, unit="{token}", description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=names.TOKEN_BOUNDS,
        )  # fmt: skip
        self.captures_content = captures_content
        self._measured: set[tuple[str, str, str]] = set()
        """What histograms have a row for: the SDK keeps each until the process ends."""

    def context_of_caller(self, parent: str | None) -> Any:
        """The context of a caller's ``traceparent``; that of this process where there is none."""
        if parent is None:
            return None
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        return TraceContextTextMapPropagator().extract({"traceparent": parent})

    def context_under(self, span: Any) -> Any:
        """The context of spans beneath *span*."""
        from opentelemetry.trace import set_span_in_context

        return set_span_in_context(span)

    def trace_parent(self, span: Any) -> str | None:
        """*span* as a ``traceparent``."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, self.context_under(span))
        return carrier.get("traceparent")

    def start_span(
        self, name: str, context: Any, attributes: Mapping[str, Any], *, client: bool = False
    ) -> Any:
        """A span that has begun."""
        from opentelemetry.trace import SpanKind

        kind = SpanKind.CLIENT if client else SpanKind.INTERNAL
        return self._tracer.start_span(
            _clean_value(name), context, kind, clean_attributes(attributes)
        )

    def mark_failed(self, span: Any, kind: str) -> None:
        """Say that what *span* stands for failed, by the *kind* of the error."""
        from opentelemetry.trace import StatusCode

        span.set_attribute(names.ERROR_TYPE, kind)
        span.set_status(StatusCode.ERROR)

    def record_call(
        self, seconds: float, operation: str, provider: str, model: str, error: str | None,
        usage: Any,
    ) -> None:  # fmt: skip
        """Put a call that is over into the metrics; *usage*: None where no tokens are counted."""
        # Clients of a server choose names, and each new one would stay in memory.
        row = (operation, provider, _clean_value(model))
        if row not in self._measured and len(self._measured) >= MAX_MEASURED:
            row = (operation, OTHER, OTHER)
        self._measured.add(row)
        operation, provider, model = row
        known = {names.OPERATION: operation, names.PROVIDER: provider, names.REQUEST_MODEL: model}
        self._duration.record(seconds, known | ({names.ERROR_TYPE: error} if error else {}))
        if usage is not None:
            self._tokens.record(usage.prompt_tokens, known | {names.TOKEN_TYPE: "input"})
            self._tokens.record(usage.completion_tokens, known | {names.TOKEN_TYPE: "output"})


def clean_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The same without secrets, and of a size that a queue of spans can hold."""
    return {
        name: value if name in names.CONTENT else _clean_value(value)
        for name, value in attributes.items()
    }


def _clean_value(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_clean_value(one) for one in cast("list[Any]", value)[:MAX_VALUES]]
    return names.clean_text(value, MAX_VALUE_CHARS) if isinstance(value, str) else value


def load_instruments(
    environ: Mapping[str, str], settings: TelemetrySettings = NOTHING
) -> Instruments | None:
    """
    What spans are made with, the same each time; None where no collector is named.

    Raises ConfigError where the packages are missing or a variable says what there is not.
    """
    wanted = effective_settings(environ, settings)
    if not (wanted.traces or wanted.metrics):
        return None
    for address in filter(None, (wanted.traces, wanted.metrics)):
        if not address.startswith(("http://", "https://")):  # as for OTLP over gRPC
            said = "its address begins with http:// or https://, as in http://127.0.0.1:4318"
            raise ConfigError(
                f"{ENDPOINT}: the collector gets OTLP over HTTP: {said}; OTEL_SDK_DISABLED=true"
                " turns telemetry off"
            )
    try:
        return _start_sdk(wanted)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        package = "opentelemetry-exporter-otlp-proto-http"
        raise ConfigError(missing_package_text("telemetry", package, "telemetry")) from None
    except ValueError as error:
        # As for a propagator or a sampler in OTEL_… that does not exist.
        raise ConfigError(f"OpenTelemetry refuses its settings (OTEL_…): {error}") from None


@lru_cache(maxsize=8)
def _start_sdk(wanted: TelemetrySettings) -> Instruments:
    # It reads OTEL_PROPAGATORS, and raises ValueError for one that does not exist.
    import_module("opentelemetry.propagate")
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.util.re import parse_env_headers

    # Merged so that OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES count over ours.
    detected = OTELResourceDetector().detect()
    name = wanted.service_name or "mixtura"
    own = Resource.create({"service.name": name, "service.version": version("mixtura")})
    resource = own.merge(detected)
    # None: the exporters read OTEL_EXPORTER_OTLP_HEADERS, and those of one signal.
    headers = parse_env_headers(wanted.headers, liberal=True) or None
    spans = TracerProvider(resource=resource, shutdown_on_exit=False)
    if wanted.traces:
        spans.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=wanted.traces, headers=headers))
        )
    readers = (
        [PeriodicExportingMetricReader(OTLPMetricExporter(wanted.metrics, headers=headers))]
        if wanted.metrics
        else []
    )
    meters = MeterProvider(readers, resource, shutdown_on_exit=False)
    collector = urlsplit(wanted.traces or wanted.metrics or "").netloc.rpartition("@")[2]
    send_rest_at_exit([spans, meters], collector)
    return Instruments(spans, meters, captures_content=bool(wanted.content))
