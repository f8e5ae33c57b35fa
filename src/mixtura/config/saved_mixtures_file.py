"""The file of saved mixtures beside the configuration, as it is read with the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from mixtura.config.paths import config_folder
from mixtura.config.plan import Environment
from mixtura.config.toml_document import TomlDocument
from mixtura.core.errors import ConfigError


def saved_mixtures_file(
    file: Path | None, *, environ: Environment, home: Path | None = None
) -> Path:
    """Where saved mixtures are: beside *file*, the configuration that counts, if there is one."""
    return (file or config_folder(environ, home) / "mixtura.toml").with_suffix(".saved.toml")


def read_saved_mixtures(file: Path, before: Sequence[TomlDocument]) -> TomlDocument | None:
    """
    The saved mixtures without those that a person's own file among *before* has under the same
    name; None where nothing is saved. Raises ConfigError.
    """
    if not file.is_file():
        return None
    try:
        document = TomlDocument(file.read_text(encoding="utf-8-sig"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    remove_taken_mixtures(document, before)
    return document


def remove_taken_mixtures(document: TomlDocument, before: Sequence[TomlDocument]) -> None:
    """Take mixtures out of *document* whose names a person's own file among *before* has."""
    own = [one for one in before if not one.packaged]
    taken = {
        name for one in own for kind in ("models", "mixtures") for name in tables_of_kind(one, kind)
    }
    mixtures = tables_of_kind(document, "mixtures")
    for name in taken.intersection(mixtures):
        del mixtures[name]


def tables_of_kind(document: TomlDocument, kind: str) -> dict[str, Any]:
    """The tables of one kind, as they stand in the document; none where they are no tables."""
    found = document.data.get(kind)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
