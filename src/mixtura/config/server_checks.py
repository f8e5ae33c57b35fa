"""What a file says of its server and of its keys' caps, checked before anything begins."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, cast

from mixtura.config import toml_document
from mixtura.config.schema import ConfigFile, DailyCapTable, KeyTable, ServeTable
from mixtura.core.text import unknown_name_message

_ORIGIN_PATTERN = re.compile(r"([a-z][a-z0-9+.-]*)://([^\s/?#@:*\[\]]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_SHA256_PATTERN = re.compile(r"[0-9a-fA-F]{64}")


def check_key_tables(document: toml_document.TomlDocument) -> None:
    """Each key's table by itself, so that an error can say whose it is. Raises ConfigError."""
    for root, kind in (("serve", KeyTable), ("budget", DailyCapTable)):
        path = (root, "keys")
        for name, table in _as_table(_as_table(document.data.get(root)).get("keys")).items():
            given = _as_table(table).get("sha256")
            if isinstance(given, str) and kind is KeyTable and not _SHA256_PATTERN.fullmatch(given):
                said = (
                    "that is no SHA-256 of a key, which has 64 digits from 0 to f:"
                    " `mixtura serve --new-key NAME` makes both"
                )
                raise _settings_error(document, [*path, name, "sha256"], said)
            document.convert_part([*path, name], kind)


def check_settings(
    document: toml_document.TomlDocument,
    file: ConfigFile,
    problem: Callable[[str], str | None],
    variables: Sequence[str],
) -> None:
    """
    What the types do not say of [serve] and [budget]. Raises ConfigError with its line.

    *problem* says why clients could never ask for a name; *variables* can hold a key.
    """
    for variable in file.budget.keys if file.budget else ():
        if variable not in variables:
            said = unknown_name_message("key in [budget]", variable, variables)
            said = f"{said} A key goes by its environment variable."
            raise document.error_at(["budget", "keys", variable], said)
    if file.serve:
        _check_origins(document, file.serve)
        _check_names(document, file.serve, problem)
        _check_hashes(document, file.serve)


def _check_origins(document: toml_document.TomlDocument, table: ServeTable) -> None:
    for number, origin in enumerate(table.cors):
        right = _normalize_origin(origin)
        if origin != "*" and origin != right:
            form = 'SCHEME://HOST, SCHEME://HOST:PORT or "*"'
            hint = f"did you mean '{right}'?" if right else form
            said = f"'{origin}' is no origin as browsers send it: {hint}"
            raise _settings_error(document, ["serve", "cors", number], said)


def _normalize_origin(origin: str) -> str | None:
    """As a browser writes it: in small letters, without a path or the usual port."""
    found = _ORIGIN_PATTERN.match(origin.strip().lower())
    if found is None or not re.fullmatch(r"(?:[/?#].*)?", origin.strip()[found.end() :]):
        return None
    scheme, host, port = found.groups()
    return f"{scheme}://{host}{port if port and port != _DEFAULT_PORTS.get(scheme) else ''}"


def _check_names(
    document: toml_document.TomlDocument, table: ServeTable, problem: Callable[[str], str | None]
) -> None:
    if table.side is not None and (said := problem(table.side)):
        raise _settings_error(document, ["serve", "side"], said)
    for name, key in table.keys.items():
        if not name.strip():
            said = "a key has a name: its runs are kept under it"
            raise _settings_error(document, ["serve", "keys", name], said)
        path = ["serve", "keys", name, "models"]
        if key.models is not None and not key.models:
            said = "that lets the key use nothing: name what it may, or leave it out for all"
            raise _settings_error(document, path, said)
        for number, model in enumerate(key.models or ()):
            said = problem(model)
            if ">" in model:
                said = f"'{model}': a mixture written as one needs no name here but its members'"
            if said:
                raise _settings_error(document, [*path, number], said)


def _check_hashes(document: toml_document.TomlDocument, table: ServeTable) -> None:
    seen: dict[str, str] = {}
    for name, key in table.keys.items():
        other = seen.setdefault(key.sha256.lower(), name)
        if other != name:
            said = f"'{other}' has the same key: make one for each with --new-key"
            raise _settings_error(document, ["serve", "keys", name, "sha256"], said)


def _settings_error(
    document: toml_document.TomlDocument, path: Sequence[toml_document.Key], said: str
) -> Exception:
    return document.error_at(path, f"{toml_document.dotted_path(path)}: {said}")


def _as_table(data: object) -> dict[str, Any]:
    """A table; nothing for what is none, which is said elsewhere."""
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}
