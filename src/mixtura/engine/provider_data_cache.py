"""Provider data of a client's turns, for clients that do not hold it themselves."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import msgspec

from mixtura.core.types import Json, Message, ProviderData, Request, ToolCall
from mixtura.protocols.provider_data import messages as provider_data

MAX_MESSAGES = 4096
"""Messages that are remembered."""
MAX_TOTAL_BYTES = 64_000_000
"""Of all their provider data together."""
MAX_AGE_SECONDS = 24 * 3600.0
"""Seconds; whoever goes on later has to hold it."""
MAX_PER_ID = 4
"""Messages with the same ids that are remembered of one client: some servers count anew."""


@dataclass(frozen=True, slots=True)
class _RememberedMessage:
    data: ProviderData
    ids: tuple[bytes, ...]
    """Digests of its calls' ids, which may be of any length."""
    digests: tuple[bytes, ...]
    """Of its calls, one by one."""
    calls: tuple[Json, ...]
    """The calls' own fields."""
    exact: bytes
    """A digest of the calls' names and arguments, or of the text."""
    size: int
    since: float


_Key = tuple[str, bytes]
"""A client, and a digest of ids: they are as long as an upstream or a client makes them."""


class ProviderDataCache:
    """
    What upstreams want back with messages that clients were given, by the client and the ids
    of the tool calls: bounded in number, size and age. No client gets another's.
    """

    def __init__(
        self,
        *,
        most: int = MAX_MESSAGES,
        most_bytes: int = MAX_TOTAL_BYTES,
        longest_age: float = MAX_AGE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._longest_age = longest_age
        self._clock = clock
        self._kept: OrderedDict[_Key, tuple[_RememberedMessage, ...]] = OrderedDict()
        self._keys_of_calls: dict[_Key, _Key] = {}
        """Under which ids the message with a call is kept, by a digest of that call alone."""
        self._count = self._bytes = 0

    def remember_answer(self, client: str, request: Request, answer: Message) -> None:
        """Remember what *answer* to *request* has; nothing where it has nothing."""
        if answer.provider_data is None or not (
            ids := _hash_message_ids(request.messages[-1] if request.messages else None, answer)
        ):
            return
        calls = tuple(call.provider_fields for call in answer.tool_calls)
        kept = _RememberedMessage(
            answer.provider_data, tuple(_hash_strings([call.id]) for call in answer.tool_calls),
            tuple(map(_hash_call, answer.tool_calls)), calls,
            _hash_content(answer),
            provider_data.provider_data_bytes(answer) + 256 * (1 + len(calls)), self._clock(),
        )  # fmt: skip
        key = (client, ids)
        # A repeated answer replaces itself: it would else push others out.
        others = [one for one in self._pop_entries(key) if one.exact != kept.exact]
        self._put_entries(key, (*others[-(MAX_PER_ID - 1) :], kept))
        while self._kept and (self._count > self._most or self._bytes > self._most_bytes):
            self._pop_entries(next(iter(self._kept)))

    def restore_request(self, client: str, request: Request) -> Request:
        """*request* with what is remembered of its messages."""
        if not self._kept:
            return request
        rows = tuple(self._restore_messages(client, request.messages))
        changed = any(new is not old for new, old in zip(rows, request.messages, strict=True))
        return replace(request, messages=rows) if changed else request

    def _restore_messages(self, client: str, messages: tuple[Message, ...]) -> Iterator[Message]:
        before: Message | None = None
        for message in messages:
            last, before, entry = before, message, None
            if message.role == "assistant" and (ids := _hash_message_ids(last, message)):
                key = (client, ids)
                entry = self._find_entry(key, message) or self._find_by_call(client, message)
            if entry is None:
                yield message
                continue
            own = dict(zip(entry.ids, entry.calls, strict=True))
            calls = tuple(
                replace(call, provider_fields=own.get(_hash_strings([call.id]), {}))
                for call in message.tool_calls
            )
            yield replace(message, provider_data=entry.data, tool_calls=calls)

    def _find_entry(self, key: _Key, message: Message) -> _RememberedMessage | None:
        """The message of these ids; of several the one that says the same."""
        oldest = self._clock() - self._longest_age
        alike = [one for one in self._kept.get(key, ()) if one.since >= oldest]
        exact = _hash_content(message)
        for one in alike:
            if one.exact == exact:
                return one
        # A client may have rewritten arguments; with several of the same ids no one can tell which.
        return alike[0] if len(alike) == 1 and message.tool_calls else None

    def _find_by_call(self, client: str, message: Message) -> _RememberedMessage | None:
        """The message whose calls these are, with some left out or in another order."""
        # By what they say, too: some servers number the calls of every answer anew.
        places = (self._keys_of_calls.get((client, _hash_call(c))) for c in message.tool_calls)
        keys = {key for key in places if key is not None}
        return self._find_entry(keys.pop(), message) if len(keys) == 1 else None

    def _put_entries(self, key: _Key, kept: tuple[_RememberedMessage, ...]) -> None:
        self._kept[key] = kept
        for one in kept:
            self._keys_of_calls |= {(key[0], call): key for call in one.digests}
        self._count += len(kept)
        self._bytes += sum(one.size for one in kept)

    def _pop_entries(self, key: _Key) -> tuple[_RememberedMessage, ...]:
        kept = self._kept.pop(key, ())
        for call in {(key[0], call) for one in kept for call in one.digests}:
            if self._keys_of_calls.get(call) == key:
                del self._keys_of_calls[call]
        self._count -= len(kept)
        self._bytes -= sum(one.size for one in kept)
        return kept


def _hash_message_ids(last: Message | None, message: Message) -> bytes:
    """What a message is known by: its calls, or the results in *last* that its text answers."""
    if message.tool_calls:
        return _hash_strings([call.id for call in message.tool_calls])
    if last is None or last.role != "tool":
        return b""
    return _hash_strings(["", last.tool_call_id or ""])


def _hash_call(call: ToolCall) -> bytes:
    content = ["call", call.id, call.name, _parse_arguments(call)]
    return blake2b(msgspec.json.encode(content, order="deterministic"), digest_size=16).digest()


def _hash_strings(ids: Sequence[str]) -> bytes:
    return blake2b(msgspec.json.encode(ids), digest_size=16).digest()


def _hash_content(message: Message) -> bytes:
    calls = [(call.name, _parse_arguments(call)) for call in message.tool_calls]
    content = calls or message.text.strip()
    return blake2b(msgspec.json.encode(content, order="deterministic"), digest_size=16).digest()


def _parse_arguments(call: ToolCall) -> object:
    """Arguments as data: clients write the same JSON in their own way."""
    try:
        return msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        return call.arguments
