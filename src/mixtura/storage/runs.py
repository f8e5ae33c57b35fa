"""Recorded runs in the store: written, listed, found again, also where one is damaged."""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from mixtura.core import large_json
from mixtura.core.errors import ConfigError, MixturaError, StoreError
from mixtura.core.quantities import clamp_ledger_tokens
from mixtura.core.redaction import NO_SECRETS, Redactor
from mixtura.core.text import collapse_whitespace
from mixtura.storage.run_record import (
    MAX_QUESTION_CHARS,
    Record,
    add_text_comparison,
    format_timestamp,
    iter_leaf_calls,
    last_user_question,
    parse_timestamp,
    redact_record,
    restore_trace,
)
from mixtura.storage.sqlite import DAY_SECONDS, Store, is_corruption_error

_ID_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's 32: in order, and none is taken for another."""
START_LOCK_SECONDS = 1.0
"""Seconds that the note of a run's beginning is worth waiting for."""
LAST_RUN = "last"
"""What a person may call the newest run."""


class RunStore:
    """
    Recorded runs, the newest first.

    *keep*: whether there is anything to keep; *days* and *megabytes*: how long and how much,
    the oldest go first. What is in *hidden* is never written. *notice* is told, once, why
    a run could not be kept; that never stops anyone. Threads may share it.
    """

    def __init__(
        self,
        store: Store,
        *,
        keep: bool = True,
        days: float = 30.0,
        megabytes: float = 512.0,
        hidden: Redactor | Collection[str] = (),
    ) -> None:
        self.keeps = keep
        self.notice: Callable[[str], None] | None = None
        self._store = store
        self._age = days * DAY_SECONDS
        self._size = int(megabytes * 1024**2)
        self._redactor = hidden if isinstance(hidden, Redactor) else Redactor(hidden)
        self._unmeasured = self._size
        """Bytes written since all that is kept was last measured."""

    def new_run_id(self) -> str:
        """An id for a run that begins now: the day, its time (in 82 ms) and chance; they sort."""
        now = self._store.current_time()
        day = time.strftime("%Y%m%d", time.gmtime(now))
        chance = int.from_bytes(os.urandom(3)) % 32**4
        number = int(now % DAY_SECONDS / DAY_SECONDS * 32**4) * 32**4 + chance
        return f"{day}-" + "".join(_ID_DIGITS[number >> shift & 31] for shift in range(35, -1, -5))

    def redact_run(self, record: Mapping[str, Any], redactor: Redactor = NO_SECRETS) -> Record:
        """
        The run as it may be written anywhere: no secret in it, also none of *redactor*'s, and
        stubs for pictures.
        """
        return redact_record(record, self._redactor.with_values(redactor.values))

    def save_run(self, record: Mapping[str, Any], redactor: Redactor = NO_SECRETS) -> bool:
        """Keep it, if runs are kept and it can be done; whether it was."""
        packed = self.pack_record(record, redactor) if self.keeps else None
        return packed is not None and self.write_batch([packed])

    def record_start(self, record: Mapping[str, Any]) -> None:
        """Note that a run has begun, if that can be done soon: one without an end is unfinished."""
        if self.keeps and (packed := self.pack_record(record)) is not None:
            with suppress(StoreError):
                self._write_runs([packed], START_LOCK_SECONDS)

    def pack_record(
        self, record: Mapping[str, Any], redactor: Redactor = NO_SECRETS
    ) -> PackedRun | None:
        """The run as it is written; None, and that is told, where it is too large."""
        safe = self.redact_run(record, redactor)
        body = zlib.compress(large_json.encode(safe))
        if len(body) > self._size:
            self.report_problem("it is larger than all that is kept ([runs] megabytes)")
            return None
        return PackedRun(_run_row(safe), body)

    def write_batch(self, runs: Sequence[PackedRun]) -> bool:
        """Write them in one transaction; whether that was done, and if not, it is told."""
        try:
            self._write_runs(runs)
        except ConfigError as error:
            self.report_problem(str(error))
            with suppress(StoreError), self._store.transaction(0.0) as db:
                for row, _ in runs:  # it is over: what was noted of its beginning goes
                    db.execute("DELETE FROM runs WHERE id = ? AND state = 'running'", row[:1])
            return False
        return True

    def list_runs(
        self,
        limit: int = 50,
        before: str | None = None,
        query: str | None = None,
        *,
        who: str | None = None,
    ) -> list[Record]:
        """
        Runs that began before the run *before*, with every word of *query* in their question,
        model or id; those of *who* only, where that is said. Ask for one more to know
        whether there are more.
        """
        conditions, values = ["1"], list[object]()
        if who is not None:
            conditions.append("who = ?")
            values.append(who)
        with self._store.transaction() as db:
            db.create_function("folded", 1, str.casefold, deterministic=True)
            if before is not None:
                row = db.execute("SELECT started FROM runs WHERE id = ?", (before,)).fetchone()
                conditions.append("(started, id) < (?, ?)" if row else "id < ?")
                values += [*(row or ()), before]
            for word in (query or "").casefold().split():
                conditions.append("instr(folded(question || ' ' || model || ' ' || id), ?)")
                values.append(word)
            try:
                rows = db.execute(
                    f"SELECT {_COLUMNS} FROM runs WHERE {' AND '.join(conditions)}"  # noqa: S608
                    " ORDER BY started DESC, id DESC LIMIT ?",
                    (*values, limit),
                ).fetchall()
            except sqlite3.DatabaseError as error:
                if not is_corruption_error(error):
                    raise
                rows = _readable_rows(db, limit, who)
        alive = self._store.owners.is_alive
        return [_run_list_entry(row, alive) for row in rows]

    def find_run_ids(self, name: str, most: int = 5) -> list[str]:
        """The ids that *name* may mean: an id, the beginning of one or of its end, ``last``."""
        if name == LAST_RUN:
            return [row["id"] for row in self.list_runs(1)]
        with self._store.transaction() as db:
            if db.execute("SELECT 1 FROM runs WHERE id = ?", (name,)).fetchone():
                return [name]
            rows = db.execute(
                "SELECT id FROM runs WHERE instr(id, ?) = 1 OR instr(substr(id, 10), ?) = 1"
                " ORDER BY id DESC LIMIT ?",
                (name, name, most),
            ).fetchall()
        return [row[0] for row in rows] if name else []

    def get_run(self, name: str) -> Record | None:
        """
        The recorded run that *name* means, its texts compared; None where there is none, or
        several.
        """
        found = self.find_run_ids(name, most=2)
        if len(found) != 1:
            return None
        with self._store.transaction() as db:
            query = "SELECT body, state, owner FROM runs WHERE id = ?"
            row = db.execute(query, found).fetchone()
        if row is None:
            return None
        try:
            run = _unpack_run(row[0], found[0])
        except _UNPACK_ERRORS as error:
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise StoreError(
                f"the run {found[0]} in the store {self._store.path} is damaged ({said[:200]}):"
                f" `mixtura runs --delete {found[0]}` removes it"
            ) from None
        if run["state"] == "running" and not self._store.owners.is_alive(row[2]):
            run |= {"state": "unfinished", "error": UNFINISHED_ERROR}
        return run

    def delete_run(self, id: str) -> bool:  # noqa: A002
        """Whether there was one of that id."""
        with self._store.transaction() as db:
            return db.execute("DELETE FROM runs WHERE id = ?", (id,)).rowcount > 0

    def close(self) -> None:
        self._store.close()

    def _write_runs(self, runs: Sequence[PackedRun], patience: float | None = None) -> None:
        with self._store.transaction(patience) as db:
            owner = self._store.owners.own_name()
            for row, body in runs:
                _insert_run(db, row, body, owner)
            db.execute(
                "DELETE FROM runs WHERE started < ?", (self._store.current_time() - self._age,)
            )
            # A look at every row: not for each of thousands of runs.
            self._unmeasured += sum(len(body) for _, body in runs)
            if self._unmeasured > self._size // 64:
                _delete_oldest_runs(db, self._size)
        self._unmeasured %= self._size // 64 + 1

    def report_problem(self, problem: str) -> None:
        """Say, once, why a run could not be kept."""
        notice, self.notice = self.notice, None
        if notice:
            notice(f"this run is not kept: {problem}")


