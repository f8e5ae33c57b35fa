"""What the configuration files say beside models and mixtures: store, cache, runs, caps, server."""

from __future__ import annotations

from pathlib import Path

from mixtura.config import server_checks
from mixtura.config.registry import NameRegistry
from mixtura.config.schema import BudgetTable, CacheTable, ConfigFile, RunsTable, ServeTable
from mixtura.config.toml_document import TomlDocument
from mixtura.core.text import unknown_name_message


class Settings:
    """The tables of the last file that has each of them."""

    def __init__(self, store_path: Path) -> None:
        self.store_path = store_path
        self.default = "default"
        """The name of the model or mixture that answers where no one names another."""
        self.cache = CacheTable(use=False)
        self.runs = RunsTable()
        self.budget = BudgetTable()
        self.serve = ServeTable()

    def read_document(self, document: TomlDocument, registry: NameRegistry) -> None:
        """
        Read one file over the files before it; its models and mixtures go into *registry*.

        Raises ConfigError with the file and the line.
        """
        server_checks.check_key_tables(document)
        file = document.convert_part([], ConfigFile)
        registry.add_tables(document, file)
        self.cache = file.cache or self.cache
        self.runs = file.runs or self.runs
        self.budget = file.budget or self.budget
        self.serve = file.serve or self.serve
        if file.store is not None:
            self.store_path = Path(document.source).parent / Path(file.store).expanduser()
        if file.default is not None:
            if not registry.name_exists(file.default):
                problem = unknown_name_message(
                    "mixture or model", file.default, registry.known_names()
                )
                raise document.error_at(["default"], f"default: {problem}")
            self.default = file.default
        server_checks.check_settings(
            document, file, registry.unservable_reason, registry.key_variables()
        )
