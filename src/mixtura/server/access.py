"""Keys of clients: who a request comes from, which models its key may use, and how much."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Protocol

from starlette.types import Scope

from mixtura.billing.spending_caps import DailyCap, SpendingCap
from mixtura.config.schema import KeyTable, ServeTable
from mixtura.core.errors import ConfigError
from mixtura.core.redaction import NO_SECRETS, Redactor
from mixtura.server.apis.base import ApiError
from mixtura.server.host_checks import is_loopback
from mixtura.server.request_headers import request_header
from mixtura.storage.interfaces import Store
from mixtura.storage.spending import DailySpendLedger

MINUTE = 60.0
CLIENT_SCOPE_KEY = "mixtura.client"
"""In a request's scope: its client, once that was looked up."""


class MinuteQuota:
    """So many a minute, filled evenly; what is charged afterwards may overdraw it once."""

    def __init__(self, a_minute: float, clock: Callable[[], float]) -> None:
        self._most = a_minute
        self._left = a_minute
        self._clock = clock
        self._seen = clock()

    async def try_consume(self, amount: float) -> float:
        """Take *amount* if there is room: 0, or the seconds until there is, with nothing taken."""
        now = self._clock()
        self._left = min(self._left + (now - self._seen) * self._most / MINUTE, self._most)
        self._seen = now
        if self._left < 1:
            return (1 - self._left) * MINUTE / self._most
        self._left -= amount
        return 0.0

    def consume_amount(self, amount: float) -> None:
        """Take *amount*, also where it is more than is left."""
        # What an answer used is known when it is over: the next request waits for what is missing.
        self._left -= amount


class Quota(Protocol):
    """What a ``MinuteQuota`` does, wherever it is counted: it may have to be asked for."""

    async def try_consume(self, amount: float) -> float: ...
    def consume_amount(self, amount: float) -> None: ...


QuotaMaker = Callable[[str, float], Quota]
"""Makes a quota of so much a minute; the text is what it counts, the same in every process."""


def create_local_quota(_: str, a_minute: float) -> Quota:
    """A quota of this process alone."""
    return MinuteQuota(a_minute, time.monotonic)


ANYONE = "anyone"
"""The name of the client of a server without keys."""


class ApiClient:
    """
    The client of a request: the holder of a key, or anyone on this machine where none are needed.
    """

    def __init__(
        self,
        name: str,
        table: KeyTable | None,
        caps: Sequence[SpendingCap] = (),
        make_quota: QuotaMaker = create_local_quota,
        *,
        default: str = "default",
    ) -> None:
        self.name = name
        self.models = None if table is None or table.models is None else frozenset(table.models)
        self._default = default
        self.caps = caps
        requests = table.requests_per_minute if table else None
        tokens = table.tokens_per_minute if table else None
        self._requests = make_quota(f"{name} requests", requests) if requests else None
        self._tokens = make_quota(f"{name} tokens", tokens) if tokens else None

    @classmethod
    def with_models(
        cls, name: str, models: Sequence[str] | None, *, default: str = "default"
    ) -> ApiClient:
        """One that has no key, and may use *models* alone; None: all."""
        client = cls(name, None, default=default)
        client.models = None if models is None else frozenset(models)
        return client

    @property
    def has_token_limit(self) -> bool:
        """Whether its tokens a minute are limited."""
        return self._tokens is not None

    def has_listed_model(self, name: str) -> bool:
        """Whether its key's table names a model; without a list it names all."""
        return self.models is None or name in self.models

    def can_use_model(self, name: str) -> bool:
        """Whether it may use a model; `default` also where it may use what that stands for."""
        return self.has_listed_model(name) or (
            name == "default" and self.has_listed_model(self._default)
        )

    def require_model_access(self, names: Mapping[str, str]) -> None:
        """
        Raises ApiError (403) unless its key may use all *names*, each with the field it is from.

        The only place where that is decided. A configured mixture is one name: its members
        come along with it.
        """
        for name, param in names.items():
            if not self.can_use_model(name):
                message = f"the key {self.name} may not use `{name}`"
                raise ApiError(
                    403, message, kind="permission_error", code="model_not_allowed", param=param
                )

    async def admit_request(self) -> None:
        """
        Count a request. Raises ApiError: 429 when the key's requests or tokens of the minute are
        used up, 503 when whoever counts them does not respond.
        """
        # The tokens first, of which none is taken here: a refused request takes nothing.
        for meter, amount, what in ((self._tokens, 0, "tokens"), (self._requests, 1, "requests")):
            if meter and (wait := await meter.try_consume(amount)):
                message = f"this key's {what} for the minute are used up"
                raise ApiError(
                    429,
                    message,
                    kind="rate_limit_error",
                    code="rate_limit_exceeded",
                    retry_after=wait,
                )

    def record_token_usage(self, tokens: int) -> None:
        """Count what a request will use at least, before it is run; then what it used beyond."""
        if self._tokens:
            self._tokens.consume_amount(tokens)


