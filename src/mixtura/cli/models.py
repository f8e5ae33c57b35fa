"""The command mixtura models: the models that are known, and which of them are here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import click

from mixtura.catalog import downloads, local_models, providers
from mixtura.catalog.command_tools import find_installed_tools
from mixtura.cli.common import config_option, create_console, echo_json, read_config
from mixtura.cli.help_layout import MixturaCommand
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line
from mixtura.engine.conversation_window import conversation_window


@click.command(
    name="models", cls=MixturaCommand, examples=("mixtura models", "mixtura models --json")
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_option
def command(as_json: bool, config_file: str | None) -> None:
    """List local models, configured models and providers.

    `mixtura pull NAME` downloads a local model. A model of a provider is named
    provider/model, such as openai/gpt-5.4; the path of a .gguf file is a name, too.
    """
    config = read_config(config_file)
    rows = [
        _local_model_row(model, config.models_folder)
        for model in local_models.known_models().values()
    ]
    configured = [*config.registry.models]
    sizes = {name: _model_context(config, name) for name in configured}
    tools = [found.name for found in find_installed_tools(os.environ)]
    if as_json:
        whole = {
            "local": rows,
            "groups": {
                name: list(members) for name, members in local_models.model_groups().items()
            },
            "configured": configured,
            "contexts": sizes,
            "providers": list(providers.providers()),
            "commands": tools,
        }
        echo_json(whole, indent=2)
        return
    _print_models(rows, sizes, tools)


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


def _print_models(
    rows: list[dict[str, object]], configured: Mapping[str, int | None], tools: Sequence[str]
) -> None:
    from rich.text import Text

    from mixtura.terminal import print_line, print_list, print_table

    console = create_console()
    table: list[tuple[str | Text, ...]] = []
    for row in rows:
        here = Text("yes", "green") if row["path"] else Text("no", "dim")
        size, context = row["bytes"], row["context"]
        assert isinstance(size, int)
        assert isinstance(context, int)
        figures = (f"{row['parameters']} B", f"{size / 1e9:.1f} GB", f"{context // 1024:,} k")
        table.append((str(row["name"]), here, *figures, str(row["license"])))
    headings = ("local model", "here", "parameters", "size", "context", "licence")
    # Where a licence would stand in a column of single letters, it is left out.
    shown = 6 if console.width >= 72 else 4
    right = headings[2:5]
    print_table(console, headings[:shown], [row[:shown] for row in table], right=right)
    console.print()
    print_line(console, "mixtura pull NAME downloads one of them.")
    for name, members in local_models.model_groups().items():
        print_list(console, f"mixtura pull {name} downloads {len(members)}:", members)
    if configured:
        named = [
            to_one_line(name) + (f" ({size:,} tokens)" if size else "")
            for name, size in configured.items()
        ]
        console.print()
        print_list(console, "Configured models:", named)
    console.print()
    if tools:
        print_list(console, "Command-line tools, named as TOOL or TOOL/MODEL:", tools)
    print_list(console, "Providers, named as provider/model:", providers.providers())
    print_line(console, "The path of a .gguf file is a model's name, too.")
