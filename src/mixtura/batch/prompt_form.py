"""How a record becomes a request: a column, a template, messages, pictures."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any, cast

import msgspec

from mixtura.core.errors import ConfigError, MalformedError
from mixtura.core.types import ImagePart, Message, Part, Request, Sampling, TextPart
from mixtura.protocols.openai.messages import message_from_json

PROMPT_FIELDS = ("messages", "prompt", "question", "instruction", "input", "problem", "text")
IMAGE_FIELDS = ("image", "images")
ID_FIELDS = ("custom_id", "id")

ImageReader = Callable[[str], ImagePart]
"""A picture from a path or an address. Raises ConfigError."""


class ConstantPromptError(ConfigError):
    """A record is asked what every other one is: the template has no field, it has no picture."""


@dataclass(frozen=True, slots=True)
class PromptForm:
    """
    What is taken of a record. Every method raises ConfigError, without the place.

    *template* has fields in braces, or none for records with pictures; without it *column* is the
    prompt, or the record's only field of a usual name. *image_column* has a path, an address or
    several. *read_image* reads them.
    """

    column: str | None = None
    template: str | None = None
    system: str | None = None
    image_column: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    read_image: ImageReader | None = None

    def __post_init__(self) -> None:
        if self.template is not None:
            parse_template(self.template)
            if not self.template.strip():
                raise ConfigError(
                    "--template is empty: write a field in braces, such as {question}"
                )

    def build_request(self, fields: Mapping[str, Any]) -> Request:
        messages = self._build_messages(fields)
        if self.system is not None:
            messages = (Message("system", self.system), *messages)
        return Request(messages, self.sampling)

    def _build_messages(self, fields: Mapping[str, Any]) -> tuple[Message, ...]:
        if self.template is not None:
            asked: Any = render_template(self.template, fields)
        elif self.column is None and is_instruction_row(fields):
            try:
                asked = join_instruction(fields)
            except ValueError as error:
                raise ConfigError(str(error)) from None
        else:
            asked = _find_field(fields, self.column or _prompt_field(fields))
        if isinstance(asked, list):
            return parse_messages(cast(list[Any], asked))
        text = _field_text(asked)
        if not text.strip():
            raise ConfigError("its prompt is empty")
        pictures = self._read_pictures(fields)
        if not pictures and self.template is not None and not _has_field(self.template):
            raise ConstantPromptError(
                "--template has no field, and there is no picture: write a field in braces, such as"
                " {question}, or name the field of the pictures with --image-column"
            )
        content: str | tuple[Part, ...] = (*pictures, TextPart(text)) if pictures else text
        return (Message("user", content),)

    def _read_pictures(self, fields: Mapping[str, Any]) -> list[Part]:
        if self.image_column is not None:
            found: list[Any] = [_find_field(fields, self.image_column)]
        else:
            found = [fields[name] for name in IMAGE_FIELDS if fields.get(name)]
        named = [
            one
            for value in found
            for one in (cast(list[Any], value) if isinstance(value, list) else [value])
        ]
        return [self._read_picture(one) for one in named if one]

    def _read_picture(self, value: Any) -> Part:
        inside: Mapping[str, Any] = cast(dict[str, Any], value) if isinstance(value, dict) else {}
        if isinstance(data := inside.get("bytes"), bytes):  # as `datasets` has undecoded pictures
            kind = "jpeg" if data.startswith(b"\xff\xd8\xff") else "png"
            return ImagePart(f"data:image/{kind};base64,{base64.b64encode(data).decode()}")
        if not isinstance(value, str) or self.read_image is None:
            raise ConfigError("an image must be a path or an address")
        return self.read_image(value)


def is_instruction_row(fields: Mapping[str, Any]) -> bool:
    """Whether a record is one of Alpaca's or Dolly's: an instruction, and what it is about."""
    others = set(PROMPT_FIELDS) - {"instruction", "input"}
    whole = fields.get("text")  # Alpaca's whole prompt
    named = {name for name in others if is_filled(fields.get(name))}
    if isinstance(whole, str) and str(fields.get("instruction")) in whole:
        named.discard("text")
    instruction = fields.get("instruction")
    return isinstance(instruction, str) and bool(instruction.strip()) and not named


def join_instruction(fields: Mapping[str, Any], name: str = "instruction") -> str:
    """
    An instruction and, below it, the ``input`` of Alpaca's rows or the ``context`` of Dolly's.

    Raises ValueError where it has both and they differ, or one is no text.
    """
    there = [one for one in ("input", "context") if is_filled(fields.get(one))]
    if len(there) > 1 and fields["input"] != fields["context"]:
        raise ValueError(
            "`input` and `context` could both belong to the instruction: keep one of them"
        )
    if not there:
        return fields[name]
    if not isinstance(fields[there[0]], str):
        raise ValueError(f"`{there[0]}` must be a text")
    return f"{fields[name]}\n\n{fields[there[0]]}"


def is_filled(beside: object) -> bool:
    """Whether a field has anything in it."""
    if isinstance(beside, str):
        return beside.strip() not in ("", "<noinput>")  # Alpaca's word for none
    return beside is not None and beside != []


def record_id(fields: Mapping[str, Any], before: int) -> str:
    """The record's own name, or its number from 1: the input has so many *before* it."""
    for name in ID_FIELDS:
        value = fields.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
            return str(value)
    return str(before + 1)