class PackedRun(NamedTuple):
    """A run as it is written: what lists show of it, and all of it."""

    row: tuple[object, ...]
    body: bytes


def _insert_run(db: sqlite3.Connection, row: tuple[object, ...], body: bytes, owner: str) -> None:
    """A run in place of what was noted when it began; never the beginning in place of a run."""
    begins = row[_STATE_COLUMN] == "running"
    marks = ", ".join("?" * (len(row) + 2))
    db.execute(
        f"INSERT OR {'IGNORE' if begins else 'REPLACE'} INTO runs VALUES ({marks})",  # noqa: S608
        (*row, body, owner if begins else ""),
    )


def _delete_oldest_runs(db: sqlite3.Connection, most: int) -> None:
    """Delete the oldest until there are no more than so many bytes."""
    (size,) = db.execute("SELECT sum(length(body)) FROM runs").fetchone()
    while size is not None and size > most:
        oldest = "SELECT rowid, length(body) FROM runs ORDER BY started, id LIMIT 1"
        (number, length) = db.execute(oldest).fetchone()
        db.execute("DELETE FROM runs WHERE rowid = ?", (number,))
        size -= length


_COLUMNS = "id, started, via, model, question, state, seconds, cost, calls, tokens, owner"
_STATE_COLUMN = 5
"""Where a run's state stands in its row."""
DAMAGED_TEXT = "(this run is damaged)"
"""Stands for what cannot be read of a run."""
UNFINISHED_ERROR = "the process that made this run ended before it was kept"

