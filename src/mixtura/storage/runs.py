"""Recorded runs in the store: written, listed, found again, also where one is damaged."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Unpack

from mixtura.core import large_json
from mixtura.core.errors import ConfigError, StoreDamagedError, StoreError
from mixtura.core.quantities import clamp_ledger_tokens
from mixtura.core.redaction import NO_SECRETS, Redactor
from mixtura.core.text import collapse_whitespace
from mixtura.storage.choices import ChoiceStore
from mixtura.storage.conversations import ConversationStore
from mixtura.storage.eviction import BoundedRecords, RecordBounds, delete_excess
from mixtura.storage.interfaces import DAY_SECONDS, Store
from mixtura.storage.run_record import (
    MAX_QUESTION_CHARS,
    Record,
    add_text_comparison,
    format_timestamp,
    iter_leaf_calls,
    last_user_question,
    parse_timestamp,
    redact_record,
    without_replaced_items,
)
from mixtura.storage.transaction import Transaction
from mixtura.storage.turn_tables import HAS_WORD, delete_lost_turns, write_turns
from mixtura.storage.turns import (
    DAMAGED_TEXT,
    UNFINISHED_ERROR,
    UNPACK_ERRORS,
    TurnRow,
    build_turn_row,
    fold_words,
    like_pattern,
    unpack_run,
)

_ID_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's 32: in order, and none is taken for another."""
START_LOCK_SECONDS = 1.0
"""Seconds that the note of a run's beginning is worth waiting for."""
LAST_RUN = "last"
"""What a person may call the newest run."""


class RunStore(BoundedRecords):
    """
    Recorded runs, the newest first.

    *keep*: whether there is anything to keep; *days* and *megabytes*: how long and how much,
    the oldest go first. What is in *hidden* is never written. *shared*: the store is not this
    machine's alone, so what members were not shown is not kept. Threads may share it.
    """

    kind = "run"

    def __init__(
        self, store: Store, *, keep: bool = True, shared: bool = False,
        **bounds: Unpack[RecordBounds],
    ) -> None:  # fmt: skip
        super().__init__(store, **bounds)
        self._shared = shared
        self.keeps = keep
        self.conversations = ConversationStore(store, self._redactor)
        self.choices = ChoiceStore(store)

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
        return packed is not None and self.write_records([packed])

    def record_start(self, record: Mapping[str, Any], redactor: Redactor = NO_SECRETS) -> None:
        """Note that a run has begun, if that can be done soon: one without an end is unfinished."""
        if self.keeps and (packed := self.pack_record(record, redactor)) is not None:
            with suppress(StoreError):
                self._write_runs([packed], START_LOCK_SECONDS)

    def pack_record(
        self, record: Mapping[str, Any], redactor: Redactor = NO_SECRETS
    ) -> PackedRun | None:
        """The run as it is written; None, and that is told, where it is too large."""
        safe = self.redact_run(record, redactor)
        if self._shared:
            safe = without_replaced_items(safe)
        body = zlib.compress(large_json.encode(safe))
        if len(body) > self._size:
            self.report_problem("it is larger than all that is kept ([runs] megabytes)")
            return None
        return PackedRun(_run_row(safe), body, build_turn_row(safe))

    def write_records(self, runs: Sequence[PackedRun]) -> bool:
        """Write them in one transaction; whether that was done, and if not, it is told."""
        try:
            self._write_runs(runs)
        except ConfigError as error:
            self.report_problem(str(error))
            with suppress(StoreError), self._store.transaction(0.0, alone="runs") as db:
                for run in runs:  # it is over: what was noted of its beginning goes
                    begun = "DELETE FROM runs WHERE id = ? AND state = 'running'"
                    if db.execute(begun, run.row[:1]):
                        db.execute("DELETE FROM turns WHERE run = ?", run.row[:1])
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
        answer, model or id; those of *who* only, where that is said. Ask for one more to know
        whether there are more.
        """
        words = fold_words(query or "")
        if words:
            with suppress(StoreDamagedError):
                self.conversations.complete_turns()
        with self._store.read_transaction() as db:
            try:
                rows = _find_rows(db, before, who, words, limit)
            except StoreDamagedError:
                rows = _readable_rows(db, limit, who)
            owners = {
                row[-1] for row in rows if row[_STATE_COLUMN : _STATE_COLUMN + 1] == ("running",)
            }
            dead = db.find_dead_processes(owners)
        return [_run_list_entry(row, dead) for row in rows]

    def find_run_ids(self, name: str, most: int = 5) -> list[str]:
        """The ids that *name* may mean: an id, the beginning of one or of its end, ``last``."""
        if name == LAST_RUN:
            return [row["id"] for row in self.list_runs(1)]
        with self._store.transaction() as db:
            if db.fetch_one("SELECT 1 FROM runs WHERE id = ?", (name,)):
                return [name]
            rows = db.fetch_all(
                "SELECT id FROM runs WHERE substr(id, 1, ?) = ? OR substr(id, 10, ?) = ?"
                " ORDER BY id DESC LIMIT ?",
                (len(name), name, len(name), name, most),
            )
        return [row[0] for row in rows] if name else []

    def get_run(self, name: str, *, compared: bool = True) -> Record | None:
        """
        The recorded run that *name* means; None where there is none, or several.

        *compared*: with how alike its texts are, which takes a while where there is much text.
        """
        found = self.find_run_ids(name, most=2)
        if len(found) != 1:
            return None
        with self._store.transaction() as db:
            query = "SELECT body, state, owner FROM runs WHERE id = ?"
            row = db.fetch_one(query, found)
            dead = db.find_dead_processes({row[2]} if row else ())
        if row is None:
            return None
        try:
            run = unpack_run(row[0], found[0])
        except UNPACK_ERRORS as error:
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise StoreError(
                f"the run {found[0]} in the store {self._store.name} is damaged ({said[:200]}):"
                f" `mixtura runs --delete {found[0]}` removes it"
            ) from None
        if run["state"] == "running" and row[2] in dead:
            # Nobody lived to write down what its calls cost.
            run |= {"state": "unfinished", "error": UNFINISHED_ERROR, "cost_usd": None}
        return add_text_comparison(run) if compared else run

    def delete_run(self, id: str) -> bool:  # noqa: A002
        """Whether there was one of that id."""
        with self._store.transaction() as db:
            there = db.execute("DELETE FROM runs WHERE id = ?", (id,)) > 0
            delete_lost_turns(db)
        return there

    def close(self) -> None:
        self._store.close()

    def _write_runs(self, runs: Sequence[PackedRun], lock_timeout: float | None = None) -> None:
        with self._store.transaction(lock_timeout, alone="runs") as db:
            owner = db.own_name()
            written = [run for run in runs if _insert_run(db, run.row, run.body, owner)]
            write_turns(db, (run.turn for run in written))
            oldest = self._store.current_time() - self._age
            gone = db.execute("DELETE FROM runs WHERE started < ?", (oldest,))
            # A look at every row: not for each of thousands of runs.
            self._unmeasured += sum(len(run.body) for run in runs)
            if self._unmeasured > self._size // 64:
                gone += delete_excess(db, "runs", self._size)
            if gone:
                delete_lost_turns(db)
        self._unmeasured %= self._size // 64 + 1


class PackedRun(NamedTuple):
    """A run as it is written: what lists show of it, all of it, and its turn."""

    row: tuple[object, ...]
    body: bytes
    turn: TurnRow


def _insert_run(db: Transaction, row: tuple[object, ...], body: bytes, owner: str) -> bool:
    """
    A run in place of what was noted when it began; never the beginning in place of a run. Whether
    it was written.
    """
    begins = row[_STATE_COLUMN] == "running"
    replace = ", ".join(f"{name} = excluded.{name}" for name in _WRITTEN_COLUMNS[1:])
    count = db.execute(
        f"INSERT INTO runs ({', '.join(_WRITTEN_COLUMNS)})"  # noqa: S608
        f" VALUES ({', '.join('?' * len(_WRITTEN_COLUMNS))})"
        f" ON CONFLICT (id) DO {'NOTHING' if begins else f'UPDATE SET {replace}'}",
        (*row, body, owner if begins else ""),
    )
    return count > 0


_COLUMNS = "id, started, via, model, question, state, seconds, cost, calls, tokens, owner"
_WRITTEN_COLUMNS = (
    "id", "started", "via", "model", "question", "state", "seconds", "cost", "calls", "tokens",
    "who", "body", "owner",
)  # fmt: skip
_STATE_COLUMN = 5
"""Where a run's state stands in its row."""


