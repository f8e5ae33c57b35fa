"""What OpenTelemetry's SDK logs, as lines of ours: each failure of a collector once, in words."""

from __future__ import annotations

import logging

from mixtura.core.credentials import mask_keys
from mixtura.core.text import to_one_line

_SDK = "opentelemetry"
_EXPORT = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal")
"""The loggers of what sends."""
_NOT_TAKEN = "the collector does not take traces or metrics: `mixtura doctor` says why"
_MAX_CHARS = 300
_log = logging.getLogger("mixtura.telemetry")


def install_telemetry_notices() -> None:
    """From now on the SDK writes no lines, and no tracebacks, of its own."""
    logger = logging.getLogger(_SDK)
    if not any(isinstance(one, _NoticeHandler) for one in logger.handlers):
        logger.addHandler(_NoticeHandler())
        logger.propagate = False


class _NoticeHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        said = mask_keys(to_one_line(record.getMessage()))[:_MAX_CHARS]
        _log.debug("OpenTelemetry: %s", said)
        # One that is tried again may yet succeed.
        if record.levelno < logging.WARNING or said.startswith("Transient error"):
            return
        notice = _NOT_TAKEN if record.name.startswith(_EXPORT) else f"OpenTelemetry: {said}"
        if notice not in self._said and len(self._said) < 20:
            self._said.add(notice)
            _log.warning(notice)
