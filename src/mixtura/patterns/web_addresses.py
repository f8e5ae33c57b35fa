"""Hosts and links in texts: found however they are written, and defanged."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

from mixtura.core.json_text import map_texts, read_json_text
from mixtura.patterns.host_names import break_dots, is_ip, normalize_host, normalize_path
from mixtura.patterns.word_readings import WordReading, read_word

_WORD = re.compile(r"\S+")
# What ends a host in prose and may yet stand in one, or before an `@`, for a browser.
_MARKS = (
    "\"'`(){}|,;<>\\[\\]\u00a1\u00ab\u00b7\u00bb\u00bf\u2010-\u2023\u2025-\u2027\u2030-\u205e\u3001"
    "\u3003\u3008-\u3020\u3030\u303d\u30fb\ufe10-\ufe19\ufe30-\ufe6b\uff01-\uff0d\uff0f\uff1a-\uff20"
    "\uff3b-\uff40\uff5b-\uff60\uff62-\uff65"
)
_HOST_LIMIT = 300
# Web browsers take any number of slashes, of either kind, behind these schemes; without a scheme
# two of them begin a link.
_LINK = re.compile(
    r"(?i)(?P<scheme>(?:https?|wss?|ftp)(?=:)|[a-z][a-z0-9+.-]{0,30}(?=:[/\\]{2})):[/\\]*"
    r"|(?:(?<![a-z0-9_:/\\.%?&#~+-])|(?<=[^a-z0-9_+.-]:))[/\\]{2,}"
)
_AUTHORITY_END = re.compile(r"[\s/\\?#]")
_BEFORE_MARK = re.compile(rf"[^\s/\\?#{_MARKS}]{{1,{_HOST_LIMIT}}}")
_MARK = re.compile(f"[{_MARKS}]")
_NEVER_IN_HOST = re.compile(r"[\"`{}|<>\[\]^%:]")
_IP6 = re.compile(r"\[[0-9a-f:.%]{2,60}\]", re.IGNORECASE)
_ASCII_HOST = re.compile(
    r"(?i)([a-z0-9.-]*[a-z0-9]\.[a-z]{2,}|\d+(?:\.\d+){3})(?=[.-]*[\u2e80-\U0003ffff])"
)
_DEFANGED_SCHEMES = ("hxxp", "hxxps", "fxp")
_DEFANGED_SCHEME = re.compile(r"\b(hxxp|fxp)(s?)(?=:)", re.IGNORECASE)
_DEFANGED_DOT = re.compile(r"[ \t]?[\[({](?:\.|dot)[\])}][ \t]?", re.IGNORECASE)
_DEFANGED_MARK = re.compile(r"\[(:|/|://)\]")
_FANGED = {"hxxp": "http", "fxp": "ftp"}
_BARE = re.compile(r"[\w.-]+")
_ASCII_PART = re.compile(r"[A-Za-z0-9_.-]+")
_WIDE_LETTER = re.compile(r"[\u2e80-\U0003ffff]")
_PATH = re.compile(rf"[/\\?][^\s\u3002\uff0e\uff61{_MARKS.replace(';', '')}]{{0,2000}}")
_WHOLE_PATH = re.compile(r"[/\\?][^\s<>\"]{0,2000}")
_PORT = re.compile(r":\d{2,5}(?!\d)")

# Endings that hardly anything but a host has. Others (`sh`, `py`, `id`, `app`) are files or
# attributes in a program just as often: they count where a scheme, `www.`, `@`, a port, a path or
# a hyphen says that a host is meant.
_SURE_ENDINGS = re.compile(
    "com|net|org|edu|gov|mil|biz|xyz|icu|onion|example|invalid|dev|ai|co|de|fr|ru|cn|uk|jp|nl|br|au"
    "|ca|ch|se|eu|kr|tw|cz|gr|hu|tr|ua|za|nz|dk|fi|ro|sg|hk|mx|ie|pt|tv|su|ws|ly|gg|us"
    "|рф|рус|бел|укр|срб|мкд|бг|ею|мон|қаз|москва|онлайн|сайт|орг|ком|дети|ευ|ελ|հայ|გე|קום|ישראל"
    "|中国|中國|香港|台湾|台灣|澳門|新加坡|公司|网络|网址|網址|在线|商城|网店|网站|集团|コム|みんな|한국|닷컴|닷넷"
    "|مصر|امارات|ایران|شبكة|موقع|كوم"
)
# With the full stops of Chinese and Japanese, which browsers read as dots. In prose they end a
# sentence: only Latin letters on both sides and a sure ending make a host of it.
_WIDE_DOT_HOST = re.compile(
    r"(?<![a-z0-9_.@\u3002\uff0e\uff61-])(?:[a-z0-9-]{1,63}[.\u3002\uff0e\uff61]){0,8}"
    rf"[a-z0-9-]{{1,63}}[\u3002\uff0e\uff61](?:{_SURE_ENDINGS.pattern})(?![\w-])",
    re.IGNORECASE,
)


class WebAddress(NamedTuple):
    """A host in a text, from *start* to *end* with its scheme; *link* has its path, too."""

    start: int
    end: int
    host: str
    link: str
    """Host, path and query; the host alone where there is neither."""


def find_addresses(text: str) -> list[WebAddress]:
    """
    The hosts that *text* leads to, their places being those in the word that they stand in. Links
    of any scheme and of none, bare hosts, addresses of IP; also behind HTML entities, Markdown's
    and JSON's escapes, percent signs and letters that look alike to a browser. Where two programs
    read a word in two ways, what either finds.
    """
    return [
        found
        for word in _WORD.findall(text)
        for reading in read_word(word)
        for found in _find_in(reading.text)
    ]


def refang(text: str) -> str:
    """*text* with its defanged addresses, as ``hxxps://evil[.]example``, as they lead somewhere."""
    text = _DEFANGED_DOT.sub(".", _DEFANGED_MARK.sub(r"\1", text))
    return _DEFANGED_SCHEME.sub(lambda match: f"{_FANGED[match[1].lower()]}{match[2]}", text)


