"""Files that go with a question: text, source code, PDFs and pictures."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from mixtura.catalog.user_files import expand_home, read_user_file
from mixtura.cli.common import name_callback, require_extra
from mixtura.cli.completed_values import complete_file
from mixtura.core.attached_files import attach_text, find_image_kind
from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.text_encoding import decode_text
from mixtura.core.types import ImagePart, Part, TextPart

F = TypeVar("F", bound=Callable[..., object])

MAX_TEXT_BYTES = 20_000_000
MAX_IMAGE_BYTES = 20_000_000
MAX_FILE_BYTES = max(MAX_TEXT_BYTES, MAX_IMAGE_BYTES)
"""No provider takes a larger picture."""
PDF_SECONDS = 60.0
"""Seconds that pdftotext may take for one file."""
_REFUSED_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive or an Office document: save it as PDF or as text"),
    (b"\xd0\xcf\x11\xe0", "an old Office document: save it as PDF or as text"),
    (b"II*\x00", "a TIFF picture: convert it to PNG or JPEG"),
    (b"MM\x00*", "a TIFF picture: convert it to PNG or JPEG"),
    (b"BM", "a BMP picture: convert it to PNG or JPEG"),
    (b"ID3", "audio: transcribe it first"),
    (b"RIFF", "audio or video: transcribe it first"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"\x7fELF", "a program"),
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file as a part of a question, and what is said of it."""

    name: str
    description: str
    part: Part

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "description": self.description}


