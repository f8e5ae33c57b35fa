"""Mixtures that were saved on the server's page: a file of their own beside the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixtura.config.config import Config
from mixtura.config.mixture_tables import answer_table, sampling_part, seat_table
from mixtura.config.plan import MixtureSpec
from mixtura.config.registry import NameRegistry
from mixtura.config.saved_mixtures_file import read_saved_mixtures, tables_of_kind
from mixtura.config.settings import Settings
from mixtura.config.toml_document import TomlDocument


def saved_names(config: Config) -> set[str]:
    """The names of the mixtures that were saved."""
    found = (one for one in config.documents if one.source == str(config.saved_file))
    return {name for document in found for name in tables_of_kind(document, "mixtures")}


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
    before = tables_of_kind(plan.where, "mixtures")[plan.name] if plan.where else dict[str, Any]()
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
