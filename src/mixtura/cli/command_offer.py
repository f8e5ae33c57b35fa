"""Whether tools that someone is logged in to may answer: asked where no key is set."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from mixtura.catalog.command_tools import FoundTool
from mixtura.catalog.user_files import write_whole
from mixtura.config.auto_defaults import find_provider_keys
from mixtura.config.config import Config
from mixtura.config.local_council import find_usable_tools
from mixtura.config.paths import config_folder, find_config_file
from mixtura.config.registry import DEFAULT, USE_COMMANDS
from mixtura.core.text import to_one_line


def offer_commands(config: Config) -> None:
    """
    Ask whether logged-in tools may answer, where nothing else was configured and nobody said; at
    no terminal, say in a line how to allow it.
    """
    tools = find_offered_tools(config)
    if not tools:
        return
    names = join_titles(tools)
    are, them = ("are", "them") if len(tools) > 1 else ("is", "it")
    found = f"{names} {are} installed here, and you are logged in."
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        click.echo(f"{found} To let {them} answer: {USE_COMMANDS}=1", err=True)
        return
    click.echo(
        f"{found} Your question would be sent to whoever serves {them}, and use your subscription.",
        err=True,
    )
    reply = click.prompt(
        f"Let {them} answer? (yes, no, always)", default="no", err=True,
        type=click.Choice(["yes", "no", "always", "y", "n", "a"], case_sensitive=False),
        show_choices=False,
    )  # fmt: skip
    config.registry.allow_commands(reply[0].lower() in "ya")
    if reply[0].lower() == "a":
        remember_commands()


def find_offered_tools(config: Config) -> list[FoundTool]:
    """Logged-in tools that would answer if someone said yes; nobody has said anything so far."""
    registry = config.registry
    if (
        registry.use_commands is not None
        or config.default != DEFAULT
        or find_provider_keys(registry.environ)
    ):
        return []
    return find_usable_tools(registry.environ)


def join_titles(tools: Sequence[FoundTool]) -> str:
    """Their names in a sentence."""
    *before, last = (one.tool.title for one in tools)
    return f"{', '.join(before)} and {last}" if before else last


def remember_commands() -> None:
    """Write `use_commands = true` into the user's configuration, as its first line."""
    found = find_config_file(None, environ=os.environ, folder=Path.cwd())
    path = found or config_folder(os.environ) / "mixtura.toml"
    text = path.read_text("utf-8-sig") if path.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"use_commands = true\n{text}".encode())
    click.echo(f"Written to {to_one_line(path)}: use_commands = true", err=True)
