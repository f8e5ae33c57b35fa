"""A form with one file, as ``multipart/form-data`` (RFC 7578), received into a file on the disk."""

from __future__ import annotations

import asyncio
import mmap
import tempfile
from asyncio import to_thread
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from typing import BinaryIO, NamedTuple

from starlette.types import Receive, Scope

from mixtura.server.apis.base import ApiError
from mixtura.server.request_headers import request_header

MAX_PARTS = 32
MAX_FIELD_BYTES = 10_000
MAX_HEADER_BYTES = 8_000
FORM_BYTES = 1 << 20
"""Bytes that a form may have beside its file."""


class UploadedForm(NamedTuple):
    """The fields of a form; its file is bytes *start* to *end* of *body*, called *name*."""

    fields: dict[str, str]
    body: BinaryIO
    name: str
    start: int
    end: int

    def read_parts(self, size: int) -> Iterator[bytes]:
        """The file, *size* bytes at a time."""
        self.body.seek(self.start)
        left = self.end - self.start
        while left:
            part = self.body.read(min(size, left))
            left -= len(part)
            yield part


async def receive_form(
    scope: Scope, receive: Receive, *, most: int, idle_seconds: float
) -> UploadedForm:
    """
    The form of a request, whose ``body`` the caller closes. *most*: bytes of its file.

    Raises ApiError where it is no form with a file, too large, or nothing of it comes for
    *idle_seconds*.
    """
    boundary = _read_boundary(request_header(scope, b"content-type"))
    # Before a byte of it is read or kept.
    if stated_bytes(scope) > most + FORM_BYTES:
        raise file_too_large_error(most)
    if request_header(scope, b"content-encoding") not in ("", "identity"):
        raise ApiError(
            415, "a form must be sent without compression", code="unsupported_media_type"
        )
    body: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        left = most + FORM_BYTES
        while True:
            try:
                async with asyncio.timeout(idle_seconds):
                    message = await receive()
            except TimeoutError:
                said = f"nothing of the body came for {idle_seconds:g} s"
                raise ApiError(408, said, code="request_timeout") from None
            if message["type"] == "http.disconnect":
                raise ApiError(499, "the client left")
            data = message.get("body", b"")
            left -= len(data)
            if left < 0:
                raise file_too_large_error(most)
            await to_thread(body.write, data)
            if not message.get("more_body", False):
                break
        form = await to_thread(_parse_form, body, boundary)
        if form.end - form.start > most:
            raise file_too_large_error(most)
    except BaseException:
        body.close()
        raise
    return form


def stated_bytes(scope: Scope) -> int:
    """The bytes that a request says its body has; 0 where it says none."""
    text = request_header(scope, b"content-length")
    return int(text[:20]) if text.isascii() and text.isdigit() else 0


def file_too_large_error(most: int) -> ApiError:
    """The error for a file of more than *most* bytes."""
    message = f"the file is larger than {most / 1024**2:g} MB ([serve.batches] file_megabytes)"
    return ApiError(413, message, kind="request_too_large", code="request_too_large", param="file")


def _read_boundary(content_type: str) -> bytes:
    head = Message()
    head["content-type"] = content_type or "text/plain"
    boundary = head.get_param("boundary")
    if head.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        said = "the body must be a form: `Content-Type: multipart/form-data; boundary=…`"
        raise ApiError(415, said, code="unsupported_media_type")
    if not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise ApiError(400, "the boundary of the form has 1 to 70 letters")
    return b"\r\n--" + boundary.encode()


def _parse_form(body: BinaryIO, boundary: bytes) -> UploadedForm:
    body.flush()
    if body.tell() == 0:
        raise _no_form_error()
    fields: dict[str, str] = {}
    file: tuple[str, int, int] | None = None
    with mmap.mmap(body.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for head, start, end in _find_parts(data, boundary):
            name = head.get_param("name", header="content-disposition")
            if not isinstance(name, str):
                raise ApiError(400, "a part of the form has no name")
            if name == "file":
                if file is not None:
                    raise ApiError(400, "the form has two files: send one", param="file")
                file = (_read_filename(head), start, end)
            elif end - start > MAX_FIELD_BYTES:
                raise ApiError(400, f"the field has more than {MAX_FIELD_BYTES} bytes", param=name)
            else:
                try:
                    fields[name] = data[start:end].decode()
                except UnicodeDecodeError:
                    raise ApiError(400, "the field is not UTF-8 text", param=name) from None
    if file is None:
        raise ApiError(
            400, "'file' is a required property", param="file", code="missing_required_parameter"
        )
    return UploadedForm(fields, body, *file)


def _read_filename(head: Message) -> str:
    """The file's name; empty where it is in no encoding that can be read."""
    try:
        name = head.get_filename() or ""
    except ValueError:  # the form itself names the encoding, such as one that decodes nothing
        return ""
    return name.encode("utf-8", "replace").decode()  # some decode to halves of characters


def _find_parts(data: mmap.mmap, boundary: bytes) -> Iterator[tuple[Message, int, int]]:
    """The head of each part, and where its content begins and ends."""
    at = len(boundary) - 2 if data[: len(boundary) - 2] == boundary[2:] else -1
    if at < 0:
        first = data.find(boundary)
        if first < 0:
            raise _no_form_error()
        at = first + len(boundary)
    for _ in range(MAX_PARTS):
        if data[at : at + 2] == b"--":
            return
        line = data.find(b"\r\n", at, at + MAX_HEADER_BYTES)
        start = data.find(b"\r\n\r\n", at, at + MAX_HEADER_BYTES)
        end = data.find(boundary, start + 2) if start >= 0 else -1
        if line < 0 or end < 0:
            raise _no_form_error()
        head = data[line + 2 : start].decode("utf-8", "replace")
        # A part without content ends where its head does.
        yield HeaderParser().parsestr(head), min(start + 4, end), end
        at = end + len(boundary)
    raise ApiError(400, f"the form has more than {MAX_PARTS} parts")


def _no_form_error() -> ApiError:
    return ApiError(400, "the form is not complete: a boundary is missing")
