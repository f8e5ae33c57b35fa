"""Logs without secrets, whoever writes them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mixtura.redaction import redacted


def keep_secrets_out() -> None:
    """From now on no record of Python's logging has a secret in it that this process knows."""
    made = logging.getLogRecordFactory()
    if made is _made:
        return
    _others.append(made)
    logging.setLogRecordFactory(_made)


_others: list[Callable[..., logging.LogRecord]] = []
"""What made the records before; the last one does."""


def _made(*args: Any, **named: Any) -> logging.LogRecord:
    record = _others[-1](*args, **named)
    try:
        said = record.getMessage()
    except Exception:  # noqa: BLE001 - whoever writes it complains of its arguments
        return record
    if (shown := redacted(said)) != said:
        record.msg, record.args = shown, None
    if record.exc_info:
        record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))
    return record
