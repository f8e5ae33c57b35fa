"""Together's batches: files and batches near to OpenAI's, in other envelopes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixtura.batch.provider_fields import (
    error_excerpt,
    read_files,
    read_id,
    read_object,
    read_rows,
)
from mixtura.batch.provider_forms import OpenAIForm, ProviderBatchRow, RemoteBatch

_OVER = ("COMPLETED", "FAILED", "EXPIRED", "CANCELLED")


class TogetherForm(OpenAIForm):
    """A batch is found by the file of its rows, which is its alone."""

    files_path = "/files/upload"

    def row_fields(self) -> dict[str, str]:
        return {}

    def file_fields(self, name: str) -> dict[str, str]:
        return {"purpose": "batch-api", "file_name": name, "file_type": "jsonl"}

    async def create(self, tag: str, file: str, rows: Sequence[ProviderBatchRow]) -> str:  # noqa: ARG002
        asked = {"input_file_id": file, "endpoint": f"/v1{self.path}", "completion_window": "24h"}
        return _read_batch(await self.http.post_json("/batches", asked)).id

    async def find(self, tag: str, file: str, rows: int, since: float) -> RemoteBatch | None:  # noqa: ARG002
        listed = await self.http.get_list("/batches")
        found = [
            one
            for one in read_rows(listed, "data")
            if _unwrap_job(one).get("input_file_id") == file
        ]
        return _read_batch(found[0]) if found else None

    async def read(self, batch: str) -> RemoteBatch:
        return _read_batch(await self.http.get_json(f"/batches/{batch}"))


def _unwrap_job(data: dict[str, Any]) -> dict[str, Any]:
    """The batch itself: what made it stands around it in some answers."""
    return read_object(data, "job") or data


def _read_batch(data: dict[str, Any]) -> RemoteBatch:
    job = _unwrap_job(data)
    status = str(job.get("status") or "").upper()
    files = read_files(job, "output_file_id", "error_file_id")
    failure = None
    if status == "FAILED" and not files:
        failure = error_excerpt(job.get("error"), "the provider gave no reason").decode()
    return RemoteBatch(read_id(job, "id"), status in _OVER, files, failure)
