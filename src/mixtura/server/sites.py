"""The names that this server goes by, and the sites whose pages may ask it."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address, ip_address
from typing import NamedTuple

from starlette.types import Scope

from mixtura.schema import ServeTable
from mixtura.server.dialect import Refused
from mixtura.text import one_line

TARGET = "mixtura.target"
"""In a request's scope: the host that its first line names, where that line has a whole URL."""
MOST_KNOWN = 64
"""Host headers whose meaning is remembered."""
LONGEST_SHOWN = 100
"""Letters of an origin that an error repeats."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~-]+)(?::([0-9]{0,5}))?")
_ORIGIN = re.compile(r"(https?)://([^/]+)")
_USUAL = {"http": 80, "https": 443}
_OWN_SITE = frozenset((b"same-origin", b"none"))
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
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    name, port = found[1].lower(), int(found[2]) if found[2] else None
    if name.startswith("["):
        try:
            name = f"[{IPv6Address(name[1:-1])}]"
        except AddressValueError:
            return None
    return None if port is not None and port > 65535 else Host(name, port)


def parse_origin(text: str) -> tuple[str, Host] | None:
    """The scheme and the host of a page's origin; None where it has none, as in ``null``."""
    found = _ORIGIN.fullmatch(text)
    host = parse_host(found[2]) if found else None
    return (found[1], host) if found and host else None


class Sites:
    """Checks what a request says of its host and of the page that sends it."""

    def __init__(self, table: ServeTable, host: str) -> None:
        self._names = _names(table, host)
        self._allowed = frozenset(table.cors)
        self._known: dict[bytes, Host] = {}
        """Host headers that were found to be ours."""

    def check(self, scope: Scope) -> None:
        """Raises Refused for a host that is not ours, or a page that may not ask."""
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
        host = self._host(scope, hosts)
        if origins or sites:
            self._check_page(scope, host, origins, sites)

    # ---- hosts

    def _host(self, scope: Scope, given: list[bytes]) -> Host | None:
        """
        The host that is meant; None where an old client names none and any will do.

        A page elsewhere may point its own name at this address: that name is not ours. Of two
        names, who is between us may have read the other. Raises Refused.
        """
        if len(given) > 1:
            raise Refused(400, "a request has one Host header", code="unknown_host")
        target = scope.get(TARGET)
        if target is None and given and (known := self._known.get(given[0])):
            return known
        if not given:
            if scope.get("http_version") != "1.0":
                raise Refused(400, "a request has a Host header", code="unknown_host")
            if target is not None or self._names is not None:
                raise _not_ours("")
            return None
        host = self._ours(given[0], "Host header")
        if target is not None and self._ours(target, "request line") != host:
            said = "the request line and the Host header name two hosts"
            raise Refused(400, said, code="unknown_host")
        if len(self._known) < MOST_KNOWN:
            self._known[given[0]] = host
        return host

    def _ours(self, given: bytes, where: str) -> Host:
        """Raises Refused (400) for what is no host, (421) for one that is not ours."""
        text = given.decode("latin-1")
        host = parse_host(text)
        if host is None:
            said = f"the {where} names no host: it is NAME or NAME:PORT, not {_shown(text)}"
            raise Refused(400, said, code="unknown_host")
        if self._names is not None and host.name not in self._names:
            raise _not_ours(host.name)
        return host

    # ---- pages

    def _check_page(
        self, scope: Scope, host: Host | None, origins: list[bytes], sites: list[bytes]
    ) -> None:
        """
        Only pages of this server, and those that `cors` lists, may ask. Raises Refused (403).

        A browser says who asks in Origin or in Sec-Fetch-Site: either is enough for a refusal.
        Another port of the same machine is another site.
        """
        if scope["method"] == "OPTIONS":  # it asks whether it may ask: CORS answers that
            return
        if "*" in self._allowed:
            return
        named = [origin.decode("latin-1") for origin in origins]
        if len(named) == 1 and named[0] in self._allowed:
            return
        foreign = [origin for origin in named if not _is_at(origin, host)]
        if not foreign and all(site in _OWN_SITE for site in sites):
            return
        if not named and _opens_the_page(scope):
            return
        who = f"a page of {_shown(foreign[0])}" if foreign else "a page of another site"
        said = f"{who} sent this: only origins that `cors` under [serve] lists may ask"
        raise Refused(403, said, kind="permission_error", code="foreign_page")


def _names(table: ServeTable, host: str) -> frozenset[str] | None:
    """The names that this server goes by; None where any will do, because keys are needed."""
    if table.hosts:
        own = table.hosts
    elif is_loopback(host):
        own = [host]
    else:
        return None
    return frozenset((*map(_spelled, own), *LOOPBACK_NAMES))


def _spelled(name: str) -> str:
    """A configured name as `parse_host` spells it."""
    bare = f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name
    host = parse_host(bare)
    return host.name if host else name.lower()


def _is_at(origin: str, host: Host | None) -> bool:
    """Whether a page of *origin* was served at *host*: by us, or through a proxy with TLS."""
    parsed = parse_origin(origin)
    if parsed is None or host is None:
        return False
    scheme, page = parsed
    usual = _USUAL[scheme]
    return page.name == host.name and (page.port or usual) == (host.port or usual)


def _opens_the_page(scope: Scope) -> bool:
    """Whether a person follows a link to our page: nothing happens, and no other page can read."""
    said = {name: value for name, value in scope["headers"] if name.startswith(b"sec-fetch-")}
    return (
        scope["method"] == "GET"
        and scope["path"] == "/"
        and said.get(b"sec-fetch-mode") == b"navigate"
        and said.get(b"sec-fetch-dest", b"document") == b"document"
    )


def _not_ours(name: str) -> Refused:
    said = f"this server is not called {name!r}: add it to `hosts` under [serve]"
    return Refused(421, said, code="unknown_host")


def _shown(text: str) -> str:
    return repr(one_line(text[:LONGEST_SHOWN]))
