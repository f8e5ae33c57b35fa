"""Stored responses: kept when they are answered, and looked up where later calls refer to them."""

from __future__ import annotations

import re
from asyncio import to_thread
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from mixtura.core.redaction import Redactor
from mixtura.core.types import Json
from mixtura.engine.background_work import LARGE_BYTES, collection_paused, run_in_thread_if_large
from mixtura.server.access import ApiClient
from mixtura.server.apis.base import ApiCall, ApiError, ResolvedReferences, UnresolvedCall
from mixtura.server.error_statuses import translate_store_errors
from mixtura.storage.responses import ConversationTooLongError, ResponseNotFoundError, ResponseStore
from mixtura.storage.run_record import Record
from mixtura.storage.write_queue import StoreWriter

T = TypeVar("T")

FLUSH_TIMEOUT = 1.0
"""Seconds that a lookup waits for responses that are being written."""
TRANSACTION_PAUSE = 0.02
"""Seconds between two transactions, in which another process may write."""
MAX_REFERENCES = 1000
"""Items that one call may refer to."""
STORAGE_DISABLED_TEXT = "storing responses is turned off on this server"

_ITEM_ID = re.compile(r"[a-z]+_([0-9]{8}[0-9a-z]{8})")
"""How the id of an item begins: what follows is the number of the response that it is of."""


