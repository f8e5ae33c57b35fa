"""What is said at a terminal, in words: places, reasons, amounts."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from mixtura.core.errors import MixturaError, QuorumNotMetError
from mixtura.core.events import Position, PositionPath, Token
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.types import Completion


def print_line(console: Console, text: str, style: str = "") -> None:
    """A line of our own: broken between words at a terminal, whole in a log."""
    console.print(Text(text, style), soft_wrap=not console.is_terminal)


def is_answer_token(event: Token) -> bool:
    return not event.reasoning and all(seat.role == "aggregator" for seat in event.at)


def describe_layers(shape: tuple[tuple[str, ...], ...]) -> str:
    *layers, (last, *_) = shape
    if not layers:
        return f"{to_one_line(last)} alone"
    sizes = [len(layer) for layer in layers]
    noun = "proposal" if sizes == [1] else "proposals"
    counts = " + ".join(map(str, sizes))
    return f"{len(shape)} layers: {counts} {noun}, then {to_one_line(last)}"


def seat_name(seat: Position) -> str:
    place = f"{seat.layer}.{seat.index + 1}"
    names = {"judge": f"judge {place}", "aggregator": "answer", "reporter": "agreement"}
    return names.get(seat.role, place)


def seat_path(at: PositionPath) -> str:
    return " › ".join(map(seat_name, at))


def model_with_seat(model: str, at: PositionPath) -> str:
    """A model and its seat, where it is not plain that it writes the answer."""
    alone = all(seat.role == "aggregator" for seat in at[:1]) and len(at) < 2
    return to_one_line(model) if alone else f"{seat_path(at)} {to_one_line(model)}"


def error_text(error: MixturaError) -> str:
    if isinstance(error, QuorumNotMetError):  # its causes were shown as they happened
        return error.summary
    return to_one_line(error)


def restart_text(who: str, error: object, wait: float) -> str:
    when = f" in {wait:.1f} s" if wait >= 0.1 else ""
    return f"{who}: retrying{when}" + (f": {to_one_line(error)}" if error else "")


def length_text(completion: Completion) -> str:
    tokens = completion.usage.completion_tokens
    if completion.finish_reason == "length":
        if completion.charges:  # the last is the call that was cut; fallbacks before it count, too
            tokens = completion.charges[-1].usage.completion_tokens
        return f"cut off at {tokens} token{'' if tokens == 1 else 's'}"
    return pluralize_count(tokens, "token")


def shorten_model(model: str, room: int) -> str:
    """A name for a card: without its provider, without its end, as room demands."""
    if cell_len(model) > room:
        # What stands before the last slash is the provider, which a reader can do without.
        model = model.rpartition("/")[2] or model
    return model if cell_len(model) <= room else f"{model[: max(room - 1, 0)]}…"


def format_tokens(tokens: int, estimated: bool) -> str:
    return f"{'~' if estimated else ''}{tokens:,}"


def format_dollars(amount: float | None) -> str:
    """An amount as a person reads it; unknown is not zero, nor is little."""
    if amount is None:
        return "unknown"
    if amount == 0:
        return "$0"
    if amount < 0.0001:
        return "<$0.0001"
    return f"${amount:.4f}" if amount < 1 else f"${amount:,.2f}"


def format_most_dollars(amount: float | None) -> str:
    """The most that something can cost, as a person reads it."""
    if amount is None:
        return "price unknown"
    return f"at most {format_dollars(amount).removeprefix('<')}"


def format_estimated_dollars(amount: float | None) -> str:
    """What something has cost or will, by an estimate, as a person reads it."""
    if amount is None:
        return "cost unknown"
    text = format_dollars(amount)
    return text if text in ("$0", "<$0.0001") else f"about {text}"
