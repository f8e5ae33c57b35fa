"""A conversation at a terminal: a line for each proposer, the answer, and who said what in it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mixtura.core.events import (
    CacheHit,
    CallRestarted,
    CallStarted,
    Event,
    Failure,
    Notice,
    Position,
    PositionPath,
    RunStarted,
    Token,
)
from mixtura.core.similarity import split_words
from mixtura.core.text import pluralize_count, strip_invisible, to_one_line
from mixtura.storage.run_record import add_text_comparison, last_layer_proposals
from mixtura.terminal.live import LiveView, NoticesView, ProposerCard
from mixtura.terminal.phrases import is_answer_token, seat_name, shorten_model

_STATE_STYLES = {
    "thinking": "blue",
    "writing": "blue",
    "done": "green",
    "cut off": "yellow",
    "stopped": "yellow",
    "failed": "red",
}
_MODEL, _STATE, _TOKENS, _PACE = 24, 8, 12, 6
_TAIL_CHARACTERS = 400
"""Letters at the end of a text that are looked at for its last words."""


class AnswerAndErrorsView(NoticesView):
    """The answer, and only what goes wrong on the way to it: for a pipe."""

    def __call__(self, event: Event) -> None:
        # The mixture is the same at every turn: its layers were named once, when the chat began.
        if not isinstance(event, RunStarted):
            super().__call__(event)


class CompactView(LiveView):
    """
    For a person at a terminal: one line for each proposer while it writes, then the answer;
    until that begins, a line that says who is waited for.
    """

    def __call__(self, event: Event) -> None:
        match event:
            # As above; the greeting has named it.
            case RunStarted(at=()):
                return
            case CallStarted(model, _, (Position(role="aggregator") as seat,)):
                self._write_notice("")
                self._cards[seat] = ProposerCard(seat, to_one_line(model), time.perf_counter())
                self._start_live(transient=True)
                return
            case Token() if is_answer_token(event):
                self._stop_live()
            case Failure() | CallRestarted() | Notice() | CacheHit() if _is_final_aggregator(
                event.at
            ):
                self._stop_live()
            case _:
                pass
        super().__call__(event)

    def close(self) -> None:
        for card in self._cards.values():
            if card.elapsed is None:  # the run ended before it did
                card.state, card.elapsed = "stopped", time.perf_counter() - card.started
        super().close()

    def _render_cards(self) -> RenderableType:
        cards = list(self._cards.values())
        width = self._stderr.width
        longest = max(map(cell_len, (card.model for card in cards)), default=0)
        model = min(longest, _MODEL, max(8, width // 3))
        lines = [_card_line(card, model, width) for card in cards]
        return Group(*lines)


def _is_final_aggregator(at: PositionPath) -> bool:
    return len(at) == 1 and at[0].role == "aggregator"


def _card_line(card: ProposerCard, model: int, width: int) -> Text:
    """``1.2 gpt-5.4-mini  writing  57 tokens  23/s  …scattering of light``, cut to *width*."""
    now = time.perf_counter()
    lasted = (card.elapsed or now - card.started) if card.elapsed is not None else None
    writing = card.state == "thinking" and card.begun is not None
    state = "writing" if writing else card.state
    if card.note.startswith("cut off"):
        state = "cut off"
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{seat_name(card.seat):<3} ", "dim")
    name = shorten_model(card.model, model)
    line.append(name + " " * (model - cell_len(name) + 2))
    line.append(f"{state:<{_STATE}}  ", _STATE_STYLES[state])
    if card.state == "failed":
        line.append(to_one_line(card.note), "red")
    elif card.begun is None and card.elapsed is None:
        line.append(f"{now - card.started:.0f} s{f' · {card.note}' if card.note else ''}", "dim")
    else:
        line.append(f"{pluralize_count(card.tokens, 'token'):>{_TOKENS}}", "dim")
        pace = f"  {_tokens_per_second(card, lasted, now):>{_PACE}}  "
        if line.cell_len + len(pace) < width:  # a number that is cut would be another number
            line.append(pace, "dim")
            line.append(_tail_text(card.text, width - line.cell_len - 1))
    line.truncate(width - 1, overflow="ellipsis")
    return line


def _tokens_per_second(card: ProposerCard, lasted: float | None, now: float) -> str:
    # The first token ends the waiting, so it counts for no rate of writing: that takes two.
    if card.begun is None or card.tokens < 2:
        return ""
    until = now if lasted is None else card.started + lasted
    seconds = until - card.begun
    # Pieces that arrive in one packet would show a rate that no model has.
    return f"{(card.tokens - 1) / seconds:.0f}/s" if seconds > 0.05 else ""


def _tail_text(text: str, room: int) -> str:
    """The end of a text in one line: whole words where one fits."""
    tail = to_one_line(text[-_TAIL_CHARACTERS:])
    if cell_len(tail) <= room and len(text) <= _TAIL_CHARACTERS:
        return tail
    while tail and cell_len(tail) >= room:
        _, space, rest = tail.partition(" ")
        tail = rest if space and cell_len(rest) > room // 2 else tail[1:]
    return f"…{tail}" if room > 1 else ""


def two_columns(rows: Mapping[str, str]) -> RenderableType:
    """Words, and what each of them means."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="cyan")
    table.add_column()
    for word, meaning in rows.items():
        table.add_row(Text(word), Text(meaning))
    return table


# ---- who said what


def answer_sources(run: Mapping[str, Any]) -> RenderableType:
    """The answer's sentences, each with the proposals that it comes from."""
    run = add_text_comparison(dict(run))
    rows = last_layer_proposals(run)
    names = [f"{row['layer']}.{row['index'] + 1}" for row in rows]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, justify="right", style="cyan")
    table.add_column()
    own = 0
    shares = [0.0] * len(rows)
    # Only the closest proposal is credited, so that the shares add up to the whole.
    for origin, text in _merge_by_origin(run["sentences"]):
        count = len(split_words(text))
        for call in origin[:1]:
            shares[call] += count
        own += 0 if origin else count
        label = Text(" ".join(names[call] for call in origin)) if origin else Text("own", "dim")
        table.add_row(label, Text(strip_invisible(text).strip("\n"), "" if origin else "dim"))
    whole = sum(shares) + own
    if not whole:
        return table
    shares_by_name = [
        f"{name} {to_one_line(row['model'])} {share / whole:.0%}"
        for name, row, share in zip(names, rows, shares, strict=True)
        if share
    ]
    if own:
        shares_by_name.append(f"in no proposal {own / whole:.0%}")
    summary = f"By the words they share: {', '.join(shares_by_name)}."
    return Group(table, Text(""), Text(summary, "dim"))


def _merge_by_origin(sentences: Sequence[Mapping[str, Any]]) -> list[tuple[tuple[int, ...], str]]:
    """Neighbours of one origin (its three best) as one text."""
    joined: list[tuple[tuple[int, ...], str]] = []
    for sentence in sentences:
        origin = tuple(source["call"] for source in sentence["from"][:3])
        if joined and joined[-1][0] == origin:
            joined[-1] = (origin, joined[-1][1] + sentence["text"])
        else:
            joined.append((origin, sentence["text"]))
    return joined
