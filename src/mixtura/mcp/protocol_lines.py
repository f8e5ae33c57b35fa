"""A client's line: the message that it holds, mended where its form is wrong, or a refusal."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, cast

import mcp_types as types
import msgspec

from mixtura.core.json_text import repair_json, repair_texts

Id = str | int | None
"""Of a request; None: it is not known."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_REQUEST_FORM = (
    'write {"jsonrpc": "2.0", "id": 1, "method": "…", "params": {…}}, its id a text or a'
)
_NO_REQUEST = f"this is no request of JSON-RPC: {_REQUEST_FORM} whole number"
_NO_JSON = f"this line is no JSON that can be read: {_REQUEST_FORM} whole number, on one line"
_BATCH = "a list of messages is not taken: write each message on a line of its own"
_ID = rb'"id"\s*:\s*("[^"\\\x00-\x1f]{1,200}"|-?[0-9]{1,15})\s*'
# Only where it stands first or last is it surely the request's own, and no argument's.
_FIRST_ID = re.compile(rb'\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?' + _ID + rb",")
_LAST_ID = re.compile(rb",\s*" + _ID + rb"\}\s*\Z")
_LAST_BYTES = 400


class ProtocolLine(NamedTuple):
    """*message*: for the SDK. *refusal*: what is answered in its place. Neither: nothing is due."""

    message: str | None = None
    refusal: bytes | None = None


def read_protocol_line(line: bytes) -> ProtocolLine:
    """What to do with a line; without this, a client would wait for ever for some of its requests.

    Half a character becomes U+FFFD, a part that lies too deep null, an endless number one that
    every schema refuses.
    """
    line = line.strip().removeprefix(_BYTE_ORDER_MARK)
    if not line:
        return ProtocolLine()
    if _is_message(line):
        return ProtocolLine(line.decode())
    mended = repair_json(repair_texts(line))
    if mended != line and _is_message(mended):
        return ProtocolLine(mended.decode())
    return ProtocolLine(refusal=_refuse_data(mended))


def refuse_long_line(beginning: bytes, most: int) -> bytes:
    """The answer to a line of more than *most* bytes, which was not read to its end."""
    said = f"a message may have {most // 1024**2} MB: send less at a time"
    return write_error(types.INVALID_REQUEST, said, _find_id(beginning))


def write_error(code: int, message: str, id: Id) -> bytes:  # noqa: A002 - JSON-RPC's name
    """An error as a line."""
    error = {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}
    return json.dumps(error, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _is_message(data: bytes) -> bool:
    try:
        message = types.jsonrpc_message_adapter.validate_json(data, by_name=False)
        # A request whose id is 1.5 or null would be taken for a notification, and never answered.
        is_notification = isinstance(message, types.JSONRPCNotification) and b'"id"' in data
        return not (is_notification and "id" in msgspec.json.decode(data))
    except (ValueError, RecursionError):
        return False


def _refuse_data(data: bytes) -> bytes | None:
    try:
        found: Any = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return write_error(types.PARSE_ERROR, _NO_JSON, _find_id(data))
    if isinstance(found, list):
        return write_error(types.INVALID_REQUEST, _BATCH, None)
    if not isinstance(found, dict):
        return write_error(types.INVALID_REQUEST, _NO_REQUEST, None)
    message = cast("dict[str, Any]", found)
    # A notification, and an answer to a request of ours, are never answered.
    if ("method" in message and "id" not in message) or message.keys() & {"result", "error"}:
        return None
    given = message.get("id")
    known = given if isinstance(given, str | int) and not isinstance(given, bool) else None
    return write_error(types.INVALID_REQUEST, _NO_REQUEST, known)


def _find_id(data: bytes) -> Id:
    """The id of what cannot be read as a whole."""
    found = _FIRST_ID.match(data) or _LAST_ID.search(data[-_LAST_BYTES:])
    return cast(Id, json.loads(found[1])) if found else None
