"""Where traces and metrics go, as doctor tells it, and whether a collector is there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.util import find_spec
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from mixtura.config.config import Config
from mixtura.config.telemetry_settings import read_telemetry_settings
from mixtura.core.errors import ConfigError, MixturaError
from mixtura.core.missing_packages import missing_package_text
from mixtura.telemetry.setup import TelemetrySettings, effective_settings
from mixtura.transport.pool import BUILT_IN

WAIT_SECONDS = 3.0
"""That a collector may take to accept an empty message."""
_EMPTY = b"\x0a\x00"
"""A message of OTLP, for traces or metrics, with one row that has nothing in it."""


class TelemetryCheck(msgspec.Struct):
    """What telemetry comes to; without an address, nothing is sent."""

    traces: str | None = None
    metrics: str | None = None
    content: bool = False
    """Whether texts are part of spans."""
    service_name: str | None = None
    answers: bool | None = None
    """Whether the collector takes an empty message; None where nothing is sent."""
    error: str | None = None


async def check_telemetry(config: Config, environ: Mapping[str, str]) -> TelemetryCheck:
    """What is in effect, tried with a message that holds nothing."""
    try:
        said = read_telemetry_settings(config.settings.telemetry, environ)
    except ConfigError as error:
        return TelemetryCheck(answers=False, error=str(error))
    wanted = effective_settings(environ, said)
    check = TelemetryCheck(
        wanted.traces and _without_query(wanted.traces),
        wanted.metrics and _without_query(wanted.metrics),
        bool(wanted.content),
        wanted.service_name,
    )
    if not (wanted.traces or wanted.metrics):
        return check
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        package = "opentelemetry-exporter-otlp-proto-http"
        check.error = missing_package_text("telemetry", package, "telemetry")
        check.answers = False
        return check
    try:
        check.answers, check.error = await _send_nothing(wanted, environ)
    except (MixturaError, TimeoutError) as error:
        check.answers, check.error = False, str(error) or f"no answer within {WAIT_SECONDS:g} s"
    return check


async def _send_nothing(
    wanted: TelemetrySettings, environ: Mapping[str, str]
) -> tuple[bool, str | None]:
    headers = {"content-type": "application/x-protobuf"}
    for pair in (wanted.headers or environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")).split(","):
        name, sign, value = pair.partition("=")
        if sign:
            headers[name.strip().lower()] = unquote(value.strip())
    address = wanted.traces or wanted.metrics or ""
    async with asyncio.timeout(WAIT_SECONDS):
        response = await BUILT_IN.send_request(
            "POST", address, headers, _EMPTY, connect=WAIT_SECONDS
        )
    status = response.status
    response.close()
    if status < 300:
        return True, None
    return False, f"the collector answers with status {status}"


def _without_query(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
