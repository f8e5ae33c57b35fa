"""mixtura doctor"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import click
import msgspec

from mixtura import catalog, cli, hub
from mixtura import config as configuration
from mixtura.cli.common import cap_options, config_option, read_config
from mixtura.config import Config
from mixtura.credentials import mask_keys
from mixtura.errors import ConfigError, MixturaError, ModelError
from mixtura.events import Event, Token
from mixtura.model import Model
from mixtura.model_lists import fetch_list
from mixtura.redaction import Redactor, in_use
from mixtura.schema import ModelTable
from mixtura.text import visible
from mixtura.types import Request, Sampling, ask
from mixtura.workshop import Endpoint, Workshop

if TYPE_CHECKING:
    from rich.text import Text

NEARBY, FAR = 1.5, 10.0
"""Seconds that an endpoint on this machine, or elsewhere, may take to list its models."""
LONGEST_CALL = 60.0
FEW = 12
"""Models of one endpoint that a person can read at a glance; ``--json`` has all."""
ONE, THINKING = 1, 512
"""Tokens of a call; a model that thinks first may need more for its first word."""


class Answer(msgspec.Struct):
    """An endpoint that was asked for its list."""

    name: str
    address: str
    answers: bool
    models: list[str] | None = None
    """What it lists; None where it gives no list."""
    seconds: float | None = None
    error: str | None = None


class Call(msgspec.Struct):
    """A model that was asked for a word."""

    model: str
    works: bool
    first_token: float | None = None
    seconds: float | None = None
    error: str | None = None


class Report(msgspec.Struct):
    """What ``--json`` prints."""

    ok: bool
    config: str | None
    keys: dict[str, bool]
    endpoints: list[Answer]
    calls: list[Call]
    local: list[str]


@click.command(name="doctor")
@click.option(
    "--call", "called", multiple=True, metavar="MODEL",
    help="Ask this model for a word; without it, every model that your file names.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
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
    """Say what works here: keys, endpoints, models, and what a call of one token takes.

    Exit code 3 when a model that is configured, or called, does not answer. Keys are named,
    never shown.
    """
    config = read_config(config_file, cache=cache or False)
    report = asyncio.run(_examined(config, config_file, called, max_cost, deadline))
    report = _redacted(report, config)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(report), indent=2))
    else:
        _draw(report)
    return cli.ANSWERED if report.ok else cli.NO_ANSWER


async def _examined(
    config: Config,
    config_file: str | None,
    called: Sequence[str],
    max_cost: float | None,
    deadline: float | None,
) -> Report:
    deadline = deadline or LONGEST_CALL
    places = _places(config)
    async with asyncio.TaskGroup() as group:
        lists = [
            group.create_task(_listed(name, place, config.redactor))
            for name, place in places.items()
        ]
        calls = [
            group.create_task(_called(config, name, max_cost, deadline))
            for name in called or _configured(config)
        ]
    used = configuration.find(config_file, environ=os.environ, folder=Path.cwd())
    made = [call.result() for call in calls]
    return Report(
        ok=all(call.works for call in made),
        config=str(used) if used else None,
        keys={key: bool(os.environ.get(key)) for key in config.variables()},
        endpoints=[task.result() for task in lists],
        calls=made,
        local=[name for name in hub.known() if hub.cached(name, config.models_folder)],
    )


# ---- what there is to examine


def _configured(config: Config) -> list[str]:
    """The models that the user's own file names, and those of its mixtures."""
    names = dict.fromkeys(config.configured_models())
    for plan in config.mixtures().values():
        if plan.where is not None and plan.where.source != configuration.PRESETS:
            names.update(dict.fromkeys(sorted(plan.members())))
    mixtures = [*config.mixtures(), "auto", "auto-team"]
    return [name for name in names if name not in mixtures or name in config.configured_models()]


def _places(config: Config) -> Mapping[str, Endpoint]:
    """Every endpoint with a key here, those on this machine, those of the file; each once."""
    workshop = Workshop(os.environ, config.models_folder)
    tables = [(name, ModelTable(provider=name)) for name in catalog.providers()]
    own = [(name, table) for name, table in config.tables().items() if table.base_url]
    found: dict[str, Endpoint] = {}
    for name, table in [*tables, *own]:
        try:
            place = workshop.endpoint(table)
        except ConfigError:  # no key or no address: there is nothing to examine
            continue
        known = {p.base_url for p in found.values()}
        if place.base_url not in known and not catalog.bridged(table.provider):
            found[name] = place
    return found