class Authenticator:
    """
    Finds the client of a request by its key.

    Raises ConfigError when there are no keys and other machines can reach the address.
    """

    def __init__(
        self,
        table: ServeTable,
        host: str,
        store: Store,
        redactor: Redactor = NO_SECRETS,
        *,
        default: str = "default",
        make_quota: QuotaMaker = create_local_quota,
    ) -> None:
        """*default*: what `default` stands for; *make_quota*: where a key's calls are counted."""
        self._redactor = redactor
        self._keys = {
            # Only digests are configured: whoever reads the file has no key.
            key.sha256.lower(): ApiClient(
                name, key, _daily_caps(name, key, store), make_quota, default=default
            )
            for name, key in table.keys.items()
        }
        self._anyone = ApiClient(ANYONE, None)
        if not self._keys and not is_loopback(host):
            raise ConfigError(
                f"{host} can be reached from other machines, and there are no keys: make one with"
                " `mixtura serve --new-key NAME` and put it under [serve.keys], or serve on"
                " 127.0.0.1"
            )

    @property
    def is_key_required(self) -> bool:
        """Whether a key is needed."""
        return bool(self._keys)

    def redactor_for(self, scope: Scope) -> Redactor:
        """The redactor of the configuration's secrets and of the key that a request presents."""
        given = _presented_key(scope)
        return self._redactor.with_values([given]) if given else self._redactor

    def find_named_client(self, name: str) -> ApiClient | None:
        """The client whose key has that name, for work that goes on without a request."""
        if not self._keys:
            return None if name else self._anyone
        return next((one for one in self._keys.values() if one.name == name), None)

    def owner_name(self, client: ApiClient) -> str:
        """What a client's own things are kept under; empty where no one has a key."""
        return client.name if self._keys else ""

    def authenticate_request(self, scope: Scope) -> ApiClient:
        """
        The client of a request, looked up once. Raises ApiError (401) for a key that is missing or
        unknown.
        """
        known: ApiClient | None = scope.get(CLIENT_SCOPE_KEY)
        if known is None:
            known = scope[CLIENT_SCOPE_KEY] = (
                self._find_client(scope) if self._keys else self._anyone
            )
        return known

    def _find_client(self, scope: Scope) -> ApiClient:
        given = _presented_key(scope)
        digest = sha256(given.encode()).hexdigest()
        client_of_key: ApiClient | None = None
        for known, client in self._keys.items():  # all of them, so that the time reveals nothing
            if hmac.compare_digest(known, digest):
                client_of_key = client
        if client_of_key is None or not given:
            problem = "this is not a key of this server" if given else "a key is needed"
            raise ApiError(
                401, f"{problem}: send `Authorization: Bearer KEY`", kind="authentication_error",
                code="invalid_api_key",
            )  # fmt: skip
        return client_of_key


def _presented_key(scope: Scope) -> str:
    scheme, _, key = request_header(scope, b"authorization").partition(" ")
    # OpenAI's clients send a bearer token, Anthropic's the header x-api-key.
    return key.strip() if scheme.lower() == "bearer" else request_header(scope, b"x-api-key")


def _daily_caps(name: str, key: KeyTable, store: Store) -> Sequence[SpendingCap]:
    if key.day_usd is None and key.day_tokens is None:
        return ()
    book = DailySpendLedger(store, f"client {name}")
    return (DailyCap(f"the key {name} for the day", book, key.day_usd, key.day_tokens),)
