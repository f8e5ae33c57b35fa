"""Logs without secrets, whoever writes them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mixtura.core.redaction import redact_secrets


def install_log_redaction() -> None:
    """From now on no record of Python's logging has a secret in it that this process knows."""
    made = logging.getLogRecordFactory()
    if made is _make_redacted_record:
        return
    _previous_factories.append(made)
    logging.setLogRecordFactory(_make_redacted_record)


_previous_factories: list[Callable[..., logging.LogRecord]] = []
"""What made the records before; the last one does."""


def _make_redacted_record(*args: Any, **named: Any) -> logging.LogRecord:
    record = _previous_factories[-1](*args, **named)
    try:
        said = record.getMessage()
    except Exception:  # noqa: BLE001 - whoever writes it complains of its arguments
        return record
    if (shown := redact_secrets(said)) != said:
        record.msg, record.args = shown, None
    if record.exc_info:
        record.exc_text = redact_secrets(logging.Formatter().formatException(record.exc_info))
    return record
