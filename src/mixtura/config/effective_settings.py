"""What a configuration comes to: each setting, its value without secrets, and where it is from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from mixtura.config.config import Config
from mixtura.config.provider_keys import find_key_variable
from mixtura.config.toml_document import TomlDocument
from mixtura.config.toml_lines import Key
from mixtura.core.credentials import is_secret_setting, mask_key_forms

DEFAULT = "default"
"""The origin of what no file says."""
HIDDEN = "***"


class EffectiveSetting(NamedTuple):
    """One setting: its table, its key in it, and what it is."""

    table: tuple[str, ...]
    key: str
    value: Any
    origin: str
    """``file:line``, the name of an environment variable, or ``default``."""


def list_settings(config: Config) -> Iterator[EffectiveSetting]:
    """Every setting of the whole program, then the models and mixtures of the user's file."""
    document = next((one for one in config.documents if not one.packaged), None)
    settings = config.settings
    for key, value in (
        ("default", settings.default),
        ("transport", settings.transport),
        ("redact", msgspec.to_builtins(settings.redact)),
        ("store", str(settings.store_address)),
    ):
        yield _build_setting(config, document, (), key, value)
    for name in ("cache", "runs", "agreement", "budget", "serve", "mcp", "telemetry", "tools"):
        table = getattr(settings, name)
        for field in msgspec.structs.fields(table):
            value = msgspec.to_builtins(getattr(table, field.name))
            yield _build_setting(config, document, (name,), field.encode_name, value)
    if document is None:
        return
    for name, entry in config.registry.models.items():
        for key, value in _table_items(document, "models", name):
            yield _build_setting(config, document, ("models", name), key, value)
        variable = find_key_variable(name, entry.table, config.registry.environ)
        if variable is not None and config.registry.environ.get(variable):
            yield EffectiveSetting(("models", name), "api_key", HIDDEN, variable)
    for name in config.registry.mixtures:
        for key, value in _table_items(document, "mixtures", name):
            yield _build_setting(config, document, ("mixtures", name), key, value)


def _table_items(document: TomlDocument, kind: str, name: str) -> list[tuple[str, Any]]:
    """What the file says in a table; nothing for one of the presets."""
    if not document.has_path([kind, name]):
        return []
    return list(cast("dict[str, Any]", document.part_at([kind, name])).items())


def _build_setting(
    config: Config, document: TomlDocument | None, table: tuple[str, ...], key: str, value: Any
) -> EffectiveSetting:
    path: list[Key] = [*table, key]
    origin = DEFAULT
    if document is not None and document.has_path(path):
        origin = f"{document.source}:{document.line_number(path)}"
    # A key may stand where none belongs, and be known to nobody as a secret.
    shown = mask_key_forms(config.redactor.redact_data(_hide_secrets(key, value)))
    return EffectiveSetting(table, key, shown, origin)


def _hide_secrets(key: str, value: Any) -> Any:
    """The value without what stands under a name that carries a secret."""
    if isinstance(value, Mapping):
        table = cast("Mapping[str, Any]", value)
        return {name: _hide_secrets(name, inner) for name, inner in table.items()}
    if isinstance(value, list | tuple):
        return [_hide_secrets(key, inner) for inner in cast("list[Any]", value)]
    hidden = isinstance(value, str) and (is_secret_setting(key) or key == "sha256")
    return HIDDEN if hidden and key != "api_key_env" else value
