"""What is a secret in an environment, a URL, headers, settings; what has the form of a key."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from mixtura.core.json_text import map_texts

HIDDEN = "***"

_TOO_PLAIN = re.compile(r"[A-Za-z]{0,7}|[0-9]{0,7}|.{0,3}|(.)\1*", re.DOTALL)
"""Too short or too plain to be a key: what people write where none is needed."""
# What people write where a client insists on a key and a local server wants none.
_NO_KEYS = frozenset((
    "anything", "dummykey", "lmstudio", "nokey", "nokeyneeded", "nokeyrequired", "noneneeded",
    "notneeded", "notrequired", "notused", "placeholder", "sknokeyrequired", "unused",
    "undefined", "yourapikey",
))  # fmt: skip
_SECRET_NAME = re.compile(
    # "author" is no login.
    r"(?i)key|token|secret|passw|passphrase|auth(?!ors?$)|cookie|credential|signature|session|bearer|jwt"
)
"""What is in the name of a header, a setting or a query's field that carries one."""
# Anchored, unlike the names of headers: `max_tokens` is a setting without a secret.
_SECRET_SETTING = re.compile(
    r"(?i)(?:^|api|access|secret|private|subscription)[-_]?key$|token$|secret$|passw|passphrase"
    r"|^auth(?:orization)?$|cookie$|credential|bearer|jwt"
)
"""How a setting is called that carries one."""
_SECRET_VARIABLE = re.compile(
    r"(?i)(?:key|token|secret|password|passwd|passphrase|auth|authorization|cookie|credentials?)"
    r"(?:_?id|_?\d)?$"
)
"""How an environment variable is called that carries one."""
_PUBLIC_HEADER = re.compile(
    r"(?i)accept.*|content-.*|user-agent|(?:http-)?referer|origin|host|x-title|anthropic-(?:version|beta)"
    r"|openai-(?:beta|organization|project)|x-stainless-.*|idempotency-key"
)
"""Headers whose values are no secrets."""
_RANDOM = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[^\s,;]{12,}")


def is_secret(value: str) -> bool:
    """Whether a value is long and odd enough to be a secret."""
    bare = re.sub(r"[^a-z0-9]", "", value.lower())
    return not _TOO_PLAIN.fullmatch(value) and bare not in _NO_KEYS


def environment_secrets(environ: Mapping[str, str], variables: Iterable[str] = ()) -> set[str]:
    """The secrets in *environ*: of *variables*, of names that keys have, of URLs."""
    names = {*variables, *filter(_SECRET_VARIABLE.search, environ)}
    secrets = {environ.get(name, "") for name in names}
    for value in environ.values():
        if "@" in value or "?" in value:
            secrets |= url_secrets(value)
    for name, value in environ.items():
        if name.upper().endswith("_HEADERS"):  # of OpenTelemetry's exporters
            pairs = [one.partition("=") for one in value.split(",")]
            secrets |= header_secrets(
                {key.strip(): unquote(said.strip()) for key, _, said in pairs}
            )
    return secrets


def url_secrets(url: str) -> set[str]:
    """The secrets in a URL: its password, or a user without one, and those in its query."""
    secrets: set[str] = set()
    rest = url.partition("://")[2] or url
    login, at, _ = rest.rpartition("@")
    user, colon, password = login.partition(":")
    # An @ behind a slash stands in the path (`/@scope/name`), not behind a login.
    if at and not re.search(r"\s", login) and ("/" not in user):
        plain = unquote(password if colon else user)
        # Clients send a login as a Basic header, and an upstream may repeat that.
        pair = f"{unquote(user)}:{unquote(password)}".encode()
        secrets |= {plain, password or user, base64.b64encode(pair).decode()}
    try:
        query = urlsplit(url).query
    except ValueError:
        return secrets
    for name, value in parse_qsl(query):
        if _SECRET_NAME.search(name) or name.lower() in ("sig", "code"):
            secrets.add(value)
    return secrets


def header_secrets(headers: Mapping[str, str]) -> set[str]:
    """The secrets in a request's headers."""
    secrets: set[str] = set()
    for name, value in headers.items():
        if _PUBLIC_HEADER.fullmatch(name):
            continue
        # A header that nobody here knows by name may carry a key all the same.
        if _SECRET_NAME.search(name) or _RANDOM.fullmatch(value):
            secrets |= _header_value_secrets(value)
    return secrets


def _header_value_secrets(value: str) -> set[str]:
    """The secrets in a header's value: the whole, after a scheme, in a cookie, in a Basic login."""
    scheme, _, rest = value.strip().partition(" ")
    secrets = {value, rest}
    for pair in value.split(";"):
        secrets.add(pair.partition("=")[2].strip(' "'))
    if scheme.lower() == "basic":
        with suppress(ValueError):
            secrets.add(base64.b64decode(rest, validate=True).decode().partition(":")[2])
    return secrets