def defang(text: str, suspects: SuspectAddresses) -> str:
    """*text* with the addresses of *suspects* as in ``hxxps://evil[.]example``."""
    return _WORD.sub(lambda word: _defang_word(word[0], suspects), text)


def defang_json(arguments: str, suspects: SuspectAddresses) -> str:
    """The same for JSON text: every string in it; what is no JSON, as a text."""
    try:
        read = read_json_text(arguments)
    except ValueError:
        return defang(arguments, suspects)
    changed = map_texts(read, lambda text: defang(text, suspects))
    return arguments if changed == read else json.dumps(changed, ensure_ascii=False)


def find_strings(arguments: str) -> list[str]:
    """The strings of JSON text, as they are behind its escapes; of what is no JSON, the text."""
    try:
        waiting: list[Any] = [read_json_text(arguments)]
    except ValueError:
        return [arguments]
    found: list[str] = []
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            waiting += reversed(cast("list[Any]", value))
        elif isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            waiting += [one for item in reversed(items) for one in reversed(item)]
    return found


@dataclass(frozen=True, slots=True)
class SuspectAddresses:
    """Hosts and links that nobody vouches for, each with the member that names it."""

    hosts: Mapping[str, str] = field(default_factory=dict[str, str])
    links: Mapping[str, str] = field(default_factory=dict[str, str])

    def __bool__(self) -> bool:
        return bool(self.hosts or self.links)

    @property
    def have_wide_names(self) -> bool:
        """Whether one of the hosts has letters that are not ASCII."""
        return any("xn--" in key or not key.isascii() for key in (*self.hosts, *self.links))

    def names(self, address: WebAddress) -> bool:
        return address.host in self.hosts or address.link in self.links

    def found_in(self, text: str) -> list[str]:
        """Those that stand in *text*, as they may be shown: defanged."""
        there = [one for one in find_addresses(text) if self.names(one)]
        keys = (one.host if one.host in self.hosts else one.link for one in there)
        return list(dict.fromkeys(break_dots(key) for key in keys))


