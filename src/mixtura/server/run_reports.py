"""Found out of runs that are over: where proposals agree, which answer people prefer."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mixtura.billing.forecast import worst_case_spend
from mixtura.config.agreement_reports import (
    PlannedReport,
    has_agreement_report,
    make_agreement_report,
    prepare_agreement_report,
)
from mixtura.core.errors import ConfigError, MixturaError
from mixtura.core.types import ask
from mixtura.server.access import ApiClient
from mixtura.server.apis.base import ApiCall, ApiError, MixtureOptions
from mixtura.server.apis.validation import decode_fields
from mixtura.server.error_statuses import api_error_for, translate_store_errors
from mixtura.server.json_responses import json_response
from mixtura.server.request_body import receive_body
from mixtura.server.service import Service
from mixtura.storage.choices import ExportPart
from mixtura.storage.run_record import Record

T = TypeVar("T")


class ReportRequest(msgspec.Struct):
    """The body of ``POST /api/runs/{run}/agreement``."""

    dry_run: bool = False
    """Only say what it can cost."""


class ChoiceRequest(msgspec.Struct):
    """The body of ``POST /api/choices``."""

    run: str
    """A mixture's run."""
    beside: str
    """The run of a model alone that was asked the same."""
    choice: Literal["mixture", "model", "tie"]


_under_way: set[str] = set()
"""Runs whose report is being made: none is paid twice."""


async def report_agreement(service: Service, request: Request, run: Record) -> Response:
    """
    ``POST /api/runs/{run}/agreement``: the report on a run that is over, made once and kept.

    Raises ApiError: 403 where its client may no longer use the run's team, 409 for a run without
    several proposals, or whose report is being made.
    """
    wish = await _read_body(service, request, ReportRequest)
    if has_agreement_report(run):
        known: dict[str, Any] = {
            "calls": 0,
            "max_cost_usd": 0.0,
            "max_tokens": 0,
            "unknown_prices": [],
        }
        return json_response(known if wish.dry_run else _agreement_json(run))
    if run["state"] == "running" or run["id"] in _under_way:
        raise ApiError(409, "the run or its report is still under way", code="not_possible_now")
    client = service.authenticator.authenticate_request(request.scope)
    _require_team_access(service, client, run)
    try:
        report = await prepare_agreement_report(service.config, run, caps=client.caps)
    except ConfigError as error:
        raise ApiError(409, str(error), code="not_possible_now") from None
    except MixturaError as error:
        raise api_error_for(error) from None
    if wish.dry_run:
        return json_response(_price_json(service, report))
    await client.admit_request()
    if run["id"] in _under_way:  # it was begun meanwhile
        raise ApiError(409, "the report is still under way", code="not_possible_now")
    _under_way.add(run["id"])
    try:
        async with service.runner.hold_turn(client.name):
            whole = await make_agreement_report(service.config, run, report)
    except MixturaError as error:
        raise api_error_for(error) from None
    finally:
        _under_way.discard(run["id"])
    used = whole["usage"]["total_tokens"] - run["usage"]["total_tokens"]
    client.record_token_usage(used)
    await asyncio.to_thread(service.config.runs.save_run, whole)
    return json_response(_agreement_json(whole))


def _require_team_access(service: Service, client: ApiClient, run: Record) -> None:
    """One of the run's models writes the report: its key may have been able to use more before."""
    if client.models is not None:
        asked: Record = run.get("asked") or {"model": run["model"], "mixtura": {}}
        try:
            options = msgspec.convert(asked["mixtura"], MixtureOptions)
        except msgspec.ValidationError:
            said = f"who answered the run {run['id']} can no longer be read"
            raise ApiError(409, said, code="not_possible_now") from None
        service.chooser.choose_mixture(ApiCall(asked["model"], ask(""), options=options), client)


def _agreement_json(run: Record) -> dict[str, Any]:
    return {"agreement": run["agreement"], "cost_usd": run["cost_usd"]}


def _price_json(service: Service, report: PlannedReport) -> dict[str, Any]:
    worst, unknown = worst_case_spend(report.calls, service.config.usage_cost)
    return {
        "by": report.by,
        "calls": len(report.calls),
        "max_cost_usd": None if unknown else worst.dollars,
        "max_tokens": worst.tokens,
        "unknown_prices": list(unknown),
    }


# ---- choices


async def handle_choices(service: Service, request: Request) -> Response:
    """
    ``/api/choices``: keeps one (POST), or counts all (GET). Raises ApiError: 404 for runs that
    are not there, 409 where they did not answer the same question.
    """
    who, runs = service.find_owner(request.scope), service.config.runs
    if request.method == "GET":
        with translate_store_errors():
            rows = await asyncio.to_thread(runs.choices.count_choices, who=who)
        return json_response({"counts": rows})
    wish = await _read_body(service, request, ChoiceRequest)
    await service.wait_until_written()
    pair: list[Record] = []
    with translate_store_errors():
        for name in (wish.run, wish.beside):
            run = await asyncio.to_thread(runs.get_run, name, compared=False)
            if run is None or run["id"] != name or who not in (None, run["who"]):
                raise ApiError(404, f"there is no run {name}", code="run_not_found")
            pair.append(run)
        run, beside = pair
        if beside.get("beside") != run["id"] or None in (run["answer"], beside["answer"]):
            said = f"the run {wish.beside} is no answer that stands beside that of {wish.run}"
            raise ApiError(409, said, code="not_possible_now")
        await asyncio.to_thread(runs.choices.keep_choice, run, beside, wish.choice)
        counts = await asyncio.to_thread(runs.choices.count_choices, who=who)
    return json_response({"counts": counts})


async def export_choices(service: Service, request: Request) -> Response:
    """
    ``GET /api/choices/{part}?mixture=&model=``: lines of JSON that ``mixtura eval`` reads.

    Raises ApiError (404) for a part that there is not.
    """
    part: Any = request.path_params["part"]
    parts: tuple[ExportPart, ...] = ("labels", "against", "outputs")
    if part not in parts:
        raise ApiError(404, f"there are {', '.join(parts)}", code="item_not_found")
    mixture, model = (request.query_params.get(key, "") for key in ("mixture", "model"))
    who = service.find_owner(request.scope)
    with translate_store_errors():
        rows = await asyncio.to_thread(
            service.config.runs.choices.export_choices, mixture, model, part, who=who
        )
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    headers = {"content-disposition": f'attachment; filename="{part}.jsonl"'}
    return Response(lines, headers=headers, media_type="application/jsonl")


async def _read_body(service: Service, request: Request, form: type[T]) -> T:
    body = await receive_body(request.scope, request.receive, service)
    return decode_fields(body or b"{}", form)