def is_secret_setting(name: str) -> bool:
    """Whether a setting of that name carries a secret."""
    return bool(_SECRET_SETTING.search(name))


def settings_secrets(data: object) -> set[str]:
    """The secrets among settings: what stands under a name that carries one."""
    secrets: set[str] = set()
    if isinstance(data, dict):
        for name, value in cast("dict[str, object]", data).items():
            if isinstance(value, str):
                secrets |= {value} if is_secret_setting(name) else url_secrets(value)
            secrets |= settings_secrets(value)
    elif isinstance(data, list | tuple):
        for value in cast("Sequence[object]", data):
            secrets |= settings_secrets(value)
    return secrets


# ---- what looks like a key, though no one said so

# The prefixes that providers give their keys, and JSON web tokens; a digit is asked for where
# the prefix alone could begin an ordinary word. What is looked ahead for is near: a text of
# prefixes alone would be read to its end from each of them.
_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-[\w*-]{6,}|(?:sk|rk|pk)_(?:live|test)_\w{8,}|AIza[\w-]{16,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{12,}|eyJ[\w-]{8,1000}\.[\w-]+(?:\.[\w-]*)?"
    r"|(?:gsk|hf|gh[opsu]|github_pat|r8|tgp_v1|fw)_(?=\w{0,100}\d)\w{10,}"
    r"|(?:glpat|xox[abprs]|nvapi|xai|csk|pplx|mx)-(?=[\w*-]{0,100}\d)[\w*-]{20,})"
    # Also within a word, as where a key is pasted right behind an option: no word has these.
    r"|sk-(?:proj|ant|or)-[\w*-]{8,}|AIza[\w-]{30,}|(?:gsk|ghp)_(?=\w{0,100}\d)\w{20,}"
)
_RANDOM_RUN = re.compile(
    r"(?<![A-Za-z0-9_/.-])(?:(?=[a-zA-Z]*\d)(?=[a-z0-9]*[A-Z])(?=[A-Z0-9]*[a-z])[A-Za-z0-9]{24,}"
    # a digest that is said to be one is no key
    r"|(?<!sha256 )(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{32,})(?![A-Za-z0-9_/.-])"
)
_LOGIN = re.compile(r"(://)[^\s/@'\"]+@")
_QUERY = re.compile(r"([?&][\w-]*(?:key|token|secret|sig|password)=)[^&\s'\"]+", re.IGNORECASE)


def looks_like_key(word: str) -> bool:
    """Whether a word that should be a name has the form of a key, or a login in it."""
    return mask_keys(word, names=True) != word


def mask_keys(text: str, *, names: bool = False) -> str:
    """
    *text* without what has the form of a key or a login; with *names* also without long random
    runs of letters and digits, which no name has.
    """
    text = _QUERY.sub(rf"\1{HIDDEN}", _LOGIN.sub(rf"\1{HIDDEN}@", _PREFIXED.sub(HIDDEN, text)))
    return _RANDOM_RUN.sub(HIDDEN, text) if names else text


def mask_key_forms(data: Any) -> Any:
    """The data without texts, or names of fields, that have the form of a key, whoever's it is."""
    return map_texts(data, mask_keys)


_ASSIGNED = re.compile(
    r"(?i)(?:api[_-]?key|secret(?:[_-]?(?:access[_-]?)?key)?|access[_-]?token|token|passw(?:or)?d)"
    r"\"?\s{0,9}[:=]\s{0,9}[\"']?(?P<key>[^\s\"',;<>{}\[\]]{8,})"
    r"|\bbearer\s{1,9}(?P<token>(?=\S*\d|\S{20})[\w.~+/=-]{8,})"
)
"""What is said to be a key: ``password = …``, ``"token": "…"``, ``Bearer …``."""
_PRIVATE_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
_PRIVATE_KEY_END = re.compile(r"-----END [A-Z ]{0,40}PRIVATE KEY-----")
_MAX_PRIVATE_KEY_CHARS = 20_000


def _find_private_keys(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    # From each end back to the first beginning before it: every character is read once.
    for end in _PRIVATE_KEY_END.finditer(text):
        least = max(at, end.start() - _MAX_PRIVATE_KEY_CHARS)
        if begin := _PRIVATE_KEY_BEGIN.search(text, least, end.start()):
            yield begin.start(), end.end()
        at = end.end()


def find_keys(text: str) -> Iterator[tuple[int, int]]:
    """Where in *text* stands what has the form of a key, a token or a password."""
    for pattern in (_PREFIXED, _RANDOM_RUN):
        yield from (match.span() for match in pattern.finditer(text))
    yield from _find_private_keys(text)
    for match in _ASSIGNED.finditer(text):
        name = "token" if match["key"] is None else "key"
        if not _TOO_PLAIN.fullmatch(match[name]):
            yield match.span(name)
    for pattern in (_LOGIN, _QUERY):
        for match in pattern.finditer(text):
            yield match.end(1), match.end() - (pattern is _LOGIN)
