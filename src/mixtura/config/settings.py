"""What the configuration files say beside models and mixtures: store, cache, runs, caps, server."""

from __future__ import annotations

from pathlib import Path

from mixtura.catalog.transports import DEFAULT_TRANSPORT, check_transport_name
from mixtura.config import server_checks
from mixtura.config.mistakes import Mistakes
from mixtura.config.registry import USE_COMMANDS, NameRegistry
from mixtura.config.schema import (
    AgreementTable,
    BudgetTable,
    CacheTable,
    ConfigFile,
    McpTable,
    RedactTable,
    RunsTable,
    ServeTable,
    TelemetryTable,
    ToolsTable,
    find_redact_files,
)
from mixtura.config.telemetry_settings import find_telemetry_mistakes
from mixtura.config.toml_document import TomlDocument
from mixtura.storage.store_address import StoreAddress, parse_store_address


class Settings:
    """The tables of the last file that has each of them."""

    def __init__(self, store_address: StoreAddress) -> None:
        self.store_address = store_address
        self.default = "default"
        """The name of the model or mixture that answers where no one names another."""
        self.transport = DEFAULT_TRANSPORT
        """The name of the HTTP client of the models that name no other."""
        self.redact: bool | RedactTable | None = None
        """What the members that are not on this machine are not shown."""
        self.cache = CacheTable(use=False)
        self.runs = RunsTable()
        self.agreement = AgreementTable()
        self.budget = BudgetTable()
        self.serve = ServeTable()
        self.mcp = McpTable()
        self.telemetry = TelemetryTable()
        self.tools = ToolsTable()

    def read_document(self, document: TomlDocument, registry: NameRegistry) -> None:
        """
        Read one file over the files before it; its models and mixtures go into *registry*.

        Raises ConfigError with all that is wrong, each with the file and the line.
        """
        mistakes = Mistakes()
        file = document.convert_valid_part([], ConfigFile, mistakes) or ConfigFile()
        registry.add_tables(document, file, mistakes)
        if file.use_commands is not None and USE_COMMANDS not in registry.environ:
            registry.allow_commands(file.use_commands)
        if file.redact is not None:
            self.redact = find_redact_files(file.redact, Path(document.source).parent)
        self.cache = file.cache or self.cache
        self.runs = file.runs or self.runs
        self.agreement = file.agreement or self.agreement
        self.budget = file.budget or self.budget
        self.serve = file.serve or self.serve
        self.mcp = file.mcp or self.mcp
        self.telemetry = file.telemetry or self.telemetry
        self.tools = file.tools or self.tools
        for number, name in enumerate(self.mcp.mixtures or () if file.mcp else ()):
            if not registry.name_exists(name):
                problem = registry.unknown_name_message(name)
                mistakes.add(document.error_at(["mcp", "mixtures", number], problem))
        for key, problem in find_telemetry_mistakes(self.telemetry if file.telemetry else None):
            mistakes.add(document.error_at(["telemetry", key], f"telemetry.{key}: {problem}"))
        if file.transport is not None:
            with mistakes.collect(), document.add_location(["transport"]):
                check_transport_name(file.transport)
            self.transport = file.transport
        if file.store is not None:
            with mistakes.collect(), document.add_location(["store"], "store: "):
                self.store_address = parse_store_address(file.store, Path(document.source).parent)
        if file.default is not None:
            if not registry.name_exists(file.default):
                problem = registry.unknown_name_message(file.default)
                mistakes.add(document.error_at(["default"], f"default: {problem}"))
            self.default = file.default
        reporter = file.agreement.model if file.agreement else None
        if reporter is not None and not registry.name_exists(reporter):
            problem = registry.unknown_name_message(reporter)
            mistakes.add(document.error_at(["agreement", "model"], f"agreement.model: {problem}"))
        server_checks.check_settings(
            document, file, registry.unservable_reason, registry.key_variables(), mistakes
        )
        mistakes.raise_if_any()
