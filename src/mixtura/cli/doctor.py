"""The command mixtura doctor: what works here, of keys, endpoints and models."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import click
import msgspec

from mixtura import cli
from mixtura.catalog import downloads, local_models, providers
from mixtura.catalog.command_tools import FoundTool, find_installed_tools
from mixtura.cli.command_offer import find_offered_tools, join_titles
from mixtura.cli.common import cap_options, config_option, name_callback, read_config
from mixtura.cli.completed_values import complete_name
from mixtura.cli.doctor_results import CommandCheck, DoctorReport, EndpointCheck, ModelCheck
from mixtura.cli.environment import list_variables
from mixtura.cli.help_layout import MixturaCommand
from mixtura.cli.telemetry_check import check_telemetry
from mixtura.commands.version import read_version
from mixtura.config.config import PRESETS_SOURCE, Config
from mixtura.config.model_builder import ModelBuilder, ModelEndpoint
from mixtura.config.model_lists import fetch_model_list
from mixtura.config.paths import find_config_file
from mixtura.config.registry import DEFAULT, USE_COMMANDS
from mixtura.config.schema import ModelTable
from mixtura.core.credentials import mask_keys
from mixtura.core.errors import ConfigError, MixturaError, ModelError
from mixtura.core.events import Event, Token
from mixtura.core.model import Model
from mixtura.core.redaction import Redactor, use_redactor
from mixtura.core.text import strip_invisible, to_one_line
from mixtura.core.types import Request, Sampling, ask

NEARBY, FAR = 1.5, 10.0
"""Seconds that an endpoint on this machine, or elsewhere, may take to list its models."""
MAX_CALL_SECONDS = 60.0
MAX_NAMES_SHOWN = 12
"""Models of one endpoint that a person can read at a glance; ``--json`` has all."""
ANSWER_TOKENS, THINKING_TOKENS = 1, 512
"""Tokens of a call; a model that thinks first may need more for its first word."""


@click.command(
    name="doctor",
    cls=MixturaCommand,
    examples=("mixtura doctor", "mixtura doctor --call openai/gpt-5.4-mini"),
)
@click.option(
    "--call", "called", multiple=True, metavar="MODEL", callback=name_callback,
    shell_complete=complete_name,
    help="Test this model; repeatable. Default: every model in your configuration.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@cap_options
@config_option
def command(
    called: tuple[str, ...],
    as_json: bool,
    max_cost: float | None,
    deadline: float | None,
    cache: bool | None,
    config_file: str | None,
) -> int:
    """Check keys, endpoints and models, and time a call of one token to each model.

    Exit code 3 if a configured model, one given with --call, or an endpoint whose key is set
    does not answer. Environment variables are listed by name; no value is ever shown.
    """
    # An answer out of the cache would say nothing about the endpoint.
    config = read_config(config_file, cache=cache or False)
    report = asyncio.run(_build_report(config, config_file, called, max_cost, deadline))
    report = _redact_report(report, config)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(report), indent=2))
    else:
        from mixtura.cli.doctor_report import print_report

        callable_here = config.registry.auto_defaults().team[0].model
        print_report(report, MAX_NAMES_SHOWN, callable_here)
    return cli.ANSWERED if report.ok else cli.NO_ANSWER


async def _build_report(
    config: Config,
    config_file: str | None,
    called: Sequence[str],
    max_cost: float | None,
    deadline: float | None,
) -> DoctorReport:
    deadline = deadline or MAX_CALL_SECONDS
    places = _find_endpoints(config)
    # All at once: a machine that is switched off takes its whole timeout.
    async with asyncio.TaskGroup() as group:
        lists = [
            group.create_task(_check_endpoint(name, place, config.redactor))
            for name, place in places.items()
        ]
        calls = [
            group.create_task(_check_model(config, name, max_cost, deadline))
            for name in called or _configured_model_names(config)
        ]
        commands = [
            group.create_task(_check_command(found)) for found in find_installed_tools(os.environ)
        ]
        telemetry = group.create_task(check_telemetry(config, os.environ))
    used = find_config_file(config_file, environ=os.environ, folder=Path.cwd())
    made, endpoints = [call.result() for call in calls], [task.result() for task in lists]
    return DoctorReport(
        ok=all(call.works for call in made) and all(one.usable for one in endpoints),
        config=str(used) if used else None,
        keys={key: bool(os.environ.get(key)) for key in config.registry.key_variables()},
        endpoints=endpoints,
        calls=made,
        local=[
            name
            for name in local_models.known_models()
            if downloads.cached_path(name, config.models_folder)
        ],
        commands=[one.result() for one in commands],
        environment=list_variables(os.environ, config.registry.key_variables()),
        telemetry=telemetry.result(),
        default=_describe_default(config),
        warnings=_team_warnings(config),
    )


def _team_warnings(config: Config) -> list[str]:
    return [
        f"{to_one_line(name)}: {problem}"
        for name, plan in config.registry.mixtures.items()
        if plan.where is not None and plan.where.source != PRESETS_SOURCE
        for problem in config.team_problems(plan)
    ]


def _describe_default(config: Config) -> str:
    if config.default and config.default != DEFAULT:
        return f"{config.default}, from the configuration"
    auto = config.registry.auto_defaults()
    team = ", ".join(seat.model for seat in auto.team)
    said = f"{team}, then {auto.aggregator}: {auto.why}"
    if tools := find_offered_tools(config):
        said += f". `mixtura ask` asks you first whether {join_titles(tools)} may answer, too"
        said += f" (or set {USE_COMMANDS}=1)"
    return said


# ---- what there is to examine


def _configured_model_names(config: Config) -> list[str]:
    """The models that the user's own file names, and those of its mixtures."""
    names = dict.fromkeys(config.registry.models)
    for plan in config.registry.mixtures.values():
        if plan.where is not None and plan.where.source != PRESETS_SOURCE:
            # The presets name models that no one here asked for.
            names.update(dict.fromkeys(sorted(plan.member_names())))
    mixtures = [*config.registry.mixtures, "auto", "auto-team"]
    return [name for name in names if name not in mixtures or name in config.registry.models]


