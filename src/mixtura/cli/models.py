"""The command mixtura models: the models that are known, and which of them are here."""

from __future__ import annotations

from collections.abc import Mapping

import click

from mixtura.catalog import downloads, local_models, providers
from mixtura.cli.common import config_option, create_console, echo_json, read_config
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line
from mixtura.engine.context_windows import conversation_window


@click.command(name="models")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@config_option
def command(as_json: bool, config_file: str | None) -> None:
    """List the models that are known, and which are here."""
    config = read_config(config_file)
    rows = [
        _local_model_row(model, config.models_folder)
        for model in local_models.known_models().values()
    ]
    configured = [*config.registry.models]
    sizes = {name: _model_context(config, name) for name in configured}
    if as_json:
        whole = {
            "local": rows,
            "groups": {
                name: list(members) for name, members in local_models.model_groups().items()
            },
            "configured": configured,
            "contexts": sizes,
            "providers": list(providers.providers()),
        }
        echo_json(whole, indent=2)
        return
    _print_models(rows, sizes)


def _model_context(config: Config, name: str) -> int | None:
    """Tokens of a conversation with a configured model; None where that is not known here."""
    try:
        return conversation_window(config.model(name))
    except ConfigError:  # its key is not set, say
        return None


def _local_model_row(model: local_models.KnownModel, folder: object) -> dict[str, object]:
    from pathlib import Path

    assert isinstance(folder, Path)
    path = downloads.cached_path(model, folder)
    return {
        "name": model.name,
        "family": model.family,
        "parameters": model.parameters,
        "bytes": model.size,
        "context": model.context,
        "license": model.license,
        "path": str(path) if path else None,
    }


def _print_models(rows: list[dict[str, object]], configured: Mapping[str, int | None]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = create_console()
    roomy, wide = console.width >= 60, console.width >= 80
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("local model", no_wrap=True)
    if roomy:
        table.add_column("family")
        table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    if wide:
        table.add_column("licence")
    table.add_column("here", no_wrap=True)
    for row in rows:
        size = row["bytes"]
        assert isinstance(size, int)
        details = (row["family"], f"{row['parameters']} B") if roomy else ()
        words = (row["name"], *details, f"{size / 1e9:.1f} GB")
        terms = (str(row["license"]),) if wide else ()
        here = Text("yes", "green") if row["path"] else Text("no", "dim")
        table.add_row(*map(Text, map(str, (*words, *terms))), here)
    console.print(table)
    console.print("\nTo bring one: mixtura pull NAME")
    for name, members in local_models.model_groups().items():
        console.print(f"To bring {len(members)}: mixtura pull {name} ({', '.join(members)})")
    if configured:
        named = [
            to_one_line(name) + (f" ({size:,} tokens)" if size else "")
            for name, size in configured.items()
        ]
        console.print(f"\nConfigured: {', '.join(named)}")
    console.print(f"\nServed, as provider/model: {', '.join(providers.providers())}")
    console.print("The path of any .gguf file works as a name, too.")
