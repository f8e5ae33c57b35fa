"""A journal whose rows are not as they were written is told in words, and nothing is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.support.batches import write_rows
from tests.support.shell import desk, shell  # noqa: F401 - fixtures


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("settings", "rows_written", "x"), ("settings", "rows_written", b"\xff\xfe"),
        ("settings", "bytes_written", "1.5"), ("settings", "created", "soon"),
        ("settings", "command", "{"), ("settings", "command", "[]"),
        ("settings", "run", "9" * 5_000), ("spent", "kind", "x"), ("spent", "model", b"\xff"),
        ("spent", "calls", "many"),
    ],
    ids=range(10),
)  # fmt: skip
def test_a_damaged_journal_is_told_in_words(table, column, value, shell):  # noqa: F811
    write_rows(shell.desk.folder / "in.jsonl", 2)
    words = ("batch", "in.jsonl", "out.jsonl", "-m", "ann")
    assert shell.run(*words).code == 0
    written = (shell.desk.folder / "out.jsonl").read_bytes()
    with closing(sqlite3.connect(shell.desk.folder / "out.jsonl.journal", timeout=30)) as db, db:
        if table == "settings":
            changed = db.execute("UPDATE settings SET value = ? WHERE name = ?", (value, column))
        else:
            changed = db.execute(f"UPDATE spent SET {column} = ?", (value,))
        assert changed.rowcount
    db.close()

    done = shell.run(*words)

    assert done.code in (1, 2), done.err
    assert "out.jsonl" in done.err
    assert (shell.desk.folder / "out.jsonl").read_bytes() == written
