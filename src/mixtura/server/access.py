"""Keys: whose a request is, what it may use, and how often."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from starlette.types import Scope

from mixtura.budget import DayPurse, Purse
from mixtura.errors import ConfigError
from mixtura.redaction import NOTHING, Redactor
from mixtura.schema import KeyTable, ServeTable
from mixtura.server.dialect import Refused
from mixtura.server.sites import is_loopback
from mixtura.store import DayBook, Store

MINUTE = 60.0
CLIENT = "mixtura.client"
"""In a request's scope: whose it is, once that was looked up."""


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
        *,
        default: str = "default",
    ) -> None:
        self.name = name
        self.models = None if table is None or table.models is None else frozenset(table.models)
        self._default = default
        self.purses = purses
        requests = table.requests_per_minute if table else None
        tokens = table.tokens_per_minute if table else None
        self._requests = Meter(requests, clock) if requests else None
        self._tokens = Meter(tokens, clock) if tokens else None

    @property
    def counts_tokens(self) -> bool:
        """Its tokens are limited."""
        return self._tokens is not None

    def lists(self, name: str) -> bool:
        """Whether its key's table names a model; without a list it names all."""
        return self.models is None or name in self.models

    def may_use(self, name: str) -> bool:
        """`default` may be used by whoever may use what it stands for; not the other way round."""
        return self.lists(name) or (name == "default" and self.lists(self._default))

    def check(self, names: Mapping[str, str]) -> None:
        """
        Raises Refused (403) unless its key may use all *names*, each with the field it is from.

        The only place where that is decided. A configured mixture is one name: its members
        come along with it.
        """
        for name, param in names.items():
            if not self.may_use(name):
                said = f"the key {self.name} may not use `{name}`"
                raise Refused(
                    403, said, kind="permission_error", code="model_not_allowed", param=param
                )

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
    """Checks a request's key before anything that only a key may see."""

    def __init__(
        self,
        table: ServeTable,
        host: str,
        store: Store,
        redactor: Redactor = NOTHING,
        *,
        default: str = "default",
    ) -> None:
        """*default*: the mixture that `default` stands for."""
        self._redactor = redactor
        self._keys = {
            key.sha256.lower(): Client(name, key, _purses(name, key, store), default=default)
            for name, key in table.keys.items()
        }
        self._anyone = Client("anyone", None)
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

    def redactor(self, scope: Scope) -> Redactor:
        """Knows the secrets of the configuration, and the key that a request presents."""
        given = _given(scope)
        return self._redactor.plus([given]) if given else self._redactor

    def client(self, scope: Scope) -> Client:
        """Whose key it is. Raises Refused (401)."""
        known: Client | None = scope.get(CLIENT)
        if known is None:
            known = scope[CLIENT] = self._known(scope) if self._keys else self._anyone
        return known

    def _known(self, scope: Scope) -> Client:
        given = _given(scope)
        digest = sha256(given.encode()).hexdigest()
        found: Client | None = None
        for known, client in self._keys.items():  # all of them, so that time tells nothing
            if hmac.compare_digest(known, digest):
                found = client
        if found is None or not given:
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
