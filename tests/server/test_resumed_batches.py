"""Batches that a server takes up again where something has changed: what is paid is not lost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from mixtura.batch.journaled_models import SharedJournaledModels
from mixtura.models.fake import Scripted
from mixtura.server.batch_object import new_batch
from mixtura.server.batch_run import BatchRun, BatchServices
from mixtura.server.metrics import BatchCounts
from mixtura.storage.interfaces import Store
from mixtura.storage.kept_batches import BatchStore, KeptBatch
from mixtura.storage.kept_files import FileStore, KeptFile
from mixtura.storage.run_record import Record
from tests.server.test_batches import (
    OVER,
    URL,
    client_of,
    content,
    killed_in_a_batch,
    lines,
    row,
    waited,
)
from tests.support.serving import serving
from tests.support.upstream import running


def test_a_batch_whose_model_is_gone_after_a_restart_keeps_what_was_answered(tmp_path):
    with running() as slow:
        # Lines are written once a second.
        table, batch = killed_in_a_batch(tmp_path, slow, rows=200, answered=50)
        asked = len(slow.records)
        with serving(tmp_path, table.replace("[mixtures.team]", "[mixtures.other]")
                     .replace('default = "team"', 'default = "other"')) as server:  # fmt: skip
            client = client_of(server)
            batch = waited(client, batch)
            assert batch.status == "failed", batch
            assert batch.errors.data[0].code == "model_not_found"
            done = content(client, batch.output_file_id)
            left = content(client, batch.error_file_id)
            assert 0 < len(done) == batch.request_counts.completed < 200
            assert {one["error"]["code"] for one in left} == {"model_not_found"}
            assert len(done) + len(left) == 200
        assert len(slow.records) == asked


def test_a_batch_waits_for_a_model_that_lacks_its_key_after_a_restart(tmp_path):
    with running() as slow:
        table, batch = killed_in_a_batch(tmp_path, slow, rows=60, answered=3)
        lacking = table.replace("retries = 0\n", 'retries = 0\napi_key_env = "KEY_OF_TEST"\n')
        with serving(tmp_path, lacking) as server:
            until = time.monotonic() + 60
            while "waits" not in (tmp_path / "log").read_text():
                assert time.monotonic() < until
                assert client_of(server).batches.retrieve(batch.id).status not in OVER
                time.sleep(0.05)
            assert client_of(server).batches.retrieve(batch.id).status == "in_progress"
        with serving(tmp_path, table) as server:
            batch = waited(client_of(server), batch)
            assert batch.status == "completed", batch
            assert batch.request_counts.completed == 60


@dataclass
class KeptHere:
    """A batch of two rows in a store, and what runs it."""

    store: Store
    folder: Path
    kept: KeptBatch
    shared: BatchServices

    def run(self, build_model) -> Record:
        """The batch as it is once it was carried out."""
        asyncio.run(BatchRun(self.kept, self.folder, self.shared).carry_out(build_model))
        found = self.shared.batches.get_batch("batch_1")
        assert found is not None
        return found.body


def keep_batch(stores, folder, **changes) -> KeptHere:
    store = stores.open()
    files, batches = FileStore(store), BatchStore(store)
    parts, now = [lines(row(1)), lines(row(2))], time.time()
    size = sum(map(len, parts))
    files.add_file(KeptFile("file-1", "", "batch", "in", now, None, size), parts)
    asked = {"input_file_id": "file-1", "endpoint": URL, "completion_window": "24h"}
    body = new_batch("batch_1", asked) | changes
    kept = KeptBatch("batch_1", "", now, body["status"], body)
    batches.add_batch(kept, most=5)
    shared = BatchServices(
        batches, files, SharedJournaledModels(2), lambda *_: 0.0, BatchCounts(),
        days=1, most_rows=9, most_row_bytes=9999,
    )  # fmt: skip
    return KeptHere(store, folder, kept, shared)


def build_fake(name):
    return Scripted(name, ["So.", "So."])


def test_a_batch_that_another_process_has_begun_meanwhile_is_not_cancelled(stores, tmp_path):
    here = keep_batch(stores, tmp_path)

    def build_model(name):
        # The other process has checked the same rows just before this one writes that down.
        begun = {**here.kept.body, "status": "in_progress", "model": name}
        here.shared.batches.change_batch("batch_1", begun, before=("validating",))
        return build_fake(name)

    done = here.run(build_model)

    assert (done["status"], done["request_counts"]["completed"]) == ("completed", 2)


def test_a_part_of_an_input_is_not_asked_for_the_whole(stores, tmp_path):
    here = keep_batch(stores, tmp_path)
    with here.store.transaction() as db:  # as it is deleted while it is read
        db.execute("DELETE FROM file_parts WHERE number = 1")

    done = here.run(build_fake)

    assert (done["status"], done["errors"]["data"][0]["code"]) == ("failed", "file_not_found")


def test_a_batch_whose_time_is_over_before_it_begins_asks_nothing(stores, tmp_path):
    here = keep_batch(stores, tmp_path, expires_at=1)

    done = here.run(lambda name: here.shared.models(Scripted(name), name))

    assert done["status"] == "expired"
    assert done["output_file_id"] is None
    assert done["error_file_id"]


def test_a_batch_that_is_cancelled_before_its_rows_are_checked_ends_without_files(stores, tmp_path):
    (tmp_path / "input.jsonl").write_bytes(b"{half of a")  # a killed process was copying it
    here = keep_batch(stores, tmp_path, status="cancelling", cancelling_at=1)

    done = here.run(build_fake)

    assert (done["status"], done["error_file_id"]) == ("cancelled", None)
