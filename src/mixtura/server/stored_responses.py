"""Responses that are stored: kept when answered, and put where later calls refer to them."""

from __future__ import annotations

import re
from asyncio import to_thread
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from mixtura.apart import LARGE, apart, collection_paused
from mixtura.errors import MixturaError
from mixtura.record import Record
from mixtura.redaction import Redactor
from mixtura.response_book import LostError, ResponseBook, TooLongError
from mixtura.server.access import Client
from mixtura.server.dialect import Call, Found, Referring, Refused
from mixtura.server.failures import refusal
from mixtura.store_writer import StoreWriter
from mixtura.types import Json

T = TypeVar("T")

A_MOMENT = 1.0
"""Seconds that whoever looks for a response waits for those that are being written."""
SOON = 0.02
"""Seconds between two transactions: the next turn may come to another process."""
MOST_REFERENCES = 1000
"""Items that one call may refer to."""
NOTHING_KEPT = "no responses are kept here, as the server's operator wants it"

_OF_RESPONSE = re.compile(r"[a-z]+_([0-9]{8}[0-9a-z]{8})")
"""How the id of an item begins: what follows is the number of the response that it is of."""


class StoredResponses:
    """
    What the server keeps of responses, for the client that got them and for no other.

    *most*: bytes of a conversation that is put together of them. *locked*: clients have keys.
    """

    def __init__(self, book: ResponseBook, *, most: int, locked: bool) -> None:
        self._book = book
        self._most = most
        self._locked = locked
        self.writer = StoreWriter(book, pause=SOON)

    def close(self) -> None:
        """Return when all that was answered is on the disk."""
        self.writer.close()
        self._book.close()

    # ---- before a call is run

    async def ready(self, read: Call | Referring, client: Client) -> Call:
        """
        The call with everything that it refers to in its place; it says whether it is stored.

        Raises Refused where something is not there, or is to be stored and nothing is.
        """
        call = read if isinstance(read, Call) else await self._resolved(read, client)
        if call.store is None or self._book.keeps:
            return call
        if call.store.demanded:
            said = f"`store`: {NOTHING_KEPT}: set it to false and send whole conversations"
            raise Refused(400, said, param="store", code="unsupported_value")
        return replace(call, store=None)

    async def _resolved(self, wanted: Referring, client: Client) -> Call:
        if not self._book.keeps:
            raise _not_kept(wanted)
        if len(wanted.items) > MOST_REFERENCES:
            said = f"`input` refers to {len(wanted.items)} items, it may to {MOST_REFERENCES}"
            raise Refused(400, said, param="input")
        context: list[Json] = []
        if wanted.previous is not None:
            for record in await self._conversation(wanted.previous, client):
                context += [*record["items"], *record["response"]["output"]]
        items = await self._items(wanted.items, client) if wanted.items else {}
        return await apart(LARGE, wanted.read, Found(context, items))

    async def _conversation(self, id: str, client: Client) -> list[Record]:  # noqa: A002
        param = "previous_response_id"
        try:
            return await self._looked_up(
                partial(self._book.conversation, id, self._who(client), self._most)
            )
        except LostError as lost:
            said = f"Previous response with id '{id}' not found."
            if lost.id != id:
                said += f" It goes on from '{lost.id}', which is no longer there."
            said += " Send the whole conversation as `input`."
            raise Refused(400, said, param=param, code="previous_response_not_found") from None
        except TooLongError:
            raise self._too_long(param) from None

    async def _items(self, ids: Sequence[str], client: Client) -> dict[str, Json]:
        """Items that were handed out, or that came with calls that were stored, by their ids."""
        numbers = dict.fromkeys(found[1] for id_ in ids if (found := _OF_RESPONSE.match(id_)))
        wanted = [f"resp_{number}" for number in numbers]
        try:
            records = await self._looked_up(
                partial(self._book.find, wanted, self._who(client), self._most),
                lambda found: len(found) == len(wanted),
            )
        except TooLongError:
            raise self._too_long("input") from None
        rows = [i for r in records.values() for i in (*r["items"], *r["response"]["output"])]
        items = {item["id"]: item for item in rows if isinstance(item.get("id"), str)}
        if missing := [id_ for id_ in ids if id_ not in items]:
            said = (
                f"Item with id '{missing[0]}' not found. Items are not kept when `store` is false,"
                " when they are deleted or too old: send the item itself."
            )
            raise Refused(404, said, param="input", code="item_not_found")
        return {id_: items[id_] for id_ in ids}

    def _too_long(self, param: str) -> Refused:
        said = f"`{param}`: what it stands for is larger than {self._most / 1024**2:g} MB"
        return Refused(400, said, param=param, code="context_length_exceeded")

    # ---- once it is answered

    def keep(
        self,
        call: Call,
        client: Client,
        size: int,
        make: Callable[[], Mapping[str, Any]],
        redactor: Redactor,
    ) -> None:
        """
        Keep an answer, if its call is one that is stored. *make* gives the response, in another
        thread; *size*: about how many bytes wait until then. What *redactor* knows is not written.
        """
        if (asked := call.store) is None:
            return
        who = self._who(client)

        def record() -> Record:
            response = make()
            number = response["id"].removeprefix("resp_")
            items = [_listed(item, f"{number}i{i}") for i, item in enumerate(asked.items)]
            head = {"id": response["id"], "who": who, "previous": asked.previous}
            return {**head, "items": items, "response": response}

        self.writer.end("", size, record, redactor)

    # ---- for whoever asks for one

    async def response(self, id: str, client: Client) -> Json:  # noqa: A002
        """The response of that id as it was answered. Raises Refused."""
        record = await self._record(id, client)
        if record is None:
            raise _no_response(id)
        return record["response"]

    async def input_items(self, id: str, client: Client) -> Sequence[Json]:  # noqa: A002
        """Every item that a response was made from, the oldest first. Raises Refused."""
        if await self._record(id, client) is None:
            raise _no_response(id)
        *before, last = await self._conversation(id, client)
        rows = [item for r in before for item in (*r["items"], *r["response"]["output"])]
        return [*rows, *last["items"]]

    async def delete(self, id: str, client: Client) -> None:  # noqa: A002
        """Raises Refused where there is none."""
        if not await self._looked_up(partial(self._book.delete, id, self._who(client))):
            raise _no_response(id)

    async def _record(self, id: str, client: Client) -> Record | None:  # noqa: A002
        return await self._looked_up(partial(self._book.get, id, self._who(client)))

    async def _looked_up(self, look: Callable[[], T], whole: Callable[[T], bool] = bool) -> T:
        """
        What *look* finds; if that is not the *whole* of it, once more when all is written that was
        answered before. Raises Refused, and what *look* raises.
        """
        look = collection_paused()(look)
        with _told():
            pending = self.writer.waiting
            try:
                found = await to_thread(look)
                if whole(found) or not pending:
                    return found
            except LostError:
                if not pending:
                    raise
            if await to_thread(self.writer.flush, A_MOMENT):
                return await to_thread(look)
        said = "responses are being written: ask again in a moment"
        raise Refused(503, said, kind="api_error", code="store_unavailable", retry_after=1)

    def _who(self, client: Client) -> str:
        return client.name if self._locked else ""


