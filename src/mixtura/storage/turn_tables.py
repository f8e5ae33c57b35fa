"""The tables of turns and titles: written beside runs, searched, and read by conversation."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from mixtura.core.quantities import MAX_LEDGER_VALUE
from mixtura.storage.transaction import Transaction
from mixtura.storage.turns import (
    DAMAGED_TEXT,
    TURN_COLUMNS,
    UNPACK_ERRORS,
    TurnPlace,
    TurnRow,
    build_turn_row,
    like_pattern,
    unpack_run,
)

SEARCH_PAGE = 200
"""Runs that are read at a time."""
HAS_WORD = "words LIKE ? ESCAPE '!'"
"""A condition on turns; its value is a ``like_pattern``."""
MAX_STARTED = 250_000_000_000.0
"""Seconds since the epoch, before the year 9900."""
ANSWERED = ("answered", "degraded")


class FoundRun(NamedTuple):
    """A run that makes its conversation appear in a list."""

    id: str
    started: float
    conversation: str
    beside: str


class RunSummary(NamedTuple):
    """A run as lists of conversations need it."""

    id: str
    conversation: str
    beside: str
    started: float
    question: str
    model: str
    state: str
    cost: float | None
    owner: str


_SUMMARY = (
    "r.id, coalesce(t.conversation, r.id), coalesce(t.beside, ''), r.started, r.question, r.model,"
    " r.state, r.cost, r.owner"
)


def write_turns(db: Transaction, rows: Iterable[TurnRow]) -> None:
    """Write turns, each in place of what was noted when its run began."""
    replace = ", ".join(f"{name} = excluded.{name}" for name in TurnRow._fields[1:])
    db.execute_many(
        f"INSERT INTO turns ({TURN_COLUMNS}) VALUES ({', '.join('?' * len(TurnRow._fields))})"  # noqa: S608
        f" ON CONFLICT (run) DO UPDATE SET {replace}",
        list(rows),
    )


def delete_lost_turns(db: Transaction) -> None:
    """Delete the turns of runs that are no longer kept, and titles of nothing."""
    db.execute("DELETE FROM turns WHERE run NOT IN (SELECT id FROM runs)")
    db.execute("DELETE FROM titles WHERE conversation NOT IN (SELECT conversation FROM turns)")


def find_runs_without_turn(db: Transaction) -> list[str]:
    """Some of the runs that an older version has kept; empty where there is none."""
    rows = db.fetch_all(
        "SELECT r.id FROM runs r LEFT JOIN turns t ON t.run = r.id WHERE t.run IS NULL LIMIT ?",
        (SEARCH_PAGE,),
    )
    return [row[0] for row in rows]


def read_turns_from_bodies(db: Transaction, ids: Sequence[str]) -> Iterator[TurnRow]:
    """The turns of kept runs, made from all that is kept of them."""
    for one in ids:
        row = db.fetch_one("SELECT body, question FROM runs WHERE id = ?", (one,))
        if row is None:  # a damaged id
            continue
        body, question = row
        try:
            yield build_turn_row(unpack_run(body, one))
        except UNPACK_ERRORS:  # a damaged one is found by what lists show of it
            words = f"{question} {one}".casefold().replace("\0", "")
            yield TurnRow(one, one, "", "", words, zlib.compress(b"null"))


# ---- looking for runs


def _run_conditions(words: Sequence[str], who: str | None) -> tuple[str, list[object]]:
    each = f" AND (t.{HAS_WORD} OR n.{HAS_WORD})"
    values: list[object] = [like_pattern(word) for word in words for _ in range(2)]
    if who is None:
        return each * len(words), values
    # First whose it is: nobody's search looks through the texts of others.
    return " AND r.who = ?" + each * len(words), [who, *values]


def _find_cursor(db: Transaction, before: str) -> tuple[object, ...]:
    """When the run *before* began, and its id; the id alone where it is gone."""
    row = db.fetch_one("SELECT started FROM runs WHERE id = ?", (before,))
    return (row[0], before) if row else (before,)


_JOINED = (
    " FROM runs r LEFT JOIN turns t ON t.run = r.id"
    " LEFT JOIN titles n ON n.conversation = t.conversation"
)


def iterate_found_runs(
    db: Transaction, before: str | None, words: Sequence[str], who: str | None
) -> Iterator[FoundRun]:
    """The runs with every one of *words* that began before the run *before*, newest first."""
    matching, values = _run_conditions(words, who)
    start = () if before is None else _find_cursor(db, before)
    while True:
        after = ("", " AND r.id < ?", " AND (r.started, r.id) < (?, ?)")[len(start)]
        rows = db.fetch_all(
            "SELECT r.id, r.started, coalesce(t.conversation, r.id), coalesce(t.beside, '')"
            f"{_JOINED} WHERE 1 = 1{matching}{after}"
            " ORDER BY r.started DESC, r.id DESC LIMIT ?",
            (*values, *start, SEARCH_PAGE),
        )
        yield from (FoundRun(*row) for row in rows)
        if len(rows) < SEARCH_PAGE:
            return
        start = (rows[-1][1], rows[-1][0])


def is_listed_before(
    db: Transaction, run: FoundRun, before: str, words: Sequence[str], who: str | None
) -> bool:
    """Whether the conversation was on an earlier page, for a newer run of its own."""
    matching, values = _run_conditions(words, who)
    start = _find_cursor(db, before)
    newer = ("r.id >= ?", "(r.started, r.id) >= (?, ?)")[len(start) - 1]
    row = db.fetch_one(
        f"SELECT 1{_JOINED} WHERE t.conversation = ?{matching} AND {newer} LIMIT 1",
        (run.conversation, *values, *start),
    )
    return row is not None


def load_summaries(
    db: Transaction, conversations: Iterable[str], who: str | None
) -> list[RunSummary]:
    """The runs of conversations, the oldest first."""
    names = list(conversations)
    if not names:
        return []
    marks = ", ".join("?" * len(names))
    mine, values = ("", names) if who is None else (" AND r.who = ?", [*names, who])
    rows = db.fetch_all(
        f"SELECT {_SUMMARY} FROM turns t JOIN runs r ON r.id = t.run"  # noqa: S608
        f" WHERE t.conversation IN ({marks}){mine}",
        values,
    )
    # Runs that an older version has kept: each is a conversation of its own.
    rows += db.fetch_all(
        f"SELECT {_SUMMARY} FROM runs r LEFT JOIN turns t ON t.run = r.id"  # noqa: S608
        f" WHERE r.id IN ({marks}){mine} AND t.run IS NULL",
        values,
    )
    return sorted(map(_read_summary, rows), key=lambda run: (run.started, run.id))


def _read_summary(row: Sequence[Any]) -> RunSummary:
    """A row as it can be shown, whatever a damaged store has in its columns."""
    id_, conversation, beside, started, question, model, state, cost, owner = row
    right = isinstance(started, int | float) and 0 <= started <= MAX_STARTED
    known = isinstance(cost, int | float) and 0 <= cost <= MAX_LEDGER_VALUE
    return RunSummary(
        str(id_),
        str(conversation),
        str(beside),
        float(started) if right else 0.0,
        question if isinstance(question, str) else DAMAGED_TEXT,
        model if isinstance(model, str) else "",
        state if isinstance(state, str) else "damaged",
        float(cost) if known else None,
        owner if isinstance(owner, str) else "",
    )


def load_titles(db: Transaction, conversations: Iterable[str]) -> dict[str, str]:
    names = list(conversations)
    if not names:
        return {}
    marks = ", ".join("?" * len(names))
    query = f"SELECT conversation, title FROM titles WHERE conversation IN ({marks})"  # noqa: S608
    rows = db.fetch_all(query, names)
    return {name: title for name, title in rows if isinstance(title, str)}


def find_conversation_id(db: Transaction, name: str) -> str:
    """The conversation of a run; *name* itself where it is none of a later turn."""
    row = db.fetch_one("SELECT conversation FROM turns WHERE run = ?", (name,))
    return row[0] if row else name


def find_turn_place(db: Transaction, run: str, who: str | None) -> TurnPlace | None:
    row = db.fetch_one(
        "SELECT r.who, coalesce(t.conversation, r.id), coalesce(t.previous, ''),"
        " coalesce(t.beside, '') FROM runs r LEFT JOIN turns t ON t.run = r.id WHERE r.id = ?",
        (run,),
    )
    if row is None or who not in (None, row[0]):
        return None
    return TurnPlace(*row[1:])


def load_choices(db: Transaction, conversation: str) -> dict[str, dict[str, Any]]:
    """What was chosen of answers without names: by the run beside the mixture's."""
    rows = db.fetch_all(
        "SELECT c.beside, c.choice FROM choices c JOIN turns t ON t.run = c.beside"
        " AND t.beside = c.run WHERE t.conversation = ?",
        (conversation,),
    )
    return {str(beside): {"choice": choice} for beside, choice in rows}


def count_answered(db: Transaction, place: TurnPlace) -> int:
    """How many runs at that place of a conversation have an answer."""
    column = "beside" if place.beside else "previous"
    (count,) = db.fetch_one(
        "SELECT count(*) FROM turns t JOIN runs r ON r.id = t.run"  # noqa: S608
        f" WHERE t.conversation = ? AND t.{column} = ? AND (t.beside = '') = ?"
        " AND r.state IN (?, ?)",
        (place.conversation, getattr(place, column), not place.beside, *ANSWERED),
    )
    return count
