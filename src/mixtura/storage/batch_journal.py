"""The journal of a batch, a SQLite file: its calls, what they cost, how far its output is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mixtura.core.errors import StoreDamagedError
from mixtura.storage.journal_inserts import (
    fit_in_statement,
    insert_calls_and_spent,
    insert_group_statement,
    rows_of_statement,
)
from mixtura.storage.sqlite import SqliteStore
from mixtura.storage.transaction import Transaction

MIGRATIONS = (
    """
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE calls (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, body BLOB NOT NULL);
    CREATE TABLE spent (
      kind TEXT NOT NULL, model TEXT NOT NULL, calls INTEGER NOT NULL,
      prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
      dollars REAL NOT NULL, unpriced INTEGER NOT NULL, PRIMARY KEY (kind, model)
    ) WITHOUT ROWID;
    CREATE TABLE failed (
      line INTEGER PRIMARY KEY, place INTEGER NOT NULL, lasting INTEGER NOT NULL,
      body BLOB NOT NULL
    );
    CREATE TABLE recovered (line INTEGER PRIMARY KEY, body BLOB NOT NULL);
    """,
    """
    CREATE TABLE provider_batches (
      tag TEXT PRIMARY KEY, place TEXT NOT NULL, state TEXT NOT NULL, file TEXT NOT NULL,
      remote TEXT NOT NULL, made REAL NOT NULL, size INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE provider_calls (
      call TEXT PRIMARY KEY, tag TEXT NOT NULL, number INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX provider_calls_of_tag ON provider_calls (tag);
    """,
    """
    CREATE TABLE kept_calls (id INTEGER PRIMARY KEY, key BLOB NOT NULL, body BLOB NOT NULL);
    INSERT INTO kept_calls SELECT id, key, body FROM calls ORDER BY id;
    DROP TABLE calls;
    ALTER TABLE kept_calls RENAME TO calls;
    """,
    # With this a group of calls and what they cost are one statement, which commits by itself.
    """
    ALTER TABLE calls ADD COLUMN spent TEXT;
    CREATE TRIGGER spent_with_calls AFTER INSERT ON calls WHEN NEW.spent IS NOT NULL BEGIN
      INSERT INTO spent SELECT
        json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
        json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
        json_extract(value, '$[6]')
      FROM json_each(NEW.spent) WHERE true
      ON CONFLICT (kind, model) DO UPDATE SET calls = calls + excluded.calls,
        prompt_tokens = prompt_tokens + excluded.prompt_tokens,
        completion_tokens = completion_tokens + excluded.completion_tokens,
        dollars = dollars + excluded.dollars, unpriced = unpriced + excluded.unpriced;
    END;
    """,
)
_KEYS_AT_ONCE = 500
_amounts_encoder = msgspec.json.Encoder()


class SpentAmount(NamedTuple):
    """
    What requests of one *kind* to one model have cost: ``answer``, ``failed`` (no answer came of
    it), ``refused`` (before an answer had begun: nothing), ``lost`` (an estimate: under way when
    its process was killed) or ``earlier`` (older than the journal).
    """

    kind: str
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    dollars: float
    unpriced: int
    """Calls whose price is unknown: they count with no dollars."""


@dataclass(slots=True)
class SpentTotals:
    """Calls, tokens and dollars of one kind."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0
    unpriced: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def add(self, amount: SpentAmount) -> None:
        _, _, calls, prompt_tokens, completion_tokens, dollars, unpriced = amount
        self.calls += calls
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.dollars += dollars
        self.unpriced += unpriced

    def as_amount(self, kind: str, model: str) -> SpentAmount:
        return SpentAmount(
            kind, model, self.calls, self.prompt_tokens, self.completion_tokens, self.dollars,
            self.unpriced,
        )  # fmt: skip


class FailedRow(NamedTuple):
    """An input row without an answer; *place*: the byte of the output where its line belongs."""

    line: int
    place: int
    lasting: bool
    """The same request will fail again."""
    body: bytes
    """Its line in the file of errors."""


class KeptCall(NamedTuple):
    """A call whose answer is kept; *number* grows with each that is kept after it."""

    number: int
    key: bytes
    body: bytes


class JournalMoment(NamedTuple):
    """What a journal has at one moment; *kept*: keys of calls."""

    settings: dict[str, str]
    kept: Collection[bytes]
    spent: list[SpentAmount]


class SubmittedBatch(NamedTuple):
    """
    A provider's batch. *state*: ``made`` (nothing was sent that may cost), ``sending`` (it may be
    there or not) or ``sent`` (it is there, as *remote*). *made*: seconds of the epoch.
    """

    tag: str
    place: str
    state: str
    file: str
    remote: str
    made: float
    size: int


class BatchJournal:
    """
    One file. Only one process uses it, see ``InFlightFile``.

    Every method raises StoreError. What one ``write`` is given is written together or not at
    all, and survives a loss of power once it returns.
    """

    def __init__(self, path: Path, *, option: str | None = "--journal") -> None:
        """*option*: what names the file, where a person can."""
        self._store = SqliteStore(
            path,
            migrations=MIGRATIONS,
            durable=True,
            called="journal",
            remedy=f"move it away, or choose another with {option}" if option else "move it away",
        )
        self._indexed = False

    @property
    def path(self) -> Path:
        return self._store.path

    def close(self) -> None:
        self._store.close()

    def read_settings(self) -> dict[str, str]:
        """Raises StoreDamagedError where one is no text."""
        return self.read_moment(()).settings

    def damaged_error(self) -> StoreDamagedError:
        """The error for a journal whose rows are not as they were written."""
        return StoreDamagedError(f"the journal {self.path} is damaged: move it away")

    def count_calls(self) -> int:
        """Calls whose answers are kept."""
        with self._store.transaction() as db:
            # None is ever removed, and to count them would be to read all of them.
            return db.fetch_one("SELECT COALESCE(MAX(id), 0) FROM calls")[0]

    def index_calls(self) -> None:
        """
        Make calls quick to find. Not before that is needed: nearly every batch runs through once
        and looks for none, and to keep the index costs more than to keep the calls.
        """
        if not self._indexed:
            with self._store.transaction() as db:
                db.execute("CREATE INDEX IF NOT EXISTS calls_by_key ON calls (key)")
            self._indexed = True

    def find_calls(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The bodies of those of the calls that are kept; of the same call, the first answer."""
        with self._store.transaction() as db:
            return _find_calls(db, keys)

    def read_spent(self) -> list[SpentAmount]:
        """Raises StoreDamagedError where one has a name or a number that is none."""
        return self.read_moment(()).spent

    def read_moment(self, keys: Sequence[bytes]) -> JournalMoment:
        """
        Settings, those of the calls of *keys* that are kept, and amounts, as they were at one
        moment. Raises StoreDamagedError where they are not as they were written.
        """
        with self._store.transaction() as db:
            settings = db.fetch_all("SELECT name, value FROM settings")
            kept, spent = _find_calls(db, keys), _read_spent(db)
        texts: list[Any] = [*chain.from_iterable(settings)]
        texts += chain.from_iterable(one[:2] for one in spent)
        numbers: list[Any] = [*chain.from_iterable(one[2:] for one in spent)]
        if not all(isinstance(text, str) for text in texts) or not all(
            isinstance(number, int | float) for number in numbers
        ):
            raise self.damaged_error()
        return JournalMoment(dict(settings), kept.keys(), spent)

    def read_kept_after(
        self, number: int, most: int | None = None
    ) -> tuple[list[KeptCall], list[SpentAmount]]:
        """
        The calls behind *number*, at most *most*, and all amounts, as they were at one moment.
        """
        query = "SELECT id, key, body FROM calls WHERE id > ? ORDER BY id LIMIT ?"
        with self._store.transaction() as db:
            rows = db.fetch_all(query, (number, -1 if most is None else most))
            spent = _read_spent(db)
        return [KeptCall(at, bytes(key), bytes(body)) for at, key, body in rows], spent

    def read_failed(self) -> list[FailedRow]:
        """The rows without an answer, in the order of the input."""
        with self._store.transaction() as db:
            rows = db.fetch_all("SELECT line, place, lasting, body FROM failed ORDER BY line")
        return [FailedRow(line, place, bool(last), bytes(body)) for line, place, last, body in rows]

    def read_recovered(self, line: int) -> bytes | None:
        """The output line of a row that failed at first and was answered later."""
        with self._store.transaction() as db:
            row = db.fetch_one("SELECT body FROM recovered WHERE line = ?", (line,))
        return bytes(row[0]) if row else None

    def recovered_lines(self) -> set[int]:
        with self._store.transaction() as db:
            return {row[0] for row in db.fetch_all("SELECT line FROM recovered")}

    def write(
        self,
        *,
        calls: Iterable[tuple[bytes, bytes]] = (),
        spent: Iterable[SpentAmount] = (),
        settings: Mapping[str, str] | None = None,
        failed: Iterable[FailedRow] = (),
        recovered: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        """Add calls, amounts and rows; settings take the place of those of their names."""
        with self._store.transaction() as db:
            insert_calls_and_spent(db, [*chain.from_iterable(calls)], spent)
            db.execute_many(
                "INSERT OR REPLACE INTO settings VALUES (?, ?)", [*(settings or {}).items()]
            )
            db.execute_many("INSERT OR REPLACE INTO failed VALUES (?, ?, ?, ?)", [*failed])
            db.execute_many("INSERT OR REPLACE INTO recovered VALUES (?, ?)", [*recovered])

    def keep_calls(self, calls: Sequence[bytes], spent: Iterable[SpentAmount]) -> None:
        """Add calls, their keys and bodies in turn, and amounts."""
        if not calls or not fit_in_statement(calls):
            with self._store.transaction() as db:
                insert_calls_and_spent(db, calls, spent)
            return
        # The first row brings what all of them cost.
        amounts = _amounts_encoder.encode([*spent]).decode()
        values = [*calls[:2], amounts, *calls[2:]]
        count = rows_of_statement(len(calls) // 2)
        values += [None] * (2 * count - len(calls))
        self._store.execute_alone(insert_group_statement(count), values)

    def keep_provider_batch(self, batch: SubmittedBatch, calls: Iterable[str] = ()) -> None:
        """Write down how a batch is, with its *calls* where it is new: numbered from 0."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO provider_batches VALUES (?, ?, ?, ?, ?, ?, ?)", batch
            )
            db.execute_many(
                "INSERT OR REPLACE INTO provider_calls VALUES (?, ?, ?)",
                [(call, batch.tag, number) for number, call in enumerate(calls)],
            )

    def forget_provider_batch(self, tag: str) -> None:
        """It is not at the provider."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM provider_calls WHERE tag = ?", (tag,))
            db.execute("DELETE FROM provider_batches WHERE tag = ?", (tag,))

    def forget_provider_calls(self, calls: Iterable[str]) -> None:
        """No answer came of them: they may be asked in another batch."""
        with self._store.transaction() as db:
            db.execute_many(
                "DELETE FROM provider_calls WHERE call = ?", [(call,) for call in calls]
            )

    def read_provider_batches(self) -> list[SubmittedBatch]:
        with self._store.transaction() as db:
            rows = db.fetch_all(
                "SELECT tag, place, state, file, remote, made, size FROM provider_batches"
            )
        return [SubmittedBatch(*row) for row in rows]

    def find_provider_call(self, call: str, key: str = "") -> tuple[str, str, int] | None:
        """Name, batch and number of *call*; with *key*, else of the first whose name begins so."""
        query = (
            "SELECT call, tag, number FROM provider_calls JOIN provider_batches USING (tag)"
            " WHERE call BETWEEN ? AND ? ORDER BY call <> ?, made, call LIMIT 1"
        )
        with self._store.transaction() as db:
            return db.fetch_one(query, (key or call, f"{key}g" if key else call, call))

    def has_unanswered_provider_calls(self, key_digits: int) -> bool:
        """
        Whether a call may be in a batch at its provider, and no answer of it is kept. The first
        *key_digits* of its name are its key.
        """
        query = (
            "SELECT call FROM provider_calls JOIN provider_batches USING (tag)"
            " WHERE state <> 'made' AND call > ? ORDER BY call LIMIT ?"
        )
        last = ""
        with self._store.transaction() as db:
            if not db.fetch_all(query, (last, 1)):
                return False
        self.index_calls()
        with self._store.transaction() as db:
            while rows := db.fetch_all(query, (last, _KEYS_AT_ONCE)):
                last = rows[-1][0]
                keys = [str(call)[:key_digits] for (call,) in rows]
                marks = ",".join("?" * len(keys))
                found = db.fetch_all(
                    f"SELECT DISTINCT lower(hex(key)) FROM calls WHERE key IN ({marks})",  # noqa: S608
                    [*map(_key_of_digits, keys)],
                )
                if not {one for (one,) in found}.issuperset(keys):
                    return True
        return False

    def forget_rows(self, settings: Mapping[str, str]) -> None:
        """The output begins anew: no row has failed yet. Calls and amounts stay."""
        self.settle_rows((), settings)

    def settle_rows(self, failed: Iterable[FailedRow], settings: Mapping[str, str]) -> None:
        """The output is whole: only *failed* are left, at their places in it."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM failed")
            db.execute("DELETE FROM recovered")
            db.execute_many("INSERT INTO failed VALUES (?, ?, ?, ?)", [*failed])
            db.execute_many("INSERT OR REPLACE INTO settings VALUES (?, ?)", [*settings.items()])


def _key_of_digits(digits: str) -> bytes:
    with suppress(ValueError):  # damaged: a call without an answer
        return bytes.fromhex(digits)
    return b""


def _find_calls(db: Transaction, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        marks = ",".join("?" * len(some))
        query = f"SELECT key, body FROM calls WHERE key IN ({marks}) ORDER BY id DESC"  # noqa: S608
        found.update((bytes(key), bytes(body)) for key, body in db.fetch_all(query, some))
    return found


def _read_spent(db: Transaction) -> list[SpentAmount]:
    rows = db.fetch_all(
        "SELECT kind, model, calls, prompt_tokens, completion_tokens, dollars, unpriced"
        " FROM spent ORDER BY kind, model"
    )
    return [SpentAmount(*row) for row in rows]
