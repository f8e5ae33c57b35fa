"""Parts of messages in each API's form, and what stands in for one that a model cannot take."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from mixtura.core.errors import MalformedError, RejectedError
from mixtura.core.types import ImagePart, Json, Message, OtherPart, Part, Request, TextPart

CACHE_MARK = "cache_control"
"""The further field of a part that targets take: where a prompt cache may cut."""
THOUGHT_PART_TYPES = ("thinking", "redacted_thinking", "reasoning")
"""Parts that are a model's own thoughts: they are shown to no other model."""

_PDF = "application/pdf"

# ---- chat completions


def part_from_json(part: Any) -> Part:
    """
    A part of a chat message, also in the words of responses. Raises MalformedError for what is no
    object.
    """
    match part:
        case {"type": "text" | "input_text" | "output_text", "text": str(text), **rest}:
            return TextPart(text, rest)
        case {"type": "refusal", "refusal": str(text), **rest}:
            return TextPart(text, rest)
        case {"type": "image_url", "image_url": {"url": str(url), **more}, **rest} if (
            more.keys() <= {"detail"}
        ):
            return ImagePart(url, more.get("detail"), rest)
        case {"type": "image_url" | "input_image", "image_url": str(url), **rest}:
            # The Responses API has it beside the address, not in an object with it.
            detail = rest.pop("detail", None)
            return ImagePart(url, detail if isinstance(detail, str) else None, rest)
        case dict():
            return OtherPart(cast("Json", part))
        case _:
            raise MalformedError("a part of a message is not an object")


def part_json(part: Part) -> dict[str, Any]:
    """A part as chat completions has it."""
    match part:
        case TextPart(text, extra):
            return {"type": "text", "text": text, **cache_mark_field(extra)}
        case ImagePart(url, detail, extra):
            picture = {"url": url} if detail is None else {"url": url, "detail": detail}
            return {"type": "image_url", "image_url": picture, **cache_mark_field(extra)}
        case OtherPart({"type": "document", "source": {**source}} as raw):
            return document_to_file(raw, cast("Json", source)) or dict(raw)
        case OtherPart(raw):
            return dict(raw)


def cache_mark_field(extra: Json) -> Json:
    """What of a part's further fields targets take."""
    return {CACHE_MARK: extra[CACHE_MARK]} if extra.get(CACHE_MARK) is not None else {}


def document_to_file(raw: Json, source: Json) -> dict[str, Any] | None:
    """Anthropic's *document* as a file of chat completions; None where it is no file."""
    match source:
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            address = f"data:{kind};base64,{data}"
        case {"type": "url", "url": str(address)}:
            pass
        case _:
            return None
    title, context = raw.get("title"), raw.get("context")
    name = " - ".join(str(text) for text in (title, context) if text) or "document.pdf"
    return {"type": "file", "file": {"filename": name, "file_data": address}}


# ---- Anthropic's messages


def file_to_document(raw: Json) -> dict[str, Any] | None:
    """
    A file of chat completions as Anthropic's document; None for any other part. Raises
    RejectedError for a file without its data, or a text file that is not base64 of UTF-8.
    """
    match raw:
        case {"type": "file", "file": {"file_data": str(data), **more}}:
            named = {"title": more["filename"]} if isinstance(more.get("filename"), str) else {}
            return {
                "type": "document",
                "source": _document_source(data),
                **named,
                **cache_mark_field(raw),
            }
        case {"type": "file", "file": {"file_id": str()}}:
            raise RejectedError("a file is known by its id only: send its data")
        case _:
            return None


def _document_source(data: str) -> dict[str, Any]:
    if data.startswith(("http://", "https://")):
        return {"type": "url", "url": data}
    kind, comma, content = data.removeprefix("data:").partition(";base64,")
    if not comma:
        # Some clients send bare base64, without the head of a data: address.
        kind, content = _PDF, data
    # Anthropic takes base64 of PDF only; text has a source of its own.
    if kind.startswith("text/"):
        try:
            text = b64decode(content, validate=True).decode()
        except (Base64Error, UnicodeDecodeError):
            raise RejectedError("a text file is not base64 of UTF-8") from None
        return {"type": "text", "media_type": "text/plain", "data": text}
    return {"type": "base64", "media_type": kind, "data": content}


# ---- what stands in

PICTURE_STAND_IN = "[A picture is here that you cannot see. Say so if the answer depends on it.]"

_KIND_NAMES = {
    "file": "a file", "document": "a file", "input_file": "a file", "container_upload": "a file",
    "input_audio": "a sound recording", "audio": "a sound recording",
    "audio_url": "a sound recording", "video_url": "a video", "input_video": "a video",
    "video": "a video", "image": "a picture", "image_url": "a picture",
}  # fmt: skip


def part_kind(part: Part) -> str:
    """What a part is, in a word or two: "a picture", "a file"."""
    match part:
        case TextPart():
            return "a text"
        case ImagePart():
            return "a picture"
        case OtherPart(raw):
            kind = str(raw.get("type"))
            return _KIND_NAMES.get(kind, f"a part of the type {kind!r}")


def stand_in_text(part: Part) -> str:
    """The line of text that a model gets in place of a part that it cannot take."""
    if isinstance(part, ImagePart):
        return PICTURE_STAND_IN
    kind = part_kind(part)
    name = _file_name(part.raw) if isinstance(part, OtherPart) else ""
    called = f' called "{name}"' if name else ""
    return (
        f"[{kind[0].upper()}{kind[1:]}{called} is here that you cannot read."
        " Say so if the answer depends on it.]"
    )


def _file_name(raw: Json) -> str:
    file = raw.get("file")
    table = cast("Mapping[str, Any]", file) if isinstance(file, Mapping) else raw
    name = table.get("filename") or table.get("title")
    return " ".join(name.split())[:200] if isinstance(name, str) else ""


def message_parts(message: Message) -> Sequence[Part]:
    """The parts of a message; a text is one part."""
    content = message.content
    return content if isinstance(content, tuple) else (TextPart(content),) if content else ()


def replace_unsupported_parts(
    request: Request, takes: Callable[[Part], bool]
) -> tuple[Request, tuple[str, ...]]:
    """
    The request with a line of text for each part that *takes* refuses, and a notice for each kind.
    Thoughts of other models are removed without a line.
    """
    if all(isinstance(m.content, str) or all(map(takes, m.content)) for m in request.messages):
        return request, ()
    kinds: dict[str, None] = {}

    def replace_parts(message: Message) -> Message:
        if isinstance(message.content, str):
            return message
        parts: list[Part] = []
        for part in message.content:
            if takes(part):
                parts.append(part)
            elif not is_thought_part(part):
                kinds[part_kind(part)] = None
                parts.append(TextPart(stand_in_text(part)))
        return replace(message, content=tuple(parts))

    messages = tuple(map(replace_parts, request.messages))
    notices = tuple(f"cannot take {kind}: it is replaced by a line of text" for kind in kinds)
    return replace(request, messages=messages), notices


def is_thought_part(part: Part) -> bool:
    """Whether a part is a model's own thought."""
    return isinstance(part, OtherPart) and part.raw.get("type") in THOUGHT_PART_TYPES
