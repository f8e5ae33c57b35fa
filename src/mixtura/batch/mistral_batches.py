"""Mistral's batch jobs: files as OpenAI's, jobs of another form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixtura.batch.provider_fields import read_files, read_id, read_rows
from mixtura.batch.provider_forms import (
    PAGES,
    OpenAIForm,
    ProviderBatchRow,
    RemoteBatch,
    join_messages,
)

_OVER = ("SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED")


class MistralForm(OpenAIForm):
    """A job is of one model, named beside the rows, and found by its metadata or its file."""

    def row_fields(self) -> dict[str, str]:
        return {}

    async def create(self, tag: str, file: str, rows: Sequence[ProviderBatchRow]) -> str:
        made = await self.http.post_json(
            "/batch/jobs",
            {
                "input_files": [file],
                "endpoint": "/v1/chat/completions",
                "model": rows[0].body["model"],
                "metadata": {"mixtura_tag": tag},
            },
        )
        return _read_job(made).id

    async def find(self, tag: str, file: str, rows: int, since: float) -> RemoteBatch | None:  # noqa: ARG002
        size = 100
        for page in range(PAGES):
            answer = await self.http.get_json(f"/batch/jobs?page={page}&page_size={size}")
            listed = read_rows(answer, "data")
            for one in listed:
                files: Any = one.get("input_files")
                if isinstance(files, list) and file in files:
                    return _read_job(one)
            if len(listed) < size:
                return None
        return None

    async def read(self, batch: str) -> RemoteBatch:
        return _read_job(await self.http.get_json(f"/batch/jobs/{batch}"))

    async def cancel(self, batch: str) -> None:
        await self.http.post_json(f"/batch/jobs/{batch}/cancel", {})


def _read_job(data: dict[str, Any]) -> RemoteBatch:
    status = data.get("status")
    files = read_files(data, "output_file", "error_file")
    failed = status == "FAILED" and not files
    failure = join_messages(read_rows(data, "errors"))
    return RemoteBatch(read_id(data, "id"), status in _OVER, files, failure if failed else None)