def attachment_options(function: F) -> F:
    """``--attach FILE`` and ``--image FILE|URL``, each as often as one likes."""
    for option in (
        click.option(
            "--image", "images", multiple=True, metavar="FILE|URL", callback=name_callback,
            shell_complete=complete_file,
            help="Add a picture, from a file or a web address. Repeatable.",
        ),
        click.option(
            "--attach", "files", multiple=True, metavar="FILE", callback=name_callback,
            shell_complete=complete_file,
            help="Add a file: text, source code, a PDF or a picture. Repeatable.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def read_attachments(files: Sequence[str], images: Sequence[str]) -> list[Attachment]:
    """What ``--attach`` and ``--image`` name. Raises ConfigError, naming the option."""
    try:
        attached = [read_attachment(name) for name in files]
    except ConfigError as error:
        raise ConfigError(f"--attach: {error}") from None
    try:
        return attached + [read_image(name) for name in images]
    except ConfigError as error:
        raise ConfigError(f"--image: {error}") from None


def message_content(question: str, attached: Sequence[Attachment]) -> str | tuple[Part, ...]:
    """What the person sends: files first, the question last; plain text where no picture is."""
    texts = [one.part.text for one in attached if isinstance(one.part, TextPart)]
    pictures = [one.part for one in attached if isinstance(one.part, ImagePart)]
    text = "".join([*texts, question])
    # A text alone stays a string: some servers take nothing else.
    return (*pictures, TextPart(text)) if pictures else text


def read_attachment(name: str) -> Attachment:
    """A file as a part of a question. Raises ConfigError for what no model could read."""
    if name.startswith(("http://", "https://")):
        raise ConfigError(f"{name} is a web address: download the page first, or use --image")
    file = expand_home(name)
    data = read_user_file(file, MAX_FILE_BYTES)
    if not data:
        raise ConfigError(f"{file} is empty")
    if (kind := find_image_kind(data)) is not None:
        return _picture_attachment(file, data, kind)
    if data.startswith(b"%PDF-"):
        return _pdf_text(file)
    for mark, refusal in _REFUSED_KINDS:
        # "BM" and "RIFF" begin words, too: what is text is text.
        if data.startswith(mark) and _decode_text(data) is None:
            raise ConfigError(f"{file} is {refusal}")
    text = _decode_text(data)
    if text is None:
        raise ConfigError(
            f"{file} is not UTF-8 text, a PDF or a picture (PNG, JPEG, GIF, WebP):"
            f" for text in another encoding, convert it: iconv -f latin1 -t utf-8"
        )
    if not text.strip():
        raise ConfigError(f"{file} has no text in it")
    return _text_attachment(file, text, pluralize_count(len(text.splitlines()), "line"))


def read_image(name: str) -> Attachment:
    """A picture from a file or an address. Raises ConfigError."""
    scheme = name.partition(":")[0].lower() if "://" in name or name.startswith("data:") else ""
    if scheme in ("http", "https"):
        return Attachment(
            to_one_line(name), "picture at a web address", ImagePart(_web_address(name))
        )
    if scheme == "data":
        return Attachment("data:", "picture", ImagePart(_data_address(name)))
    if scheme:
        raise ConfigError(f"{scheme}:// is not http, https or data")
    file = expand_home(name)
    data = read_user_file(file, MAX_FILE_BYTES)
    if (kind := find_image_kind(data)) is None:
        raise ConfigError(f"{file} is not a PNG, JPEG, GIF or WebP picture")
    return _picture_attachment(file, data, kind)


def _web_address(name: str) -> str:
    """*name*, where it is an address with a host. Raises ConfigError."""
    try:
        host = urlsplit(name).hostname
    except ValueError as error:
        raise ConfigError(f"{to_one_line(name)} is not an address: {error}") from None
    if not host:
        raise ConfigError(f"{to_one_line(name)} is not an address: it has no host")
    return name


def _data_address(name: str) -> str:
    """*name*, where it is a picture in base64. Raises ConfigError."""
    head, comma, data = name.partition(",")
    if not (comma and re.fullmatch(r"data:image/[\w.+-]+;base64", head, re.IGNORECASE)):
        raise ConfigError(
            "a data: address of a picture begins with data:image/png;base64, or the like"
        )
    try:
        base64.b64decode(data, validate=True)
    except ValueError:
        raise ConfigError("the picture in the data: address is not base64") from None
    return name


def complete_path(word: str) -> list[str]:
    """The files and folders whose path begins with *word*, for a person who types one."""
    typed = expand_home(word)
    folder = typed if word.endswith("/") or not word else typed.parent
    start = "" if word.endswith("/") or not word else typed.name
    shown = word[: len(word) - len(start)]
    try:
        names = sorted(one for one in folder.iterdir() if one.name.startswith(start))
    except OSError:
        return []
    return [shown + one.name + ("/" if one.is_dir() else " ") for one in names
            if start.startswith(".") or not one.name.startswith(".")]  # fmt: skip


# ---- kinds of files


def _picture_attachment(file: Path, data: bytes, kind: str) -> Attachment:
    url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    size = f"{kind.removeprefix('image/').upper()} picture, {max(len(data) // 1000, 1):,} kB"
    return Attachment(to_one_line(file.name), size, ImagePart(url))


def _decode_text(data: bytes) -> str | None:
    """The text in *data*; None for what is none."""
    try:
        text = decode_text(data)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text.replace("\r\n", "\n")


def _text_attachment(file: Path, text: str, size: str) -> Attachment:
    name = to_one_line(file.name)
    return Attachment(name, size, TextPart(attach_text(name, text)))


# ---- PDFs


def _pdf_text(file: Path) -> Attachment:
    pages = _pages_by_program(file) if shutil.which("pdftotext") else _pages_by_library(file)
    if not any(page.strip() for page in pages):
        raise ConfigError(
            f"{file} has no text in it, only pictures (a scan?): attach its pages as pictures,"
            " as `pdftoppm -png -r 150` makes them"
        )
    text = "\n\n".join(f"[page {n}]\n{page.strip()}" for n, page in enumerate(pages, start=1))
    return _text_attachment(file, text, f"PDF, {pluralize_count(len(pages), 'page')}")


def _pages_by_program(file: Path) -> list[str]:
    """The pages' texts by pdftotext, which Poppler brings. Raises ConfigError."""
    command = ["pdftotext", "-enc", "UTF-8", "-layout", str(file.absolute()), "-"]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, check=False, timeout=PDF_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{file}: pdftotext took more than {PDF_SECONDS:.0f} s") from None
    if done.returncode:
        said = to_one_line(done.stderr.decode(errors="replace"))[:200]
        raise ConfigError(f"{file} cannot be read as a PDF: {said or 'pdftotext failed'}")
    # Every page ends with a form feed.
    return done.stdout.decode(errors="replace").removesuffix("\f").split("\f")


def _pages_by_library(file: Path) -> list[str]:
    """The pages' texts by pypdf. Raises ConfigError."""
    with require_extra("pdf", "reading a PDF"):
        library: Any = import_module("pypdf")
    try:
        reader = library.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise ConfigError(f"{file} is protected by a password: save a copy without one")
        return [str(page.extract_text()) for page in reader.pages]
    except ConfigError:
        raise
    # A broken PDF makes it raise nearly anything, and its own errors have no family of their own.
    except Exception as error:  # noqa: BLE001
        reason = to_one_line(error)[:200] or type(error).__name__
        raise ConfigError(f"{file} cannot be read as a PDF: {reason}") from None
