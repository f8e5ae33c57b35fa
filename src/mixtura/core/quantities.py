"""The range of every number that comes from outside: from upstreams, files and people."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, NamedTuple

import msgspec

from mixtura.core.credentials import mask_keys
from mixtura.core.redaction import redact_secrets

# ---- tokens

MAX_TOKENS = 10_000_000
"""Tokens that one call reads or writes at most: no model on sale has a larger window."""
MAX_HIDDEN_TOKENS = 1_000_000
"""
Tokens of a call that are not in what we sent and received at most: instructions and search
results that a provider adds, reasoning that it hides.
"""
MAX_CALL_SEARCHES = 100
"""Searches of the web that a provider makes for one call at most: each has its price."""
MIN_OUTPUT_TOKENS = 16
"""No model's longest answer is shorter: a smaller bound in a refusal is not learned."""
MIN_CONTEXT_WINDOW = 256
"""No model's window is smaller: a number below this one is something else."""
MAX_LEDGER_VALUE = 2**53
"""Tokens, and dollars, of one line of a ledger at most: sums of them stay exact in SQLite."""

_WHOLE = re.compile(rb"[0-9]{1,18}")


def parse_token_count(value: object) -> int | None:
    """
    A count of tokens that an upstream states, as Python's number or as JSON (``msgspec.Raw``).

    None for anything else: a fraction, a text, true, less than none, more than ``MAX_TOKENS``.
    """
    if isinstance(value, msgspec.Raw):
        value = int(value) if _WHOLE.fullmatch(value) else None
    # In Python true is an int.
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MAX_TOKENS else None


def parse_search_count(value: object) -> int | None:
    """How many searches a call made, as its provider says; None for what none makes."""
    count = parse_token_count(value)
    return count if count is not None and count <= MAX_CALL_SEARCHES else None


def parse_http_status(value: object) -> int | None:
    """The status of an answer that is told in JSON; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 100 <= value <= 599 else None


def parse_context_window(value: object) -> int | None:
    """
    Tokens that a model takes in, as a list, a refusal or a file states; None for what is none.
    """
    size = parse_token_count(value)
    return size if size is not None and size >= MIN_CONTEXT_WINDOW else None


def parse_max_output(value: object) -> int | None:
    """Tokens of a model's longest answer, as a list states it; None for what can be none."""
    size = parse_token_count(value)
    return size if size is not None and size >= MIN_OUTPUT_TOKENS else None


def is_null(value: object) -> bool:
    """Whether *value* is no value: None, empty JSON or null."""
    return value is None or (isinstance(value, msgspec.Raw) and bytes(value) in (b"", b"null"))


_MAX_EXCERPT_SOURCE = 4096
"""Characters of which an excerpt is made."""


def redacted_excerpt(value: object, most: int = 40) -> str:
    """*value* as text for a message: without secrets, at most *most* characters."""
    if isinstance(value, msgspec.Raw):
        text = bytes(value)[:_MAX_EXCERPT_SOURCE].decode("utf-8", "replace")
    elif isinstance(value, int) and abs(value) >= 10**most:
        # Python refuses to print an int of more than 4,300 digits, and takes long below that.
        text = f"a number of {int(value.bit_length() * math.log10(2))} digits"
    else:
        text = (
            str(value)[:_MAX_EXCERPT_SOURCE]
            if isinstance(value, str | int | float)
            else type(value).__name__
        )
    # Before it is cut: the beginning of a secret might pass for none.
    text = mask_keys(redact_secrets(text))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def clamp_ledger_tokens(tokens: int) -> int:
    """Tokens as a ledger can hold them."""
    return min(max(tokens, 0), MAX_LEDGER_VALUE)


def clamp_ledger_dollars(dollars: float) -> float:
    """Dollars as a ledger can hold them; what is no number counts as the most there can be."""
    return (
        min(max(dollars, 0.0), float(MAX_LEDGER_VALUE))
        if dollars == dollars
        else float(MAX_LEDGER_VALUE)
    )


# ---- waits

LONGEST_CLOSURE = 3600.0
"""Seconds: no upstream's word closes its endpoint for longer, whatever it says."""

