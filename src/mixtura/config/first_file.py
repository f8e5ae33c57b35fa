"""A first configuration for what a machine has: the team that is proposed, as a file's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from mixtura.catalog import downloads, local_models
from mixtura.catalog.providers import model_quirks
from mixtura.config.auto_defaults import choose_team_across, detect_defaults
from mixtura.config.config import Config
from mixtura.config.local_servers import FoundServer
from mixtura.config.plan import AUTO, AUTO_TEAM, EMBEDDED_MODEL, parse_member
from mixtura.config.toml_text import key_to_toml, value_to_toml
from mixtura.core.errors import ConfigError
from mixtura.core.types import Usage

QUESTION_TOKENS, PROPOSAL_TOKENS, ANSWER_TOKENS = 300, 500, 600
"""A usual question and its answers, for an estimate of what one costs."""
MAX_LOCAL_TEAM = 3
NOTHING_FOUND = (
    "No API key, model server or model file was found, so this uses the built-in demonstration"
    " model"
)


@dataclass(frozen=True)
class FoundModels:
    """What answers could come from on this machine."""

    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    """The variable with the key of each hosted provider."""
    servers: Sequence[FoundServer] = ()
    files: Sequence[str] = ()
    """Local models that were downloaded, and .gguf files."""


@dataclass(frozen=True)
class ProposedTeam:
    """A team of models, and the tables of those that need one."""

    proposers: tuple[str, ...]
    aggregator: str
    why: str
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


def find_model_files(models_folder: Path, folder: Path) -> list[str]:
    """Local models that were downloaded, by name, and the .gguf files in *folder*."""
    pulled = [
        name
        for name in local_models.known_models()
        if name != EMBEDDED_MODEL and downloads.cached_path(name, models_folder)
    ]
    return [*pulled, *(f"./{path.name}" for path in sorted(folder.glob("*.gguf")))]


def propose_team(found: FoundModels) -> ProposedTeam:
    """The team to begin with: hosted models, else those of a server here, else files."""
    if len(found.keys) > 1:
        auto = choose_team_across(found.keys)
    elif found.keys:
        auto = detect_defaults(dict.fromkeys(found.keys.values(), "set"))
    elif any(server.models for server in found.servers):
        return _propose_served_team(found.servers)
    elif found.files:
        files = found.files[:MAX_LOCAL_TEAM]
        return ProposedTeam(_at_least_three(files), files[0], "Model files on this machine")
    else:
        # The names stay open: once there is a key or a server, its models answer.
        return ProposedTeam((AUTO_TEAM,), AUTO, NOTHING_FOUND)
    team = [f"{m.model}*{m.samples}" if m.samples > 1 else m.model for m in auto.team]
    return ProposedTeam(tuple(team), auto.aggregator, auto.why)


def join_command_tools(team: ProposedTeam, tools: Sequence[str]) -> ProposedTeam:
    """The team with command-line tools as members; where nothing else was found, of them alone."""
    alone = team.aggregator == AUTO
    others = () if alone else team.proposers
    why = "Tools that you are logged in to" if alone else f"{team.why}, with tools of yours"
    return replace(
        team,
        proposers=_at_least_three((*others, *tools)),
        aggregator=tools[0] if alone else team.aggregator,
        why=why,
    )


def _propose_served_team(servers: Sequence[FoundServer]) -> ProposedTeam:
    names: list[str] = []
    tables: dict[str, Mapping[str, Any]] = {}
    for server in servers:
        for model in server.models:
            name, table = name_served_model(server, model)
            names.append(name)
            if table is not None:
                tables[name] = table
    team = names[:MAX_LOCAL_TEAM]
    titles = " and ".join(dict.fromkeys(server.title for server in servers if server.models))
    used = {name: table for name, table in tables.items() if name in team}
    return ProposedTeam(_at_least_three(team), team[0], f"{titles} answers", used)


def name_served_model(server: FoundServer, model: str) -> tuple[str, Mapping[str, Any] | None]:
    """The name of a model of *server*, and the table that it needs; None where it needs none."""
    plain = not any(mark in model for mark in "*,> ") and not model.lower().endswith(".gguf")
    if server.provider is not None and plain:
        return f"{server.provider}/{model}", None
    # llama.cpp's server names a model by the path of its file.
    name = PurePosixPath(model).name.removesuffix(".gguf")
    name = "".join("-" if mark in "*,> " else mark for mark in name) or "model"
    table: dict[str, Any] = {"base_url": server.base_url, "model": model}
    if _is_own_network(server.base_url):
        table["price"] = {"input": 0, "output": 0}
    return name, table


def _is_own_network(url: str) -> bool:
    """Whether a server is on this machine or its network, where no one sends a bill."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "localhost" or host.endswith(".local")


