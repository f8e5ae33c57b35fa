"""A provider with batches, on loopback: its own clock, its own ledger, failures on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from tests.support.http_server import QuietHandler, serve_handler


@dataclass
class ProviderFake:
    """
    OpenAI's files and batches, Anthropic's message batches, and both APIs live. Rows are paid when
    their batch is made, live calls when they are asked.
    """

    url: str = ""
    seconds: float = 0.3
    """After which a batch is over: its 24 hours."""
    lost_replies: int = 0
    """So many batches are made, and their maker told 500."""
    refused: int = 0
    """So many batches are not made, and their maker told 503."""
    row_error: str = "no row"
    """Rows whose prompt has this text in it get an error."""
    left_out: str = "no row"
    """Rows whose prompt has this text in it are in no result: the batch expires."""
    odd_lines: list[str] = field(default_factory=list[str])
    """Lines that stand before and between the results of OpenAI's batches."""
    failure: str | None = None
    """What OpenAI's batches fail with."""
    refuses: dict[str, int] = field(default_factory=dict[str, int])
    """
    Statuses with which requests are refused: ``create``, ``list``, ``read``, ``results``,
    ``cancel``: then all batches are over.
    """
    deleted: set[str] = field(default_factory=set[str])
    """Batches that its list still has, and nothing else."""
    full: int = 0
    """So many of OpenAI's batches fail, for the tokens that wait there already."""
    answer: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """Answers the rows of OpenAI's batches in place of ``chat_answer``."""
    paid: Counter[str] = field(default_factory=Counter[str])
    """How often each request was paid in a batch, by model and messages."""
    together: bool = False
    """Its answers stand in Together's envelopes."""
    lag: float = 0.0
    """Seconds after which a batch is in the list."""
    live: Counter[str] = field(default_factory=Counter[str])
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    batches: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def make_batch(self, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        name = f"batch-{len(self.batches)}"
        made = {"id": name, "rows": rows, "at": time.monotonic(), "cancelled": False, **more}
        made["created"] = datetime.now(UTC).isoformat()
        self.batches[name] = made
        if self.full:
            self.full -= 1
            made["full"] = True
            return made
        for row in rows:
            if not any(word in prompt_of(row["body"]) for word in (self.row_error, self.left_out)):
                self.paid[request_name(row["body"])] += 1
        return made

    @property
    def listed(self) -> list[dict[str, Any]]:
        """The batches that its list tells of by now."""
        now = time.monotonic()
        return [one for one in self.batches.values() if now - one["at"] >= self.lag]

    def is_over(self, batch: dict[str, Any]) -> bool:
        return batch["cancelled"] or time.monotonic() - batch["at"] >= self.seconds

    @property
    def paid_twice(self) -> list[str]:
        return [name for name, times in (self.paid + self.live).items() if times > 1]


def prompt_of(body: dict[str, Any]) -> str:
    return json.dumps(body["messages"])


def request_name(body: dict[str, Any]) -> str:
    return f"{body['model']} {prompt_of(body)}"


def answer_text(body: dict[str, Any]) -> str:
    return f"{body['model']} {hashlib.sha256(request_name(body).encode()).hexdigest()[:8]}"


def chat_answer(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "c", "object": "chat.completion", "created": 1, "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": answer_text(body)}}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
    }  # fmt: skip


def message_answer(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "m", "type": "message", "role": "assistant", "model": body["model"],
        "content": [{"type": "text", "text": answer_text(body)}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 20, "output_tokens": 10},
    }  # fmt: skip


def google_row(model: str, asked: dict[str, Any]) -> dict[str, Any]:
    """A row of Gemini's form, as one of chat completions."""
    told = asked["request"]
    system = told.get("systemInstruction", {"parts": []})["parts"]
    messages = [{"role": "system", "content": part["text"]} for part in system]
    messages += [
        {"role": "assistant" if one["role"] == "model" else "user",
         "content": one["parts"][0]["text"]}
        for one in told["contents"]
    ]  # fmt: skip
    body = {"model": model, "messages": messages}
    return {"custom_id": asked.get("metadata", asked)["key"], "body": body}


