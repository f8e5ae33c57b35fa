"""The command mixtura chat: a conversation with a mixture of models, turn by turn."""

from __future__ import annotations

import asyncio
import difflib
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from mixtura import cli
from mixtura.cli.attachments import (
    Attachment,
    attachment_options,
    complete_path,
    read_attachment,
    read_attachments,
)
from mixtura.cli.chat_lines import answerer_line, mixture_lines, turn_footer
from mixtura.cli.command_offer import offer_commands
from mixtura.cli.common import (
    RunOptions,
    create_console,
    download_embedded,
    embedded_note,
    run_options,
)
from mixtura.cli.conversation import Conversation
from mixtura.cli.help_layout import MixturaCommand
from mixtura.cli.mixture_options import print_choice_reason, spec_from_options, team_options
from mixtura.cli.prompt import LinePrompt
from mixtura.cli.question import system_option
from mixtura.cli.run import FinishedRun, RunContext, format_spent, run_and_show
from mixtura.cli.run_agreement import add_agreement
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.errors import ConfigError, MixturaError, StoreError
from mixtura.core.model import Model
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.types import Request
from mixtura.storage.run_record import Record, restore_agreement

if TYPE_CHECKING:
    from mixtura.terminal import AnswerView

HELP_TEXTS = {
    "/model [NAME]": "switch to another mixture or model; without NAME, list them",
    "/why": "show who said what in the last answer, and what it took",
    "/agreement": "report where the proposals of the last answer agree and differ: one call",
    "/retry": "ask the last question again",
    "/attach FILE": "send a file with the next question: text, a PDF or a picture",
    "/save [FILE]": "save the conversation as Markdown, or as .json or .html by the file's name",
    "/clear": "start over: nothing said so far is sent again",
    "/quit": "leave, as Ctrl-D does",
    "\\": "at the end of a line: continue on the next line",
    "Ctrl-C": "stop an answer; at the prompt, leave",
}
"""What there is beside questions. One may begin with a slash if a space stands before it."""
MAX_HISTORY = 200
"""Questions of earlier conversations in the history of the prompt."""


@click.command(
    name="chat",
    cls=MixturaCommand,
    examples=(
        "mixtura chat",
        "mixtura chat -m team --attach notes.md",
        "mixtura chat < questions.txt",
    ),
)
@team_options
@attachment_options
@system_option
@click.option(
    "--agreement",
    is_flag=True,
    help="Report after each answer where the proposals agree and differ: one more call.",
)
@run_options
def command(
    mixture: str | None,
    proposers: tuple[str, ...],
    aggregator: str | None,
    layers: int | None,
    files: tuple[str, ...],
    images: tuple[str, ...],
    system: str | None,
    agreement: bool,
    **options: Any,
) -> int:
    """Hold a conversation with a mixture of models.

    /help lists the commands at the prompt: switch the model, see who said what, attach a file,
    save. Limits apply to each turn. In a pipe every line is a turn, and the answers go to
    standard output.
    """
    attached = read_attachments(files, images)
    run = RunOptions(**options)
    config = run.read_config()
    if not (mixture or proposers):
        offer_commands(config)
    plan = spec_from_options(config, mixture, proposers, aggregator, layers)
    prompt = LinePrompt()
    if prompt.person:
        print_choice_reason(config, plan, mixture, proposers, aggregator)
    with asyncio.Runner() as runner:
        settings = TurnSettings(run.max_cost, run.deadline, agreement)
        chat = ChatSession(config, runner, prompt, settings, system)
        chat.use_mixture(plan)
        for one in attached:
            chat.attach(one)
        return chat.run_until_exit()


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """What holds for every turn: caps in dollars and seconds, whether agreement is reported."""

    max_cost: float | None
    deadline: float | None
    agreement: bool