_UNPACK_ERRORS = (
    zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError,
    ValueError, AttributeError, MixturaError,
)  # fmt: skip
"""What reading a body raises that is no run's."""


def _unpack_run(body: Any, id: str) -> Record:  # noqa: A002
    run: Record = large_json.decode(zlib.decompress(body))
    if run["id"] != id:
        raise ValueError("it is another run's")
    restore_trace(run)  # raises where anything is missing or of another form
    parse_timestamp(run["started"])
    return add_text_comparison(run)


def _readable_rows(db: sqlite3.Connection, limit: int, who: str | None) -> list[tuple[Any, ...]]:
    """
    The newest runs of a damaged file, one by one, whatever was searched for; of one that cannot
    be read only the id, where no one's own runs are asked for.
    """
    rows: list[tuple[Any, ...]] = []
    ids = db.execute("SELECT id FROM runs INDEXED BY runs_by_start ORDER BY started DESC, id DESC")
    for (id,) in ids:  # noqa: A001
        try:
            query = f"SELECT who, {_COLUMNS} FROM runs WHERE id = ?"  # noqa: S608
            row = db.execute(query, (id,)).fetchone()
        except sqlite3.DatabaseError:
            row = None
        if row and who in (None, row[0]):
            rows.append(row[1:])
        elif not row and who is None:
            rows.append((id,))
        if len(rows) == limit:
            break
    return rows


def _run_row(run: Record) -> tuple[object, ...]:
    asked = collapse_whitespace(last_user_question(run), MAX_QUESTION_CHARS)
    return (
        run["id"],
        parse_timestamp(run["started"]).timestamp(),
        run["via"],
        run["model"] or "",
        asked if len(asked) <= MAX_QUESTION_CHARS else f"{asked[: MAX_QUESTION_CHARS - 1]}…",
        run["state"],
        run["seconds"],
        run["cost_usd"],
        sum(1 for _ in iter_leaf_calls(run["calls"])),
        clamp_ledger_tokens(run["usage"]["total_tokens"]),
        run.get("who", ""),
    )


def _run_list_entry(row: tuple[Any, ...], alive: Callable[[str], bool]) -> Record:
    """A row as lists have it; what is damaged in it hides no other."""
    try:
        id, started, via, model, asked, state, seconds, cost, calls, tokens, owner = row  # noqa: A001
        if state == "running" and not alive(owner):
            state = "unfinished"
        return {
            "id": id + "",
            "started": format_timestamp(started),
            "model": model + "",
            "question": asked + "",
            "state": state + "",
            "seconds": seconds + 0.0,
            "cost_usd": None if cost is None else cost + 0.0,
            "calls": calls + 0,
            "tokens": tokens + 0,
            "via": via + "",
        }
    except (TypeError, ValueError, OverflowError, OSError):
        return {
            "id": row[0] if isinstance(row[0], str) else str(row[0]),
            "started": format_timestamp(0.0),
            "model": "",
            "question": DAMAGED_TEXT,
            "state": "damaged",
            "seconds": 0.0,
            "cost_usd": None,
            "calls": 0,
            "tokens": 0,
            "via": "",
        }
