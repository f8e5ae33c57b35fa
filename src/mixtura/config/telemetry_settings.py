"""The table [telemetry]: checked, and read into what telemetry needs."""

from __future__ import annotations

from collections.abc import Iterator

from mixtura.config.plan import Environment
from mixtura.config.schema import TelemetryTable
from mixtura.core.credentials import is_secret, looks_like_key
from mixtura.core.errors import NotAvailableHereError
from mixtura.core.redaction import register_secrets
from mixtura.telemetry.setup import TelemetrySettings

_ADDRESSES = ("endpoint", "traces_endpoint", "metrics_endpoint")


def find_telemetry_mistakes(table: TelemetryTable | None) -> Iterator[tuple[str, str]]:
    """What is wrong on every machine: the key, and the problem."""
    if table is None:
        return
    for key in _ADDRESSES:
        address = getattr(table, key)
        if address is None:
            continue
        if not address.startswith(("http://", "https://")):
            yield key, "the address of a collector, such as http://127.0.0.1:4318 (OTLP over HTTP)"
        elif "@" in address:
            yield key, "an address must hold no login: put it into the variable of `headers_env`"
    variable = table.headers_env
    if variable is not None and (looks_like_key(variable) or not variable.isidentifier()):
        yield "headers_env", "the name of a variable, such as COLLECTOR_HEADERS, never the headers"


def read_telemetry_settings(table: TelemetryTable, environ: Environment) -> TelemetrySettings:
    """What the file says. Raises NotAvailableHereError where the variable of headers is not set."""
    base = table.endpoint.rstrip("/") if table.endpoint else None
    traces = table.traces_endpoint or (base and f"{base}/v1/traces")
    metrics = table.metrics_endpoint or (base and f"{base}/v1/metrics")
    headers = ""
    if table.headers_env is not None and (traces or metrics):
        headers = environ.get(table.headers_env, "")
        if not headers:
            raise NotAvailableHereError(
                f"[telemetry] headers_env: {table.headers_env} is not set in the environment; it"
                " holds headers, as in Authorization=Basic%20…"
            )
        pairs = (pair.partition("=")[2].strip() for pair in headers.split(","))
        register_secrets(value for value in (headers, *pairs) if is_secret(value))
    return TelemetrySettings(traces, metrics, headers, table.content, table.service_name)