def _at_least_three(names: Sequence[str]) -> tuple[str, ...]:
    """The names, or one name three times: a mixture of one draft has nothing to compare."""
    return (f"{names[0]}*3",) if len(names) == 1 else tuple(names)


def write_configuration(team: ProposedTeam, *, day_usd: float | None = None) -> str:
    """The text of a mixtura.toml with that team."""
    lines = [
        "# Written by `mixtura init`. Check it after a change with `mixtura config check`.",
        "",
        'default = "team"',
    ]
    for name, table in team.models.items():
        lines += ["", f"[models.{key_to_toml(name)}]"]
        lines += [f"{key_to_toml(key)} = {value_to_toml(value)}" for key, value in table.items()]
    lines += [
        "",
        f"# {team.why}.",
        "# The proposers answer first; the aggregator reads their answers and writes its own.",
        "[mixtures.team]",
        f"layers = [{value_to_toml(team.proposers)}]",
        f"aggregator = {value_to_toml(team.aggregator)}",
    ]
    if not any(_refuses_temperature(team, name) for name in (*team.proposers, team.aggregator)):
        lines.append("sampling = { temperature = 0.7 }")
    if day_usd is not None:
        lines += ["", "[budget]", f"day_usd = {value_to_toml(day_usd)}"]
    return "\n".join(lines) + "\n"


def _refuses_temperature(team: ProposedTeam, member: str) -> bool:
    """Whether a member answers a temperature with an error; yes where no one knows who it is."""
    name = parse_member(member).model
    if name in (AUTO, AUTO_TEAM):
        return True
    model = str(team.models.get(name, {}).get("model", name))
    return "temperature" in model_quirks(model).refuses


def check_member_names(config: Config, seats: Mapping[str, Sequence[str]]) -> None:
    """
    Raises ConfigError for the names in *seats* that mean nothing, one line for each; *seats* are
    under the words that name them to a person.
    """
    wrong: dict[str, ConfigError] = {}
    for seat, members in seats.items():
        for member in members:
            try:
                name = parse_member(member).model
                if name not in (AUTO, AUTO_TEAM):
                    config.mixture_spec(name)
            except ConfigError as error:
                wrong.setdefault(str(error), ConfigError(f"{seat}: {error}"))
    if wrong:
        raise ConfigError.combine(list(wrong.values()))


def estimate_question_cost(config: Config, name: str) -> float | None:
    """Dollars of a usual question for the mixture *name*; None where a price is unknown."""
    plan = config.mixture_spec(name)
    proposals, total = 0, 0.0
    for layer in plan.layers:
        shown = QUESTION_TOKENS + proposals * PROPOSAL_TOKENS
        for member in layer:
            cost = config.usage_cost(member.model, Usage(shown, PROPOSAL_TOKENS))
            if cost is None:
                return None
            total += member.samples * cost
        proposals = sum(member.samples for member in layer)
    shown = QUESTION_TOKENS + proposals * PROPOSAL_TOKENS
    cost = config.usage_cost(plan.aggregator, Usage(shown, ANSWER_TOKENS))
    return None if cost is None else total + cost
