"""Mistral's batch jobs: files as OpenAI's, jobs of another form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from mixtura.batch.provider_forms import OpenAIForm, ProviderBatchRow, RemoteBatch
from mixtura.core.errors import MalformedError

_OVER = ("SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED")


class MistralForm(OpenAIForm):
    """A job is of one model, named beside the rows, and found by its metadata or its file."""

    async def upload(self, tag: str, rows: Sequence[ProviderBatchRow]) -> str:
        lines = [
            msgspec.json.encode({"custom_id": row.custom_id, "body": row.body}) for row in rows
        ]
        data = b"\n".join((*lines, b""))
        sent = await self.http.upload_file("/files", f"{tag}.jsonl", data, {"purpose": "batch"})
        return str(sent["id"])

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
        page, size = 0, 100
        while True:
            answer = await self.http.get_json(f"/batch/jobs?page={page}&page_size={size}")
            listed: Any = answer.get("data") or []
            for one in listed:
                if file in (one.get("input_files") or ()):
                    return _read_job(one)
            page += 1
            if len(listed) < size:
                return None

    async def read(self, batch: str) -> RemoteBatch:
        return _read_job(await self.http.get_json(f"/batch/jobs/{batch}"))

    async def cancel(self, batch: str) -> None:
        await self.http.post_json(f"/batch/jobs/{batch}/cancel", {})


def _read_job(data: Any) -> RemoteBatch:
    name, status = data.get("id"), data.get("status")
    if not isinstance(name, str):
        raise MalformedError("what a provider says of a batch has no id")
    files = tuple(one for key in ("output_file", "error_file") if (one := data.get(key)))
    failed = status == "FAILED" and not files
    told: Any = data.get("errors") or []
    failure = "; ".join(str(one.get("message")) for one in told[:3]) or "the provider says no more"
    return RemoteBatch(name, status in _OVER, files, failure if failed else None)
