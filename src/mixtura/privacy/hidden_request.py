"""A request without its private items, and an answer with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, cast

from mixtura.core.json_text import read_json_text
from mixtura.core.types import (
    Completion,
    Message,
    Part,
    ProviderData,
    ReplacedItem,
    Request,
    TextPart,
)
from mixtura.privacy.item_finder import (
    LEAST_KNOWN_CHARS,
    FoundItem,
    KnownTexts,
    PrivateItems,
    join_overlapping,
)
from mixtura.privacy.placeholders import Placeholders, replace_in_row
from mixtura.prompts.instructions import append_system_text, fill_placeholders, load_text

Row = tuple[str, ...]
ChangeRow = Callable[[Row], Row]
"""What becomes of texts that follow each other: the parts of a message; mostly it is one."""
LEAST_NUMBER = 1_000_000
"""From which on a number in a tool call may be an account's."""


class HiddenRequest:
    """
    *request* with placeholders for what *items* finds: in messages, tools, tool calls, and further
    parameters. ``request`` is what may leave; ``replaced`` what was taken out of it.

    Raises ModelError where a recognizer failed.
    """

    def __init__(self, request: Request, items: PrivateItems, *, explain: bool = True) -> None:
        self._find = cache(items.find)  # in every text twice
        self._placeholders = Placeholders()
        self._repeated: KnownTexts | None = None
        self._is_json = (request.response_format or {}).get("type") in _JSON_FORMATS
        _change_request(request, self._note_row)
        hidden = _change_request(request, self._hide_row)
        if self._placeholders:
            # Once more, now that all items are known: also where one was not found by itself.
            self._repeated = self._long_items()
            hidden = _change_request(request, self._hide_row)
            hidden = replace(hidden, messages=tuple(map(self._hide_kept, hidden.messages)))
            if explain:
                first = self._placeholders.items[0].placeholder
                text = fill_placeholders(load_text("placeholders.md"), {"example": first})
                hidden = append_system_text(hidden, text.strip())
        self.request = hidden if self._placeholders else request

    @property
    def replaced_items(self) -> tuple[ReplacedItem, ...]:
        """Every item that was replaced."""
        return self._placeholders.items

    @property
    def placeholders(self) -> Placeholders:
        """Puts the items back."""
        return self._placeholders

    @property
    def answers_json(self) -> bool:
        """Whether the answer is to be JSON: an item in it is escaped as strings of JSON are."""
        return self._is_json

    def restore_answer(self, answer: Completion) -> Completion:
        """The answer with the items in place of their placeholders."""
        known = self._placeholders
        message = answer.message
        if isinstance(message.content, str):
            content = known.restore(message.content, within_json=self._is_json)
        else:
            content = _change_parts(
                message.content, lambda row: known.restore_row(row, within_json=self._is_json)
            )
        calls = tuple(
            replace(call, arguments=known.restore(call.arguments, within_json=True))
            for call in message.tool_calls
        )
        whole = replace(message, content=content, tool_calls=calls)
        return replace(answer, message=whole, reasoning=known.restore(answer.reasoning))

    def _note_row(self, row: Row) -> Row:
        for text in row:
            self._placeholders.reserve_existing(text)
        return row

    def _hide_row(self, row: Row) -> Row:
        whole = "".join(row)
        found = self._find_items(row, whole)
        stand_in = self._placeholders.stand_in
        return replace_in_row(
            row, [(b, e, stand_in(whole[b:e], kind)) for b, e, kind in found]
        )  # fmt: skip

    def _find_items(self, row: Row, whole: str) -> Sequence[FoundItem]:
        found = list(self._find(whole))
        at = 0
        for text in row if len(row) > 1 else ():
            found += [FoundItem(at + b, at + e, k) for b, e, k in self._find(text)]
            at += len(text)
        if self._repeated is not None:
            found += [FoundItem(begin, end, "ITEM") for begin, end in self._repeated.find(whole)]
        return join_overlapping(found)

    def _long_items(self) -> KnownTexts:
        items = self._placeholders.items
        return KnownTexts(one.text for one in items if len(one.text) >= LEAST_KNOWN_CHARS)

    def _hide_kept(self, message: Message) -> Message:
        """What a provider wants back holds its own placeholders; known items are no part of it."""
        kept, repeated = message.provider_data, self._repeated
        if kept is None or repeated is None:
            return message
        stand_in = self._placeholders.stand_in

        def hide_known(row: Row) -> Row:
            return tuple(
                replace_in_row(
                    (text,), [(b, e, stand_in(text[b:e], "ITEM")) for b, e in repeated.find(text)]
                )[0]
                for text in row
            )

        fields = cast("Mapping[str, Any]", _change_data(kept.fields, hide_known))
        blocks = tuple(_change_data(block, hide_known) for block in kept.blocks)
        return replace(message, provider_data=ProviderData(kept.origin, fields, blocks))


_JSON_FORMATS = ("json_object", "json_schema")


# ---- every text of a request


def _change_request(request: Request, change: ChangeRow) -> Request:
    """The request with *change* in every text that a person, a tool or a program wrote."""
    stop = request.sampling.stop
    sampling = request.sampling
    if stop:
        sampling = replace(sampling, stop=tuple(change((text,))[0] for text in stop))
    return replace(
        request,
        messages=tuple(_change_message(message, change) for message in request.messages),
        tools=tuple(_change_data(tool, change) for tool in request.tools),
        tool_choice=_change_data(request.tool_choice, change),
        response_format=_change_data(request.response_format, change),
        extra=_change_data(request.extra, change),
        sampling=sampling,
    )


def _change_message(message: Message, change: ChangeRow) -> Message:
    if isinstance(message.content, str):
        content = change((message.content,))[0]
    else:
        content = _change_parts(message.content, change)
    calls = tuple(
        replace(call, arguments=_change_json(call.arguments, change)) for call in message.tool_calls
    )
    name = None if message.name is None else change((message.name,))[0]
    return replace(message, content=content, tool_calls=calls, name=name)


def _change_parts(parts: Sequence[Part], change: ChangeRow) -> tuple[Part, ...]:
    texts = iter(change(tuple(part.text for part in parts if isinstance(part, TextPart))))
    return tuple(
        TextPart(next(texts), _change_data(part.extra, change))
        if isinstance(part, TextPart)
        else part
        for part in parts
    )


def _change_json(text: str, change: ChangeRow) -> str:
    """JSON text, changed in its strings, however they are escaped; as a text where it is none."""
    try:
        data = read_json_text(text)
    except ValueError:
        return change((text,))[0]
    changed = _change_data(data, change, numbers=True)
    return text if changed == data else json.dumps(changed, ensure_ascii=False)


def _change_data(data: Any, change: ChangeRow, *, numbers: bool = False) -> Any:
    """Data with *change* in every string and key; with *numbers*, long ones are texts, too."""
    if isinstance(data, str):
        return change((data,))[0] if data else data
    if isinstance(data, int) and numbers and abs(data) >= LEAST_NUMBER:
        changed = change((str(data),))[0]
        return data if changed == str(data) else changed
    if isinstance(data, list | tuple):
        rows = cast("Sequence[Any]", data)
        return [_change_data(value, change, numbers=numbers) for value in rows]
    if isinstance(data, Mapping):
        table = cast("Mapping[str, Any]", data)
        return {
            change((key,))[0]: _change_data(value, change, numbers=numbers)
            for key, value in table.items()
        }
    return data
