"""Files that were put into a question: how a model reads them, and how they are named in lists."""

from __future__ import annotations

import re

_ATTACHED = re.compile(r'<file name="([^"\n]*)">\n.*?\n</file>\n\n', re.DOTALL)
_IMAGE_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def find_image_kind(data: bytes) -> str | None:
    """A picture's media type, by its first bytes; None for what is none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for mark, kind in _IMAGE_KINDS if data.startswith(mark)), None)


def attach_text(name: str, text: str) -> str:
    """A file's text as it stands before a question: between marks that bear its name."""
    shown = name.replace('"', "'").replace("\n", " ")
    return f'<file name="{shown}">\n{text.rstrip()}\n</file>\n\n'


def name_attached_files(text: str) -> str:
    """The question with its files' names in place of their texts: ``[notes.txt] Sum this up.``"""
    names: list[str] = []
    at = 0
    while found := _ATTACHED.match(text, at):
        names.append(f"[{found[1]}]")
        at = found.end()
    return " ".join([*names, text[at:]]) if names else text
