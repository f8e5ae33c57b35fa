"""The kinds of private items that a pattern finds: addresses, numbers of accounts, keys.

Words are of ASCII here: in Chinese and Japanese an item has no space around it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping

from mixtura.core.credentials import find_keys

Span = tuple[int, int]

_AT = r"(?:@|%40|\\u0040|&#0*64;|&#x0*40;|&commat;)"
_EMAIL = re.compile(
    rf"(?<![\w+-])[\w+-][\w.+'-]{{0,127}}{_AT}(?P<host>[\w-]{{1,63}}(?:\.[\w-]{{1,63}})+)"
)
_PLUS = r"(?:\+|%2[Bb]|\\u002[Bb]|&#43;)"
_BETWEEN = r"[\s().\-/\u2010\u2011]{0,3}"
_INTERNATIONAL_PHONE = re.compile(
    rf"(?:{_PLUS}|(?<![A-Za-z0-9_.,])00 ?)[1-9](?:{_BETWEEN}\d){{6,14}}(?![\d])"
)
_DATE = r"(?!\d{1,2}[./-]\d{1,2}[./-]\d{2,4}(?!\d))"
_NATIONAL_PHONE = re.compile(
    # As written in North America; elsewhere it begins with a 0 and has a gap.
    r"(?<![A-Za-z0-9_+.,])(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![A-Za-z0-9_])"
    rf"|(?<![A-Za-z0-9_+.,/-]){_DATE}\(?0\d{{1,5}}\)?[ /.-]{{1,3}}\d(?:[ /.-]?\d){{4,10}}"
    r"(?![A-Za-z0-9_])"
)
_IBAN_HEAD = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[ \u00a0-]?\d{2}(?=[ \u00a0-]?[A-Za-z0-9])")
_IBAN_COUNTRIES = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20"
    " EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27"
    " JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18"
    " NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24"
    " TR26 UA29 VA22 VG24 XK20"
)
_IBAN_SIZES: Mapping[str, int] = {row[:2]: int(row[2:]) for row in _IBAN_COUNTRIES.split()}
"""Characters of an IBAN by its country (the registry of IBANs)."""
_MAX_IBAN = 34
_CARD = re.compile(
    r"(?<![A-Za-z0-9_])(?<!\d[.,])\d(?:[ \u00a0-]?\d){11,18}(?![A-Za-z0-9_])(?![.,]\d)"
)
_CARD_GROUPS = re.compile(r"\d{4}([ \u00a0-])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?")
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = re.compile(rf"(?<![A-Za-z0-9_.]){_OCTET}(?:\.{_OCTET}){{3}}(?![A-Za-z0-9_]|\.\d)")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{3,100}")
_LETTER = re.compile(r"[A-Za-z0-9_]")
_MAX_GROUPS = 12


def _find_emails(text: str) -> Iterator[Span]:
    for match in _EMAIL.finditer(text):
        # The last word of a host has a letter; a full stop behind it ends a sentence.
        if re.search(r"[^\W\d_]", match["host"].rpartition(".")[2]):
            yield match.span()


def _find_phones(text: str) -> Iterator[Span]:
    for pattern in (_INTERNATIONAL_PHONE, _NATIONAL_PHONE):
        yield from (match.span() for match in pattern.finditer(text))


def _find_ibans(text: str) -> Iterator[Span]:
    for match in _IBAN_HEAD.finditer(text):
        end = _iban_end(text, match.start())
        if end is not None:
            yield match.start(), end


def _iban_end(text: str, begin: int) -> int | None:
    """Where the longest IBAN from *begin* on ends: by its checksum, or its country's length."""
    signs, at, end = "", begin, None
    while at < len(text) and len(signs) < _MAX_IBAN:
        sign = text[at]
        if not (sign.isascii() and sign.isalnum()):
            gap = sign in " \u00a0-" and _LETTER.match(text[at + 1 : at + 2])
            if not gap:
                break
            at += 1
            continue
        signs += sign.upper()
        at += 1
        whole = not _LETTER.match(text[at : at + 1])
        if whole and (len(signs) == _IBAN_SIZES.get(signs[:2]) or is_iban(signs)):
            end = at
    return end


def is_iban(signs: str) -> bool:
    """Whether the checksum of ISO 13616 holds."""
    moved = signs[4:] + signs[:4]
    return len(signs) >= 15 and int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1


def _find_cards(text: str) -> Iterator[Span]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if _CARD_GROUPS.fullmatch(match[0]) or is_card(digits):
            yield match.span()


def is_card(digits: str) -> bool:
    """Whether Luhn's checksum holds."""
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0 and len(set(digits)) > 1


def _find_addresses(text: str) -> Iterator[Span]:
    yield from (match.span() for match in _IPV4.finditer(text))
    for match in _IPV6.finditer(text):
        if match[0].count(":") < 2:
            continue
        whole = not _LETTER.match(text[match.end() : match.end() + 1])
        if begun := whole and _ipv6_span(text, match.start(), match[0].rstrip(".")):
            yield begun


def _ipv6_span(text: str, at: int, run: str) -> Span | None:
    """Where an address stands at the end of a run of its signs: a label before it is none."""
    if _LETTER.match(text[at - 1 : at] if at else ""):
        skipped = run.find(":") + 1  # a word ends in letters that an address may have
        at, run = at + skipped, run[skipped:]
    for _ in range(_MAX_GROUPS):
        # `::add` and the like are names of programs.
        if (re.search(r"\d", run) or run.count(":") > 4) and _is_ipv6(run):
            return at, at + len(run)
        skipped = run.find(":") + 1
        if not skipped:
            return None
        at, run = at + skipped, run[skipped:]
    return None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


KINDS: Mapping[str, Callable[[str], Iterator[Span]]] = {
    "email": _find_emails,
    "phone": _find_phones,
    "iban": _find_ibans,
    "card": _find_cards,
    "ip": _find_addresses,
    "key": find_keys,
}
"""What finds the items of each kind in a text."""