# ---- examining it


async def _listed(name: str, place: Endpoint, redactor: Redactor) -> Answer:
    host = urlsplit(place.base_url).hostname or ""
    seconds = NEARBY if host in ("localhost", "127.0.0.1", "::1") else FAR
    answer = Answer(name, place.base_url, False)
    began = time.perf_counter()
    try:
        with in_use(redactor):
            found = await fetch_list(place, seconds=seconds)
    except ModelError as error:
        answer.error = str(error)
        return answer
    answer.answers = True
    answer.models = None if found is None else [model.id for model in found]
    answer.seconds = round(time.perf_counter() - began, 3)
    return answer


async def _called(config: Config, name: str, max_cost: float | None, deadline: float) -> Call:
    call = Call(name, False)
    try:
        model = config.runnable(config.plan(name), max_cost=max_cost, deadline=deadline)
    except MixturaError as error:
        call.error = str(error)
        return call
    most = THINKING if _thinks(config, name) else ONE
    await _timed(call, model, ask("Say yes.", sampling=Sampling(max_tokens=most)))
    return call


async def _timed(call: Call, model: Model, request: Request) -> None:
    began = time.perf_counter()

    def watch(event: Event) -> None:
        if call.first_token is None and isinstance(event, Token):
            call.first_token = round(time.perf_counter() - began, 3)

    try:
        await model.complete(request, watch)
        call.works = True
    except MixturaError as error:
        # It answered and was paid, only no word came of so few tokens.
        call.works = isinstance(error, ModelError) and _out_of_tokens(error)
        call.error = None if call.works else str(error)
    call.seconds = round(time.perf_counter() - began, 3)


def _out_of_tokens(error: ModelError) -> bool:
    said = str(error)
    return "max_tokens" in said and ("reasoning" in said or "output limit" in said)


def _thinks(config: Config, name: str) -> bool:
    table = config.tables().get(name)
    return catalog.quirks((table.model if table else None) or name).reasoning


# ---- telling it


def _redacted(report: Report, config: Config) -> Report:
    """The report without anything that is or looks like a key, whoever said it."""

    def safe(text: str) -> str:
        return visible(mask_keys(config.redactor.text(text)))

    for row in (*report.endpoints, *report.calls):
        row.error = row.error and safe(row.error)
    for row in report.endpoints:
        row.address = safe(_bare(row.address))
        row.models = row.models and [visible(config.redactor.text(name)) for name in row.models]
    for call in report.calls:
        call.model = safe(call.model)
    return report


def _bare(url: str) -> str:
    """An address without a name, a password or a query in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _draw(report: Report) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(f"Configuration: {report.config or 'none, the presets only'}"))
    there = [key for key, is_set in report.keys.items() if is_set]
    console.print(Text(f"Keys that are set: {', '.join(there) or 'none'}"))
    console.print(Text(f"Local models here: {', '.join(report.local) or 'none'}"))
    table = Table(box=box.SIMPLE_HEAD, title="Endpoints", title_justify="left")
    for heading in ("name", "address", "models", "seconds", ""):
        table.add_column(heading, justify="right" if heading in ("models", "seconds") else "left")
    for row in report.endpoints:
        count = "" if row.models is None else str(len(row.models))
        table.add_row(
            Text(row.name), Text(row.address), count, _seconds(row.seconds),
            _mark(row.answers, row.error),
        )  # fmt: skip
    console.print(table)
    for row in report.endpoints:
        if row.models and len(row.models) <= FEW:
            console.print(Text(f"{row.name} lists {', '.join(row.models)}"))
    if not report.calls:
        console.print("No model is configured: try one with --call openai/gpt-5.4-mini.")
        return
    table = Table(box=box.SIMPLE_HEAD, title="Calls of one token", title_justify="left")
    for heading in ("model", "first token", "seconds", ""):
        table.add_column(heading, justify="left" if heading in ("model", "") else "right")
    for call in report.calls:
        table.add_row(
            Text(call.model), _seconds(call.first_token), _seconds(call.seconds),
            _mark(call.works, call.error),
        )  # fmt: skip
    console.print(table)


def _mark(works: bool, error: str | None) -> Text:
    from rich.text import Text

    if works:
        return Text("works", "green")
    if error and error.startswith("no connection to 127.0.0.1"):
        return Text("not running", "dim")
    return Text(error or "no answer", "yellow")


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
