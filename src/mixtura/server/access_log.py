"""A line in the log for each request: what was asked of whom, how it ended, how long it took."""

from __future__ import annotations

import logging
import time
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mixtura.core.credentials import mask_keys
from mixtura.core.text import to_one_line
from mixtura.server.access import ANYONE
from mixtura.server.job import JOB_KEY, Job

log = logging.getLogger("mixtura.access")
MAX_PATH_CHARS = 200
MAX_CONTENT_CHARS = 2000
"""Characters of a question or an answer that are logged, where they are asked for."""
MAX_ERROR_BYTES = 16 * 1024
"""Bytes of a refusal that are kept to say its reason."""


class AccessLogMiddleware:
    """
    Logs each HTTP request once its response has ended.

    Method, path, status, milliseconds; the model, the client and the run where there is one; why
    it was refused. No header, no query and nothing that was said, unless *content* asks for it:
    a refusal is logged by its code, as its words may quote the request. What this server or a
    model did wrong (5xx) is told in words.
    """

    def __init__(self, app: ASGIApp, *, content: bool = False) -> None:
        self._app = app
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        response = _SentResponse()

        async def send_watched(message: Message) -> None:
            response.add(message)
            await send(message)

        broke_off = True
        try:
            await self._app(scope, receive, send_watched)
            broke_off = False
        finally:
            self._log_request(scope, response, time.perf_counter() - began, broke_off)

    def _log_request(
        self, scope: Scope, response: _SentResponse, seconds: float, broke_off: bool
    ) -> None:
        job: Job | None = scope.get(JOB_KEY)
        failed = str(job.failed) if job and job.failed else None
        # An answer in pieces has said 200 before it fails.
        trouble = broke_off or response.status >= 500 or (failed and response.status < 400)
        level = logging.ERROR if trouble else logging.INFO
        if not log.isEnabledFor(level):
            return
        # As it came over the wire: no line break in it can begin a line of its own.
        path = mask_keys(scope["path"], names=True)
        address = quote(path, safe="/:@!$&'()*+,;=~")[:MAX_PATH_CHARS]
        parts = [scope["method"], address, str(response.status or "-"), f"{1000 * seconds:.0f}ms"]
        if job:
            parts.append(f"model={_quote_value(job.call.model)}")
            if job.client.name != ANYONE:
                parts.append(f"client={_quote_value(job.client.name)}")
            parts.append(f"run={job.run_ids[0]}")
        parts += response.reason_parts(in_words=bool(trouble) or self._content)
        if failed and response.status < 400:
            parts.append(f"error={_quote_value(failed)}")
        log.log(level, "%s", _redact_line(" ".join(parts), job))
        if self._content and job:
            _log_content(job)


class _SentResponse:
    """What was sent: its status, and the body of a refusal."""

    def __init__(self) -> None:
        self.status = 0
        self._body = b""

    def add(self, message: Message) -> None:
        """Take note of a message that is being sent."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif self.status >= 400 and len(self._body) < MAX_ERROR_BYTES:
            self._body += message.get("body", b"")

    def reason_parts(self, *, in_words: bool) -> list[str]:
        """Why it was refused, as parts of a line; empty where it was not."""
        try:
            body: Any = msgspec.json.decode(self._body or b"{}")
            error: Any = body.get("error", {})
            code, words = error.get("code") or error.get("type"), error.get("message")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
            return []
        parts = [f"code={_quote_value(code)}"] if code else []
        return parts + ([f"error={_quote_value(words)}"] if words and in_words else [])


def _quote_value(value: object) -> str:
    """A value in a line: in quotation marks where a space stands in it."""
    text = to_one_line(value)
    return f'"{text}"' if " " in text or '"' in text else text


def _redact_line(line: str, job: Job | None) -> str:
    """The line without what this request's client may not see; the rest is core.logs' work."""
    return mask_keys(job.redactor.redact_text(line) if job else line)


def _log_content(job: Job) -> None:
    """What was asked and answered, a line each."""
    for number, trace in job.run_traces():
        request = trace.request
        asked = (
            next((m for m in reversed(request.messages) if m.role == "user"), None)
            if request
            else None
        )
        answer = trace.completion.text if trace.completion else None
        for word, text in (("question", asked and asked.text), ("answer", answer)):
            if text is not None:
                line = _redact_line(to_one_line(text), job)[:MAX_CONTENT_CHARS]
                log.info("run=%s %s: %s", number, word, line)
