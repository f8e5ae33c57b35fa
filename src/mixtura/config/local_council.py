"""A team of what is on this machine: model servers, downloaded models, command-line tools."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from mixtura.catalog.command_tools import FoundTool, find_installed_tools
from mixtura.catalog.providers import model_family
from mixtura.config.auto_defaults import AutoDefaults, parse_team
from mixtura.config.local_servers import FoundServer, find_local_servers
from mixtura.config.plan import INLINE_MARKS, Environment

SERVER_TITLES = ("Ollama", "LM Studio", "llama.cpp")
"""Servers whose models a team is made of without a word: they are on this machine, and free."""
MAX_SERVED = 3
MAX_COUNCIL = 4
"""Proposers of a team with tools: the tools, and the best local models beside them."""


class CouncilMember(NamedTuple):
    """A model that could be in the team, and who made it, where that is known."""

    name: str
    family: str | None


class FoundCouncil(NamedTuple):
    """The team of this machine, None where there is none; and whether Ollama answers at all."""

    team: AutoDefaults | None
    is_ollama_silent: bool


NOT_LOOKED = FoundCouncil(None, True)


def find_council(environ: Environment, use_commands: bool) -> FoundCouncil:
    """Look for model servers on this machine, and where *use_commands*, for usable tools."""
    servers = find_local_servers(environ)
    tools = find_usable_tools(environ) if use_commands else []
    silent = not any(one.title == "Ollama" for one in servers)
    return FoundCouncil(choose_council(servers, tools), silent)


def find_usable_tools(environ: Environment) -> list[FoundTool]:
    """The command-line tools on this machine that someone is logged in to."""
    found = find_installed_tools(environ)
    return [one for one in found if one.logged_in and not one.tool.needs_model]


def choose_council(
    servers: Sequence[FoundServer], tools: Sequence[FoundTool]
) -> AutoDefaults | None:
    """
    A team of *tools* and of the models of *servers*, of different families where there are some;
    None where there is neither. A tool writes the answer: its models are the stronger ones.
    """
    local = [one for server in servers for one in _served_members(server)]
    asked = [CouncilMember(one.name, one.tool.family or one.name) for one in tools]
    members = [*asked, *local]
    if not members:
        return None
    most = MAX_COUNCIL if asked else MAX_SERVED
    team = [one.name for one in choose_different(members, most)]
    names = team if len(team) > 1 else [f"{team[0]}*3"]
    titles = dict.fromkeys(one.title for one in servers if _served_members(one))
    return AutoDefaults(parse_team(names), team[0], _describe_team(tools, list(titles)))


def choose_different(members: Sequence[CouncilMember], most: int) -> list[CouncilMember]:
    """*most* of *members*, in their order: one of each family, then further ones."""
    first: dict[str, CouncilMember] = {}
    for one in members:
        first.setdefault(one.family or one.name, one)
    ranked = [*first.values(), *(one for one in members if one not in first.values())]
    chosen = ranked[:most]
    return [one for one in members if one in chosen]


def _served_members(server: FoundServer) -> list[CouncilMember]:
    if server.title not in SERVER_TITLES or server.provider is None:
        return []
    return [
        CouncilMember(f"{server.provider}/{name}", model_family(name))
        for name in map(_plain_name, server.models)
        if name and not any(mark in name for mark in INLINE_MARKS)
    ]


def _plain_name(model: str) -> str:
    """llama.cpp's server calls a model by the path of its file, and takes any name."""
    return PurePosixPath(model).stem if model.lower().endswith(".gguf") else model


def _describe_team(tools: Sequence[FoundTool], servers: Sequence[str]) -> str:
    """Why this team, and who sees the question."""
    here = f"{_join(servers)} {_answer_verb(servers)} on {_join_ports(servers)}" if servers else ""
    if not tools:
        return here
    titles = _join([one.tool.title for one in tools])
    seen = f"{titles} {'sends' if len(tools) == 1 else 'send'} the question to the tool's maker"
    used = f"no API key is set, so {titles} {_answer_verb(tools)} with your subscription: {seen}"
    return f"{used}; {here} and keeps it on this machine" if here else used


def _answer_verb(several: Sequence[object]) -> str:
    return "answers" if len(several) == 1 else "answer"


def _join_ports(servers: Sequence[str]) -> str:
    return "its port" if len(servers) == 1 else "their ports"


def _join(words: Iterable[str]) -> str:
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last
