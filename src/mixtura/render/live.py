"""Events to a terminal while a run goes on: proposals side by side as they come, the answer."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from rich import box
from rich.cells import cell_len
from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.containers import Lines
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from mixtura.errors import MixturaError
from mixtura.events import (
    Asked,
    Event,
    Failure,
    LayerFinished,
    Noticed,
    Proposal,
    Recalled,
    Restarted,
    RunStarted,
    Seat,
    Token,
)
from mixtura.render.words import again, is_answer, length, opening, say, seat_name, short, who, why
from mixtura.text import one_line, plural, printable, visible

NARROWEST = 26
"""Columns of a card; a terminal shows as many side by side as fit."""
TALLEST = 12


@dataclass(slots=True)
class Card:
    """One proposer on the screen."""

    seat: Seat
    model: str
    started: float
    text: str = ""
    note: str = ""
    state: str = "thinking"
    elapsed: float | None = None
    begun: float | None = None
    """When its first words came, on the clock of *started*."""
    tokens: int = 0

    def lines(self, width: int) -> Lines:
        said, style = (self.note, "red") if self.state == "failed" else (self.text, "")
        return Text(visible(said).strip() or " ", style).wrap(_MEASURE, width - 4)

    def panel(self, width: int, height: int) -> Panel:
        """*height* lines of text: the newest while it writes, the first once it is done."""
        lines = self.lines(width)
        done = self.elapsed is not None
        if done and len(lines) > height:
            body = Text("\n").join(lines[: height - 1])
            body.append(f"\n… {plural(len(lines) - height + 1, 'more line')}", "dim")
        else:
            body = Text("\n").join(lines[-height:])
        place = seat_name(self.seat)
        return Panel(
            body,
            title=Text(f"{place} {short(self.model, width - 7 - len(place))}"),
            title_align="left",
            subtitle=Text(self._foot(width - 4)),
            subtitle_align="right",
            border_style={"thinking": "blue", "done": "green", "failed": "red"}[self.state],
            width=width,
            height=height + 2,
            box=box.ROUNDED,
        )

    def _foot(self, room: int) -> str:
        seconds = self.elapsed if self.elapsed is not None else time.perf_counter() - self.started
        note = "" if self.state == "failed" else self.note
        whole = f"{note} · {seconds:.1f} s" if note else f"{seconds:.1f} s"
        return whole if cell_len(whole) <= room else note


_MEASURE = Console(width=200, file=io.StringIO())


# ---- while it runs


class Quiet:
    """Only the answer, as it comes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._wrote = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Token) and is_answer(event):
            self._answer(printable(event.text))

    def _answer(self, piece: str) -> None:
        self._write(piece)

    def _write(self, text: str) -> None:
        if text:
            self._wrote = text
            self._out.write(text)
            self._out.flush()

    def close(self) -> None:
        self._end_line()

    def _end_line(self) -> None:
        if self._wrote and not self._wrote.endswith("\n"):
            self._write("\n")


class Telling(Quiet):
    """The answer to *out*; to *aside* what happens on the way to it, each failure once."""

    def __init__(self, out: TextIO, aside: Console) -> None:
        super().__init__(out)
        self._aside = aside
        self._told: MixturaError | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted(shape=shape, at=()):
                self._say(opening(shape), "bold")
            case Failure(model, error, at):
                if error is not self._told:
                    self._say(f"{who(model, at)} failed: {why(error)}", "red")
                self._told = error
            case Restarted(model, error, wait, at):
                if error is None or error is not self._told:
                    self._say(again(who(model, at), error, wait), "yellow")
            case Noticed() | Recalled():
                self._say(f"{who(event.model, event.at)}: {one_line(event.notice)}", "yellow")
            case _:
                super().__call__(event)

    def _say(self, text: str, style: str = "") -> None:
        self._end_line()  # what was written of an answer stays a line of its own
        say(self._aside, text, style)


class Plain(Telling):
    """Line by line, for a pipe or a log: proposals as they come, the answer."""

    def __call__(self, event: Event) -> None:
        match event:
            case Proposal(completion, (Seat() as seat,)):
                self._say(f"\n[{seat_name(seat)}] {one_line(completion.model)}", "bold green")
                self._aside.print(Text(visible(completion.text).strip()), soft_wrap=True)
                if completion.finish_reason == "length":
                    self._say(f"({length(completion)})", "yellow")
            case Asked(model, _, (Seat(role="aggregator"),)):
                self._say(f"\n[answer] {one_line(model)}", "bold cyan")
            case _:
                super().__call__(event)