def google_answer(body: dict[str, Any]) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": answer_text(body)}]}
    return {
        "candidates": [{"content": content, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": 20, "candidatesTokenCount": 10, "totalTokenCount": 30,
        },
    }  # fmt: skip


@contextmanager
def provider_fake(**settings: Any) -> Iterator[ProviderFake]:
    """The fake, served."""
    fake = ProviderFake(**settings)

    class Handler(_Handler):
        provider = fake

    with serve_handler(Handler) as url:
        fake.url = url + "/v1"
        yield fake


class _Handler(QuietHandler):
    provider: ProviderFake

    def do_GET(self) -> None:
        with self.provider.lock:
            path = urlsplit(self.path).path.removeprefix("/v1")
            in_list = path in ("/batches", "/batch/jobs", "/messages/batches")
            kind = "results" if path.endswith(("/content", "/results", ":download")) else "read"
            if not self._refuse("list" if in_list else kind):
                self._get(path)

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.provider.lock:
            path = urlsplit(self.path).path.removeprefix("/v1")
            makes = path.endswith(("/batches", "/batch/jobs", ":batchGenerateContent"))
            kind = "cancel" if path.endswith("cancel") else "create" if makes else ""
            if not self._refuse(kind):
                self._post(path, data)

    def _refuse(self, kind: str) -> bool:
        status = self.provider.refuses.get(kind)
        if not self.provider.deleted.isdisjoint(self.path.split("/")):
            status = 404
        if status is not None:
            self.send_json(status, {"error": {"message": f"no {kind} here"}})
            if kind == "cancel":
                self.provider.seconds = 0.0
        return status is not None

    def _get(self, path: str) -> None:
        fake = self.provider
        match path.split("/")[1:]:
            case ["batches"]:
                self.send_json(200, self._list_openai())
            case ["batch", "jobs"]:
                self.send_json(200, {"data": [*map(self._mistral, fake.listed)]})
            case ["batch", "jobs", name]:
                self.send_json(200, self._mistral(fake.batches[name]))
            case ["batches", name]:
                self.send_json(200, self._show(fake.batches[name]))
            case ["files", name, "content"]:
                kind, _, batch = name.partition("-of-")
                lines = [*map(json.dumps, self._openai_rows(fake.batches[batch], kind))]
                lines = [one for line in lines for one in (*fake.odd_lines, line)]
                self.send_body(200, "\n".join(reversed(lines)).encode(), "application/jsonl")
            case ["download", _version, "files", name]:
                batch = name.removesuffix(":download").partition("-of-")[2]
                lines = [*map(json.dumps, self._google_rows(fake.batches[batch]))]
                self.send_body(200, "\n".join(reversed(lines)).encode(), "application/jsonl")
            case ["messages", "batches"]:
                self.send_json(200, {"data": [*map(self._anthropic, fake.listed)]})
            case ["messages", "batches", name]:
                self.send_json(200, self._anthropic(fake.batches[name]))
            case ["messages", "batches", name, "results"]:
                lines = [*map(json.dumps, self._anthropic_rows(fake.batches[name]))]
                self.send_body(200, "\n".join(reversed(lines)).encode(), "application/jsonl")
            case _:
                self.send_json(404, {"error": {"message": path}})

    def _post(self, path: str, data: bytes) -> None:
        fake = self.provider
        match path.split("/")[1:]:
            case ["upload", _version, "files"]:
                assert self.headers["X-Goog-Upload-Protocol"] == "multipart"
                mark = self.headers["Content-Type"].partition("boundary=")[2].encode()
                _, told, file, _ = data.split(b"--" + mark)
                assert json.loads(told.split(b"\r\n\r\n", 1)[1])["file"]["display_name"]
                name = f"file-{len(fake.files)}"
                fake.files[name] = file.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
                self.send_json(200, {"file": {"name": f"files/{name}"}})
            case ["files", *_]:
                name = f"file-{len(fake.files)}"
                found = re.search(rb'filename="[^"]*"\r\n[^\r]*\r\n\r\n(.*)\r\n--', data, re.DOTALL)
                fake.files[name] = found[1] if found else b""
                self.send_json(200, {"id": name})
            case ["models", model]:
                asked = json.loads(data)["batch"]
                config = asked["input_config"]
                if in_file := "file_name" in config:
                    file = fake.files[config["file_name"].removeprefix("files/")]
                    told = [json.loads(line) for line in file.splitlines()]
                else:
                    assert len(data) <= 20e6, "Google takes 20 megabytes"
                    told = config["requests"]["requests"]
                rows = [google_row(model.partition(":")[0], one) for one in told]
                more = {"tag": asked["display_name"], "in_file": in_file}
                self._make(rows, more, self._google)
            case ["batches", name] if name.endswith(":cancel"):
                fake.batches[name.removesuffix(":cancel")]["cancelled"] = True
                self.send_json(200, {})
            case [*_, _name, "cancel"]:
                fake.batches[path.split("/")[-2]]["cancelled"] = True
                self.send_json(200, {})
            case ["batches"] | ["batch", "jobs"]:
                asked = json.loads(data)
                file = asked.get("input_file_id") or asked["input_files"][0]
                rows = [json.loads(line) for line in fake.files[file].splitlines()]
                shown = self._mistral if "input_files" in asked else self._show_new
                self._make(rows, asked, shown)
            case ["messages", "batches"]:
                asked = json.loads(data)["requests"]
                rows = [{"custom_id": one["custom_id"], "body": one["params"]} for one in asked]
                self._make(rows, {}, self._anthropic)
            case ["chat", "completions"] | ["openai", "chat", "completions"]:
                self._answer_live(json.loads(data), chat_answer)
            case ["messages"]:
                self._answer_live(json.loads(data), message_answer)
            case _:
                self.send_json(404, {"error": {"message": path}})

    def _make(self, rows: Any, asked: Any, shown: Any) -> None:
        fake = self.provider
        if fake.refused:
            fake.refused -= 1
            self.send_json(503, {"error": {"message": "not now"}})
            return
        made = fake.make_batch(rows, asked=asked)
        if fake.lost_replies:
            fake.lost_replies -= 1
            self.send_json(500, {"error": {"message": "after all was done"}})
            return
        self.send_json(200, shown(made))

    def _answer_live(self, body: Any, answer: Any) -> None:
        self.provider.live[request_name(body)] += 1
        self.send_json(200, answer(body))

    def _split(self, batch: Any) -> tuple[list[Any], list[Any], list[Any]]:
        """Rows that are answered, that failed, and that were not asked."""
        fake, kinds = self.provider, ([], [], [])
        for row in batch["rows"]:
            said = prompt_of(row["body"])
            kinds[1 if fake.row_error in said else 2 if fake.left_out in said else 0].append(row)
        return kinds

    def _openai(self, batch: Any) -> Any:
        asked, over = batch["asked"], self.provider.is_over(batch)
        done = {
            "status": "cancelled" if batch["cancelled"] else "completed",
            "output_file_id": f"out-of-{batch['id']}",
            "error_file_id": f"err-of-{batch['id']}",
        }
        if over and self.provider.failure is not None:
            errors = {"data": [{"message": self.provider.failure}] * 5}
            return {"id": batch["id"], "status": "failed", "errors": errors}
        if batch.get("full"):
            errors = {"data": [{"code": "token_limit_exceeded", "message": "enough waits"}]}
            return {"id": batch["id"], "status": "failed", "errors": errors}
        known = {key: asked.get(key) for key in ("metadata", "input_file_id")}
        return {"id": batch["id"], "status": "in_progress", **known, **(done if over else {})}

    def _list_openai(self) -> Any:
        listed = [*map(self._show, self.provider.listed)]
        if any("tag" in one["asked"] for one in self.provider.batches.values()):
            return {"operations": listed}
        return listed if self.provider.together else {"data": listed}

    def _show(self, batch: Any) -> Any:
        return self._google(batch) if "tag" in batch["asked"] else self._openai(batch)

    def _show_new(self, batch: Any) -> Any:
        shown = self._openai(batch)
        return {"job": shown} if self.provider.together else shown

    def _google(self, batch: Any) -> Any:
        over = self.provider.is_over(batch)
        state = "SUCCEEDED" if over else "RUNNING"
        told = {"displayName": batch["asked"]["tag"], "state": f"BATCH_STATE_{state}"}
        shown = {"name": f"batches/{batch['id']}", "metadata": told}
        if not over:
            return shown
        told: Any = {"responsesFile": f"files/out-of-{batch['id']}"}
        if not batch["asked"]["in_file"]:
            rows = [*self._google_rows(batch)]
            told = {"inlinedResponses": {"inlinedResponses": rows}}
        return {**shown, "done": True, "response": told}

    def _google_rows(self, batch: Any) -> Iterator[Any]:
        good, bad, left = self._split(batch)
        for row, came in (
            *((row, {}) for row in left),
            *((row, {"response": google_answer(row["body"])}) for row in good),
            *((row, {"error": {"code": 13, "message": "it broke"}}) for row in bad),
        ):
            key = {"key": row["custom_id"]}
            yield {**(key if batch["asked"]["in_file"] else {"metadata": key}), **came}

    def _mistral(self, batch: Any) -> Any:
        job = {"id": batch["id"], "input_files": batch["asked"]["input_files"]}
        if not self.provider.is_over(batch):
            return {**job, "status": "RUNNING"}
        files = {f"{key}_file": f"{key[:3]}-of-{batch['id']}" for key in ("output", "error")}
        return {**job, "status": "SUCCESS", **files}

    def _openai_rows(self, batch: Any, kind: str) -> Iterator[Any]:
        good, bad, _ = self._split(batch)
        for row in good if kind == "out" else bad:
            body = {"error": {"message": "it broke", "type": "server_error"}}
            answer = self.provider.answer or chat_answer
            status, body = (200, answer(row["body"])) if kind == "out" else (500, body)
            yield {"custom_id": row["custom_id"], "response": {"status_code": status, "body": body}}

    def _anthropic(self, batch: Any) -> Any:
        over = self.provider.is_over(batch)
        return {
            "id": batch["id"], "processing_status": "ended" if over else "in_progress",
            "created_at": batch["created"], "request_counts": {"processing": len(batch["rows"])},
        }  # fmt: skip

    def _anthropic_rows(self, batch: Any) -> Iterator[Any]:
        good, bad, left = self._split(batch)
        for row in good:
            result = {"type": "succeeded", "message": message_answer(row["body"])}
            yield {"custom_id": row["custom_id"], "result": result}
        broken = {"type": "error", "error": {"type": "api_error", "message": "it broke"}}
        for row in bad:
            yield {"custom_id": row["custom_id"], "result": {"type": "errored", "error": broken}}
        for row in left:
            yield {"custom_id": row["custom_id"], "result": {"type": "expired"}}