@contextmanager
def _told() -> Generator[None, None, None]:
    """A store that cannot be read is said to the client."""
    try:
        yield
    except MixturaError as error:
        raise refusal(error) from None


def _not_kept(wanted: Referring) -> Refused:
    said = f"{NOTHING_KEPT}: send the whole conversation as `input`, and `store` as false"
    if wanted.previous is not None:
        param = "previous_response_id"
        return Refused(400, said, param=param, code="previous_response_not_found")
    return Refused(404, f"item_reference: {said}", param="input", code="item_not_found")


def _no_response(id: str) -> Refused:  # noqa: A002
    return Refused(404, f"Response with id '{id}' not found.", code="response_not_found")


def _listed(item: Json, number: str) -> Json:
    """An item of a call's input in the form that the API lists it in, with an id."""
    kind = item.get("type") or "message"
    prefix = _PREFIXES.get(kind, "item")
    own = item.get("id")
    id_ = own if isinstance(own, str) and own else f"{prefix}_{number}"
    row: dict[str, Any] = {"id": id_} | {**item, "id": id_, "type": kind}
    if kind == "message":
        row.setdefault("status", "completed")
        if isinstance(row.get("content"), str):
            part: dict[str, Any] = {"type": "input_text", "text": row["content"]}
            if row.get("role") == "assistant":
                part |= {"type": "output_text", "annotations": []}
            row["content"] = [part]
    return row


_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}
