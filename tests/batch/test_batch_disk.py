"""A disk that fails in the middle of a batch: the journal stays readable, the batch goes on."""

import errno
import sqlite3
from contextlib import ExitStack, closing

import pytest

from tests.support.batches import steady, team_toml, write_rows
from tests.support.command_line import desk  # noqa: F401 - a fixture
from tests.support.failing_disk import FailingDisk, find_compiler
from tests.support.requirements import leave_out
from tests.support.upstream import running

WORDS = ["batch", "in.jsonl", "out.jsonl", "-m", "team", "--quiet"]


@pytest.fixture(autouse=True)
def _compiler():
    if not find_compiler():
        leave_out("compiler", "needs Linux and a C compiler")


def fail_each(desk, tmp_path, step, *, lasts):  # noqa: F811
    """Fail every *step*-th operation of a batch, each in a batch of its own."""
    with running(steady()) as upstream, ExitStack() as stack:
        desk.write(team_toml(upstream.base_url(), retries=0))
        write_rows(desk.folder / "in.jsonl", 3)
        env = {**desk.env, "TMPDIR": str(tmp_path)}
        disk = FailingDisk(desk.folder, env, tmp_path)
        stack.callback(disk.close)
        whole = disk.run([*WORDS, "--journal", "calm.journal"], 0, 0)
        assert whole["code"] == 0, whole["said"]
        calm = (desk.folder / "out.jsonl").read_bytes()
        codes = set()
        # The last is behind all that any of them does: how much that is depends on the timing.
        for number in (*range(1, whole["seen"] + 6, step), 2 * whole["seen"] + 50):
            for path in (*desk.folder.glob("out.*"), *desk.folder.glob(".out*")):
                path.unlink()
            asked = len(upstream.records)
            error = (errno.ENOSPC, errno.EIO)[number // step % 2]

            failed = disk.run(WORDS, number, error, lasts=lasts)

            codes.add(failed["code"])
            assert failed["code"] in (0, 1, 2), (number, failed["said"])
            assert "Traceback" not in failed["said"], failed["said"]
            assert failed["code"] != 0 or (desk.folder / "out.jsonl").exists(), number
            if (desk.folder / "out.jsonl").exists():  # whole, whatever failed behind it
                assert (desk.folder / "out.jsonl").read_bytes() == calm, number
            read_journal(desk.folder / "out.jsonl.journal")
            again = disk.run(WORDS, 0, 0)
            assert again["code"] == 0, (number, again["said"])
            assert (desk.folder / "out.jsonl").read_bytes() == calm, number
            assert len(upstream.records) - asked <= 2 * 9
        assert codes >= {0, 1}


def read_journal(path):
    """Open it as anyone would, and look at all of it."""
    if path.exists() and path.stat().st_size:
        with closing(sqlite3.connect(path)) as journal:
            assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("lasts", [False, True])
def test_after_a_failed_write_the_same_command_completes(desk, tmp_path, lasts):  # noqa: F811
    fail_each(desk, tmp_path, 13, lasts=lasts)


@pytest.mark.soak
@pytest.mark.parametrize("lasts", [False, True])
def test_after_every_failed_write_the_same_command_completes(desk, tmp_path, lasts):  # noqa: F811
    fail_each(desk, tmp_path, 1, lasts=lasts)
