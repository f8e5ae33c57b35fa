"""mixtura chat"""

from __future__ import annotations

import asyncio
import difflib
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mixtura import cli, hub
from mixtura.cli.choosing import chosen, say_why, team_options
from mixtura.cli.common import (
    FIRST_LOOK,
    bring_embedded,
    cap_options,
    config_option,
    console,
    is_embedded,
    keep_option,
    read_config,
    words,
)
from mixtura.cli.prompt import Prompt
from mixtura.cli.running import Asking, Ended, answered, spent
from mixtura.cli.saving import Turn, save
from mixtura.config import Config, Plan
from mixtura.errors import ConfigError, MixturaError, StoreError
from mixtura.model import Model
from mixtura.plan import AUTO
from mixtura.record import Record
from mixtura.text import one_line, plural
from mixtura.types import Message, Request

if TYPE_CHECKING:
    from mixtura.render import Quiet

HELP = {
    "/model [NAME]": "ask another mixture or model from now on; without NAME, list them",
    "/why": "who said what in the last answer, and what it took",
    "/retry": "ask the last question again",
    "/save [FILE]": "write the conversation: Markdown, or .json or .html by the file's name",
    "/clear": "begin anew: nothing said so far is sent any more",
    "/quit": "leave, as Ctrl-D does",
    "\\": "at the end of a line: it goes on in the next",
    "Ctrl-C": "stop an answer; at the prompt, leave",
}
"""What there is beside questions. One may begin with a slash if a space stands before it."""
REMEMBERED = 200
"""Questions of earlier conversations in the history of the prompt."""


@click.command(name="chat")
@team_options
@click.option(
    "--system", metavar="TEXT", callback=words, help="A system prompt: every model sees it."
)
@keep_option
@cap_options
@config_option
def command(
    mixture: str | None,
    proposers: tuple[str, ...],
    aggregator: str | None,
    layers: int | None,
    system: str | None,
    max_cost: float | None,
    deadline: float | None,
    cache: bool | None,
    keep: bool | None,
    config_file: str | None,
) -> int:
    """Talk with a mixture of models, turn by turn; caps are for each turn.

    /help says what there is beside questions: another model, who said what, saving. In a
    pipe every line is a turn, and the answers go to standard output.
    """
    config = read_config(config_file, cache=cache, keep=keep)
    plan = chosen(config, mixture, proposers, aggregator, layers)
    prompt = Prompt()
    if prompt.person:
        say_why(config, plan, mixture, proposers, aggregator)
    with asyncio.Runner() as runner:
        chat = Chat(config, runner, prompt, Caps(max_cost, deadline), system)
        chat.take(plan)
        return chat.talk()


@dataclass(frozen=True, slots=True)
class Caps:
    """What one turn may take."""

    max_cost: float | None
    deadline: float | None


