"""Who may come in, what a key may use, and how often."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from ipaddress import ip_address

from starlette.types import Scope

from mixtura.budget import DayPurse, Purse
from mixtura.errors import ConfigError
from mixtura.redaction import NOTHING, Redactor
from mixtura.schema import KeyTable, ServeTable
from mixtura.server.dialect import Refused
from mixtura.store import DayBook, Store

MINUTE = 60.0
MOST_HEARD = 64
"""Host headers that are remembered as ours."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Meter:
    """So many a minute, filled evenly; what is charged afterwards may overdraw it once."""

    def __init__(self, a_minute: float, clock: Callable[[], float]) -> None:
        self._most = a_minute
        self._left = a_minute
        self._clock = clock
        self._seen = clock()

    def wait(self) -> float:
        """Seconds until there is room again; 0 when there is."""
        now = self._clock()
        self._left = min(self._left + (now - self._seen) * self._most / MINUTE, self._most)
        self._seen = now
        return 0.0 if self._left >= 1 else (1 - self._left) * MINUTE / self._most

    def take(self, amount: float) -> None:
        self._left -= amount


class Client:
    """Whoever asks: the holder of a key, or anyone on this machine where none are needed."""

    def __init__(
        self,
        name: str,
        table: KeyTable | None,
        purses: Sequence[Purse] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.models = None if table is None or table.models is None else frozenset(table.models)
        self.purses = purses
        requests = table.requests_per_minute if table else None
        tokens = table.tokens_per_minute if table else None
        self._requests = Meter(requests, clock) if requests else None
        self._tokens = Meter(tokens, clock) if tokens else None

    @property
    def counts_tokens(self) -> bool:
        """Its tokens are limited."""
        return self._tokens is not None

    def may_use(self, name: str) -> bool:
        return self.models is None or name in self.models

    def admit(self) -> None:
        """Count a request. Raises Refused (429) when the key has had its share."""
        for meter, what in ((self._requests, "requests"), (self._tokens, "tokens")):
            if meter and (wait := meter.wait()):
                said = f"this key's {what} for the minute are used up"
                raise Refused(
                    429, said, kind="rate_limit_error", code="rate_limit_exceeded", retry_after=wait
                )
        if self._requests:
            self._requests.take(1)

    def reserve(self, tokens: int) -> None:
        """Take what a request will use at least, before it is run."""
        self.used(tokens)

    def used(self, tokens: int) -> None:
        """Count what a request has used, beyond what was reserved."""
        if self._tokens:
            self._tokens.take(tokens)


class Doors:
    """Checks a request's host and key before anything else is looked at."""

    def __init__(
        self, table: ServeTable, host: str, store: Store, redactor: Redactor = NOTHING
    ) -> None:
        self._redactor = redactor
        self._keys = {
            key.sha256.lower(): Client(name, key, _purses(name, key, store))
            for name, key in table.keys.items()
        }
        self._anyone = Client("anyone", None)
        self._hosts = _names(table, host)
        self._heard: set[bytes] = set()
        """Host headers that were found to be ours."""
        if not self._keys and not is_loopback(host):
            raise ConfigError(
                f"{host} can be reached from other machines, and there are no keys: make one with"
                " `mixtura serve --new-key NAME` and put it under [serve.keys], or serve on"
                " 127.0.0.1"
            )

    @property
    def locked(self) -> bool:
        """A key is needed."""
        return bool(self._keys)

    def check_host(self, scope: Scope) -> None:
        """
        A page elsewhere may point its own name at this address: that name is not ours.

        Of two names who is between us may have read the other. Raises Refused.
        """
        names = [value for known, value in scope["headers"] if known == b"host"]
        if len(names) > 1:
            raise Refused(400, "a request has one Host header", code="unknown_host")
        if self._hosts is None or (names and names[0] in self._heard):
            return
        name = names[0].decode("latin-1") if names else ""
        bare = name if name.endswith("]") else name.rpartition(":")[0] or name
        if bare.lower() not in self._hosts:
            said = f"this server is not called {bare!r}: add it to `hosts` under [serve]"
            raise Refused(421, said, code="unknown_host")
        if len(self._heard) < MOST_HEARD:
            self._heard.update(names)

    def redactor(self, scope: Scope) -> Redactor:
        """Knows the secrets of the configuration, and the key that a request presents."""
        given = _given(scope)
        return self._redactor.plus([given]) if given else self._redactor

    def client(self, scope: Scope) -> Client:
        """Whose key it is. Raises Refused (401)."""
        if not self._keys:
            return self._anyone
        given = _given(scope)
        digest = sha256(given.encode()).hexdigest()
        found: Client | None = None
        for known, client in self._keys.items():  # all of them, so that time tells nothing
            if hmac.compare_digest(known, digest):
                found = client
        if found is None:
            said = "this is no key of this server" if given else "a key is needed"
            raise Refused(
                401, f"{said}: send `Authorization: Bearer KEY`", kind="authentication_error",
                code="invalid_api_key",
            )  # fmt: skip
        return found


def header(scope: Scope, name: bytes) -> str:
    """The first value of a request's header, its *name* in lower case; empty where none is."""
    for known, value in scope["headers"]:
        if known == name:
            return value.decode("latin-1")
    return ""


def _given(scope: Scope) -> str:
    scheme, _, key = header(scope, b"authorization").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else header(scope, b"x-api-key")


def _purses(name: str, key: KeyTable, store: Store) -> Sequence[Purse]:
    if key.day_usd is None and key.day_tokens is None:
        return ()
    book = DayBook(store, f"client {name}")
    return (DayPurse(f"the key {name} for the day", book, key.day_usd, key.day_tokens),)


def _names(table: ServeTable, host: str) -> frozenset[str] | None:
    """The names that this server goes by; None where any will do, because keys are needed."""
    if table.hosts:
        return frozenset(name.lower() for name in (*table.hosts, *LOOPBACK_NAMES))
    if is_loopback(host):
        return frozenset((*LOOPBACK_NAMES, host.lower()))
    return None
