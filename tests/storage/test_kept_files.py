"""Files and batches of the server's clients in either store."""

from __future__ import annotations

import pytest

from mixtura.storage.kept_batches import BatchStore, KeptBatch
from mixtura.storage.kept_files import FileSpaceError, FileStore, KeptFile


def file(name: str, who: str = "ann", *, created: float = 1.0, expires: float | None = None):
    return KeptFile(name, who, "batch", "in.jsonl", created, expires, 6)


def batch_body(name: str, status: str) -> dict:
    return {
        "id": name, "status": status, "input_file_id": "file-1", "expires_at": 2, "model": None,
        "request_counts": {}, "cancelling_at": None,
    }  # fmt: skip


def test_a_file_is_kept_in_parts_for_its_owner_alone(stores):
    files = FileStore(stores.open())
    files.add_file(file("one"), [b"abc", b"\x00\xff\n"])
    files.add_file(file("two", created=2.0), [b"abcdef"])

    other = FileStore(stores.open())
    assert b"".join(other.read_parts("one")) == b"abc\x00\xff\n"
    assert [one.id for one in other.list_files("ann")] == ["two", "one"]
    assert other.list_files("ann", purpose="batch_output") == []
    assert (other.get_file("one", "bob"), other.delete_file("one", "bob")) == (None, False)
    assert other.delete_file("one", "ann")
    assert list(files.read_parts("one")) == []


def test_an_expired_file_is_gone_and_a_full_owner_is_refused(stores):
    now = [10.0]
    files = FileStore(stores.open(clock=lambda: now[0]))
    files.add_file(file("one", expires=20.0), [b"abcdef"], room=10)
    with pytest.raises(FileSpaceError):
        files.add_file(file("two"), [b"abcdef"], room=10)
    files.add_file(file("two", "bob"), [b"abcdef"], room=10)
    now[0] = 20.0
    assert files.get_file("one", "ann") is None
    files.add_file(file("three"), [b"abcdef"], room=10)
    assert list(files.read_parts("one")) == []


def test_a_batch_changes_only_from_a_state_that_it_is_in(stores):
    batches = BatchStore(stores.open())
    first, second, third = (
        KeptBatch(name, who, created, "validating", batch_body(name, "validating"))
        for name, who, created in (("b1", "ann", 1.0), ("b2", "ann", 2.0), ("b3", "bob", 3.0))
    )
    assert batches.add_batch(first, most=1)
    assert not batches.add_batch(second, most=1)
    assert batches.add_batch(third, most=1)

    other = BatchStore(stores.open())
    assert not other.change_batch("b1", batch_body("b1", "completed"), before=["in_progress"])
    assert other.change_batch("b1", batch_body("b1", "completed"), before=["validating"])
    assert [one.id for one in batches.list_unfinished()] == ["b3"]
    assert [one.status for one in batches.list_batches("ann")] == ["completed"]
    assert batches.get_batch("b1", "bob") is None
    batches.forget_old(10.0)
    assert (batches.get_batch("b1"), batches.get_batch("b3") is None) == (None, False)


def test_empty_files_are_counted_too(stores, monkeypatch):
    monkeypatch.setattr("mixtura.storage.kept_files.MAX_FILES", 3)
    files = FileStore(stores.open())
    for number in range(3):
        files.add_file(file(f"file-{number}")._replace(size=0), [], room=100)
    with pytest.raises(FileSpaceError):
        files.add_file(file("file-3")._replace(size=0), [], room=100)
    files.add_file(file("file-4", "bob")._replace(size=0), [], room=100)


def test_of_batches_that_are_over_only_so_many_are_kept(stores, monkeypatch):
    monkeypatch.setattr("mixtura.storage.kept_batches.MAX_KEPT", 3)
    batches = BatchStore(stores.open())
    for number in range(8):
        status = "failed" if number else "in_progress"
        body = batch_body(f"batch_{number}", status)
        assert batches.add_batch(KeptBatch(body["id"], "ann", float(number), status, body), most=5)
    left = [one.id for one in batches.list_batches("ann")]
    assert left[:3] == ["batch_7", "batch_6", "batch_5"]
    assert left[-1] == "batch_0"  # it is not over
    assert len(left) <= 5