def parse_messages(rows: Sequence[Any]) -> tuple[Message, ...]:
    """A conversation as chat completions have it. Raises ConfigError."""
    form = 'a message must be an object with a role and a content: {"role": "user", "content": "…"}'
    if not rows:
        raise ConfigError("its messages are empty")
    try:
        if not all(isinstance(one, dict) and "role" in one for one in rows):
            raise ConfigError(form)
        return tuple(map(message_from_json, rows))
    except MalformedError as error:
        raise ConfigError(str(error)) from None
    except (KeyError, TypeError, AttributeError):
        raise ConfigError(form) from None


def parse_template(template: str) -> list[tuple[str, str | None]]:
    """Texts and the fields behind them. Raises ConfigError for what is no template."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        said = "write a literal brace twice: {{ or }}"
        raise ConfigError(f"--template: {error}: {said}") from None
    for _, name, form, conversion in parts:
        if name is not None and (not name.strip() or form or conversion):
            raise ConfigError(
                "--template: write a field as {name}, with nothing else in the braces, and a"
                " literal brace twice: {{ or }}"
            )
    return [(text, name) for text, name, _, _ in parts]


def _has_field(template: str) -> bool:
    return any(name is not None for _, name in parse_template(template))


def render_template(template: str, fields: Mapping[str, Any]) -> str:
    """The template with a record's fields in it. Raises ConfigError where one is not there."""
    pieces: list[str] = []
    for text, name in parse_template(template):
        pieces.append(text)
        if name is not None:
            pieces.append(_field_text(_find_field(fields, name)))
    return "".join(pieces)


def _prompt_field(fields: Mapping[str, Any]) -> str:
    there = [name for name in PROMPT_FIELDS if fields.get(name) not in (None, "", [])]
    empty = [name for name in PROMPT_FIELDS if name in fields]
    if not there and empty:
        raise ConfigError(f"the prompt is empty: there is no text in `{'`, `'.join(empty)}`")
    if not there:
        raise ConfigError(
            f"no field is named {', '.join(PROMPT_FIELDS)}: name the prompt's field with"
            f" --column or --template (it has {_quote_names(fields)})"
        )
    if len(there) > 1 and len({msgspec.json.encode(fields[name]) for name in there}) > 1:
        raise ConfigError(
            f"{' and '.join(there)} could each be the prompt: choose with --column NAME, or use"
            " several with --template"
        )
    return there[0]


def _find_field(fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise ConfigError(f"the row has no field {name} (it has {_quote_names(fields)})")
    if fields[name] is None:
        raise ConfigError(f"its {name} is null")
    return fields[name]


def _field_text(value: Any) -> str:
    """A text as it is, anything else as JSON. Raises ConfigError for what JSON does not have."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):  # JSON would make it a null
        raise ConfigError(f"a field holds {value}, which is neither a number nor a text")
    try:
        if isinstance(value, bytes):  # they would go out as base64
            raise TypeError
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        raise ConfigError(f"a field holds {type(value).__name__}, which is not text") from None


def _quote_names(fields: Mapping[str, Any]) -> str:
    shown = ", ".join(list(fields)[:12])
    return f"{shown}, …" if len(fields) > 12 else shown or "none"