class Screen(Telling):
    """For a person at a terminal: a layer's proposers side by side while they write."""

    def __init__(self, out: TextIO, aside: Console) -> None:
        super().__init__(out, aside)
        self._wrap = Wrap(aside.width)
        self._cards: dict[Seat, Card] = {}
        self._live: Live | None = None
        self._seen = False

    def __call__(self, event: Event) -> None:
        card = self._cards.get(event.at[0]) if event.at else None
        match event:
            case Asked(model, _, (Seat(role="proposer") as seat,)):
                self._cards[seat] = Card(seat, one_line(model), time.perf_counter())
                self._show()
            case Asked(model, _, (Seat(role="aggregator"),)):
                heading = f"{model} brings them together" if self._seen else model
                self._say(f"\n{one_line(heading)}", "bold cyan")
            case LayerFinished(at=()):
                self._freeze()
            case _ if card and (len(event.at) == 1 or isinstance(event, Token)):
                self._update(card, event)
            case _:
                super().__call__(event)

    def close(self) -> None:
        self._freeze()
        super().close()

    def _answer(self, piece: str) -> None:
        self._write(self._wrap(piece))

    def _end_line(self) -> None:
        self._write(self._wrap.rest())
        self._wrap = Wrap(self._aside.width)
        super()._end_line()

    def _update(self, card: Card, event: Event) -> None:
        match event:
            case Token(text, (_, *inner), False):
                if all(seat.role == "aggregator" for seat in inner):
                    card.text += text
                    card.tokens += event.pieces
                    card.begun = card.begun or time.perf_counter()
            case Restarted(_, error):
                card.text, card.note = "", f"again: {one_line(error)}" if error else "again"
                card.tokens, card.begun = 0, None
            case Proposal(completion):
                card.text, card.state, card.note = completion.text, "done", length(completion)
                card.tokens = completion.usage.completion_tokens
                card.elapsed = time.perf_counter() - card.started
            case Failure(_, error):
                card.state, card.note = "failed", why(error)
                card.elapsed = time.perf_counter() - card.started
            case _:
                super().__call__(event)

    def _show(self, *, transient: bool = False) -> None:
        if self._live is None:
            self._live = Live(
                get_renderable=self._panels,
                console=self._aside,
                refresh_per_second=10,
                vertical_overflow="crop",
                transient=transient,
            )
            self._live.start()

    def _freeze(self) -> None:
        """Leave the layer's cards where they are and go on below them."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._cards.clear()
            self._seen = True

    def _panels(self) -> RenderableType:
        width, height = self._aside.width, self._aside.height
        cards = list(self._cards.values())
        rows = -(-len(cards) // _across(cards, width)) or 1
        return panels(cards, width, max(2, min(TALLEST, (height - 4) // rows - 2)))


def panels(cards: Sequence[Card], width: int, most: int | None = None) -> RenderableType:
    """Cards side by side, those of a row equally high; *most*: lines of text in one."""
    across = _across(cards, width)
    width //= across
    shown: list[Panel] = []
    for i in range(0, len(cards), across):
        row = cards[i : i + across]
        longest = max(len(card.lines(width)) for card in row)
        height = longest if most is None else min(most, longest)
        shown.extend(card.panel(width, height) for card in row)
    return Columns(shown, padding=(0, 0))


def _across(cards: Sequence[Card], width: int) -> int:
    return max(1, min(len(cards), width // NARROWEST))


class Wrap:
    """
    Breaks a stream between words, where a terminal would break it inside them.

    Pieces end anywhere: a word is held back until what follows it shows that it is whole,
    and space until a word follows it. What is longer than a line is not held.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._column = 0
        self._space = ""
        self._word = ""

    def __call__(self, piece: str) -> str:
        shown: list[str] = []
        for part in _PARTS.findall(piece):
            wide = bool(_WIDE.match(part))
            if part.isspace() or wide:
                shown.append(self.rest())
            if part.isspace():
                self._space += part
                continue
            self._word += part
            if wide or cell_len(self._word) > self._width:
                shown.append(self.rest(breaks=wide))
        return "".join(shown)

    def rest(self, *, breaks: bool = False) -> str:
        """The word that was held back; *breaks*: a line may end before it without a space."""
        word, self._word = self._word, ""
        if not word:
            return ""
        space, self._space = self._space, ""
        line = space.rpartition("\n")[2]
        column = (0 if "\n" in space else self._column) + cell_len(line)
        full = column + cell_len(word) > self._width > 20
        if full and "\n" not in space and self._column and (space or breaks):
            space, column = "\n", 0
        self._column = (column + cell_len(word)) % self._width or self._width
        return space + word


_WIDE = re.compile("[\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60]")
_PARTS = re.compile(rf"\s+|{_WIDE.pattern}|(?:(?!{_WIDE.pattern})\S)+")
