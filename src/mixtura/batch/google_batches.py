"""Google's batches: requests in Gemini's own form, in one document or a file, found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import msgspec

from mixtura.batch.provider_fields import (
    error_excerpt,
    read_files,
    read_id,
    read_object,
    read_rows,
)
from mixtura.batch.provider_forms import (
    PAGES,
    ProviderBatchRow,
    RemoteBatch,
    RowResult,
    take_results,
)
from mixtura.batch.provider_http import BatchHttp
from mixtura.core.errors import MalformedError, UnavailableError
from mixtura.core.quantities import parse_token_count
from mixtura.core.types import JsonObject

INLINE_BYTES = 15_000_000
"""Bytes of requests that go within the document that makes a batch: it has 20 megabytes at most."""
INLINE_ROWS = 100
"""Requests there at most: their answers come in one document, too, and can be longer by far."""
_OVER = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
_SETTINGS = {
    "temperature": "temperature", "top_p": "topP", "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens", "seed": "seed", "stop": "stopSequences",
}  # fmt: skip
"""Fields of a chat completion, and what Gemini calls them."""
_PLAIN_FIELDS = {"model", "messages", "n", *_SETTINGS}
_FINISH_REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}
_STATUSES = {3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 13: 500, 14: 503}
"""HTTP's words for those of Google's remote procedure calls."""


class GoogleForm:
    """
    A batch is of one model, named by its tag. Live calls go to Google's copy of OpenAI's API; its
    batches are asked of the API beside that, with the key under another name. A large one is a
    file, which costs nothing and is gone after two days.
    """

    path = "/chat/completions"

    def __init__(self, http: BatchHttp) -> None:
        self.http = http.api_above("/openai", "x-goog-api-key")

    @staticmethod
    def build_row(data: JsonObject) -> JsonObject:
        """Raises UnavailableError for what has no form there: it is asked live."""
        if unknown := sorted({k for k, v in data.items() if v is not None} - _PLAIN_FIELDS):
            raise UnavailableError(f"Google's batches here do not support {', '.join(unknown)}")
        return {"model": data["model"], "request": _generate_request(data)}

    async def upload(self, tag: str, rows: Sequence[ProviderBatchRow]) -> str:
        lines = [
            msgspec.json.encode({"key": row.custom_id, "request": row.body["request"]})
            for row in rows
        ]
        if len(lines) <= INLINE_ROWS and sum(map(len, lines)) <= INLINE_BYTES:
            return ""
        described = {"file": {"display_name": tag, "mime_type": "application/jsonl"}}
        made = await self.http.with_path_prefix("/upload").upload_described(
            "/files", f"{tag}.jsonl", b"\n".join((*lines, b"")), described
        )
        return read_id(read_object(made, "file"), "name")

    async def create(self, tag: str, file: str, rows: Sequence[ProviderBatchRow]) -> str:
        asked: JsonObject = {"file_name": file}
        if not file:
            inline = [
                {"request": row.body["request"], "metadata": {"key": row.custom_id}} for row in rows
            ]
            asked = {"requests": {"requests": inline}}
        batch = {"display_name": tag, "input_config": asked}
        model = str(rows[0].body["model"]).removeprefix("models/")
        made = await self.http.post_json(f"/models/{model}:batchGenerateContent", {"batch": batch})
        return _read_operation(made).id

    async def find(self, tag: str, file: str, rows: int, since: float) -> RemoteBatch | None:  # noqa: ARG002
        token = ""
        for _ in range(PAGES):
            page = await self.http.get_json(f"/batches?pageSize=100{token}")
            listed = read_rows(page, "operations") or read_rows(page, "batches")
            for one in listed:
                if _batch_details(one).get("displayName") == tag:
                    return _read_operation(one)
            if not page.get("nextPageToken"):
                return None
            token = f"&pageToken={quote(read_id(page, 'nextPageToken'), safe='')}"
        return None

    async def read(self, batch: str) -> RemoteBatch:
        return _read_operation(await self.http.get_json(f"/{batch}"))

    async def cancel(self, batch: str) -> None:
        await self.http.post_json(f"/{batch}:cancel", {})

    async def read_results(self, batch: RemoteBatch, take: Callable[[RowResult], None]) -> None:
        done = await self.http.get_json(f"/{batch.id}")
        told = read_object(done, "response") or read_object(_batch_details(done), "output")
        for file in read_files(told, "responsesFile"):
            await self.http.with_path_prefix("/download").read_lines(
                f"/{file}:download?alt=media", lambda line: take_results(line, _row_result, take)
            )
        for one in read_rows(read_object(told, "inlinedResponses"), "inlinedResponses"):
            with suppress(MalformedError):  # the other rows are paid, and their answers are good
                take(_row_result(one))


def _generate_request(data: JsonObject) -> JsonObject:
    """A chat completion's request as Gemini's. Raises UnavailableError."""
    system: list[str] = []
    contents: list[JsonObject] = []
    messages: Any = data["messages"]
    for message in messages:
        role, text = message.get("role"), message.get("content")
        if not isinstance(text, str) or message.get("tool_calls") or role == "tool":
            raise UnavailableError("Google's batches here support only texts")
        if role in ("system", "developer"):
            system.append(text)
        else:
            who = "model" if role == "assistant" else "user"
            contents.append({"role": who, "parts": [{"text": text}]})
    settings = {_SETTINGS[k]: v for k, v in data.items() if k in _SETTINGS and v is not None}
    if isinstance(settings.get("stopSequences"), str):
        settings["stopSequences"] = [settings["stopSequences"]]
    request: JsonObject = {"contents": contents}
    if system:
        request["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    if settings:
        request["generationConfig"] = settings
    return request


def _read_operation(data: Any) -> RemoteBatch:
    name = read_id(data, "name")
    state = str(_batch_details(data).get("state") or "").rpartition("STATE_")[2]
    over = state in _OVER or bool(data.get("done"))
    failure = None
    if state == "FAILED":
        said = read_object(data, "error").get("message")
        failure = error_excerpt(said, "the provider gave no reason").decode()
    return RemoteBatch(name, over, (), failure)


def _batch_details(data: Any) -> Any:
    """What an operation tells of its batch; a batch by itself is that."""
    return read_object(data, "metadata") or data


def _row_result(data: Any) -> RowResult:
    name = _batch_details(data).get("key")
    if not isinstance(name, str):
        raise MalformedError("a result of a provider's batch has no key")
    if error := read_object(data, "error") or read_object(data, "status"):
        code: Any = error.get("code")
        status = _STATUSES.get(code, 500) if isinstance(code, int) else 500
        words = error_excerpt(error.get("message"), "the provider gave no reason").decode()
        said = {"error": {"message": words}}
        return RowResult(name, status, msgspec.json.encode(said))
    response = read_object(data, "response")
    if not response:  # an empty answer would be taken for one that a filter has withheld
        return RowResult(name, 0, b"no response")
    answer = _chat_completion(response)
    return RowResult(name, 200, msgspec.json.encode(answer))


def _chat_completion(data: Mapping[str, Any]) -> JsonObject:
    """Gemini's answer as a chat completion."""
    first = next(iter(read_rows(data, "candidates")), dict[str, Any]())
    parts = read_rows(read_object(first, "content"), "parts")
    texts = {thought: _joined_parts(parts, thought=thought) for thought in (False, True)}
    message: JsonObject = {"role": "assistant", "content": texts[False]}
    if texts[True]:
        message["reasoning_content"] = texts[True]
    # Whatever else ended it was a filter: the answer, or the question, was blocked.
    reason = _FINISH_REASONS.get(str(first.get("finishReason")), "content_filter")
    used = read_object(data, "usageMetadata")
    thoughts = parse_token_count(used.get("thoughtsTokenCount")) or 0
    usage = {
        "prompt_tokens": used.get("promptTokenCount"),
        "completion_tokens": (parse_token_count(used.get("candidatesTokenCount")) or 0) + thoughts,
        "total_tokens": used.get("totalTokenCount"),
        "completion_tokens_details": {"reasoning_tokens": thoughts},
    }
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {
        "id": data.get("responseId") or "batch", "object": "chat.completion",
        "model": data.get("modelVersion") or "", "choices": [choice],
        **({"usage": usage} if used else {}),
    }  # fmt: skip


def _joined_parts(parts: list[Any], *, thought: bool) -> str:
    chosen = [part for part in parts if bool(part.get("thought")) is thought]
    return "".join(str(part.get("text") or "") for part in chosen)