class StoredResponses:
    """
    What the server keeps of responses, for the client that got them and for no other.

    *most*: bytes of a conversation that is loaded from them. *locked*: clients have keys.
    """

    def __init__(self, store: ResponseStore, *, most: int, locked: bool) -> None:
        self._store = store
        self._most = most
        self._locked = locked
        self.writer = StoreWriter(store, pause=TRANSACTION_PAUSE)

    def close(self) -> None:
        """Return when every response is on the disk."""
        self.writer.close()
        self._store.close()

    # ---- before a call is run

    async def resolve_call(self, read: ApiCall | UnresolvedCall, client: ApiClient) -> ApiCall:
        """
        The call with stored items in place of its references; it says whether it is stored.

        Raises ApiError where a reference is not found, or must be stored and nothing is.
        """
        call = read if isinstance(read, ApiCall) else await self._resolve_references(read, client)
        if call.store is None or self._store.keeps:
            return call
        if call.store.demanded:
            message = (
                f"`store`: {STORAGE_DISABLED_TEXT}: set it to false and send whole conversations"
            )
            raise ApiError(400, message, param="store", code="unsupported_value")
        return replace(call, store=None)

    async def _resolve_references(self, wanted: UnresolvedCall, client: ApiClient) -> ApiCall:
        if not self._store.keeps:
            raise _storage_disabled_error(wanted)
        if len(wanted.items) > MAX_REFERENCES:
            message = f"`input` refers to {len(wanted.items)} items, it may to {MAX_REFERENCES}"
            raise ApiError(400, message, param="input")
        context: list[Json] = []
        if wanted.previous is not None:
            for record in await self._load_conversation(wanted.previous, client):
                context += [*record["items"], *record["response"]["output"]]
        items = await self._load_items(wanted.items, client) if wanted.items else {}
        return await run_in_thread_if_large(
            LARGE_BYTES, wanted.read, ResolvedReferences(context, items)
        )

    async def _load_conversation(self, id: str, client: ApiClient) -> list[Record]:  # noqa: A002
        param = "previous_response_id"
        try:
            return await self._look_up(
                partial(self._store.load_conversation, id, self._owner_name(client), self._most)
            )
        except ResponseNotFoundError as lost:
            message = f"Previous response with id '{id}' not found."
            if lost.id != id:
                message += f" It continues from '{lost.id}', which no longer exists."
            message += " Send the whole conversation as `input`."
            raise ApiError(400, message, param=param, code="previous_response_not_found") from None
        except ConversationTooLongError:
            raise self._too_long_error(param) from None

    async def _load_items(self, ids: Sequence[str], client: ApiClient) -> dict[str, Json]:
        """Items that were handed out, or that came with calls that were stored, by their ids."""
        numbers = dict.fromkeys(match[1] for id_ in ids if (match := _ITEM_ID.match(id_)))
        wanted = [f"resp_{number}" for number in numbers]
        try:
            records = await self._look_up(
                partial(self._store.find_responses, wanted, self._owner_name(client), self._most),
                lambda responses: len(responses) == len(wanted),
            )
        except ConversationTooLongError:
            raise self._too_long_error("input") from None
        rows = [i for r in records.values() for i in (*r["items"], *r["response"]["output"])]
        items = {item["id"]: item for item in rows if isinstance(item.get("id"), str)}
        # Half a conversation would be answered as if it were the whole.
        if missing := [id_ for id_ in ids if id_ not in items]:
            message = (
                f"Item with id '{missing[0]}' not found. Items are not kept when `store` is false,"
                " when they are deleted or too old: send the item itself."
            )
            raise ApiError(404, message, param="input", code="item_not_found")
        return {id_: items[id_] for id_ in ids}

    def _too_long_error(self, param: str) -> ApiError:
        message = (
            f"`{param}`: the content that it refers to is larger than {self._most / 1024**2:g} MB"
        )
        return ApiError(400, message, param=param, code="context_length_exceeded")

    # ---- once it is answered

    def store_answer(
        self,
        call: ApiCall,
        client: ApiClient,
        size: int,
        make: Callable[[], Mapping[str, Any]],
        redactor: Redactor,
    ) -> None:
        """
        Keep an answer, if its call is one that is stored. *make* gives the response, in another
        thread; *size*: about how many bytes wait until then. *redactor* removes secrets from it.
        """
        if (storage := call.store) is None:
            return
        who = self._owner_name(client)

        def make_record() -> Record:
            response = make()
            number = response["id"].removeprefix("resp_")
            items = [_listed_item(item, f"{number}i{i}") for i, item in enumerate(storage.items)]
            head = {"id": response["id"], "who": who, "previous": storage.previous}
            return {**head, "items": items, "response": response}

        self.writer.queue_finish("", size, make_record, redactor)

    # ---- for whoever asks for one

    async def get_response(self, id: str, client: ApiClient) -> Json:  # noqa: A002
        """The response of that id as it was answered. Raises ApiError (404) where there is none."""
        record = await self._load_record(id, client)
        if record is None:
            raise _response_not_found_error(id)
        return record["response"]

    async def get_input_items(self, id: str, client: ApiClient) -> Sequence[Json]:  # noqa: A002
        """
        Every item that a response was made from, the oldest first. Raises ApiError (404) where
        there is no such response.
        """
        if await self._load_record(id, client) is None:
            raise _response_not_found_error(id)
        *before, last = await self._load_conversation(id, client)
        rows = [item for r in before for item in (*r["items"], *r["response"]["output"])]
        return [*rows, *last["items"]]

    async def delete_response(self, id: str, client: ApiClient) -> None:  # noqa: A002
        """Delete a response. Raises ApiError (404) where there is none."""
        if not await self._look_up(
            partial(self._store.delete_response, id, self._owner_name(client))
        ):
            raise _response_not_found_error(id)

    async def _load_record(self, id: str, client: ApiClient) -> Record | None:  # noqa: A002
        return await self._look_up(partial(self._store.get_response, id, self._owner_name(client)))

    async def _look_up(self, look: Callable[[], T], whole: Callable[[T], bool] = bool) -> T:
        """
        What *look* finds; if that is not the *whole* of it, once more when all earlier answers are
        written. Raises ApiError (503) when that takes too long, and what *look* raises.
        """
        # A long conversation is a great many objects: the collector would visit them over and over.
        look = collection_paused()(look)
        with translate_store_errors():
            pending = self.writer.waiting_count
            try:
                result = await to_thread(look)
                if whole(result) or not pending:
                    return result
            except ResponseNotFoundError:
                if not pending:
                    raise
            if await to_thread(self.writer.flush, FLUSH_TIMEOUT):
                return await to_thread(look)
        message = "responses are being written: ask again in a moment"
        raise ApiError(503, message, kind="api_error", code="store_unavailable", retry_after=1)

    def _owner_name(self, client: ApiClient) -> str:
        # Without keys, everyone on this machine is one client.
        return client.name if self._locked else ""


def _storage_disabled_error(wanted: UnresolvedCall) -> ApiError:
    message = (
        f"{STORAGE_DISABLED_TEXT}: send the whole conversation as `input`, and `store` as false"
    )
    if wanted.previous is not None:
        param = "previous_response_id"
        return ApiError(400, message, param=param, code="previous_response_not_found")
    return ApiError(404, f"item_reference: {message}", param="input", code="item_not_found")


def _response_not_found_error(id: str) -> ApiError:  # noqa: A002
    return ApiError(404, f"Response with id '{id}' not found.", code="response_not_found")


def _listed_item(item: Json, number: str) -> Json:
    """An item of a call's input in the form that the API lists it in, with an id."""
    kind = item.get("type") or "message"
    prefix = _ITEM_ID_PREFIXES.get(kind, "item")
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


_ITEM_ID_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}