_UNIT = (
    r"(?:days?|d|hours?|hrs?|h|milliseconds?|millis|msecs?|ms|minutes?|mins?|m|seconds?|secs?|s"
    r"|microseconds?|us|µs|nanoseconds?|ns|毫秒|秒|分钟|小时)(?![a-zµ])"
)
NUMBER_OF_UNITS = r"\d{1,100}(?:\.\d{1,100})?"
"""Matches a number that a unit may stand behind. Its digits have a bound: where no unit comes, each
of a million digits would be tried as its beginning."""
DURATION = rf"{NUMBER_OF_UNITS} ?{_UNIT}(?:(?:,? and |, ?| )?{NUMBER_OF_UNITS} ?{_UNIT})*"
"""Matches a duration with its units, in any case: 1m2.5s, 500 ms, 2 minutes 3 seconds."""
_WHOLE_DURATION = re.compile(DURATION, re.ASCII | re.IGNORECASE)
_PIECE = re.compile(rf"(\d+(?:\.\d+)?) ?({_UNIT})", re.ASCII | re.IGNORECASE)
_CLOCK = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d(?:\.\d+)?)", re.ASCII)
_SECONDS_OF = {
    "d": 86400.0, "h": 3600.0, "mi": 60.0, "m": 60.0, "s": 1.0, "ms": 0.001, "mil": 0.001,
    "mse": 0.001, "mic": 1e-6, "u": 1e-6, "µ": 1e-6, "n": 1e-9,
    "毫": 0.001, "秒": 1.0, "分": 60.0, "小": 3600.0,
}  # fmt: skip
_MIN_UNIX_MILLISECONDS = 1e11
"""A Unix time above this is one in milliseconds: in seconds it would be the year 5138."""
_MIN_UNIX_SECONDS = 1e9
"""A number of seconds above this is a Unix time: no one asks for 31 years."""
_MAX_WAIT_CHARS = 100
"""Characters of a wait: what is longer says nothing that anyone can wait for."""


def parse_wait(stated: str | None, now: datetime) -> float | None:
    """
    Seconds to wait, from a number of them, a duration such as 1m30s or 2 minutes 3 seconds, a
    Unix time, an ISO time or an HTTP date; at most ``LONGEST_CLOSURE``. None for what is none of
    them or makes no sense.
    """
    if not stated or not (text := stated.strip()) or len(text) > _MAX_WAIT_CHARS:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = _parse_duration(text)
        return _seconds_until(text, now) if seconds is None else clamp_wait(seconds)
    if math.isfinite(seconds) and seconds > _MIN_UNIX_SECONDS:
        # A Unix time: OpenRouter states it in milliseconds, others in seconds.
        seconds = (
            seconds if seconds < _MIN_UNIX_MILLISECONDS else seconds / 1000
        ) - now.timestamp()
        seconds = max(seconds, 0.0)
    return clamp_wait(seconds)


def parse_wait_ms(text: str | None) -> float | None:
    """Seconds to wait, from a number of milliseconds."""
    try:
        return clamp_wait(float(text) / 1000) if text and len(text) <= _MAX_WAIT_CHARS else None
    except ValueError:
        return None


def clamp_wait(seconds: float | None) -> float | None:
    """Seconds that anyone can wait; None for what is no such number."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, LONGEST_CLOSURE)


def parse_http_date(text: str | None) -> datetime | None:
    """A date as HTTP's headers have it; None for anything else."""
    try:
        when = parsedate_to_datetime(text) if text and len(text) <= _MAX_WAIT_CHARS else None
    except (ValueError, TypeError, ArithmeticError, LookupError):
        return None
    return when if when is None or when.tzinfo else when.replace(tzinfo=UTC)


def parse_duration(text: str) -> float | None:
    """Seconds of a duration with its units (6h, 1h30m, 90 s); None for what is none."""
    return _parse_duration(text.strip())


def _parse_duration(text: str) -> float | None:
    """Seconds of a text that is a duration and nothing else, PT1M30S and 00:01:30 among them."""
    if clock := _CLOCK.fullmatch(text):
        return int(clock[1]) * 3600.0 + int(clock[2]) * 60 + float(clock[3])
    if text[:1] == "P":
        text = text[1:].replace("T", "")
    if not _WHOLE_DURATION.fullmatch(text):
        return None
    return sum(float(number) * _unit_seconds(name.lower()) for number, name in _PIECE.findall(text))


