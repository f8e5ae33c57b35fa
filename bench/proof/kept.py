"""Answers that are kept: each is drawn once, and every pattern afterwards reads the same one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mixtura import Charge, Completion, ConfigError, Message, Model, RejectedError, Request, Usage
from mixtura.core.events import Emit
from mixtura.protocols.openai.request_fingerprints import request_fingerprint

LABEL: ContextVar[tuple[str, str]] = ContextVar("LABEL", default=("", ""))
"""Which item is being answered, and by which part of the proof: written beside each answer."""

CALLS: ContextVar[list[Kept] | None] = ContextVar("CALLS", default=None)
"""Where the answers that are used are noted, for what they cost."""


class Kept(NamedTuple):
    """One answer of one model: a line of the log."""

    item: str
    model: str
    draw: int
    key: str
    """The fingerprint of what was asked: the model, the messages, the sampling and the draw."""
    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    part: str
    """What the answer was drawn for: "draw", or the name of the pattern that asked."""

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.completion_tokens)


class KeptAnswers:
    """
    A log of answers that only grows; a line that was cut off when the program ended is passed over.

    *files* are read; new answers are appended to the first. A later line of the same key never
    replaces an earlier one.
    """

    def __init__(self, *files: Path) -> None:
        self._file = files[0]
        self._sizes = dict.fromkeys(files, 0)
        self.answers: dict[str, Kept] = {}
        self.read_again()

    def read_again(self) -> None:
        """Take in what other processes have appended meanwhile."""
        for file, known in self._sizes.items():
            size = file.stat().st_size if file.exists() else 0
            if size != known:
                self._sizes[file] = size
                for kept in read_log(file):
                    self.answers.setdefault(kept.key, kept)

    def add(self, kept: Kept) -> None:
        """Append an answer, and have it on the disk before anyone uses it."""
        if kept.key in self.answers:
            return
        self.answers[kept.key] = kept
        line = json.dumps(kept._asdict(), ensure_ascii=False)
        with self._file.open("a", encoding="utf-8") as file:
            # A line that was cut off must not swallow this one.
            file.write(line + "\n" if _ends_whole(self._file) else f"\n{line}\n")


def _ends_whole(file: Path) -> bool:
    if not file.exists() or not file.stat().st_size:
        return True
    with file.open("rb") as opened:
        opened.seek(-1, 2)
        return opened.read(1) == b"\n"


def read_log(file: Path) -> Iterator[Kept]:
    """
    The answers of a log, in their order; none where there is no such file. Raises ConfigError for
    a line that is whole and no answer.
    """
    if not file.exists():
        return
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row: Mapping[str, Any] = json.loads(line)
            except ValueError:  # cut off when the program ended
                continue
            try:
                kept = Kept(**row)
            except TypeError:
                raise ConfigError(
                    f"{file}, line {number}: it is no answer of the proof: take the file elsewhere"
                ) from None
            yield kept


class KeptModel:
    """
    Stands in for the model called *name*: an answer that is kept is given again, and what no
    answer is kept for is asked of *live*, and kept.

    Without *live*, such a request raises RejectedError: nothing is made up.
    """

    def __init__(self, name: str, answers: KeptAnswers, live: Model | None = None) -> None:
        self._name = name
        self._answers = answers
        self._live = live
        self.used: list[Kept] = []
        """Every answer that was given, in the order of the calls."""

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:  # noqa: ARG002
        key = request_fingerprint(request, self._name)
        kept = self._answers.answers.get(key)
        if kept is None and self._live is not None:
            self._answers.read_again()
            kept = self._answers.answers.get(key)
        if kept is None:
            kept = await self._draw(key, request)
            self._answers.add(kept)
        self.used.append(kept)
        if (calls := CALLS.get()) is not None:
            calls.append(kept)
        return completion_of(kept)

    async def _draw(self, key: str, request: Request) -> Kept:
        if self._live is None:
            raise RejectedError("no answer is kept for this request", model=self._name)
        item, part = LABEL.get()
        # The seed comes of what is asked, so that two draws differ and a log can be made again.
        seed = int(key[:7], 16)
        asked = replace(request, sampling=replace(request.sampling, seed=seed))
        started = time.monotonic()
        said = await self._live.complete(asked)
        seconds = round(time.monotonic() - started, 2)
        usage = said.charges[-1].usage if said.charges else said.usage
        return Kept(
            item, self._name, request.draw, key, said.text, said.finish_reason,
            usage.prompt_tokens, usage.completion_tokens, seconds, part,
        )  # fmt: skip


def completion_of(kept: Kept) -> Completion:
    """A kept answer as its model gave it."""
    finish: Any = kept.finish
    charges = (Charge(kept.model, kept.usage),)
    return Completion(Message("assistant", kept.text), kept.model, finish, charges)


@contextmanager
def labelled(item: str, part: str) -> Iterator[None]:
    """Answers drawn in this block are kept under *item* and *part*."""
    token = LABEL.set((item, part))
    try:
        yield
    finally:
        LABEL.reset(token)
