"""The page and its own API: what there is to choose from, plans, past runs."""

from __future__ import annotations

import gzip
from asyncio import to_thread
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mixtura.config.config import Config
from mixtura.config.missing_keys import missing_key_variables
from mixtura.config.mixture_tables import answer_table, seat_table
from mixtura.config.plan import AUTO, AUTO_TEAM
from mixtura.core import large_json
from mixtura.core.types import Usage
from mixtura.server.access import ApiClient
from mixtura.server.apis.base import ApiError
from mixtura.server.conversation_routes import conversation_routes
from mixtura.server.error_statuses import translate_store_errors
from mixtura.server.first_run import FirstRun
from mixtura.server.json_responses import JSON, json_response
from mixtura.server.models import single_models, unavailable_reason
from mixtura.server.page_plan import handle_plan, plan_problem
from mixtura.server.page_runs import PageRuns
from mixtura.server.reused_runs import ask_again
from mixtura.server.run_reports import export_choices, handle_choices, report_agreement
from mixtura.server.saved_teams import save_team, saving_refusal
from mixtura.server.service import Service
from mixtura.server.shown_texts import shorten_texts
from mixtura.web import assets

RouteFactory = Callable[..., Route]
# The page shows what models write: nothing in it may run, or load from elsewhere.
SECURITY_HEADERS = {
    "content-security-policy": assets.PAGE_CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
MAX_RUNS_LISTED = 200


def page_routes(at: RouteFactory, live: PageRuns, first: FirstRun) -> list[Route]:
    """The page's own routes. Its files need no key: there is nothing secret in them."""

    async def list_or_begin(service: Service, request: Request) -> Response:
        if request.method == "POST":
            return await live.begin_run(service, request)
        return await _list_runs(service, request)

    async def go_on(service: Service, request: Request) -> Response:
        return await ask_again(live, service, request, await _load_run(service, request, False))

    async def report(service: Service, request: Request) -> Response:
        return await report_agreement(service, request, await _load_run(service, request, False))

    return [
        *(
            Route(f"/{name}" if name else "/", partial(_serve_asset, name))
            for name in _asset_names()
        ),
        at("/api/setup", _handle_setup),
        at("/api/plan", handle_plan, "POST"),
        at("/api/start", first.handle_start),
        at("/api/keys", first.enter_key, "POST"),
        at("/api/mixtures", save_team, "POST"),
        at("/api/starter", first.handle_download, "GET", "POST"),
        *conversation_routes(at),
        at("/api/runs", list_or_begin, "GET", "POST"),
        at("/api/runs/{run}/events", live.follow_run),
        at("/api/runs/{run}/control", live.control_run, "POST"),
        at("/api/runs/{run}/stop", live.stop_run, "POST"),
        at("/api/runs/{run}/again", go_on, "POST"),
        at("/api/runs/{run}/agreement", report, "POST"),
        at("/api/choices", handle_choices, "GET", "POST"),
        at("/api/choices/{part}", export_choices),
        at("/api/runs/{run}", _handle_run, "GET", "DELETE"),
        at("/api/runs/{run}/html", _export_run_html),
    ]


def _asset_names() -> list[str]:
    return ["", *(name for name in assets.page_assets() if name != "index.html")]


async def _serve_asset(name: str, request: Request) -> Response:
    asset = assets.page_assets()[name or "index.html"]
    packs = "gzip" in request.headers.get("accept-encoding", "")
    etag = f'"{asset.etag.strip(chr(34))}{"-gzip" if packs else ""}"'
    headers = SECURITY_HEADERS | {
        "etag": etag,
        "cache-control": "no-cache",
        "vary": "accept-encoding",
    }
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    if packs:
        headers["content-encoding"] = "gzip"
    body = _gzipped_asset(name or "index.html") if packs else asset.body
    return Response(body, headers=headers, media_type=asset.content_type)


@cache
def _gzipped_asset(name: str) -> bytes:
    # A fixed time: one etag must stand for the same bytes in every process.
    return gzip.compress(assets.page_assets()[name].body, 9, mtime=0)


async def _handle_setup(service: Service, request: Request) -> Response:
    config = service.config
    client = service.authenticator.authenticate_request(request.scope)
    mixtures = [
        _mixture_json(service, name)
        for name in config.registry.mixtures
        if _is_offered(service, name, client)
    ]
    models = [
        {
            "name": name,
            "where": _model_origin(service, name),
            "problem": unavailable_reason(config, name),
            "price": _token_prices(config, name),
        }
        for name in single_models(config)
        if client.has_listed_model(name)
    ]
    return json_response(
        {
            "version": version("mixtura"),
            "default": _default_name(service, client),
            "keys": service.authenticator.is_key_required,
            "runs": config.runs.keeps,
            "saves": saving_refusal(service, request.scope) is None,
            "mixtures": mixtures,
            "patterns": _patterns_json(config),
            "models": models,
        }
    )


def _patterns_json(config: Config) -> dict[str, Any]:
    """What the patterns of all mixtures say of themselves, for the page."""
    specs = [plan.pattern.spec for plan in config.registry.mixtures.values()]
    return {
        spec.name: {"does": spec.role, "said": spec.action, "help": f"The answer is {spec.help}."}
        for spec in specs
    }


def _is_offered(service: Service, name: str, client: ApiClient) -> bool:
    """Not the packaged `default` where another is the default, unless that is all it may use."""
    meaning = service.config.default_names.get(name, name)
    return client.has_listed_model(name) and (
        meaning == name or not client.has_listed_model(meaning)
    )


def _default_name(service: Service, client: ApiClient) -> str | None:
    named = (service.config.default, "default")
    return next((name for name in named if client.has_listed_model(name)), None)


def _mixture_json(service: Service, name: str) -> dict[str, Any]:
    config = service.config
    plan = config.mixture_spec(service.config.default_names.get(name, name))
    kind = plan.pattern.kind
    auto = config.registry.mixtures[name].member_names() & {AUTO, AUTO_TEAM}
    return {
        "name": name,
        "pattern": kind,
        "layers": [list(map(seat_table, row)) for row in plan.layers],
        "aggregator": plan.aggregator,
        "last": answer_table(plan),
        "calls": config.count_calls(plan),
        "auto": config.registry.auto_defaults().why if auto else None,
        "problem": plan_problem(config, plan),
        "needs": missing_key_variables(config.registry, plan),
    }


def _token_prices(config: Config, name: str) -> list[float] | None:
    """Dollars for a million tokens read, and for a million written; None where unknown."""
    million = 1_000_000
    both = [
        config.usage_cost(name, Usage(prompt_tokens=million)),
        config.usage_cost(name, Usage(completion_tokens=million)),
    ]
    known = [price for price in both if price is not None]
    return known if len(known) == len(both) else None


def _model_origin(service: Service, name: str) -> str:
    if name in service.config.registry.model_tables():
        return "configured"
    return "hosted" if "/" in name else "local"


# ---- runs


async def _list_runs(service: Service, request: Request) -> Response:
    query = request.query_params
    try:
        limit = int(query.get("limit", "50"))
    except ValueError:
        limit = 0
    if not 1 <= limit <= MAX_RUNS_LISTED:
        raise ApiError(400, f"`limit` is a number from 1 to {MAX_RUNS_LISTED}", param="limit")
    runs, who = service.config.runs, service.find_owner(request.scope)
    await service.wait_until_written()
    before, words = query.get("before"), query.get("q")
    async with service.hold_search(words):
        with translate_store_errors():
            # One more than asked for, to know whether there are more.
            rows = await to_thread(runs.list_runs, limit + 1, before, words, who=who)
    return json_response({"runs": rows[:limit], "more": len(rows) > limit})


async def _handle_run(service: Service, request: Request) -> Response:
    run = await _load_run(service, request)
    if request.method != "DELETE":
        return Response(await to_thread(_encode_run, run), media_type=JSON)
    with translate_store_errors():
        await to_thread(service.config.runs.delete_run, run["id"])
    return Response(status_code=204)


async def _export_run_html(service: Service, request: Request) -> Response:
    run = await _load_run(service, request)
    name = f"mixtura-{run['id']}.html"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    whole = await to_thread(_render_run_html, run)
    return Response(whole, headers=headers, media_type="text/html; charset=utf-8")


async def _load_run(service: Service, request: Request, compared: bool = True) -> dict[str, Any]:
    """A run by its whole id. Raises ApiError (404) where its client has no such run."""
    name = request.path_params["run"]
    await service.wait_until_written()
    with translate_store_errors():
        run = await to_thread(service.config.runs.get_run, name, compared=compared)
    who = service.find_owner(request.scope)
    if run is None or run["id"] != name or (who is not None and run["who"] != who):
        raise ApiError(404, f"there is no run {name}", code="run_not_found")
    return run


def _encode_run(run: dict[str, Any]) -> bytes:
    return large_json.encode(shorten_texts(run))


def _render_run_html(run: dict[str, Any]) -> str:
    return assets.export_run(shorten_texts(run))