class ChatSession:
    """A conversation at the prompt: reads lines, asks the mixture, runs the commands."""

    def __init__(
        self,
        config: Config,
        runner: asyncio.Runner,
        prompt: LinePrompt,
        settings: TurnSettings,
        system: str | None,
    ) -> None:
        self._config = config
        self._runner = runner
        self._prompt = prompt
        self._settings = settings
        self._conversation = Conversation(system)
        self._last: FinishedRun | None = None
        self._code = cli.ANSWERED
        self._stderr = create_console(stderr=True)
        self._commands: dict[str, Callable[[str], None]] = {
            "/model": self._switch_model,
            "/why": self._show_sources,
            "/agreement": self._report_agreement,
            "/retry": self._retry_question,
            "/attach": self._attach_file,
            "/save": self._save_chat,
            "/clear": self._clear_history,
            "/help": self._print_help,
        }

    def use_mixture(self, plan: MixtureSpec) -> None:
        """From now on *plan* answers. Raises ConfigError."""
        download_embedded(self._config, plan)
        turn = self._settings
        self._answers: Model = self._config.build_runnable(
            plan, max_cost=turn.max_cost, deadline=turn.deadline, agreement=turn.agreement
        )
        self._plan = plan

    def attach(self, one: Attachment) -> None:
        """Send a file with the next question."""
        self._conversation.attach(one)

    def run_until_exit(self) -> int:
        """Take turns until the person leaves; returns the exit code.

        Raises KeyboardInterrupt for Ctrl-C in a pipe, OutputLostError where no one reads any more.
        """
        self._print_greeting()
        while (line := self._read_line()) is not None:
            self._handle_line(line)
        # A person has seen what failed. A script has the exit code alone: that of the last failure.
        return cli.ANSWERED if self._prompt.person else self._code

    def _read_line(self) -> str | None:
        """What was typed; None when the person leaves."""
        try:
            line = self._prompt.read_turn()
        except UnicodeError:
            self._print_notice("That is not text (UTF-8).", "red")
            return ""
        except (EOFError, KeyboardInterrupt) as left:
            if self._prompt.person:
                click.echo()
            elif isinstance(left, KeyboardInterrupt):
                raise
            return None
        return None if line.strip() in ("/quit", "/exit") else line

    def _print_greeting(self) -> None:
        if not self._prompt.person:
            return
        before: list[Record] = []
        with suppress(StoreError):  # said when the first turn cannot be kept
            before = self._config.runs.list_runs(MAX_HISTORY) if self._config.runs.keeps else []
        self._prompt.add_history(
            run["question"] for run in reversed(before) if run["via"] == "chat"
        )
        self._prompt.enable_completion(self._complete_word)
        answerer = answerer_line(self._config, self._plan)
        self._print_notice(f"{answerer}. /help lists the commands, Ctrl-D leaves.", "dim")
        if note := embedded_note(self._config, self._plan, chosen=False):
            self._print_notice(note, "yellow")

    def _handle_line(self, line: str) -> None:
        """A turn or a command; what goes wrong is said, and the conversation goes on."""
        name, _, rest = line.partition(" ")
        if not name.startswith("/"):
            if line.strip():
                self._answer_request(self._conversation.ask(line.strip()))
            return
        run_command = self._commands.get(name)
        if run_command is None:
            near = difflib.get_close_matches(name, self._commands, n=1)
            hint = f"did you mean {near[0]}?" if near else "/help lists them."
            self._print_notice(f"There is no command {to_one_line(name)}: {hint}", "red")
            return
        try:
            run_command(rest.strip())
        except MixturaError as error:
            self._print_notice(to_one_line(error), "red")

    # ---- a turn

    def _answer_request(self, request: Request) -> None:
        turns = self._conversation.turns
        previous = turns[-1].run["id"] if turns else ""
        asking = RunContext(self._config, self._answers, self._plan.name, "chat", previous)
        with self._prompt.suppress_echo():
            run = run_and_show(self._runner, asking, request, self._create_view())
        self._last = run
        self._print_outcome(run)
        completion = run.trace.completion
        # Half an answer is no turn: the next question would be asked as if it had been read.
        if completion is None or run.interrupted or run.failure:
            self._code = run.exit_code
        else:
            self._conversation.add_answer(completion.text, run.record)

    def _create_view(self) -> AnswerView:
        from mixtura.terminal import AnswerAndErrorsView, CompactView

        if self._prompt.person and not self._stderr.is_dumb_terminal:
            return CompactView(sys.stdout, self._stderr)
        return AnswerAndErrorsView(sys.stdout, self._stderr)

    def _print_outcome(self, run: FinishedRun) -> None:
        """How it ended, in a line or two."""
        from mixtura.terminal import answer_notes, ollama_advice, print_agreement

        for note in answer_notes(run.trace):
            self._print_notice(note, "yellow")
        if run.interrupted:
            self._print_notice(
                f"Stopped. Spent on it: {format_spent(run.trace, self._config)}.", "yellow"
            )
            # A script cannot type the next line: stopping an answer stops it.
            if not self._prompt.person:
                raise KeyboardInterrupt
        elif run.failure:
            self._print_notice(f"No answer: {to_one_line(run.failure)}", "bold red")
        if advice := ollama_advice(run.trace):
            self._print_notice(advice, "yellow")
        if run.trace.completion and (found := run.trace.completion.agreement):
            print_agreement(self._stderr, found)
        if self._prompt.person:
            self._print_notice(turn_footer(run), "dim")
            click.echo()

    # ---- commands

    def _switch_model(self, name: str) -> None:
        if not name:
            for line in mixture_lines(self._config, self._plan.name):
                self._print_notice(line)
            return
        self.use_mixture(self._config.mixture_spec(name))
        self._print_notice(f"{answerer_line(self._config, self._plan)}.", "dim")

    def _show_sources(self, _: str) -> None:
        from mixtura.terminal import answer_sources, trace_summary

        run = self._last
        if run is None:
            raise ConfigError("nothing was asked yet")
        self._stderr.print(
            trace_summary(run.trace, self._config.usage_cost, self._stderr.width, run=run.run)
        )
        if run.record["answer"] and any(c.seat.role == "proposer" for c in run.trace.calls):
            self._stderr.print()
            self._stderr.print(answer_sources(run.record))
        self._stderr.print()

    def _report_agreement(self, _: str) -> None:
        from mixtura.terminal import print_agreement

        if self._last is None:
            raise ConfigError("nothing was asked yet")
        try:
            whole = add_agreement(
                self._config, self._last.record, max_cost=self._settings.max_cost,
                runner=self._runner,
            )  # fmt: skip
        except KeyboardInterrupt:
            # A script cannot type the next line: stopping a report stops it.
            if not self._prompt.person:
                raise
            self._print_notice("Stopped.", "yellow")
            return
        self._last = replace(self._last, record=whole)
        if (found := restore_agreement(whole["agreement"])) is not None:
            print_agreement(self._stderr, found)

    def _retry_question(self, _: str) -> None:
        self._conversation.withdraw_answer()
        self._answer_request(self._conversation.last_request())

    def _attach_file(self, name: str) -> None:
        if not name:
            raise ConfigError("which file? As in: /attach notes.txt")
        one = read_attachment(name)
        self._conversation.attach(one)
        self._print_notice(f"{one.name} ({one.description}) goes with the next question.", "dim")

    def _save_chat(self, name: str) -> None:
        file = self._conversation.save_file(name)
        turns = pluralize_count(len(self._conversation.turns), "turn")
        self._print_notice(f"{turns} saved in {file}", "dim")

    def _clear_history(self, _: str) -> None:
        self._conversation.clear_turns()
        self._last = None
        self._print_notice("A new conversation: nothing said so far is sent any more.", "dim")

    def _print_help(self, _: str) -> None:
        from mixtura.terminal import two_columns

        self._stderr.print(two_columns(HELP_TEXTS))

    def _complete_word(self, before: str, word: str) -> list[str]:
        if before.strip() == "/attach":
            return complete_path(word)
        if not before.strip():
            names = [*self._commands, "/quit"] if word.startswith("/") else []
        else:
            names = self._config.registry.known_names() if before.strip() == "/model" else []
        return [f"{name} " for name in names if name.startswith(word)]

    def _print_notice(self, text: str, style: str = "") -> None:
        from mixtura.terminal import print_line

        print_line(self._stderr, text, style)
