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

from mixtura.core.errors import MixturaError
from mixtura.core.events import (
    CacheHit,
    CallRestarted,
    CallStarted,
    Event,
    Failure,
    LayerFinished,
    Notice,
    Position,
    Proposal,
    RunStarted,
    Token,
)
from mixtura.core.text import pluralize_count, sanitize_chunk, strip_invisible, to_one_line
from mixtura.terminal.phrases import (
    describe_layers,
    error_text,
    is_answer_token,
    length_text,
    model_with_seat,
    print_line,
    restart_text,
    seat_name,
    shorten_model,
)

MIN_CARD_WIDTH = 26
"""Columns of a card; a terminal shows as many side by side as fit."""
MAX_CARD_LINES = 12


@dataclass(slots=True)
class ProposerCard:
    """One proposer on the screen."""

    seat: Position
    model: str
    started: float
    text: str = ""
    note: str = ""
    state: str = "thinking"
    elapsed: float | None = None
    begun: float | None = None
    """When its first words came, on the clock of *started*."""
    tokens: int = 0

    def wrapped_lines(self, width: int) -> Lines:
        content, style = (self.note, "red") if self.state == "failed" else (self.text, "")
        return Text(strip_invisible(content).strip() or " ", style).wrap(
            _MEASURING_CONSOLE, width - 4
        )

    def to_panel(self, width: int, height: int) -> Panel:
        """*height* lines of text: the newest while it writes, the first once it is done."""
        lines = self.wrapped_lines(width)
        done = self.elapsed is not None
        if done and len(lines) > height:
            body = Text("\n").join(lines[: height - 1])
            body.append(f"\n… {pluralize_count(len(lines) - height + 1, 'more line')}", "dim")
        else:
            body = Text("\n").join(lines[-height:])
        place = seat_name(self.seat)
        return Panel(
            body,
            title=Text(f"{place} {shorten_model(self.model, width - 7 - len(place))}"),
            title_align="left",
            subtitle=Text(self._footer_text(width - 4)),
            subtitle_align="right",
            border_style={"thinking": "blue", "done": "green", "failed": "red"}[self.state],
            width=width,
            height=height + 2,
            box=box.ROUNDED,
        )

    def _footer_text(self, room: int) -> str:
        seconds = self.elapsed if self.elapsed is not None else time.perf_counter() - self.started
        note = "" if self.state == "failed" else self.note
        whole = f"{note} · {seconds:.1f} s" if note else f"{seconds:.1f} s"
        return whole if cell_len(whole) <= room else note


# Measures how lines break without touching the terminal; each card wraps to its own width.
_MEASURING_CONSOLE = Console(width=200, file=io.StringIO())


# ---- while it runs


