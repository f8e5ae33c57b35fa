"""The page, and what only it asks for: what there is to choose from, plans, past runs."""

from __future__ import annotations

import gzip
from asyncio import to_thread
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mixtura import large_json
from mixtura import types as words
from mixtura.apart import apart, weight
from mixtura.budget import forecast, priced
from mixtura.errors import ConfigError, MixturaError
from mixtura.plan import AUTO, AUTO_TEAM, Plan
from mixtura.server import page
from mixtura.server.access import Client
from mixtura.server.answering import JSON, json_response, received
from mixtura.server.chat import MessageBody, check_called
from mixtura.server.chat_tools import plain_messages
from mixtura.server.choice import meant
from mixtura.server.dialect import Call, Refused, Wish
from mixtura.server.failures import refusal
from mixtura.server.models import problem, single
from mixtura.server.service import Service
from mixtura.server.tools import Toolbox
from mixtura.wire import message_from_json

Rooted = Callable[..., Route]
HEADERS = {
    "content-security-policy": page.CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
MOST_RUNS = 200


class Planned(msgspec.Struct):
    """The body of ``POST /api/plan``."""

    model: str = "default"
    mixtura: Wish = Wish()
    messages: list[MessageBody] = []


def routes(at: Rooted) -> list[Route]:
    """The page's own routes. The files themselves need no key: there is nothing in them."""
    return [
        *(Route(f"/{name}" if name else "/", partial(_asset, name)) for name in _names()),
        at("/api/setup", _setup),
        at("/api/plan", _plan, "POST"),
        at("/api/runs", _runs),
        at("/api/runs/{run}", _run, "GET", "DELETE"),
        at("/api/runs/{run}/html", _html),
    ]


def _names() -> list[str]:
    return ["", *(name for name in page.assets() if name != "index.html")]


async def _asset(name: str, request: Request) -> Response:
    found = page.assets()[name or "index.html"]
    packs = "gzip" in request.headers.get("accept-encoding", "")
    etag = f'"{found.etag.strip(chr(34))}{"-gzip" if packs else ""}"'
    headers = HEADERS | {"etag": etag, "cache-control": "no-cache", "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    if packs:
        headers["content-encoding"] = "gzip"
    body = _packed(name or "index.html") if packs else found.body
    return Response(body, headers=headers, media_type=found.content_type)


@cache
def _packed(name: str) -> bytes:
    return gzip.compress(page.assets()[name].body, 9, mtime=0)


async def _setup(service: Service, request: Request) -> Response:
    config = service.config
    client = service.doors.client(request.scope)
    mixtures = [
        _mixture(service, name) for name in config.mixtures() if _offered(service, name, client)
    ]
    models = [
        {"name": name, "where": _where(service, name), "problem": problem(config, name)}
        for name in single(config)
        if client.lists(name)
    ]
    return json_response(
        {
            "version": version("mixtura"),
            "default": _default(service, client),
            "keys": service.doors.locked,
            "runs": config.runs.keeps,
            "mixtures": mixtures,
            "models": models,
        }
    )


def _offered(service: Service, name: str, client: Client) -> bool:
    """Not the packaged `default` where another is the default, unless that is all it may use."""
    meaning = meant(service.config, name)
    return client.lists(name) and (meaning == name or not client.lists(meaning))


def _default(service: Service, client: Client) -> str | None:
    named = (service.config.default, "default")
    return next((name for name in named if client.lists(name)), None)


def _mixture(service: Service, name: str) -> dict[str, Any]:
    config = service.config
    plan = config.plan(meant(service.config, name))
    kind = plan.pattern.kind
    auto = config.mixtures()[name].members() & {AUTO, AUTO_TEAM}
    return {
        "name": name,
        "pattern": kind,
        "layers": [[{"model": s.model, "samples": s.samples} for s in row] for row in plan.layers],
        "aggregator": plan.aggregator,
        "calls": config.calls(plan),
        "auto": config.auto().why if auto else None,
        "problem": problem(config, meant(service.config, name)),
    }


def _where(service: Service, name: str) -> str:
    if name in service.config.tables():
        return "configured"
    return "hosted" if "/" in name else "local"


async def _plan(service: Service, request: Request) -> Response:
    client = service.doors.client(request.scope)
    try:
        asked = msgspec.json.decode(
            await received(request.scope, request.receive, service), type=Planned
        )
        check_called(asked.messages)
        plain = plain_messages(msgspec.to_builtins(asked.messages), Toolbox())
        said = list(map(message_from_json, plain))
    except (msgspec.DecodeError, MixturaError, UnicodeDecodeError) as error:
        raise Refused(400, f"the body is no plan: {error}") from None
    wanted = words.Request(tuple(said) or words.ask("").messages)
    plan = service.chooser.choose(Call(asked.model, wanted, wish=asked.mixtura), client).plan
    try:
        return json_response(await apart(weight(wanted), _planned, service, plan, wanted))
    except ConfigError as error:
        raise Refused(400, str(error)) from None


def _planned(service: Service, plan: Plan, request: words.Request) -> dict[str, Any]:
    config = service.config
    calls = forecast(config.outline(plan), request)
    worst, unknown = priced(calls, config.price)
    return {
        "name": plan.name,
        "pattern": plan.pattern.kind,
        "layers": [[s.model for s in row for _ in range(s.samples)] for row in plan.layers],
        "aggregator": plan.aggregator,
        "calls": len(calls),
        "max_cost_usd": None if unknown else worst.dollars,
        "max_tokens": worst.tokens,
        "unknown_prices": list(unknown),
    }


# ---- runs


@contextmanager
def _refused() -> Generator[None, None, None]:
    """A store that cannot be read is said to the client."""
    try:
        yield
    except MixturaError as error:
        raise refusal(error) from None


async def _runs(service: Service, request: Request) -> Response:
    asked = request.query_params
    try:
        limit = int(asked.get("limit", "50"))
    except ValueError:
        limit = 0
    if not 1 <= limit <= MOST_RUNS:
        raise Refused(400, f"`limit` is a number from 1 to {MOST_RUNS}", param="limit")
    runs, who = service.config.runs, _who(service, request)
    await service.kept()
    with _refused():
        rows = await to_thread(runs.list, limit + 1, asked.get("before"), asked.get("q"), who=who)
    return json_response({"runs": rows[:limit], "more": len(rows) > limit})


async def _run(service: Service, request: Request) -> Response:
    run = await _kept(service, request)
    if request.method != "DELETE":
        return Response(await to_thread(_shown, run), media_type=JSON)
    with _refused():
        await to_thread(service.config.runs.delete, run["id"])
    return Response(status_code=204)


async def _html(service: Service, request: Request) -> Response:
    run = await _kept(service, request)
    name = f"mixtura-{run['id']}.html"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    whole = await to_thread(_exported, run)
    return Response(whole, headers=headers, media_type="text/html; charset=utf-8")


async def _kept(service: Service, request: Request) -> dict[str, Any]:
    """A run by its whole id, for whom it belongs to."""
    name = request.path_params["run"]
    await service.kept()
    with _refused():
        run = await to_thread(service.config.runs.get, name)
    who = _who(service, request)
    if run is None or run["id"] != name or (who is not None and run["who"] != who):
        raise Refused(404, f"there is no run {name}", code="run_not_found")
    return run


LONGEST_SHOWN = 500_000
"""Letters of a text that the page is given; `mixtura show RUN --json` has all of them."""


def _shown(run: dict[str, Any]) -> bytes:
    return large_json.encode(_shortened(run))


def _exported(run: dict[str, Any]) -> str:
    return page.exported(_shortened(run))


def _shortened(data: Any) -> Any:
    """A run as a browser can show it: what is longer than a person reads is cut, and says so."""
    if isinstance(data, str):
        more = len(data) - LONGEST_SHOWN
        return data if more <= 0 else f"{data[:LONGEST_SHOWN]}\n\n[… {more:,} letters more …]"
    if isinstance(data, list):
        rows = cast("list[Any]", data)
        if rows and isinstance(rows[0], str):  # the pieces that a text came in
            return rows if sum(map(len, rows)) <= LONGEST_SHOWN else []
        return [_shortened(row) for row in rows]
    if isinstance(data, dict):
        return {key: _shortened(value) for key, value in cast("dict[str, Any]", data).items()}
    return data


def _who(service: Service, request: Request) -> str | None:
    """Whose runs a client sees: its own where there are keys, else all that are on the machine."""
    return service.doors.client(request.scope).name if service.doors.locked else None
