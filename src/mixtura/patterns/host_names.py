"""One writing for the many that a browser takes for the same host or path, and a harmless one."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from ipaddress import AddressValueError, IPv4Address

_DOTS = re.compile(r"[.\u2024．。｡]")
_LONGEST_LABEL = 63


def is_ip(name: str) -> bool:
    """Whether *name* is an IPv4 address in its usual form."""
    with suppress(AddressValueError):
        IPv4Address(name)
        return True
    return False


def normalize_host(host: str) -> str:
    """
    *host* without `www.`, in Punycode; as in UTS 46, non-transitional, sharp s and final sigma
    are letters of their own.
    """
    name = unicodedata.normalize(
        "NFKC", "".join(map(_fold_letter, unicodedata.normalize("NFKC", host)))
    )
    name = _DOTS.sub(".", name).strip(".").removeprefix("www.")
    return name if name.isascii() else ".".join(map(_encode_label, name.split(".")))


def _fold_letter(letter: str) -> str:
    if letter in ("ß", "ẞ"):
        return "ß"
    return letter if letter == "ς" else letter.casefold()


def _encode_label(label: str) -> str:
    if label.isascii() or len(label) > _LONGEST_LABEL:
        return label
    return "xn--" + label.encode("punycode").decode("ascii")


def normalize_path(path: str) -> str:
    """A path and query without dot segments, fragment, ``.git``, slash and full stop at its end."""
    path = path.partition("#")[0].rstrip(".,;:!?*_~") if not path.endswith("/..") else path
    path, mark, query = path.replace("\\", "/").partition("?")
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[max(len(kept) - 1, 1) :]
        elif segment != ".":
            kept.append(segment)
    path = "/".join(kept).rstrip("/").removesuffix(".git").rstrip("/")
    return path + (mark + query if query else "")


def break_dots(text: str) -> str:
    """*text* with ``[.]`` for dots, and ``[:]`` in addresses of IPv6."""
    text = _DOTS.sub("[.]", text)
    if "[" in text and re.search(r"\[[0-9a-fA-F:]+\]", text):
        text = re.sub(r"\[[0-9a-fA-F:]+\]", lambda ip: ip[0].replace(":", "[:]"), text)
    return text
