"""The command line: one file a command, each loaded when it is called."""

from __future__ import annotations

import errno
import importlib
import io
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

import click

from mixtura.cli.help_layout import MixturaGroup
from mixtura.cli.logging_options import add_logging_options, logging_options
from mixtura.cli.telemetry_notices import install_telemetry_notices
from mixtura.core.credentials import environment_secrets, mask_keys
from mixtura.core.errors import BudgetExceededError, ConfigError, MixturaError
from mixtura.core.logs import install_log_redaction
from mixtura.core.redaction import process_redactor, redact_secrets, register_secrets
from mixtura.core.text import strip_invisible

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from click.shell_completion import CompletionItem

COMMANDS = {
    "ask": "Ask a question and get the answer of a mixture of models.",
    "batch": "Answer every row of a file or data set; a killed batch continues where it was.",
    "chat": "Hold a conversation with a mixture.",
    "serve": "Serve mixtures over HTTP: OpenAI and Anthropic APIs, and a web page.",
    "mcp": "Offer mixtures as tools to agents (Model Context Protocol).",
    "runs": "List, search and delete past runs.",
    "export": "Export recorded runs or a batch as training data.",
    "show": "Draw a mixture, or show a past run.",
    "models": "List local models, configured models and providers.",
    "pull": "Download a local model.",
    "init": "Write a mixtura.toml for the keys, servers and models found here.",
    "config": "Check, show, edit or locate the configuration file.",
    "doctor": "Check keys, endpoints and models.",
    "eval": "Score a model or mixture on a benchmark.",
    "compare": "Test whether a mixture beats its members, on your own prompts.",
    "select": "Find the best team of your models for your prompts.",
    "tune": "Choose a mixture on your prompts, and test it against its best member.",
    "report": "Run the paper's analyses on your own results.",
    "calibrate": "Learn from evaluations how likely an answer is to be right.",
    "review": "Review a diff or a text: findings, and how many members found each.",
    "completion": "Set up Tab completion for bash, zsh or fish.",
}

ANSWERED, NOT_WRITTEN, WRONG_USE, NO_ANSWER, CAPPED, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit codes."""


_PLAIN_USAGE = (
    (re.compile(r"is not in the range x>=(\S+)\.$", re.MULTILINE), r"is too small: at least \1."),
    (re.compile(r"is not in the range (\S+)<=x<=(\S+)\.$", re.MULTILINE), r"is not from \1 to \2."),
    (re.compile(r"is not a valid integer(?: range)?\.$", re.MULTILINE), "is not a whole number."),
)
"""What click says of numbers, and the same in plain words."""


class OutputLostError(Exception):
    """Standard output takes no more: its reader has left, its disk is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the output cannot be written: {error.strerror}")
        self.reader_left = error.errno == errno.EPIPE
        """Whether the reader closed its end, as `head` does: nothing is wrong then."""