class AnswerView:
    """Only the answer, as it comes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._wrote = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Token) and is_answer_token(event):
            self._write_answer(sanitize_chunk(event.text))

    def _write_answer(self, piece: str) -> None:
        self._write_text(piece)

    def _write_text(self, text: str) -> None:
        if text:
            self._wrote = text
            self._out.write(text)
            self._out.flush()

    def close(self) -> None:
        self._end_line()

    def _end_line(self) -> None:
        if self._wrote and not self._wrote.endswith("\n"):
            self._write_text("\n")


class NoticesView(AnswerView):
    """The answer to *out*; to *stderr* what happens on the way to it, each failure once."""

    def __init__(self, out: TextIO, stderr: Console) -> None:
        super().__init__(out)
        self._stderr = stderr
        self._last_failure: MixturaError | None = None
        # Without a network everyone fails for the same reason: it is told once, not forty times.
        self._failures_told: set[str] = set()
        self._retries_told: set[str] = set()

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted(shape=shape, at=()):
                self._write_notice(describe_layers(shape), "bold")
            case Failure(model, error, at):
                # A call that failed and is retried reports one error twice: as a failure, then as
                # a reason.
                if error is not self._last_failure:
                    reason = error_text(error)
                    told = reason in self._failures_told
                    self._failures_told.add(reason)
                    said = "failed for the same reason" if told else f"failed: {reason}"
                    self._write_notice(f"{model_with_seat(model, at)} {said}", "red")
                self._last_failure = error
            case CallRestarted(model, error, wait, at):
                told = error is not None and str(error) in self._retries_told
                self._retries_told.add(str(error))
                if error is None or not (told or error is self._last_failure):
                    self._write_notice(
                        restart_text(model_with_seat(model, at), error, wait), "yellow"
                    )
            case Notice() | CacheHit():
                self._write_notice(
                    f"{model_with_seat(event.model, event.at)}: {to_one_line(event.notice)}",
                    "yellow",
                )
            case _:
                super().__call__(event)

    def _write_notice(self, text: str, style: str = "") -> None:
        self._end_line()  # what was written of an answer stays a line of its own
        print_line(self._stderr, text, style)


class PlainLogView(NoticesView):
    """Line by line, for a pipe or a log: proposals as they come, the answer."""

    def __call__(self, event: Event) -> None:
        match event:
            case Proposal(_, (Position(role="judge" | "reporter"),)):
                pass  # what comes of it is told in words
            case Proposal(completion, (Position() as seat,)):
                self._write_notice(
                    f"\n[{seat_name(seat)}] {to_one_line(completion.model)}", "bold green"
                )
                self._stderr.print(Text(strip_invisible(completion.text).strip()), soft_wrap=True)
                if completion.finish_reason == "length":
                    self._write_notice(f"({length_text(completion)})", "yellow")
            case CallStarted(model, _, (Position(role="aggregator"),)):
                self._write_notice(f"\n[answer] {to_one_line(model)}", "bold cyan")
            case _:
                super().__call__(event)


class LiveView(NoticesView):
    """For a person at a terminal: a layer's proposers side by side while they write."""

    def __init__(self, out: TextIO, stderr: Console) -> None:
        super().__init__(out, stderr)
        self._wrap = WordWrapper(stderr.width)
        self._cards: dict[Position, ProposerCard] = {}
        self._live: Live | None = None
        self._seen = False

    def __call__(self, event: Event) -> None:
        card = self._cards.get(event.at[0]) if event.at else None
        match event:
            case CallStarted(model, _, (Position(role="proposer") as seat,)):
                self._cards[seat] = ProposerCard(seat, to_one_line(model), time.perf_counter())
                self._start_live()
            case CallStarted(model, _, (Position(role="aggregator"),)):
                heading = f"Answer by {model}" if self._seen else model
                self._write_notice(f"\n{to_one_line(heading)}", "bold cyan")
            case LayerFinished(at=()):
                self._stop_live()
            case _ if card and (len(event.at) == 1 or isinstance(event, Token)):
                self._update_card(card, event)
            case _:
                super().__call__(event)

    def close(self) -> None:
        self._stop_live()
        super().close()

    def _write_answer(self, piece: str) -> None:
        self._write_text(self._wrap(piece))

    def _end_line(self) -> None:
        self._write_text(self._wrap.flush_word())
        self._wrap = WordWrapper(self._stderr.width)
        super()._end_line()

    def _update_card(self, card: ProposerCard, event: Event) -> None:
        match event:
            case Token(text, (_, *inner), False):
                # A proposer may be a mixture, whose own proposers write no part of its proposal.
                if all(seat.role == "aggregator" for seat in inner):
                    card.text += text
                    card.tokens += event.pieces
                    card.begun = card.begun or time.perf_counter()
            case CallRestarted(_, error):
                # The card must not go on from words that the new attempt may not repeat.
                card.text, card.note = "", f"again: {to_one_line(error)}" if error else "again"
                card.tokens, card.begun = 0, None
            case Proposal(completion):
                card.text, card.state, card.note = completion.text, "done", length_text(completion)
                card.tokens = completion.usage.completion_tokens
                card.elapsed = time.perf_counter() - card.started
            case Failure(_, error):
                card.state, card.note = "failed", error_text(error)
                card.elapsed = time.perf_counter() - card.started
            case _:
                super().__call__(event)

    def _start_live(self, *, transient: bool = False) -> None:
        if self._live is None:
            self._live = Live(
                get_renderable=self._render_cards,
                console=self._stderr,
                refresh_per_second=10,
                # What does not fit is cut: a line that has scrolled away cannot be drawn anew.
                vertical_overflow="crop",
                transient=transient,
            )
            self._live.start()

    def _stop_live(self) -> None:
        """Leave the layer's cards where they are and go on below them."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._cards.clear()
            self._seen = True

    def _render_cards(self) -> RenderableType:
        width, height = self._stderr.width, self._stderr.height
        cards = list(self._cards.values())
        rows = -(-len(cards) // _cards_per_row(cards, width)) or 1
        # Two lines of a card are its border.
        return card_panels(cards, width, max(2, min(MAX_CARD_LINES, (height - 4) // rows - 2)))


def card_panels(
    cards: Sequence[ProposerCard], width: int, most: int | None = None
) -> RenderableType:
    """Cards side by side, those of a row equally high; *most*: lines of text in one."""
    across = _cards_per_row(cards, width)
    width //= across
    panels: list[Panel] = []
    for i in range(0, len(cards), across):
        row = cards[i : i + across]
        longest = max(len(card.wrapped_lines(width)) for card in row)
        height = longest if most is None else min(most, longest)
        panels.extend(card.to_panel(width, height) for card in row)
    return Columns(panels, padding=(0, 0))


def _cards_per_row(cards: Sequence[ProposerCard], width: int) -> int:
    return max(1, min(len(cards), width // MIN_CARD_WIDTH))


class WordWrapper:
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
        for part in _WORD_OR_SPACE.findall(piece):
            wide = bool(_WIDE_CHARACTER.match(part))
            if part.isspace() or wide:
                shown.append(self.flush_word())
            if part.isspace():
                self._space += part
                continue
            self._word += part
            if wide or cell_len(self._word) > self._width:
                shown.append(self.flush_word(breaks=wide))
        return "".join(shown)

    def flush_word(self, *, breaks: bool = False) -> str:
        """The word that was held back; *breaks*: a line may end before it without a space."""
        word, self._word = self._word, ""
        if not word:
            return ""
        space, self._space = self._space, ""
        line = space.rpartition("\n")[2]
        column = (0 if "\n" in space else self._column) + cell_len(line)
        # Below twenty columns most words would stand alone: there the terminal breaks them.
        full = column + cell_len(word) > self._width > 20
        if full and "\n" not in space and self._column and (space or breaks):
            space, column = "\n", 0
        self._column = (column + cell_len(word)) % self._width or self._width
        return space + word


# Scripts without spaces between words: a line may break before any of these characters.
_WIDE_CHARACTER = re.compile("[\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60]")
_WORD_OR_SPACE = re.compile(rf"\s+|{_WIDE_CHARACTER.pattern}|(?:(?!{_WIDE_CHARACTER.pattern})\S)+")