def _unit_seconds(name: str) -> float:
    """Seconds of a unit: its longest beginning that is known."""
    return next(_SECONDS_OF[name[:n]] for n in (3, 2, 1) if name[:n] in _SECONDS_OF)


def _seconds_until(text: str, now: datetime) -> float | None:
    try:
        when = datetime.fromisoformat(text.removesuffix("UTC").strip())
    except ValueError:
        when = parse_http_date(text)
    if when is None:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    try:
        return clamp_wait(max((when - now).total_seconds(), 0.0))
    except ArithmeticError:
        return None


# ---- what people set


class NumberRange(NamedTuple):
    """The numbers that a setting can have; NaN and the infinite are in none."""

    least: float
    most: float
    above: bool = False
    """*least* itself is too little."""
    below: bool = False
    """*most* itself is too much."""

    def range_error(self, value: float) -> str | None:
        """What is wrong with *value* and what would be right; None when it is in range."""
        enough = self.least < value if self.above else self.least <= value
        little = value < self.most if self.below else value <= self.most
        if enough and little:  # both false for NaN
            return None
        low, high = (
            f"{one:,}" if isinstance(one, int) else f"{one:,.0f}"  # a float has 53 bits
            for one in (self.least, self.most)
        )
        right = f"{low} to {high}"
        if self.above or self.below:
            more = "more than" if self.above else "at least"
            right = f"{more} {low} and {'less than' if self.below else 'at most'} {high}"
        whole = isinstance(value, int) or value.is_integer()
        shown = int(value) if whole else value
        return f"{redacted_excerpt(shown)} is out of range: use {right}"

    def check_value(self, name: str, value: float | None) -> None:
        """Raises ValueError where *name* is set to a *value* that is not in range."""
        if value is not None and (problem := self.range_error(value)):
            raise ValueError(f"{name}: {problem}")

    @property
    def msgspec_meta(self) -> msgspec.Meta:
        """The same for msgspec's types."""
        if self.above:
            return msgspec.Meta(gt=self.least, le=self.most)
        return msgspec.Meta(ge=self.least, le=self.most)


SEED = NumberRange(-(2**63), 2**63 - 1)
"""Whole numbers of 64 bits: what providers and servers take."""
ANSWER_TOKENS = NumberRange(1, MAX_TOKENS)
REQUESTED_TOKENS = NumberRange(1, 2**31 - 1)
"""Tokens that a request may ask for: what APIs take, however long answers are."""
COUNT = NumberRange(1, 1_000_000)
"""Prompts, answers to each, prompts in flight, rows of a list."""
POSITIVE_COUNT = NumberRange(1, MAX_LEDGER_VALUE)
BATCH_ROWS = NumberRange(1, 10**12)
"""Rows of a batch, which are read as they are needed."""
LAYERS = NumberRange(1, 100)
COUNTED = NumberRange(0, MAX_LEDGER_VALUE)
"""Tokens, searches and draws that were counted."""
DOLLARS = NumberRange(0, 1e9)
POSITIVE_DOLLARS = NumberRange(0, 1e9, above=True)
SECONDS = NumberRange(0, 1e9)
POSITIVE_SECONDS = NumberRange(0, 1e9, above=True)
OPEN_SHARE = NumberRange(0, 1, above=True, below=True)
POSITIVE_SHARE = NumberRange(0, 1, above=True)
SHARE = NumberRange(0, 1)
TEMPERATURE = NumberRange(0, 5)
SIZE = NumberRange(0, 1e9)
POSITIVE_SIZE = NumberRange(0, 1e9, above=True)

Seed = Annotated[int, SEED.msgspec_meta]
AnswerTokens = Annotated[int, ANSWER_TOKENS.msgspec_meta]
Dollars = Annotated[float, DOLLARS.msgspec_meta]
Seconds = Annotated[float, SECONDS.msgspec_meta]
PositiveSeconds = Annotated[float, POSITIVE_SECONDS.msgspec_meta]
Temperature = Annotated[float, TEMPERATURE.msgspec_meta]
Size = Annotated[float, SIZE.msgspec_meta]
"""Days, megabytes."""
PositiveSize = Annotated[float, POSITIVE_SIZE.msgspec_meta]


def is_unrepresentable(value: object) -> bool:
    """Whether a number is none, has no end, or does not fit 64 bits (TOML has such)."""
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, int) and not -(2**63) <= value < 2**63