def _find_endpoints(config: Config) -> Mapping[str, ModelEndpoint]:
    """Every endpoint with a key here, those on this machine, those of the file; each once."""
    builder = ModelBuilder(os.environ, config.models_folder, transport=config.settings.transport)
    tables = [(name, ModelTable(provider=name)) for name in providers.providers()]
    own = [
        (name, table) for name, table in config.registry.model_tables().items() if table.base_url
    ]
    endpoints: dict[str, ModelEndpoint] = {}
    for name, table in [*tables, *own]:
        try:
            place = builder.resolve_endpoint(table)
        except ConfigError:  # no key or no address: there is nothing to examine
            continue
        known = {p.base_url for p in endpoints.values()}
        # One server under two names is looked at once. What comes by the bridge has no address of
        # ours.
        if place.base_url not in known and not providers.bridge_provider(table.provider):
            endpoints[name] = place
    return endpoints


# ---- examining it


async def _check_endpoint(name: str, place: ModelEndpoint, redactor: Redactor) -> EndpointCheck:
    host = urlsplit(place.base_url).hostname or ""
    seconds = NEARBY if host in ("localhost", "127.0.0.1", "::1") else FAR
    answer = EndpointCheck(name, place.base_url, False)
    began = time.perf_counter()
    try:
        with use_redactor(redactor):
            models = await fetch_model_list(place, seconds=seconds)
    except ModelError as error:
        answer.error = str(error)
        # Some give no list; and that a machine runs no server of its own is no fault.
        lists_nothing = error.status in (404, 405)
        answer.usable = place.key is None or lists_nothing or seconds == NEARBY
        return answer
    answer.answers = True
    answer.models = None if models is None else [model.id for model in models]
    answer.seconds = round(time.perf_counter() - began, 3)
    return answer


async def _check_command(found: FoundTool) -> CommandCheck:
    version = await read_version(found.path, os.environ)
    return CommandCheck(
        found.name, found.tool.program, found.path, version, found.logged_in, found.tool.log_in
    )


async def _check_model(
    config: Config, name: str, max_cost: float | None, deadline: float
) -> ModelCheck:
    call = ModelCheck(name, False)
    try:
        model = config.build_runnable(
            config.mixture_spec(name), max_cost=max_cost, deadline=deadline
        )
    except MixturaError as error:
        call.error = str(error)
        return call
    most = THINKING_TOKENS if _is_reasoning_model(config, name) else ANSWER_TOKENS
    await _time_call(call, model, ask("Say yes.", sampling=Sampling(max_tokens=most)))
    return call


async def _time_call(call: ModelCheck, model: Model, request: Request) -> None:
    began = time.perf_counter()

    def on_event(event: Event) -> None:
        if call.first_token is None and isinstance(event, Token):
            call.first_token = round(time.perf_counter() - began, 3)

    try:
        await model.complete(request, on_event)
        call.works = True
    except MixturaError as error:
        # It answered and was paid, only no word came of so few tokens.
        call.works = isinstance(error, ModelError) and _is_out_of_tokens(error)
        call.error = None if call.works else str(error)
    call.seconds = round(time.perf_counter() - began, 3)


def _is_out_of_tokens(error: ModelError) -> bool:
    message = str(error)
    return "max_tokens" in message and ("reasoning" in message or "output limit" in message)


def _is_reasoning_model(config: Config, name: str) -> bool:
    table = config.registry.model_tables().get(name)
    return providers.model_quirks((table.model if table else None) or name).reasoning


# ---- printing it


def _redact_report(report: DoctorReport, config: Config) -> DoctorReport:
    """The report without anything that is or looks like a key, whoever said it."""

    # Models, endpoints and errors are other people's texts: out go known secrets, what looks like a
    # key, and what steers a terminal.
    def redact_text(text: str) -> str:
        return strip_invisible(mask_keys(config.redactor.redact_text(text)))

    for row in (*report.endpoints, *report.calls):
        row.error = row.error and redact_text(row.error)
    for row in report.endpoints:
        row.address = redact_text(_strip_credentials(row.address))
        row.models = row.models and [
            strip_invisible(config.redactor.redact_text(name)) for name in row.models
        ]
    for call in report.calls:
        call.model = redact_text(call.model)
    report.telemetry.error = report.telemetry.error and redact_text(report.telemetry.error)
    report.default = redact_text(report.default)
    report.warnings = [redact_text(one) for one in report.warnings]
    return report


def _strip_credentials(url: str) -> str:
    """An address without a name, a password or a query in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
