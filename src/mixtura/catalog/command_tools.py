"""Command-line tools that answer a prompt, by name: how each is called and what it writes."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import msgspec

from mixtura.protocols.command_output import OutputFormat, OutputRule


class CommandTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command-line tool: its arguments, its output, and how one logs in."""

    program: str
    title: str = ""
    arguments: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    """Arguments that choose a model; ``{model}`` stands for its name."""
    model_before: str | None = None
    """The argument that those of the model stand before; by default they are last."""
    needs_model: bool = False
    family: str | None = None
    """Who made its models, where they are all of one maker."""
    output: OutputFormat = "text"
    read: tuple[OutputRule, ...] = ()
    environment: tuple[str, ...] = ()
    login_files: tuple[str, ...] = ()
    login_words: tuple[str, ...] = ()
    log_in: str | None = None

    def build_arguments(self, model: str | None) -> tuple[str, ...]:
        """The arguments behind the program's name, for its own default model or *model*."""
        chosen = [one.replace("{model}", model or "") for one in self.arguments]
        if model is None or any("{model}" in one for one in self.arguments):
            return tuple(chosen)
        place = chosen.index(self.model_before) if self.model_before in chosen else len(chosen)
        chosen[place:place] = [one.replace("{model}", model) for one in self.model]
        return tuple(chosen)


@cache
def command_tools() -> Mapping[str, CommandTool]:
    """The tools that are known by name."""
    text = (resources.files("mixtura") / "presets" / "commands.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, CommandTool])


def is_command_provider(provider: str | None) -> bool:
    """Whether what a table calls its provider is a command-line tool."""
    return provider in command_tools()


def split_command_name(name: str) -> tuple[str, str | None] | None:
    """``claude-code`` or ``claude-code/MODEL`` to the tool and the model; None for other names."""
    tool, slash, model = name.partition("/")
    if tool not in command_tools() or (slash and not model):
        return None
    return tool, model or None


class FoundTool(NamedTuple):
    """A tool that is on this machine."""

    name: str
    tool: CommandTool
    path: str
    logged_in: bool | None
    """None where it cannot be told without asking it."""


def find_installed_tools(environ: Mapping[str, str]) -> list[FoundTool]:
    """The known tools on the PATH of *environ*, in the order of the table."""
    found: list[FoundTool] = []
    for name, tool in command_tools().items():
        if path := shutil.which(tool.program, path=environ.get("PATH", "")):
            found.append(FoundTool(name, tool, path, _is_logged_in(tool, environ)))
    return found


def _is_logged_in(tool: CommandTool, environ: Mapping[str, str]) -> bool | None:
    """Whether someone logged in, by the files that a tool keeps; None where none are known."""
    files = [file for one in tool.login_files if (file := _expand_path(one, environ))]
    if any(file.is_file() for file in files):
        return True
    # On macOS and Windows, tools keep a login in the system's own store.
    return False if files and os.name == "posix" and os.uname().sysname == "Linux" else None


def _expand_path(written: str, environ: Mapping[str, str]) -> Path | None:
    """A path with a variable or ``~`` before it; None where the variable is not set."""
    if written.startswith("$"):
        variable, _, rest = written[1:].partition("/")
        return Path(environ[variable], rest) if environ.get(variable) else None
    if written.startswith("~/"):
        home = environ.get("HOME") or environ.get("USERPROFILE")
        return Path(home, written[2:]) if home else None
    return Path(written)
