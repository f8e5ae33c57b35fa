"""What was asked: the words of the command, what is piped in, and the system prompt."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import click

from mixtura.catalog.user_files import expand_home, read_user_file
from mixtura.cli.common import text_callback
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line
from mixtura.core.text_encoding import decode_text

F = TypeVar("F", bound=Callable[..., object])

PIPE_WAIT_SECONDS = 0.5
"""Seconds that a pipe has to say something when the question stands in the command already."""


def system_option(function: F) -> F:
    """``--system TEXT`` or ``--system @FILE`` for a command that asks a mixture."""
    return click.option(
        "--system", metavar="TEXT|@FILE", callback=text_or_file_callback,
        help="System prompt for every model; @FILE reads it from a file.",
    )(function)  # fmt: skip


MAX_SYSTEM_BYTES = 1_000_000


def text_or_file_callback(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> str | None:
    """A text, or that of the file behind an @, for click. Raises click.BadParameter."""
    text = text_callback(ctx, param, value)
    if not isinstance(text, str) or not text.startswith("@"):
        return text if isinstance(text, str) else None
    # A prompt may begin with the sign itself, as a handle does.
    if text.startswith("@@"):
        return text[1:]
    file = expand_home(text[1:])
    hint = "a prompt that begins with @ is written @@…"
    try:
        return decode_text(read_user_file(file, MAX_SYSTEM_BYTES)).strip()
    except UnicodeDecodeError:
        raise click.BadParameter(f"{to_one_line(file)} is not text (UTF-8).", ctx, param) from None
    except ConfigError as error:
        raise click.BadParameter(f"{error}; {hint}", ctx, param) from None


def read_question(words: tuple[str, ...], *, note: bool, attached: bool = False) -> str:
    """What was asked: the arguments, what is piped in, or both.

    *note*: say when a silent pipe was left alone; *attached*: there are files, too. Raises
    click.UsageError where there is no question.
    """
    # A dash asks for standard input by hand: then it is waited for, terminal or not.
    dash = "-" in (words[:1] + words[-1:])
    if dash:
        words = words[1:] if words[0] == "-" else words[:-1]
    typed = " ".join(words).strip()
    if not typed and not dash and sys.stdin.isatty():
        files = "What should be done with the files?" if attached else "What is the question?"
        raise click.UsageError(f'{files} As in: mixtura ask "Why is the sky blue?"')
    piped = _read_stdin() if dash or not typed or _is_piped(note=note) else ""
    text = "\n\n".join(part for part in (piped, typed) if part)
    if not text:
        raise click.UsageError("The question is empty.")
    return text


def _read_stdin() -> str:
    """Standard input to its end, whatever the locale: UTF-8, or what its byte order mark says."""
    try:
        return decode_text(sys.stdin.buffer.read()).strip()
    except UnicodeDecodeError:
        raise click.UsageError("What was piped in is not text (UTF-8).") from None
    except OSError as error:
        raise click.UsageError(f"Standard input cannot be read: {error.strerror}.") from None


def _is_piped(*, note: bool) -> bool:
    """
    Whether someone sends text along with a question that stands in the command.

    A pipe from a parent that never writes and never closes it must not stop us: one that
    stays silent for a moment is left alone.
    """
    with suppress(OSError, ValueError):
        # A file ends by itself; only a pipe may stay open and silent for good.
        mode = os.fstat(sys.stdin.fileno()).st_mode
        if not stat.S_ISFIFO(mode):
            return stat.S_ISREG(mode)
        if select.select([sys.stdin], [], [], PIPE_WAIT_SECONDS)[0]:
            return True
        if note:
            notice = (
                f"Standard input was silent for {PIPE_WAIT_SECONDS} s and is ignored"
                " (`-` waits for it)."
            )
            click.echo(notice, err=True)
    return False
