"""Batches that a server takes up again where something has changed: what is paid is not lost."""

from __future__ import annotations

import asyncio
import time

from mixtura.batch.journaled_models import SharedJournaledModels
from mixtura.models.fake import Scripted
from mixtura.server.batch_object import new_batch
from mixtura.server.batch_run import BatchRun, BatchServices
from mixtura.server.metrics import BatchCounts
from mixtura.storage.kept_batches import BatchStore, KeptBatch
from mixtura.storage.kept_files import FileStore, KeptFile
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


def test_a_batch_that_another_process_has_begun_meanwhile_is_not_cancelled(stores, tmp_path):
    files, batches = FileStore(stores.open()), BatchStore(stores.open())
    data = lines(row(1), row(2))
    now = time.time()
    files.add_file(KeptFile("file-1", "", "batch", "in", now, None, len(data)), [data])
    asked = {"input_file_id": "file-1", "endpoint": URL, "completion_window": "24h"}
    kept = KeptBatch("batch_1", "", now, "validating", new_batch("batch_1", asked))
    batches.add_batch(kept, most=5)
    shared = BatchServices(
        batches, files, SharedJournaledModels(2), lambda *_: 0.0, BatchCounts(),
        days=1, most_rows=9, most_row_bytes=9999,
    )  # fmt: skip

    def build_model(name):
        # The other process has checked the same rows just before this one writes that down.
        begun = {**kept.body, "status": "in_progress", "model": name}
        batches.change_batch("batch_1", begun, before=("validating",))
        return Scripted(name, ["So.", "So."])

    run = BatchRun(kept, tmp_path, shared)
    asyncio.run(run.carry_out(build_model))

    done = batches.get_batch("batch_1")
    assert done.status == "completed"
    assert done.body["request_counts"]["completed"] == 2
