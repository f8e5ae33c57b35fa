"""Opens the store at an address: a SQLite file or a PostgreSQL database."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mixtura.storage.interfaces import Store
from mixtura.storage.sqlite import SqliteStore
from mixtura.storage.store_address import StoreAddress


def open_store(
    address: StoreAddress,
    *,
    password: str | None = None,
    lock_timeout: float = 30.0,
    clock: Callable[[], float] | None = None,
) -> Store:
    """
    The store at an address; it is opened at its first use.

    *password*: PostgreSQL's, None where libpq is to find one. *lock_timeout*: seconds to wait for
    whoever else writes to it. Raises ConfigError where an extra is missing.
    """
    clock = time.time if clock is None else clock
    if isinstance(address, Path):
        return SqliteStore(address, lock_timeout=lock_timeout, clock=clock)
    # It needs an extra, which only those install who have such a store.
    from mixtura.storage.postgres import PostgresStore

    return PostgresStore(address, password=password, lock_timeout=lock_timeout, clock=clock)
