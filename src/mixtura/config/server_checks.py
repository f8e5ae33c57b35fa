"""What a file says of its server and of its keys' caps, checked before anything begins."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from mixtura.config import toml_document
from mixtura.config.mistakes import Mistakes
from mixtura.config.schema import ConfigFile, ServeTable
from mixtura.core.errors import ConfigError
from mixtura.core.text import unknown_name_message

_ORIGIN_PATTERN = re.compile(r"([a-z][a-z0-9+.-]*)://([^\s/?#@:*\[\]]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def check_settings(
    document: toml_document.TomlDocument,
    file: ConfigFile,
    problem: Callable[[str], str | None],
    variables: Sequence[str],
    mistakes: Mistakes,
) -> None:
    """
    What the types do not say of [serve] and [budget]; what is wrong goes into *mistakes*.

    *problem* says why clients could never ask for a name; *variables* can hold a key.
    """
    for variable in file.budget.keys if file.budget else ():
        if variable not in variables:
            said = unknown_name_message("key in [budget]", variable, variables)
            said = f"{said} A key is named by its environment variable."
            mistakes.add(document.error_at(["budget", "keys", variable], said))
    if file.serve:
        for error in (
            *_origin_mistakes(document, file.serve),
            *_name_mistakes(document, file.serve, problem),
            *_hash_mistakes(document, file.serve),
        ):
            mistakes.add(error)


def _origin_mistakes(
    document: toml_document.TomlDocument, table: ServeTable
) -> Iterator[ConfigError]:
    for number, origin in enumerate(table.cors):
        right = _normalize_origin(origin)
        if origin != "*" and origin != right:
            form = 'SCHEME://HOST, SCHEME://HOST:PORT or "*"'
            hint = f"did you mean '{right}'?" if right else form
            said = f"'{origin}' is not an origin as browsers send it: {hint}"
            yield _settings_error(document, ["serve", "cors", number], said)


def _normalize_origin(origin: str) -> str | None:
    """As a browser writes it: in small letters, without a path or the usual port."""
    found = _ORIGIN_PATTERN.match(origin.strip().lower())
    if found is None or not re.fullmatch(r"(?:[/?#].*)?", origin.strip()[found.end() :]):
        return None
    scheme, host, port = found.groups()
    return f"{scheme}://{host}{port if port and port != _DEFAULT_PORTS.get(scheme) else ''}"


def _name_mistakes(
    document: toml_document.TomlDocument, table: ServeTable, problem: Callable[[str], str | None]
) -> Iterator[ConfigError]:
    if table.side is not None and (said := problem(table.side)):
        yield _settings_error(document, ["serve", "side"], said)
    for name, key in table.keys.items():
        if not name.strip():
            said = "the key's name is empty: its runs are kept under that name"
            yield _settings_error(document, ["serve", "keys", name], said)
        path = ["serve", "keys", name, "models"]
        if key.models is not None and not key.models:
            said = "this key may use nothing: list the models it may use, or leave it out for all"
            yield _settings_error(document, path, said)
        for number, model in enumerate(key.models or ()):
            said = problem(model)
            if ">" in model:
                said = f"'{model}': list its members instead; whoever may use them may mix them"
            if said:
                yield _settings_error(document, [*path, number], said)


def _hash_mistakes(
    document: toml_document.TomlDocument, table: ServeTable
) -> Iterator[ConfigError]:
    seen: dict[str, str] = {}
    for name, key in table.keys.items():
        other = seen.setdefault(key.sha256.lower(), name)
        if other != name:
            said = f"'{other}' has the same key: make one for each with --new-key"
            yield _settings_error(document, ["serve", "keys", name, "sha256"], said)


def _settings_error(
    document: toml_document.TomlDocument, path: Sequence[toml_document.Key], said: str
) -> ConfigError:
    return document.error_at(path, f"{toml_document.dotted_path(path)}: {said}")