class Chat:
    """A conversation: what was said, who answers next, and the person at the other end."""

    def __init__(
        self,
        config: Config,
        runner: asyncio.Runner,
        prompt: Prompt,
        caps: Caps,
        system: str | None,
    ) -> None:
        self._config = config
        self._runner = runner
        self._prompt = prompt
        self._caps = caps
        self._opening = (Message("system", system),) if system else ()
        self._turns: list[Turn] = []
        self._asked: str | None = None
        self._tries = 0
        self._last: Ended | None = None
        self._saved: set[Path] = set()
        self._code = cli.ANSWERED
        self._aside = console(aside=True)
        self._commands: dict[str, Callable[[str], None]] = {
            "/model": self._model,
            "/why": self._why,
            "/retry": self._retry,
            "/save": self._save,
            "/clear": self._clear,
            "/help": self._help,
        }

    def take(self, plan: Plan) -> None:
        """From now on *plan* answers. Raises ConfigError."""
        bring_embedded(self._config, plan)
        caps = self._caps
        self._answers: Model = self._config.runnable(
            plan, max_cost=caps.max_cost, deadline=caps.deadline
        )
        self._plan = plan

    def talk(self) -> int:
        """Until the person leaves; the exit code."""
        self._greet()
        while (line := self._line()) is not None:
            self._heard(line)
        return cli.ANSWERED if self._prompt.person else self._code

    def _line(self) -> str | None:
        """What was typed; None when the person leaves."""
        try:
            line = self._prompt.read()
        except UnicodeError:
            self._say("That is not text (UTF-8).", "red")
            return ""
        except (EOFError, KeyboardInterrupt) as left:
            if self._prompt.person:
                click.echo()
            elif isinstance(left, KeyboardInterrupt):
                raise
            return None
        return None if line.strip() in ("/quit", "/exit") else line

    def _greet(self) -> None:
        if not self._prompt.person:
            return
        before: list[Record] = []
        with suppress(StoreError):  # said when the first turn cannot be kept
            before = self._config.runs.list(REMEMBERED) if self._config.runs.keeps else []
        self._prompt.remember(run["question"] for run in reversed(before) if run["via"] == "chat")
        self._prompt.complete(self._completions)
        self._say(f"{self._who()}. /help says what else there is, Ctrl-D leaves.", "dim")
        if is_embedded(self._config, self._plan.aggregator):
            self._say(FIRST_LOOK, "dim")

    def _heard(self, line: str) -> None:
        """A turn or a command; what goes wrong is said, and the conversation goes on."""
        name, _, rest = line.partition(" ")
        if not name.startswith("/"):
            if line.strip():
                self._ask(line.strip())
            return
        do = self._commands.get(name)
        if do is None:
            near = difflib.get_close_matches(name, self._commands, n=1)
            hint = f"did you mean {near[0]}?" if near else "/help lists them."
            self._say(f"There is no command {one_line(name)}: {hint}", "red")
            return
        try:
            do(rest.strip())
        except MixturaError as error:
            self._say(one_line(error), "red")

    # ---- a turn

    def _ask(self, question: str) -> None:
        if question != self._asked:
            self._asked, self._tries = question, 0
        said = [message for turn in self._turns for message in turn.messages]
        request = Request((*self._opening, *said, Message("user", question)), draw=self._tries)
        asking = Asking(self._config, self._answers, self._plan.name, "chat")
        with self._prompt.hushed():
            run = answered(self._runner, asking, request, self._view())
        self._last = run
        self._told(run)
        completion = run.trace.completion
        if completion is None or run.interrupted or run.failure:
            self._code = run.code
        else:
            self._turns.append(Turn(question, completion.text, run.record))

    def _view(self) -> Quiet:
        from mixtura.render import Compact, Terse

        if self._prompt.person and not self._aside.is_dumb_terminal:
            return Compact(sys.stdout, self._aside)
        return Terse(sys.stdout, self._aside)

    def _told(self, run: Ended) -> None:
        """How it ended, in a line or two."""
        from mixtura.render import notes

        for note in notes(run.trace):
            self._say(note, "yellow")
        if run.interrupted:
            self._say(f"Stopped. Spent on it: {spent(run.trace, self._config)}.", "yellow")
            if not self._prompt.person:
                raise KeyboardInterrupt
        elif run.failure:
            self._say(f"No answer: {one_line(run.failure)}", "bold red")
        if self._prompt.person:
            self._say(self._footer(run), "dim")
            click.echo()

    def _footer(self, run: Ended) -> str:
        from mixtura.render import dollars

        whole = run.record
        calls = sum(1 for _ in run.trace.leaves())
        parts = [
            *([f"run {run.run}"] if run.run else []),
            plural(calls, "call"),
            plural(whole["usage"]["total_tokens"], "token"),
            dollars(whole["cost_usd"]),
            f"{whole['seconds']:.1f} s",
        ]
        return " · ".join(parts)

    # ---- commands

    def _model(self, name: str) -> None:
        if not name:
            self._list()
            return
        self.take(self._config.plan(name))
        self._say(f"{self._who()}.", "dim")

    def _list(self) -> None:
        config, now = self._config, self._plan.name
        plans = config.mixtures()
        longest = max(map(len, plans))
        for name, plan in plans.items():
            calls = plural(config.calls(config.plan(name)), "call")
            size = f"{plural(plan.depth, 'layer')}, {calls}"
            self._say(f"{'*' if name == now else ' '} {one_line(name):<{longest}}  {size}")
        if now not in plans:
            self._say(f"* {one_line(now)}")
        here = [name for name in hub.known() if hub.cached(name, config.models_folder)]
        models = ", ".join(map(one_line, [*config.configured_models(), *here])) or "none here"
        self._say(f"Models: {models}; or provider/model, or a,b*2>c.")

    def _why(self, _: str) -> None:
        from mixtura.render import sources, summary

        run = self._last
        if run is None:
            raise ConfigError("nothing was asked yet")
        self._aside.print(summary(run.trace, self._config.price, self._aside.width, run=run.run))
        if run.record["answer"] and any(c.seat.role == "proposer" for c in run.trace.calls):
            self._aside.print()
            self._aside.print(sources(run.record))
        self._aside.print()

    def _retry(self, _: str) -> None:
        if self._asked is None:
            raise ConfigError("nothing was asked yet")
        if self._turns and self._turns[-1].question == self._asked:
            self._turns.pop()
        self._tries += 1  # a fresh draw: not the answer that a cache has
        self._ask(self._asked)

    def _save(self, name: str) -> None:
        if not self._turns:
            raise ConfigError("nothing was said yet that could be saved")
        file = Path(name or f"mixtura-chat-{self._turns[0].run['id']}.md").expanduser()
        if file.exists() and file.absolute() not in self._saved:
            raise ConfigError(f"{file} is there already: name another")
        try:
            save(self._turns, file)
        except OSError as error:
            raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
        self._saved.add(file.absolute())
        self._say(f"{plural(len(self._turns), 'turn')} saved in {file}", "dim")

    def _clear(self, _: str) -> None:
        self._turns.clear()
        self._asked = self._last = None
        self._say("A new conversation: nothing said so far is sent any more.", "dim")

    def _help(self, _: str) -> None:
        from mixtura.render import two_columns

        self._aside.print(two_columns(HELP))

    # ---- words

    def _who(self) -> str:
        plan, config = self._plan, self._config
        name = config.auto().aggregator if plan.name == AUTO else plan.name
        if not plan.layers:
            return f"{one_line(name)} answers alone"
        calls = plural(config.calls(plan), "call")
        return f"{one_line(name)} answers: {plural(plan.depth, 'layer')}, {calls} a turn"

    def _completions(self, before: str, word: str) -> list[str]:
        if not before.strip():
            names = [*self._commands, "/quit"] if word.startswith("/") else []
        else:
            names = self._config.names() if before.strip() == "/model" else []
        return [f"{name} " for name in names if name.startswith(word)]

    def _say(self, text: str, style: str = "") -> None:
        from mixtura.render import say

        say(self._aside, text, style)
