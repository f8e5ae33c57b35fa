"""Checks the host that a request names and the web page that sends it."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address, ip_address
from typing import NamedTuple

from starlette.types import Scope

from mixtura.config.schema import ServeTable
from mixtura.core.text import to_one_line
from mixtura.server.apis.base import ApiError

TARGET_HOST_KEY = "mixtura.target"
"""In a request's scope: the host that its first line names, where that line has a whole URL."""
MAX_KNOWN_HOSTS = 64
"""Host headers whose meaning is remembered."""
MAX_SHOWN_CHARS = 100
"""Characters of an origin that an error repeats."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~-]+)(?::([0-9]{0,5}))?")
_ORIGIN = re.compile(r"(https?)://([^/]+)")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OWN_SITE_VALUES = frozenset((b"same-origin", b"none"))
"""What browsers call a request by our own page, and one that a person typed."""


class Host(NamedTuple):
    """A host as a request names it; no *port* is the usual one."""

    name: str
    port: int | None = None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def parse_host(text: str) -> Host | None:
    """``NAME`` or ``NAME:PORT``, in one spelling for each address; None for anything else."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    name, port = match[1].lower(), int(match[2]) if match[2] else None
    if name.startswith("["):
        try:
            # An IPv6 address has many spellings.
            name = f"[{IPv6Address(name[1:-1])}]"
        except AddressValueError:
            return None
    return None if port is not None and port > 65535 else Host(name, port)


def parse_origin(text: str) -> tuple[str, Host] | None:
    """The scheme and the host of a page's origin; None where it has none, as in ``null``."""
    match = _ORIGIN.fullmatch(text)
    host = parse_host(match[2]) if match else None
    return (match[1], host) if match and host else None


class SiteChecker:
    """Checks what a request says of its host and of the page that sends it."""

    def __init__(self, table: ServeTable, host: str) -> None:
        self._names = _server_names(table, host)
        self._allowed = frozenset(table.cors)
        self._known: dict[bytes, Host] = {}
        """Host headers that were found to be ours."""

    def check_request(self, scope: Scope) -> None:
        """Raises ApiError for a host that is not ours, or a page that may not send requests."""
        hosts: list[bytes] = []
        origins: list[bytes] = []
        sites: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value)
            elif name == b"origin":
                origins.append(value)
            elif name == b"sec-fetch-site":
                sites.append(value)
        host = self._request_host(scope, hosts)
        if origins or sites:
            self._check_page(scope, host, origins, sites)

    # ---- hosts

    def _request_host(self, scope: Scope, given: list[bytes]) -> Host | None:
        """
        The host that a request names; None where an old client names none and any will do.

        A page elsewhere may point its own name at this address (DNS rebinding): that name is not
        ours. Of two names, a proxy between us may have read the other. Raises ApiError (400, 421).
        """
        if len(given) > 1:
            raise ApiError(400, "a request has one Host header", code="unknown_host")
        target = scope.get(TARGET_HOST_KEY)
        if target is None and given and (known := self._known.get(given[0])):
            return known
        if not given:
            # Only HTTP/1.0 may leave the header out.
            if scope.get("http_version") != "1.0":
                raise ApiError(400, "a request has a Host header", code="unknown_host")
            if target is not None or self._names is not None:
                raise _unknown_host_error("")
            return None
        host = self._own_host(given[0], "Host header")
        if target is not None and self._own_host(target, "request line") != host:
            message = "the request line and the Host header name two hosts"
            raise ApiError(400, message, code="unknown_host")
        # Bounded: without keys any name is accepted, and clients choose them.
        if len(self._known) < MAX_KNOWN_HOSTS:
            self._known[given[0]] = host
        return host

    def _own_host(self, given: bytes, where: str) -> Host:
        """
        *given* as a host. Raises ApiError: 400 for what is no host, 421 for one that is not ours.
        """
        text = given.decode("latin-1")
        host = parse_host(text)
        if host is None:
            message = (
                f"the {where} names no host: it is NAME or NAME:PORT, not {_quote_shortened(text)}"
            )
            raise ApiError(400, message, code="unknown_host")
        if self._names is not None and host.name not in self._names:
            raise _unknown_host_error(host.name)
        return host

    # ---- pages

    def _check_page(
        self, scope: Scope, host: Host | None, origins: list[bytes], sites: list[bytes]
    ) -> None:
        """
        Raises ApiError (403) for a page that is neither this server's nor one that `cors` lists.

        A browser says who sends in Origin or in Sec-Fetch-Site: either is enough for a refusal.
        Another port of the same machine is another site.
        """
        if scope["method"] == "OPTIONS":  # a preflight request: the CORS middleware answers it
            return
        if "*" in self._allowed:
            return
        named = [origin.decode("latin-1") for origin in origins]
        if len(named) == 1 and named[0] in self._allowed:
            return
        foreign = [origin for origin in named if not _is_same_site(origin, host)]
        if not foreign and all(site in _OWN_SITE_VALUES for site in sites):
            return
        if not named and _is_page_navigation(scope):
            return
        who = f"a page of {_quote_shortened(foreign[0])}" if foreign else "a page of another site"
        message = f"{who} sent this: only origins that `cors` under [serve] lists may ask"
        raise ApiError(403, message, kind="permission_error", code="foreign_page")


def _server_names(table: ServeTable, host: str) -> frozenset[str] | None:
    """The names of this server; None where any is accepted, because keys are needed."""
    if table.hosts:
        own = table.hosts
    elif is_loopback(host):
        own = [host]
    else:
        return None
    # Whoever is on this machine may always use its own names.
    return frozenset((*map(_normalize_name, own), *LOOPBACK_NAMES))


def _normalize_name(name: str) -> str:
    """A configured name as `parse_host` spells it."""
    bare = f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name
    host = parse_host(bare)
    return host.name if host else name.lower()


def _is_same_site(origin: str, host: Host | None) -> bool:
    """Whether a page of *origin* was served at *host*: by us, or through a proxy with TLS."""
    parsed = parse_origin(origin)
    if parsed is None or host is None:
        return False
    scheme, page = parsed
    # Origin leaves the usual port out, Host may have it.
    usual = _DEFAULT_PORTS[scheme]
    return page.name == host.name and (page.port or usual) == (host.port or usual)


def _is_page_navigation(scope: Scope) -> bool:
    """Whether a person follows a link to our page: nothing happens, and no other page can read."""
    headers = {name: value for name, value in scope["headers"] if name.startswith(b"sec-fetch-")}
    return (
        scope["method"] == "GET"
        and scope["path"] == "/"
        and headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest", b"document") == b"document"
    )


def _unknown_host_error(name: str) -> ApiError:
    message = f"this server is not called {name!r}: add it to `hosts` under [serve]"
    return ApiError(421, message, code="unknown_host")


def _quote_shortened(text: str) -> str:
    return repr(to_one_line(text[:MAX_SHOWN_CHARS]))
