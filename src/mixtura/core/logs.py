"""Logs without secrets, whoever writes them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mixtura.core.redaction import redact_secrets


def install_log_redaction() -> None:
    """From now on no record of Python's logging has a secret in it that this process knows."""
    factory = logging.getLogRecordFactory()
    # Installed again (two servers in one process, tests), it would wrap itself.
    if factory is _make_redacted_record:
        return
    _previous_factories.append(factory)
    logging.setLogRecordFactory(_make_redacted_record)


_previous_factories: list[Callable[..., logging.LogRecord]] = []
"""What made the records before; the last one does."""


def _make_redacted_record(*args: Any, **named: Any) -> logging.LogRecord:
    record = _previous_factories[-1](*args, **named)
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 - whoever writes it complains of its arguments
        return record
    if (shown := redact_secrets(message)) != message:
        record.msg, record.args = shown, None
    if record.exc_info:
        # Formatters reuse this text; left to themselves they would write the traceback unredacted.
        record.exc_text = redact_secrets(logging.Formatter().formatException(record.exc_info))
    return record