def find_suspects(question: str, proposals: Sequence[tuple[str, str]]) -> SuspectAddresses:
    """
    The hosts and links of *proposals*, pairs of a member and its text, that stand neither in the
    question nor in a second member's text. Draws of one member count as one; where all are of one
    model, each draw counts. What members name in a defanged form alone is suspect, too: whoever
    reads it may write it out.
    """
    known: set[str] = set()
    for address in find_addresses(question):
        known |= {address.host, address.link}
    alone = len({member for member, _ in proposals}) == 1
    hosts: dict[str, dict[str, str]] = {}
    links: dict[str, dict[str, str]] = {}
    for number, (member, text) in enumerate(proposals):
        voucher = str(number) if alone else member
        for address in find_addresses(text):
            hosts.setdefault(address.host, {})[voucher] = member
            links.setdefault(address.link, {})[voucher] = member
    for member, text in proposals:
        for address in find_addresses(refang(text)):
            hosts.setdefault(address.host, {member: member})
            links.setdefault(address.link, {member: member})
    lone_hosts = _lone_keys(hosts, known)
    lone_links = _lone_keys(links, known)
    return SuspectAddresses(
        lone_hosts, {key: who for key, who in lone_links.items() if "/" in key or "?" in key}
    )


def _lone_keys(named: Mapping[str, Mapping[str, str]], known: set[str]) -> dict[str, str]:
    return {
        key: next(iter(by.values()))
        for key, by in named.items()
        if len(by) == 1 and key not in known
    }


# ---- one word


def _find_in(text: str) -> list[WebAddress]:
    """The addresses in a word as one program reads it, by their places."""
    found: list[WebAddress] = []
    taken: list[tuple[int, int]] = []
    for begin, address in _find_links(text):
        found.append(address)
        taken.append((begin, address.end))
    taken.sort()
    at = last = 0
    for bare in sorted(_find_bare_hosts(text), key=lambda one: one.start):
        while at < len(taken) and taken[at][0] < bare.end:
            last = max(last, taken[at][1])
            at += 1
        if last <= bare.start:
            found.append(bare)
    return sorted(found, key=lambda one: (one.start, -one.end))


def _find_links(text: str) -> Iterator[tuple[int, WebAddress]]:
    """Every link, and from where on its text is its own."""
    stop = last_at = -1
    for match in _LINK.finditer(text):
        if (match["scheme"] or "").casefold() in _DEFANGED_SCHEMES:
            continue
        begin = match.end()
        if begin > stop:
            end = _AUTHORITY_END.search(text, begin)
            stop = end.start() if end else len(text)
            last_at = text.rfind("@", begin, stop)
        hosts = list(_hosts_at(text, begin, stop))
        if last_at >= begin:
            hosts += _hosts_at(text, last_at + 1, stop)
        for n, (own, end, host) in enumerate(dict.fromkeys(hosts)):
            if host and (match["scheme"] or _has_ending(host)):
                first = own if n else match.start()
                for address in _addresses_at(text, match.start(), end, host):
                    yield first, address


def _hosts_at(text: str, begin: int, stop: int) -> Iterator[tuple[int, int, str]]:
    """The hosts that can be meant by what begins at *begin*: their starts, ends and names."""
    if ip := _IP6.match(text, begin):
        yield begin, ip.end(), normalize_host(unquote(ip[0]))
        return
    short = match[0] if (match := _BEFORE_MARK.match(text, begin)) else ""
    user, mark, name = short.rpartition("@")
    start = begin + len(user) + len(mark)
    name, _, port = name.partition(":")
    end = start + len(name)
    if digits := re.match(r"\d+", port):
        end += 1 + len(digits[0])
    if ascii_host := _ASCII_HOST.match(name):
        yield start, start + ascii_host.end(), normalize_host(ascii_host[0])
    if not ascii_host or name[ascii_host.end()] in ".\u3002\uff0e\uff61":
        yield start, end, _read_host(name)
    if stop - start > _HOST_LIMIT:
        return
    whole = re.sub(r":\d*$", "", text[begin:stop]).rpartition("@")[2]
    whole = whole.rstrip("'(),;*_~.!:\u2026")
    ending = re.split(r"[.\u3002\uff0e\uff61]", whole)[-1]
    if _MARK.search(whole) and not (_MARK.search(ending) or _NEVER_IN_HOST.search(whole)):
        after = text.rindex(whole, begin, stop)
        yield after, after + len(whole), _read_host(whole)


def _read_host(name: str) -> str:
    return normalize_host(unquote(name).rstrip("*_~.!:"))


