"""A TCP connection to a host, over whichever of its addresses answers first (RFC 8305)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any

NEXT_ADDRESS_SECONDS = 0.25
"""Seconds of silence after which the next address is tried as well (RFC 8305, section 8)."""

Address = tuple[socket.AddressFamily, Any]
"""A family, and an address in it as ``socket.connect`` takes it."""


async def connect_to_host(host: str, port: int) -> socket.socket:
    """
    A connected, non-blocking socket. Cancelled at any moment, it leaves no socket open.

    Raises OSError: with the reasons of all addresses, ``socket.gaierror`` for an unknown name.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await connect_to_first(
        _alternate_families([(family, address) for family, _, _, _, address in found])
    )


async def connect_to_first(addresses: Sequence[Address]) -> socket.socket:
    """
    A socket connected to the first address that takes it. Raises OSError if none does.

    ``loop.create_connection`` knows such a race, too, but when it is cancelled just after a
    connection was made, that socket stays open until the garbage collector finds it; and uvloop's
    knows none.
    """
    if len(addresses) == 1:
        return await _connect(addresses[0])
    waiting = list(addresses)
    attempts: list[asyncio.Task[socket.socket]] = []
    won: asyncio.Task[socket.socket] | None = None
    reasons: list[str] = []
    pending: set[asyncio.Task[socket.socket]] = set()
    try:
        while waiting or pending:
            if waiting:
                attempts.append(asyncio.ensure_future(_connect(waiting.pop(0))))
                pending.add(attempts[-1])
            done, pending = await asyncio.wait(
                pending,
                timeout=NEXT_ADDRESS_SECONDS if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for each in done:
                error = each.exception()
                if error is None:
                    won = each
                    return won.result()
                reasons.append(describe_connect_error(error))
        raise OSError(", ".join(dict.fromkeys(reasons)) or "the name has no address")
    finally:
        for each in attempts:
            if each is not won:
                each.add_done_callback(_close_result)
                each.cancel()


def describe_connect_error(error: BaseException) -> str:
    """Why a connection failed, in the system's words, without addresses."""
    number = getattr(error, "errno", None)
    # a negative number is one of getaddrinfo's, whose words the error has itself
    if isinstance(error, OSError) and number and number > 0:
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


async def _connect(address: Address) -> socket.socket:
    family, place = address
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, place)
    except BaseException:
        made.close()
        raise
    return made


def _close_result(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


def _alternate_families(addresses: Iterable[Address]) -> list[Address]:
    """IPv6 and IPv4 in turns, the system's first choice first (RFC 8305, section 4)."""
    families: dict[socket.AddressFamily, list[Address]] = {}
    for each in addresses:
        families.setdefault(each[0], []).append(each)
    turns = zip_longest(*families.values())
    return [each for each in chain.from_iterable(turns) if each is not None]
