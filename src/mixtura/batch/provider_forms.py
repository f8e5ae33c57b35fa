"""How each provider's batches are sent, looked for, followed, called off and read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import msgspec

from mixtura.batch.provider_fields import (
    GONE,
    decode_reply,
    error_excerpt,
    read_custom_id,
    read_files,
    read_id,
    read_object,
    read_rows,
    read_status,
    read_time,
    sum_counts,
)
from mixtura.batch.provider_http import BatchHttp
from mixtura.core.errors import MalformedError, RejectedError
from mixtura.core.types import JsonObject

PAGES = 20
"""Pages of a provider's list that are looked through for a batch: 2,000 batches."""
CLOCK_SKEW = 600.0
"""Seconds by which a provider's clock may be behind ours."""


class ProviderBatchRow(NamedTuple):
    """A call in a batch."""

    custom_id: str
    body: JsonObject


class RowResult(NamedTuple):
    """
    What came of a call. *status* and *body* as a live call's; *status* 0: it was not asked, and
    *body* says why.
    """

    custom_id: str
    status: int
    body: bytes


class RemoteBatch(NamedTuple):
    """A batch as its provider tells of it."""

    id: str
    over: bool
    files: tuple[str, ...] = ()
    """Where its results are."""
    failure: str | None = None
    """Why none of its calls was asked."""
    full: bool = False
    """None was asked since enough of ours waits there already: later they may be."""


class BatchForm(Protocol):
    """
    The batches of one provider. Every method raises ModelError.

    ``create`` is the only one that may cost money, and is not repeated before ``find`` has looked.
    """

    path: str
    """What the address of a live call ends with."""

    @staticmethod
    def build_row(data: JsonObject) -> JsonObject:
        """The body of a live call, as a row has it. Raises UnavailableError where it has none."""
        ...

    async def upload(self, tag: str, rows: Sequence[ProviderBatchRow]) -> str:
        """Bring the rows to the provider; what ``create`` names them by."""
        ...

    async def create(self, tag: str, file: str, rows: Sequence[ProviderBatchRow]) -> str:
        """Have them answered; the provider's name of the batch."""
        ...

    async def find(self, tag: str, file: str, rows: int, since: float) -> RemoteBatch | None:
        """The batch of that tag and file, made after *since* (seconds of the epoch)."""
        ...

    async def read(self, batch: str) -> RemoteBatch: ...

    async def cancel(self, batch: str) -> None: ...

    async def read_results(self, batch: RemoteBatch, take: Callable[[RowResult], None]) -> None: ...


class OpenAIForm:
    """Files and batches as OpenAI has them, and those who speak its API."""

    path = "/chat/completions"
    files_path = "/files"

    def __init__(self, http: BatchHttp) -> None:
        self.http = http

    @staticmethod
    def build_row(data: JsonObject) -> JsonObject:
        return data

    async def upload(self, tag: str, rows: Sequence[ProviderBatchRow]) -> str:
        more, name = self.row_fields(), f"{tag}.jsonl"
        lines = [
            msgspec.json.encode({"custom_id": row.custom_id, **more, "body": row.body})
            for row in rows
        ]
        data = b"\n".join((*lines, b""))
        sent = await self.http.upload_file(self.files_path, name, data, self.file_fields(name))
        return read_id(sent, "id")

    def row_fields(self) -> dict[str, str]:
        """What stands in each line of the file, besides the row."""
        return {"method": "POST", "url": f"/v1{self.path}"}

    def file_fields(self, name: str) -> dict[str, str]:  # noqa: ARG002
        """The fields of the form with which a file is sent."""
        return {"purpose": "batch"}

    async def create(self, tag: str, file: str, rows: Sequence[ProviderBatchRow]) -> str:  # noqa: ARG002
        made = await self.http.post_json(
            "/batches",
            {
                "input_file_id": file,
                "endpoint": f"/v1{self.path}",
                "completion_window": "24h",
                "metadata": {"mixtura_tag": tag},
            },
        )
        return read_id(made, "id")

    async def find(self, tag: str, file: str, rows: int, since: float) -> RemoteBatch | None:  # noqa: ARG002
        after = ""
        for _ in range(PAGES):
            page = await self.http.get_json(f"/batches?limit=100{after}")
            listed = read_rows(page, "data")
            for one in listed:
                # By its file too: not everyone who speaks this API keeps the metadata.
                tagged = read_object(one, "metadata").get("mixtura_tag") == tag
                if tagged or one.get("input_file_id") == file:
                    return _openai_batch(one)
            if not listed or not page.get("has_more"):
                return None
            after = f"&after={read_id(listed[-1], 'id')}"
        return None

    async def read(self, batch: str) -> RemoteBatch:
        return _openai_batch(await self.http.get_json(f"/batches/{batch}"))

    async def cancel(self, batch: str) -> None:
        await self.http.post_json(f"/batches/{batch}/cancel", {})

    async def read_results(self, batch: RemoteBatch, take: Callable[[RowResult], None]) -> None:
        for file in batch.files:
            await self.http.read_lines(
                f"/files/{file}/content", lambda line: take_results(line, _openai_result, take)
            )


