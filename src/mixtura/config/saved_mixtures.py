"""Mixtures that were saved on the server's page: a file of their own beside the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mixtura.config.mixture_tables import answer_table, sampling_part, seat_table
from mixtura.config.paths import config_folder
from mixtura.config.plan import Environment, MixtureSpec
from mixtura.config.registry import NameRegistry
from mixtura.config.settings import Settings
from mixtura.config.toml_document import TomlDocument
from mixtura.core.errors import ConfigError

if TYPE_CHECKING:
    from mixtura.config.config import Config


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
        name
        for one in own
        for kind in ("models", "mixtures")
        for name in _tables_of_kind(one, kind)
    }
    mixtures = _tables_of_kind(document, "mixtures")
    for name in taken.intersection(mixtures):
        del mixtures[name]


def _tables_of_kind(document: TomlDocument, kind: str) -> dict[str, Any]:
    """The tables of one kind, as they stand in the document; none where they are no tables."""
    found = document.data.get(kind)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def saved_names(config: Config) -> set[str]:
    """The names of the mixtures that were saved."""
    found = (one for one in config.documents if one.source == str(config.saved_file))
    return {name for document in found for name in _tables_of_kind(document, "mixtures")}


def check_saved_file(config: Config, file: Path) -> None:
    """Raises ConfigError where *file* could not be read after the configuration that is there."""
    registry = NameRegistry(config.registry.environ, config.models_folder)
    settings = Settings(config.settings.store_address)
    documents = _other_documents(config)
    saved = read_saved_mixtures(file, documents)
    for document in (*documents, *([saved] if saved else [])):
        settings.read_document(document, registry)


def offer_saved_mixtures(config: Config) -> None:
    """Let *config* know what is in its file of saved mixtures by now. Raises ConfigError."""
    documents = _other_documents(config)
    if config.saved_file and (saved := read_saved_mixtures(config.saved_file, documents)):
        config.settings.read_document(saved, config.registry)
        config.documents = (*documents, saved)


def _other_documents(config: Config) -> tuple[TomlDocument, ...]:
    return tuple(one for one in config.documents if one.source != str(config.saved_file))


def plan_as_table(plan: MixtureSpec) -> dict[str, Any]:
    """
    A plan as the table of a mixture: what its own table says, with the members that it has now.
    """
    before = _tables_of_kind(plan.where, "mixtures")[plan.name] if plan.where else dict[str, Any]()
    table: dict[str, Any] = {key: value for key, value in before.items() if key != "pattern"}
    if plan.where is None:
        table |= sampling_part(plan.sampling)
    spec = plan.pattern.spec
    head: dict[str, Any] = {} if spec.name == "mixture" else {"pattern": spec.name}
    head["layers"] = [[_short_form(seat_table(seat)) for seat in row] for row in plan.layers]
    if spec.final_model is not None:
        head[spec.final_model.key] = _short_form(answer_table(plan))
    if "quorum" in table:
        head["quorum"] = plan.quorum
    return head | {key: value for key, value in table.items() if key not in head}


def _short_form(seat: dict[str, Any]) -> str | dict[str, Any]:
    """A seat that only has a name and a number, in one word."""
    if seat.keys() - {"model", "samples"}:
        return {key: value for key, value in seat.items() if (key, value) != ("samples", 1)}
    return seat["model"] if seat.get("samples", 1) == 1 else f"{seat['model']}*{seat['samples']}"
