"""What a command logs to standard error: the options ``-v`` and ``--log-level``."""

from __future__ import annotations

import logging
import sys

import click

from mixtura.core.text import to_one_line

LEVELS = {
    "error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO,
    "debug": logging.DEBUG,
}  # fmt: skip
LOG_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
ROOT = "mixtura"
"""The logger above all of ours."""


class _LineFormatter(logging.Formatter):
    """One line a record, whatever stands in it; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = to_one_line(record.message)
        return super().formatMessage(record)


class _StandardErrorHandler(logging.Handler):
    """Writes to what is standard error now: it may be another stream than at the beginning."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{self.format(record)}\n")
        sys.stderr.flush()


def set_log_level(level: int) -> None:
    """Log to standard error from *level* on: what is ours, and what the server's library says."""
    handler = _StandardErrorHandler()
    handler.setFormatter(_LineFormatter(LOG_FORMAT, datefmt="%H:%M:%S"))
    for name in (ROOT, "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)


def log_level() -> int:
    """The level that was asked for; WARNING where none was."""
    return logging.getLogger(ROOT).level or logging.WARNING


def logging_options() -> list[click.Option]:
    """``-v`` and ``--log-level``, which every command takes, before its name or behind it."""
    return [
        click.Option(
            ["-v", "--verbose"], count=True, expose_value=False, callback=_apply_verbosity,
            help="Log progress to standard error; -vv logs more.",
        ),
        click.Option(
            ["--log-level"], type=click.Choice(list(LEVELS)), expose_value=False, metavar="LEVEL",
            callback=_apply_level, help=f"What to log: {', '.join(LEVELS)}.",
        ),
    ]  # fmt: skip


def add_logging_options(command: click.Command) -> click.Command:
    """*command*, and what is below it, with those options."""
    if not any(param.name == "verbose" for param in command.params):
        command.params += logging_options()
        for inner in command.commands.values() if isinstance(command, click.Group) else ():
            add_logging_options(inner)
    return command


def _apply_verbosity(ctx: click.Context, _: click.Parameter, count: int) -> None:
    if count and not ctx.resilient_parsing:
        set_log_level(logging.INFO if count == 1 else logging.DEBUG)


def _apply_level(ctx: click.Context, _: click.Parameter, name: str | None) -> None:
    if name and not ctx.resilient_parsing:
        set_log_level(LEVELS[name])
