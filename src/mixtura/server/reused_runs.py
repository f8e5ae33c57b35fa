"""A run that is over, gone on with: what is missing asked for, or its last step run again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mixtura.billing.forecast import forecast_calls, worst_case_spend
from mixtura.core.events import Position
from mixtura.core.types import Completion
from mixtura.engine.kept_drafts import KeptDrafts, list_seats
from mixtura.server.apis.base import ApiError
from mixtura.server.apis.openai_chat import ChatCompletionsApi
from mixtura.server.apis.validation import decode_fields
from mixtura.server.error_statuses import translate_store_errors
from mixtura.server.json_responses import json_response
from mixtura.server.page_runs import PageRuns
from mixtura.server.request_body import receive_body
from mixtura.server.service import Service
from mixtura.storage.run_record import Record, recorded_drafts
from mixtura.storage.turns import TurnPlace, without_lost_pictures

MAX_INSTRUCTION_CHARS = 20_000
_SAMPLING = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop")


class ReuseRequest(msgspec.Struct):
    """The body of ``POST /api/runs/{run}/again``."""

    ask: Literal["missing", "answer"]
    """What is asked for: proposals that are missing, and then the answer; or only the answer."""
    aggregator: str | None = None
    """Another one for the last step."""
    instruction: str | None = None
    """What the last step is told besides."""
    dry_run: bool = False
    """Only say what it can cost."""


@dataclass(frozen=True, slots=True)
class ReusePlan:
    """The call that goes on with a run: its body, its drafts, and what it takes at most."""

    body: bytes
    drafts: KeptDrafts
    forecast: dict[str, Any]


async def ask_again(live: PageRuns, service: Service, request: Request, run: Record) -> Response:
    """
    ``POST /api/runs/{run}/again``: begins a run of the drafts of *run*, beside it in its
    conversation; or says what that can cost.

    Raises ApiError: 400 for a body that is none, 409 where nothing can be reused.
    """
    wish = await _read_wish(service, request)
    if run["state"] == "running":
        raise ApiError(409, "the run is still under way", code="not_possible_now")
    plan = await asyncio.to_thread(_plan_reuse, service, request, run, wish)
    if wish.dry_run:
        return json_response(plan.forecast)
    place = await _find_place(service, request, run)
    return await live.begin_with(request, plan.body, place, plan.drafts)


async def _read_wish(service: Service, request: Request) -> ReuseRequest:
    body = await receive_body(request.scope, request.receive, service)
    wish = decode_fields(body, ReuseRequest)
    if len(wish.instruction or "") > MAX_INSTRUCTION_CHARS:
        message = f"an instruction has at most {MAX_INSTRUCTION_CHARS:,} letters"
        raise ApiError(400, message, param="instruction")
    return wish


def _plan_reuse(service: Service, request: Request, run: Record, wish: ReuseRequest) -> ReusePlan:
    body = msgspec.json.encode(_build_body(run, wish))
    call = ChatCompletionsApi().parse_request(body)
    client = service.authenticator.authenticate_request(request.scope)
    plan = service.chooser.choose_mixture(call, client).plan
    outline = service.config.build_outline(plan, agreement=call.options.agreement)
    seats, recorded = list_seats(outline.layers), recorded_drafts(run)
    kept = {seat: recorded[seat] for seat in seats if seat in recorded}
    _check_reusable(run, wish, seats, kept)
    drafts = KeptDrafts(kept, wish.ask == "missing", wish.instruction or None)
    without = drafts.find_calls_not_made(outline)
    calls = forecast_calls(outline, call.request, without=without)
    worst, unknown = worst_case_spend(calls, service.config.usage_cost)
    return ReusePlan(
        body,
        drafts,
        {
            "name": plan.name,
            "aggregator": plan.aggregator,
            "kept": len(kept),
            "missing": len(seats) - len(kept),
            "calls": len(calls),
            "max_cost_usd": None if unknown else worst.dollars,
            "max_tokens": worst.tokens,
            "unknown_prices": list(unknown),
        },
    )


def _check_reusable(
    run: Record,
    wish: ReuseRequest,
    seats: list[Position],
    kept: Mapping[Position, Completion],
) -> None:
    problem = None
    if not seats:
        problem = "it has no proposers"
    elif not kept:
        problem = "it has no proposals"
    elif wish.ask == "missing" and len(kept) == len(seats):
        problem = "every proposer has answered"
    if problem:
        said = f"the run {run['id']} cannot be continued in this way: {problem}"
        raise ApiError(409, said, code="not_possible_now")


def _build_body(run: Record, wish: ReuseRequest) -> dict[str, Any]:
    """The chat completion that a run was, with another aggregator where that is wished."""
    whole: Record | None = run["request"]
    if whole is None or not whole["messages"]:
        raise ApiError(409, f"the run {run['id']} has no question", code="not_possible_now")
    asked: Record = run.get("asked") or {"model": run["model"], "mixtura": {}}
    options: Record = {**asked["mixtura"], "proposals": True}
    if wish.aggregator is not None:
        seat: Any = options.get("aggregator")
        # Whoever sits there is told, and sampled, as the one before.
        as_before = isinstance(seat, dict)
        options["aggregator"] = {**seat, "model": wish.aggregator} if as_before else wish.aggregator
    sampling = {key: whole[key] for key in _SAMPLING if whole.get(key) is not None}
    messages = without_lost_pictures(whole["messages"])
    body = {"model": asked["model"], "messages": messages, "stream": True, "mixtura": options}
    return body | sampling


async def _find_place(service: Service, request: Request, run: Record) -> TurnPlace:
    """The place of *run* itself: what goes on with it is another version of its turn."""
    store, who = service.config.runs.conversations, service.find_owner(request.scope)
    conversation, previous = run.get("conversation") or run["id"], run.get("previous") or ""
    with translate_store_errors():
        return await asyncio.to_thread(store.place_run, conversation, previous, "", who=who)