def _find_rows(
    db: Transaction, before: str | None, who: str | None, words: Sequence[str], limit: int
) -> list[tuple[Any, ...]]:
    """
    The rows of the runs that began before the run *before*, the newest first.

    Raises StoreDamagedError.
    """
    conditions, values = ["1 = 1"], list[object]()
    if who is not None:
        conditions.append("who = ?")
        values.append(who)
    if words:
        conditions.append(
            # For each run of theirs: a text is the last thing to be looked at.
            "EXISTS (SELECT 1 FROM turns t WHERE t.run = runs.id"  # noqa: S608
            f" AND {' AND '.join([HAS_WORD] * len(words))})"
        )
        values += map(like_pattern, words)
    if before is not None:
        row = db.fetch_one("SELECT started FROM runs WHERE id = ?", (before,))
        conditions.append("(started, id) < (?, ?)" if row else "id < ?")
        values += (*row, before) if row else (before,)
    return db.fetch_all(
        f"SELECT {_COLUMNS} FROM runs WHERE {' AND '.join(conditions)}"  # noqa: S608
        " ORDER BY started DESC, id DESC LIMIT ?",
        (*values, limit),
    )


def _readable_rows(db: Transaction, limit: int, who: str | None) -> list[tuple[Any, ...]]:
    """
    The newest runs of a damaged store, one by one, whatever was searched for; of one that cannot
    be read only the id, where no one's own runs are asked for.
    """
    rows: list[tuple[Any, ...]] = []
    # The index alone answers the first query.
    for (id,) in db.fetch_all("SELECT id FROM runs ORDER BY started DESC, id DESC"):  # noqa: A001
        try:
            query = f"SELECT who, {_COLUMNS} FROM runs WHERE id = ?"  # noqa: S608
            row = db.fetch_one(query, (id,))
        except StoreDamagedError:
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


def _run_list_entry(row: tuple[Any, ...], dead: Collection[str]) -> Record:
    """A row as lists have it; what is damaged in it hides no other."""
    try:
        id, started, via, model, asked, state, seconds, cost, calls, tokens, owner = row  # noqa: A001
        if state == "running" and owner in dead:
            state, cost = "unfinished", None
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
