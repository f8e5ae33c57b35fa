"""A program that reads a prompt and writes an answer, as a Model."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from mixtura.catalog.command_tools import CommandTool
from mixtura.commands.environment import RUN_VARIABLE
from mixtura.commands.process import (
    LONGEST_ARGUMENT,
    CommandProcess,
    find_program,
    missing_program_message,
    start_command,
)
from mixtura.core.credentials import mask_keys
from mixtura.core.errors import (
    EmptyAnswerError,
    MalformedError,
    ModelError,
    NotAvailableHereError,
    QuotaError,
    RejectedError,
    TimedOutError,
    UnavailableError,
)
from mixtura.core.events import Emit
from mixtura.core.model_info import DescribedModel, ModelInfo, UsagePrice
from mixtura.core.redaction import Redactor, current_redactor, redact_secrets, use_redactor
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.types import Completion, Part, Request, TextPart
from mixtura.models.call_accounting import account_for_call, emit_answer_delta, emit_notices
from mixtura.prompts.single_text import write_as_one_text
from mixtura.protocols.command_output import CommandOutput
from mixtura.protocols.content_parts import replace_unsupported_parts
from mixtura.protocols.finish_reasons import read_finish_reason
from mixtura.protocols.openai.chunks import Chunk, MessageDelta, StreamChoice
from mixtura.protocols.openai.stream import ChatStreamAccumulator

DEFAULT_SECONDS = 600.0
"""Seconds that an answer may take: long, as an agent may say nothing until it is done."""
DEFAULT_LARGEST = 64 * 1024**2
_QUOTED = 300
MAX_SAID_CHARS = 32_768
"""Characters of what a program said that are looked through when it has failed."""
_LOGIN = re.compile(
    r"(?i)\b(?:not logged in|log ?in (?:first|required|to)|please log ?in|/login|unauthenticated"
    r"|authentication (?:required|failed)|invalid api key|no api key|unauthorized"
    r"|api key (?:is )?(?:missing|required))\b"
)
_LIMIT = re.compile(
    r"(?i)\b(?:usage limit|rate limit|limit reached|quota|too many requests|out of credits)\b"
)
_TERMINAL = re.compile(
    r"(?i)\b(?:not a (?:tty|terminal)|(?:needs|requires|must be run in) a (?:tty|terminal)"
    r"|raw mode is not supported|inappropriate ioctl)\b"
)
_QUESTION = re.compile(
    r"(?:\[y/n\]|\(y/n\)|\(yes/no\)|password|passphrase|continue)\s*[?:]*\s*\Z", re.IGNORECASE
)


class CommandModel(DescribedModel):
    """
    A program as a Model: the conversation goes to its standard input as one text, or to the
    argument that holds ``{prompt}``, and its standard output is the answer.

    *command*: the program and its arguments, used without a shell. *tool*: how its output is
    read and one logs in, for a known program; by default its output is text. *seconds* that an
    answer may take, *largest* bytes of output. *passed*: further variables of *environ* that it
    sees; none with a key is passed. *price* is what ``info`` says of it; without one, its cost is
    unknown. Raises NotAvailableHereError where the program is not on the PATH.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str | None = None,
        tool: CommandTool | None = None,
        seconds: float = DEFAULT_SECONDS,
        largest: int = DEFAULT_LARGEST,
        passed: Sequence[str] = (),
        context_window: int | None = None,
        price: UsagePrice | None = None,
        environ: Mapping[str, str] | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        program, *arguments = command
        path = find_program(program, self._environ)
        if path is None:
            raise NotAvailableHereError(missing_program_message(program), key="command")
        self._program, self._command = program, (path, *arguments)
        self._name = name or Path(program).name
        self._tool = tool or CommandTool(program)
        self._seconds, self._largest = seconds, largest
        self._passed = (*self._tool.environment, *passed)
        self._redactor = redactor
        self._told_parameters: set[str] = set()
        self._info = ModelInfo(
            self._name,
            context_window=context_window,
            supports_images=False,
            refused_parameters=frozenset({"logprobs"}),
            price=price,
        )

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        if RUN_VARIABLE in self._environ:
            raise RejectedError(
                "Mixtura was started by a program that is itself a member: in here, members that"
                " are programs are switched off, since they could call each other without end",
                model=self._name,
            )
        request, notices = replace_unsupported_parts(request, _supports_part)
        emit_notices(self._name, [*notices, *self._list_left_out(request)], emit)
        with use_redactor(self._redactor or current_redactor()):
            so_far = ChatStreamAccumulator()
            with account_for_call(self._name, request, so_far, emit):
                await self._run(request, so_far, emit)
                emit_answer_delta(so_far, so_far.take_rest(), emit)
                return so_far.build_completion(self._name, request)

    def _list_left_out(self, request: Request) -> list[str]:
        """What it cannot follow: tools each time, as they matter; other parameters once."""
        if request.tools and request.tool_choice not in (None, "auto", "none"):
            raise RejectedError("a program cannot call tools", model=self._name)
        asked = {
            name
            for name in ("temperature", "top_p", "max_tokens", "stop", "seed")
            if getattr(request.sampling, name) is not None
        } | set(request.extra)
        new = sorted(asked - self._told_parameters)
        self._told_parameters |= asked
        notices = [f"a program does not accept {', '.join(new)}: left out"] if new else []
        return [*notices, "a program cannot call tools: left out"] if request.tools else notices

    async def _run(
        self, request: Request, so_far: ChatStreamAccumulator, emit: Emit | None
    ) -> None:
        command, prompt = self._fill_in(write_as_one_text(request))
        output = CommandOutput(self._tool.output, self._tool.read)
        try:
            async with (
                asyncio.timeout(self._seconds),
                start_command(command, self._passed, self._environ, self._largest) as process,
            ):
                await self._read_answer(process, prompt, output, so_far, emit)
        except TimeoutError:
            written = "".join(so_far.answer_parts)
            raise TimedOutError(self._timeout_message(written)) from None
        self._check_ending(process, output, "".join(so_far.answer_parts))
        so_far.usage = output.usage
        so_far.doubts.extend(output.doubts)
        so_far.finish_reason = read_finish_reason(output.finish_reason) or "stop"

    def _fill_in(self, prompt: str) -> tuple[list[str], bytes]:
        """The command, and what goes to its standard input."""
        encoded = prompt.encode("utf-8", "replace")
        if not any("{prompt}" in one for one in self._command[1:]):
            return list(self._command), encoded
        if len(encoded) > LONGEST_ARGUMENT:
            raise RejectedError(
                f"the prompt has {pluralize_count(len(encoded), 'byte')}, but an argument can have"
                f" at most {LONGEST_ARGUMENT:,}: let the program read standard input"
            )
        # A zero byte would end the argument.
        text = encoded.decode().replace("\0", "")
        return [self._command[0], *(a.replace("{prompt}", text) for a in self._command[1:])], b""

    async def _read_answer(
        self,
        process: CommandProcess,
        prompt: bytes,
        output: CommandOutput,
        so_far: ChatStreamAccumulator,
        emit: Emit | None,
    ) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")()

        def add(text: str) -> None:
            if text:
                so_far.add_chunk(Chunk([StreamChoice(delta=MessageDelta(content=text))]))
                emit_answer_delta(so_far, so_far.take_new(), emit)

        try:
            async for piece in process.read_output(prompt):
                add(output.add_text(decoder.decode(piece)))
            add(output.add_text(decoder.decode(b"", final=True)))
        except UnicodeDecodeError:
            raise MalformedError("its output is not UTF-8 text") from None
        add(output.end())

    def _timeout_message(self, written: str) -> str:
        said = f"no complete answer within {self._seconds:g} s"
        if _QUESTION.search(written[-200:]):
            return f"{said}: it waits for an answer to {_quote_end(written)}"
        if written.strip():
            return f"{said}; its last words: {_quote_end(written)}"
        advice = (
            f": if the program is not logged in, {self._tool.log_in}" if self._tool.log_in else ""
        )
        return said + advice

    def _check_ending(self, process: CommandProcess, output: CommandOutput, answer: str) -> None:
        """Raises the error that the end of the program is, if it is one."""
        code, errors = process.exit_code, process.error_text
        if code == 0 and answer.strip() and not output.error:
            return
        other = "\n".join(output.other_lines[-5:])
        said = (output.error or errors.strip() or other or answer)[-MAX_SAID_CHARS:]
        if self._needs_login(f"{said}\n{errors}"):
            raise self._login_error(said)
        if _TERMINAL.search(said):
            raise RejectedError(f"it needs a terminal, but has none: {_quote_end(said)}")
        if _LIMIT.search(said):
            raise QuotaError(f"its usage limit is reached: {_quote_end(said)}")
        if code == 0 and not output.error:
            words = f"; on standard error: {_quote_end(said)}" if said.strip() else ""
            raise EmptyAnswerError(f"it wrote no answer to its standard output{words}")
        if code is not None and code < 0:
            raise UnavailableError(f"it was killed by signal {-code}{_output_suffix(said)}")
        if _QUESTION.search(said[-200:]):
            raise RejectedError(f"it asked for input, which it cannot get here: {_quote_end(said)}")
        self._raise_exit(code, said)

    def _raise_exit(self, code: int | None, said: str) -> NoReturn:
        raise UnavailableError(f"it ended with exit code {code}{_output_suffix(said)}")

    def _needs_login(self, said: str) -> bool:
        lower = said.lower()
        return bool(_LOGIN.search(said)) or any(one in lower for one in self._tool.login_words)

    def _login_error(self, said: str) -> ModelError:
        advice = self._tool.log_in or f"log in with `{self._program}`"
        return RejectedError(
            f"the program is not logged in: {advice} (it said: {_quote_end(said)})"
        )


def _supports_part(part: Part) -> bool:
    return isinstance(part, TextPart)


def _output_suffix(said: str) -> str:
    return f": {_quote_end(said)}" if said.strip() else " without any output"


def _quote_end(said: str) -> str:
    """The end of what a program said, on one line."""
    # Before it is cut: the end of a secret might pass for none.
    line = to_one_line(mask_keys(redact_secrets(said[-MAX_SAID_CHARS:])))
    return f"“{line if len(line) <= _QUOTED else '… ' + line[-_QUOTED:]}”"