def _has_ending(host: str) -> bool:
    """Whether what stands behind two slashes alone is a host, not a comment or a path."""
    ending = host.rpartition(".")[2]
    if "." not in host:
        return host.startswith("[") or (host.isdigit() and len(host) > 7)
    return is_ip(host) or (len(ending) > 1 and not ending.isdigit())


def _find_bare_hosts(text: str) -> Iterator[WebAddress]:
    for match in _BARE.finditer(text):
        yield from _read_bare_host(text, match.start(), match[0])
        if _WIDE_LETTER.search(match[0]):
            for part in _ASCII_PART.finditer(text, match.start(), match.end()):
                yield from _read_bare_host(text, part.start(), part[0])
    for match in _WIDE_DOT_HOST.finditer(text):
        yield from _addresses_at(text, match.start(), match.end(), normalize_host(match[0]))


def _read_bare_host(text: str, begin: int, run: str) -> Iterator[WebAddress]:
    name = run.strip(".-_")
    start = begin + len(run) - len(run.lstrip(".-_"))
    end = start + len(name)
    before = text[max(start - 1, 0) : start]
    if "." in name and _is_bare_host(name, before, text[end : end + 7]):
        yield from _addresses_at(text, start, end, normalize_host(name))


def _is_bare_host(name: str, before: str, behind: str) -> bool:
    """Whether *name*, which has no scheme, is a host; *before*, *behind*: what stands around it."""
    *labels, ending = unicodedata.normalize("NFKC", name).casefold().split(".")
    if not all(labels) or len(ending) < 2:
        return is_ip(name)
    if ending.isdigit():
        return is_ip(name)
    if labels[0] == "www" or ending.startswith("xn--"):
        return True
    if _SURE_ENDINGS.fullmatch(ending) and behind[:1] != "(":
        return True
    if not ending.isascii() or not ending.isalpha() or behind[:1] == "(":
        return False
    if before == "@" or any("-" in label for label in labels):
        return True
    path = behind[:1] == "/" and behind[1:2].isalnum()
    return path or bool(_PORT.match(behind))


def _addresses_at(text: str, start: int, end: int, host: str) -> Iterator[WebAddress]:
    """The address at *start*; with a second path where a browser may read on behind a mark."""
    at = end
    if port := _PORT.match(text, at):
        at = port.end()
    path = match[0] if (match := _PATH.match(text, at)) else ""
    yield WebAddress(start, end, host, host + normalize_path(path))
    if path and (match := _WHOLE_PATH.match(text, at)) and len(match[0]) > len(path):
        whole = match[0].rstrip(".,;:!?*_~'`(){}[]|")
        behind = whole[len(path) :].replace("\\", "/")
        climbs = re.search(r"/\.\.(?:/|$)", behind)
        if climbs or (behind[:1] in (",", "'", "(") and "/" in behind and "://" not in behind):
            yield WebAddress(start, end, host, host + normalize_path(whole))


def _defang_word(word: str, suspects: SuspectAddresses) -> str:
    # What one reading finds may stand in what the other has written anew.
    for number in (0, 1):
        readings = read_word(word)
        reading = readings[min(number, len(readings) - 1)]
        word = _break_suspects(word, reading, suspects)
    return word


def _break_suspects(word: str, reading: WordReading, suspects: SuspectAddresses) -> str:
    parts: list[str] = []
    at = 0
    for address in _find_in(reading.text):
        start, end = reading.place_in_word(address.start, address.end)
        if start >= at and suspects.names(address):
            # Decoded, else what an entity or an escape hid would be as it was.
            broken = _break_address(reading.text[address.start : address.end])
            parts += [word[at:start], broken]
            at = end
    return "".join([*parts, word[at:]])


def _break_address(text: str) -> str:
    scheme, mark, rest = text.partition(":")
    if text[:1] in ("/", "\\"):
        broken = break_dots(unquote(text))
        return broken if "[" in broken else f"hxxps:{broken}"
    if not mark or "." in scheme:
        return break_dots(text)
    lower = scheme.lower()
    if lower in ("http", "https"):
        scheme = "hxxp" + lower[4:]
    elif lower == "ftp":
        scheme = "fxp"
    else:
        mark = "[:]"
    return scheme + mark + break_dots(unquote(rest))
