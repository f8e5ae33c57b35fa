"""Where a store is: the path of a SQLite file, or the address of a PostgreSQL database."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from mixtura.catalog.user_files import expand_home
from mixtura.core.errors import ConfigError

StoreAddress = Path | str
"""A path, or an address that begins with ``postgresql://``."""

LOGIN_HINT = "put the password into the environment variable PGPASSWORD or into ~/.pgpass"
"""What is said of a password that is missing, or stands where everyone may read it."""
_PASSWORD_FIELD = re.compile(r"[?&](?:ssl)?password=", re.IGNORECASE)


def parse_store_address(text: str, folder: Path) -> StoreAddress:
    """
    The path (from *folder*), or the address, that *text* is.

    Raises ConfigError for the address of another database, and for one with a password in it.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        return folder / expand_home(text)
    if scheme not in ("postgresql", "postgres"):
        raise ConfigError(
            f"{scheme[:20]}:// is not a database that Mixtura can use: give the path of a"
            " SQLite file, or postgresql://host/database"
        )
    login, at, _ = rest.rpartition("@")
    if (at and ":" in unquote(login)) or _PASSWORD_FIELD.search(unquote(rest)):
        raise ConfigError(f"an address must not hold a password: {LOGIN_HINT}")
    return text


def display_address(address: str) -> str:
    """An address as it may be shown: the host and the database, no user, no settings."""
    scheme, _, rest = address.partition("://")
    place = rest.rpartition("@")[2].partition("?")[0]
    return f"{scheme}://{place}"
