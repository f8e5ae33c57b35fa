"""How much of files is being received for each client: more waits on the disk for no one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from mixtura.server.apis.base import ApiError


class UploadsUnderWay:
    """Bytes that uploads under way may come to, by their owner."""

    def __init__(self) -> None:
        self._bytes: Counter[str] = Counter()

    @contextmanager
    def reserve_room(self, owner: str, size: int, most: int) -> Generator[None]:
        """
        In this block an upload of *size* bytes is received. Raises ApiError (429) where those of
        its owner would come to more than *most*, unless it is the only one.
        """
        if self._bytes[owner] and self._bytes[owner] + size > most:
            message = "other uploads of this key are under way, and all together are too large"
            raise ApiError(
                429, message, kind="rate_limit_error", code="rate_limit_exceeded", retry_after=10.0
            )
        self._bytes[owner] += size
        try:
            yield
        finally:
            self._bytes[owner] -= size
            if not self._bytes[owner]:
                del self._bytes[owner]