class _StandardStream(io.FileIO):
    """A standard stream whose failure is an OutputLostError, raised once, or never.

    Never where a loss matters to no one. An OSError could be taken for a network's.
    """

    def __init__(self, descriptor: int, *, fails: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._fails = fails

    def write(self, data: ReadableBuffer, /) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            if self._fails:
                self._fails = False
                raise OutputLostError(error) from None
        # Said once. What follows is dropped: a second error would hide the first.
        return memoryview(data).nbytes


class _RedactingStream(io.TextIOWrapper):
    """Text for a standard stream: no secret that this process knows goes through it."""

    def write(self, text: str, /) -> int:
        super().write(process_redactor().redact_text(text, ended=False))
        return len(text)


class _Commands(MixturaGroup):
    """A group that imports a command's file only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return add_logging_options(importlib.import_module(f"mixtura.cli.{cmd_name}").command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # Only a mistyped command needs it; --help and all the others start without.
        import difflib

        name = args[0]
        if name not in COMMANDS and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"choose one of {', '.join(COMMANDS)}."
            if name in ("help", "version"):
                hint = f"it is an option: mixtura --{name}"
            if " " in name:
                hint = f'to ask a question: mixtura ask "{name}"'
            raise click.UsageError(f"No such command '{name}': {hint}", ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if said := self._misplaced_option_text(ctx, words, error.option_name):
                raise click.UsageError(said, ctx) from None
            raise

    def _misplaced_option_text(
        self, ctx: click.Context, words: Sequence[str], option: str
    ) -> str | None:
        """
        What to write for an option of a command that stands before the command's name; one that
        stands before none is taken for an option of ``ask``.
        """
        name = next((word for word in words if word in COMMANDS), "ask")
        command = self.get_command(ctx, name)
        places = {name: command}
        if isinstance(command, click.Group):
            inner = next((word for word in words if word in command.commands), "")
            places = {f"{name} {inner}": command.commands.get(inner)} | places
        for path, place in places.items():
            for param in place.params if place else ():
                if option in (*param.opts, *param.secondary_opts):
                    value = f" {param.metavar}" if param.metavar else ""
                    return f"{option} goes after the command: mixtura {path} {option}{value}"
        return None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        # Without importing every command for a line of its help.
        commands = [
            CompletionItem(name, help=text)
            for name, text in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))  # without importing one of them


def _installed_version() -> str:
    from importlib.metadata import version

    return version("mixtura")


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"mixtura {_installed_version()}")
        ctx.exit()


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    examples=(
        'mixtura ask "Why is the sky blue?"',
        'mixtura ask -p "openai/gpt-5.4-mini*2" -p ollama/llama3.2 -a openai/gpt-5.4 "..."',
        "mixtura chat -m team",
        "mixtura doctor",
    ),
    epilog="Exit codes: 0 success, 1 the output could not be written, 2 wrong usage or"
    " configuration, 3 no answer (or none that matches --schema), 4 stopped by a cap,"
    " 130 interrupted.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version.",
)
def group() -> None:
    """Ask several language models at once and combine their answers into one.

    A mixture has proposers, which answer independently, and an aggregator, which reads their
    answers and writes the final one. `mixtura COMMAND --help` explains each command.
    """


group.params += logging_options()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code; no traceback for a user's mistake."""
    # First of all: whatever is printed from here on has no secret in it.
    _open_streams()
    register_secrets(environment_secrets(os.environ))
    install_log_redaction()
    install_telemetry_notices()
    try:
        status = _run_command(arguments)
        # A full disk is noticed when the last block is written: it must still count as a failure.
        sys.stdout.flush()
    except OutputLostError as lost:
        if not lost.reader_left:
            _print_error(lost)
        status = ANSWERED if lost.reader_left else NOT_WRITTEN
    _exit_process(status)


def _run_command(arguments: Sequence[str] | None) -> int:
    try:
        code = group.main(arguments, prog_name="mixtura", standalone_mode=False)
        return code if isinstance(code, int) else ANSWERED
    except click.ClickException as error:
        _print_usage_error(error)
        return WRONG_USE
    except ConfigError as error:
        _print_error(error)
        return WRONG_USE
    except BudgetExceededError as error:
        _print_error(error)
        return CAPPED
    except MixturaError as error:
        _print_error(error)
        return NO_ANSWER
    except FileNotFoundError:
        if not _is_folder_gone():
            raise
        _print_error(ConfigError("the current folder is gone: go to another one, as with cd"))
        return WRONG_USE
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED


def _is_folder_gone() -> bool:
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return True
    return False


def _print_error(error: Exception) -> None:
    lines = [str(one) for one in getattr(error, "mistakes", ())]
    if lines:  # each begins with its file and line, as editors and scripts read them
        further = getattr(error, "further_mistakes", 0)
        lines.insert(0, f"mixtura: {len(lines) + further:,} mistakes:")
        if further:
            lines.append(f"and {further:,} more")
    else:
        lines = [f"mixtura: {error}"]
    for line in lines:
        click.echo(strip_invisible(redact_secrets(line)), err=True)


def _print_usage_error(error: click.ClickException) -> None:
    """A wrong use, as click says it; it may repeat a key that was pasted into the command."""
    text = io.StringIO()
    error.show(text)
    said = text.getvalue()
    for words, plain in _PLAIN_USAGE:
        said = words.sub(plain, said)
    click.echo(mask_keys(redact_secrets(said), names=True), err=True, nl=False)


def _open_streams() -> None:
    """Every standard stream is there, says what it can in its encoding, and fails by name."""
    # Python has None for a stream that its parent closed; a library that reads it would crash.
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    sys.stdout = _open_stream(sys.stdout, 1, fails=True)
    sys.stderr = _open_stream(sys.stderr, 2, fails=False)


def _open_stream(stream: TextIO | None, number: int, *, fails: bool) -> TextIO:
    if stream is None:  # closed by whoever started us
        return _text_stream(os.open(os.devnull, os.O_WRONLY), "utf-8", "replace", fails=False)
    binary = getattr(stream, "buffer", None)
    raw = getattr(binary, "raw", binary)
    if stream not in (sys.__stdout__, sys.__stderr__) or type(raw) is not io.FileIO:
        return stream  # a caller's own, or Windows' console
    # Errors are read by people who look for the cause: an escaped character is better than a ?.
    errors = "replace" if number == 1 else "backslashreplace"
    return _text_stream(number, stream.encoding, errors, fails=fails)


def _text_stream(descriptor: int, encoding: str, errors: str, *, fails: bool) -> TextIO:
    outlet = _StandardStream(descriptor, fails=fails)
    # A pipe takes blocks; who watches a terminal, or waits for an error, wants each line.
    lines = not fails or outlet.isatty()
    return _RedactingStream(io.BufferedWriter(outlet), encoding, errors, line_buffering=lines)


def _exit_process(status: int) -> None:
    if status == INTERRUPTED:
        # A model in this process may be in the middle of a batch: do not wait for it.
        with suppress(OutputLostError):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    sys.exit(status)
