"""What a file says of its server and of its keys' caps, checked before anything begins."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import msgspec

from mixtura import toml
from mixtura.schema import File, KeyTable, PurseTable, ServeTable

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^\s/?#@:*\[\]]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
_USUAL = {"http": ":80", "https": ":443"}
_HASH = re.compile(r"[0-9a-fA-F]{64}")


def check_keys(document: toml.Document) -> None:
    """Each key's table by itself, so that an error can say whose it is. Raises ConfigError."""
    for root, kind in (("serve", KeyTable), ("budget", PurseTable)):
        path = (root, "keys")
        for name, table in _table(_table(document.data.get(root)).get("keys")).items():
            given = _table(table).get("sha256")
            if isinstance(given, str) and kind is KeyTable and not _HASH.fullmatch(given):
                said = (
                    "that is no SHA-256 of a key, which has 64 digits from 0 to f:"
                    " `mixtura serve --new-key NAME` makes both"
                )
                raise _wrong(document, [*path, name, "sha256"], said)
            document.convert([*path, name], kind)


def check(
    document: toml.Document,
    file: File,
    problem: Callable[[str], str | None],
    variables: Sequence[str],
) -> None:
    """
    What the types do not say of [serve] and [budget]. Raises ConfigError with its line.

    *problem* says why clients could never ask for a name; *variables* can hold a key.
    """
    for table, root in ((file.serve, "serve"), (file.budget, "budget")):
        for path in _endless(msgspec.to_builtins(table), [root]):
            raise _wrong(document, path, "that must be a number with an end")
    for variable in file.budget.keys if file.budget else ():
        if variable not in variables:
            said = toml.unknown("key in [budget]", variable, variables)
            said = f"{said} A key goes by its environment variable."
            raise document.error(["budget", "keys", variable], said)
    if file.serve:
        _check_origins(document, file.serve)
        _check_names(document, file.serve, problem)
        _check_hashes(document, file.serve)


def _check_origins(document: toml.Document, table: ServeTable) -> None:
    for number, origin in enumerate(table.cors):
        right = _as_sent(origin)
        if origin != "*" and origin != right:
            form = 'SCHEME://HOST, SCHEME://HOST:PORT or "*"'
            hint = f"did you mean '{right}'?" if right else form
            said = f"'{origin}' is no origin as browsers send it: {hint}"
            raise _wrong(document, ["serve", "cors", number], said)


def _as_sent(origin: str) -> str | None:
    """As a browser writes it: in small letters, without a path or the usual port."""
    found = _ORIGIN.match(origin.strip().lower())
    if found is None or not re.fullmatch(r"(?:[/?#].*)?", origin.strip()[found.end() :]):
        return None
    scheme, host, port = found.groups()
    return f"{scheme}://{host}{port if port and port != _USUAL.get(scheme) else ''}"


def _check_names(
    document: toml.Document, table: ServeTable, problem: Callable[[str], str | None]
) -> None:
    if table.side is not None and (said := problem(table.side)):
        raise _wrong(document, ["serve", "side"], said)
    for name, key in table.keys.items():
        if not name.strip():
            said = "a key has a name: its runs are kept under it"
            raise _wrong(document, ["serve", "keys", name], said)
        path = ["serve", "keys", name, "models"]
        if key.models is not None and not key.models:
            said = "that lets the key use nothing: name what it may, or leave it out for all"
            raise _wrong(document, path, said)
        for number, model in enumerate(key.models or ()):
            said = problem(model)
            if ">" in model:
                said = f"'{model}': a mixture written as one needs no name here but its members'"
            if said:
                raise _wrong(document, [*path, number], said)


def _check_hashes(document: toml.Document, table: ServeTable) -> None:
    seen: dict[str, str] = {}
    for name, key in table.keys.items():
        other = seen.setdefault(key.sha256.lower(), name)
        if other != name:
            said = f"'{other}' has the same key: make one for each with --new-key"
            raise _wrong(document, ["serve", "keys", name, "sha256"], said)


def _wrong(document: toml.Document, path: Sequence[toml.Key], said: str) -> Exception:
    return document.error(path, f"{toml.dotted(path)}: {said}")


def _table(data: object) -> dict[str, Any]:
    """A table; nothing for what is none, which is said elsewhere."""
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def _endless(data: object, path: list[toml.Key]) -> Iterator[list[toml.Key]]:
    """Where numbers are that are none, or have no end."""
    for key, value in _table(data).items():
        yield from _endless(value, [*path, key])
    if isinstance(data, float) and not math.isfinite(data):
        yield path