class AnthropicForm:
    """Anthropic's message batches: no file, and no tag but the names of the rows."""

    path = "/messages"

    def __init__(self, http: BatchHttp) -> None:
        self.http = http
        self._others: set[str] = set()
        """Batches that are known to have another tag."""

    @staticmethod
    def build_row(data: JsonObject) -> JsonObject:
        return data

    async def upload(self, tag: str, rows: Sequence[ProviderBatchRow]) -> str:  # noqa: ARG002
        return ""

    async def create(self, tag: str, file: str, rows: Sequence[ProviderBatchRow]) -> str:  # noqa: ARG002
        asked = [{"custom_id": row.custom_id, "params": row.body} for row in rows]
        reply = await self.http.post_json("/messages/batches", {"requests": asked})
        made = read_id(reply, "id")
        self._others.add(made)
        return made

    async def find(self, tag: str, file: str, rows: int, since: float) -> RemoteBatch | None:  # noqa: ARG002
        """
        Results tell the names of their rows once a batch is over: one that may be it and is not
        over is waited for.
        """
        candidates = await self._list_since(rows, since)
        for one in candidates:
            names: list[str] = []
            try:
                batch = await self._wait_for(one)
                await self.read_results(batch, lambda row, into=names: into.append(row.custom_id))
            except RejectedError as error:
                if error.status not in GONE:
                    raise
                self._others.add(one)  # someone has deleted it meanwhile
                continue
            if any(name.startswith(tag) for name in names[:1]):
                return batch
            self._others.add(one)
        return None

    async def _list_since(self, rows: int, since: float) -> list[str]:
        """The batches of that many rows that were made since."""
        found: list[str] = []
        after = ""
        for _ in range(PAGES):
            page = await self.http.get_json(f"/messages/batches?limit=100{after}")
            listed = read_rows(page, "data")
            for one in listed:
                counts = sum_counts(read_object(one, "request_counts"))
                made = read_time(one.get("created_at"))
                recent = made is None or made >= since - CLOCK_SKEW
                name = read_id(one, "id")
                if recent and counts == rows and name not in self._others:
                    found.append(name)
            if not listed or not page.get("has_more"):
                break
            after = f"&after_id={read_id(listed[-1], 'id')}"
        return found

    async def _wait_for(self, name: str) -> RemoteBatch:
        wait = 1.0
        while not (batch := await self.read(name)).over:
            await asyncio.sleep(wait)
            wait = min(2 * wait, 60.0)
        return batch

    async def read(self, batch: str) -> RemoteBatch:
        data = await self.http.get_json(f"/messages/batches/{batch}")
        return RemoteBatch(read_id(data, "id"), data.get("processing_status") == "ended")

    async def cancel(self, batch: str) -> None:
        await self.http.post_json(f"/messages/batches/{batch}/cancel", {})

    async def read_results(self, batch: RemoteBatch, take: Callable[[RowResult], None]) -> None:
        # Not at the address that the answer names: the key goes nowhere else.
        await self.http.read_lines(
            f"/messages/batches/{batch.id}/results",
            lambda line: take_results(line, _anthropic_result, take),
        )


def _openai_batch(data: dict[str, Any]) -> RemoteBatch:
    status = data.get("status")
    files = read_files(data, "output_file_id", "error_file_id")
    failure, full = None, False
    if status == "failed":
        errors = read_rows(read_object(data, "errors"), "data")
        failure = join_messages(errors)
        full = any(one.get("code") == "token_limit_exceeded" for one in errors)
    over = status in ("completed", "failed", "expired", "cancelled")
    return RemoteBatch(read_id(data, "id"), over, files, failure, full)


def join_messages(errors: Sequence[Mapping[str, Any]]) -> str:
    """What a provider says went wrong."""
    said = [error_excerpt(one.get("message"), "").decode() for one in errors[:3]]
    return "; ".join(filter(None, said)) or "the provider gave no reason"


def take_results(
    line: bytes, read: Callable[[dict[str, Any]], RowResult], take: Callable[[RowResult], None]
) -> None:
    """Give *take* the row of a line; one that cannot be read counts as left out."""
    # The other rows are paid, and their answers are good.
    with suppress(MalformedError):
        take(read(decode_reply(line)))


def _openai_result(data: dict[str, Any]) -> RowResult:
    name, reply = read_custom_id(data), read_object(data, "response")
    if not reply:
        said = read_object(data, "error").get("message") or data.get("error")
        return RowResult(name, 0, error_excerpt(said, "no response"))
    status = read_status(reply.get("status_code"))
    return RowResult(name, status, msgspec.json.encode(reply.get("body")))


def _anthropic_result(data: dict[str, Any]) -> RowResult:
    name, result = read_custom_id(data), read_object(data, "result")
    match result.get("type"):
        case "succeeded":
            return RowResult(name, 200, msgspec.json.encode(result.get("message")))
        case "errored":
            error = read_object(result, "error")
            kind = str(read_object(error, "error").get("type"))
            return RowResult(name, _STATUSES.get(kind, 500), msgspec.json.encode(error))
        case other:
            return RowResult(name, 0, error_excerpt(other, "no result"))


_STATUSES = {"invalid_request_error": 400, "rate_limit_error": 429, "overloaded_error": 529}
