"""An earlier conversation that is gone on with: the kept run that a person means, as messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, cast

import click

from mixtura.cli.help_layout import MixturaCommand
from mixtura.cli.runs import resolve_run_id
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line
from mixtura.core.types import ImagePart, Message, Part, TextPart
from mixtura.protocols.openai.messages import message_from_json
from mixtura.storage.runs import LAST_RUN
from mixtura.storage.turns import LOST_PICTURE

RUN_ID = re.compile(r"\d{7,9}[-_.]?[0-9a-z]{0,9}", re.IGNORECASE)
"""What is meant as a run's id or its beginning, mistyped or not, and is no word of a question."""
_MEANT_AS_LAST = {LAST_RUN, "latest", "lats", "lst", "las", "lastest", "newest", "previous"}
_SPACE = re.compile(r"\s")
_CONTINUE = ("-c", "--continue")
_SEARCHED_RUNS = 50
"""Runs among which the last conversation is looked for: a server may have kept many since."""


class EarlierConversation(NamedTuple):
    """What was said before the next question, and who answered."""

    run: str
    model: str
    messages: tuple[Message, ...]

    def with_question(self, question: Message, system: str | None) -> tuple[Message, ...]:
        """All of it and the next *question*; *system* takes the place of an earlier one."""
        messages = self.messages
        if system is not None:
            rest = tuple(one for one in messages if one.role not in ("system", "developer"))
            messages = (Message("system", system), *rest)
        return (*messages, question)


class ContinueCommand(MixturaCommand):
    """A command whose ``--continue`` may stand alone: a question behind it is no run's id."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, name_continued_run(args, partial(self._find_question, ctx)))

    def _find_question(self, ctx: click.Context, words: Sequence[str]) -> tuple[str, ...]:
        """The words of a question among *words*, between options and their values."""
        named = name_continued_run(words, lambda _: ())
        try:
            question: object = self.make_parser(ctx).parse_args(named)[0].get("question")
        except click.UsageError:  # said when all the words are read
            return ()
        # click has its own word for none
        return cast("tuple[str, ...]", question) if isinstance(question, tuple) else ()


def name_continued_run(
    words: Sequence[str], find_question: Callable[[Sequence[str]], tuple[str, ...]]
) -> list[str]:
    """
    Write ``--continue`` as ``--continue=last``, and ``--continue ID`` as one word.

    A word behind it is an id where it looks like one, and where *find_question* finds the
    question elsewhere: before it, or, in quotation marks, behind it.
    """

    def stands_beside_question(i: int) -> bool:
        if _SPACE.search(words[i]):
            return False
        behind = find_question(words[i + 1 :])
        return bool(find_question(words[: i - 1])) or any(map(_SPACE.search, behind))

    spelt: list[str] = []
    for i, word in enumerate(words):
        before = words[i - 1] if i else ""
        if word == "--":
            return [*spelt, *words[i:]]
        if (
            before in _CONTINUE
            and not word.startswith("-")
            and (
                word.lower() in _MEANT_AS_LAST
                or RUN_ID.fullmatch(word)
                or stands_beside_question(i)
            )
        ):
            id = LAST_RUN if word.lower() in _MEANT_AS_LAST else word  # noqa: A001
            spelt[-1] = f"--continue={id}"
        else:
            spelt.append(f"--continue={LAST_RUN}" if word in _CONTINUE else word)
    return spelt


def find_conversation(config: Config, name: str) -> EarlierConversation:
    """The conversation in the run that *name* stands for. Raises ConfigError."""
    id = _last_conversation(config) if name == LAST_RUN else _find_named(config, name)  # noqa: A001
    run = config.runs.get_run(id)
    if run is None:  # another process has deleted it meanwhile
        raise ConfigError(f"the run '{id}' is no longer kept")
    if run["answer"] is None:
        raise ConfigError(
            f"the run {id} has no answer to continue from: ask again without --continue"
        )
    messages = [message_from_json(one) for one in run["request"]["messages"]]
    if any(one.role == "tool" or one.tool_calls for one in messages):
        raise ConfigError(f"the run {id} used its caller's tools, which are not available here")
    answer = Message("assistant", run["answer"])
    return EarlierConversation(id, run["model"], (*map(_without_lost_pictures, messages), answer))


def _find_named(config: Config, name: str) -> str:
    try:
        return resolve_run_id(config, name)
    except ConfigError as error:
        if RUN_ID.fullmatch(name):
            raise
        hint = "if it is a word of the question, put the whole question in quotation marks"
        raise ConfigError(f"{error}; {hint}") from None


def _last_conversation(config: Config) -> str:
    """The newest run of a person's, with an answer; what a server kept is someone else's."""
    for row in config.runs.list_runs(_SEARCHED_RUNS):
        if row["via"] in ("ask", "chat") and row["state"] in ("answered", "degraded"):
            return row["id"]
    kept = "" if config.runs.keeps else " (the configuration keeps no runs: [runs] keep)"
    raise ConfigError(f"there is no conversation to continue{kept}: ask without --continue first")


def _without_lost_pictures(message: Message) -> Message:
    """The message with a note for each picture: its bytes are not kept."""
    if isinstance(message.content, str):
        return message
    parts = [_note_for_picture(part) for part in message.content]
    if all(isinstance(part, TextPart) for part in parts):
        text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
        return replace(message, content=text)
    return replace(message, content=tuple(parts))


def _note_for_picture(part: Part) -> Part:
    lost = isinstance(part, ImagePart) and part.url.startswith("data:")
    return TextPart(LOST_PICTURE) if lost else part


def continued_line(earlier: EarlierConversation) -> str:
    """What is said of it before it goes on."""
    return f"Continuing run {earlier.run} with {to_one_line(earlier.model)}."
