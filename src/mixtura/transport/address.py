"""Where a request goes: servers and the proxies before them, and a request's first lines."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, quote, unquote, urlsplit

from mixtura.core.errors import RejectedError

_HOST_PATTERN = re.compile(r"[\w.:%~-]+", re.ASCII)
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_LINE_BREAK = re.compile(r"[\r\n\0]")
_MANAGED_HEADERS = ("content-length", "transfer-encoding", "connection", "host")
_SAFE_CHARACTERS = "/?:@!$&'()*+,;=%~"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an address leads: a server, and the proxy before it."""

    secure: bool
    host: str
    port: int
    proxy: Origin | None = None
    login: str | None = field(default=None, repr=False)
    """What the address says of a user, as a Basic authorization."""

    @property
    def host_and_port(self) -> str:
        """Host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """Host and port, as a Host header has them."""
        return self.host_and_port.removesuffix(":443" if self.secure else ":80")

    @property
    def is_tunnelled(self) -> bool:
        """The proxy does not see what goes through it."""
        return self.secure and self.proxy is not None


def parse_origin(parts: SplitResult, proxy: Origin | None = None) -> Origin:
    """Where an address leads. Raises RejectedError for one that is none of HTTP."""
    secure, host, port = parts.scheme == "https", parts.hostname or "", 0
    try:
        port = parts.port or (443 if secure else 80)
        host = host if host.isascii() else host.encode("idna").decode()
    except ValueError:
        pass
    if parts.scheme not in ("http", "https") or not port or not _HOST_PATTERN.fullmatch(host):
        raise RejectedError(f"not the address of an HTTP server: {parts.scheme}://{host}")
    login = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = f"Basic {base64.b64encode(user.encode()).decode()}"
    return Origin(secure, host, port, proxy, login)


def join_url(base_url: str, path: str) -> str:
    """*path* below an address, whose query stays behind it; one that ends in *path* has it."""
    start, mark, query = base_url.partition("?")
    return f"{start.rstrip('/').removesuffix(path)}{path}{mark}{query}"


class EnvironmentProxies:
    """The proxies that the environment names, read once."""

    def __init__(self) -> None:
        from urllib.request import getproxies

        self._named = getproxies()

    def proxy_for(self, parts: SplitResult) -> Origin | None:
        """The proxy on the way to an address."""
        from urllib.request import proxy_bypass

        named = self._named.get(parts.scheme) or self._named.get("all")
        named = (named or "").strip()
        if not named or proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        if any(_covers_server(entry, parts) for entry in self._named.get("no", "").split(",")):
            return None
        proxy = urlsplit(named if "://" in named else f"http://{named}")
        own = parts.scheme in self._named
        variable = f"{parts.scheme if own else 'all'}_proxy".upper()
        if proxy.scheme not in ("http", "https"):
            said = "SOCKS" if proxy.scheme.startswith("socks") else f"'{proxy.scheme}'"
            raise RejectedError(
                f"the proxy {proxy.scheme}://{proxy.hostname or ''} in {variable} uses"
                f" {said}, but Mixtura supports only HTTP proxies: name one in"
                f" {parts.scheme.upper()}_PROXY, or exclude {parts.hostname} with"
                f" NO_PROXY={parts.hostname}"
            )
        try:
            return parse_origin(proxy)
        except RejectedError:
            raise RejectedError(
                f"{variable} is not the address of an HTTP proxy, such as http://127.0.0.1:8080"
            ) from None


def _covers_server(entry: str, parts: SplitResult) -> bool:
    """
    Whether an *entry* of NO_PROXY means the server of an address, in the forms that curl and Go
    know and Python does not: with a port, a star, or a network in front of its number of bits.
    """
    host, pattern = (parts.hostname or "").lower(), entry.strip().lower()
    name, colon, port = pattern.rpartition(":")
    if colon and port.isdigit() and (":" not in name or name.startswith("[")):
        default = {"http": 80, "https": 443}.get(parts.scheme)
        if int(port) != (parts.port or default):
            return False
        pattern = name
    pattern = pattern.removeprefix("[").removesuffix("]")
    if "/" in pattern:
        try:
            return ip_address(host) in ip_network(pattern, strict=False)
        except ValueError:
            return False
    if pattern.startswith("."):
        return host.endswith(pattern)
    return bool(pattern) and (fnmatchcase(host, pattern) or host.endswith(f".{pattern}"))


def request_headers(origin: Origin, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """
    The fields of a request: the caller's *headers*, and what is ours to say.

    Raises RejectedError for a field that would be two.
    """
    fields = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "mixtura"}
    if origin.login is not None:
        fields["Authorization"] = origin.login
    if origin.proxy is not None and origin.proxy.login and not origin.secure:
        fields["Proxy-Authorization"] = origin.proxy.login
    given = {name.lower() for name in headers}
    fields = {name: value for name, value in fields.items() if name.lower() not in given}
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name) or _LINE_BREAK.search(value):
            raise RejectedError(f"the header {name!r} must be a valid name and a value on one line")
        if name.lower() not in _MANAGED_HEADERS:
            fields[name] = value
    if body:
        fields["Content-Length"] = str(len(body))
    return fields


def request_path(url: SplitResult) -> str:
    """An address's path and query, as they stand in a request's first line."""
    where = quote(url.path or "/", safe=_SAFE_CHARACTERS)
    return f"{where}?{quote(url.query, safe=_SAFE_CHARACTERS)}" if url.query else where


def build_request_head(
    method: str, url: SplitResult, origin: Origin, fields: Mapping[str, str]
) -> bytes:
    """The request's first lines; *fields* are those of ``request_headers``."""
    where = request_path(url)
    if origin.proxy is not None and not origin.secure:
        where = f"http://{origin.authority}{where}"
    lines = [f"{method} {where} HTTP/1.1", f"Host: {origin.authority}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode()
