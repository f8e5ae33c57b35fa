"""What the page knows of a question before it is asked: calls, price, what is in the way."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mixtura.billing.forecast import forecast_calls, worst_case_spend
from mixtura.config.config import Config
from mixtura.config.missing_keys import missing_key_variables
from mixtura.config.plan import MixtureSpec
from mixtura.core import types as words
from mixtura.core.errors import ConfigError, MixturaError
from mixtura.core.text import to_one_line
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.protocols.openai.messages import message_from_json
from mixtura.server.apis.base import ApiCall, ApiError, MixtureOptions
from mixtura.server.apis.openai_chat_body import MessageBody
from mixtura.server.apis.openai_chat_checks import check_call_bodies
from mixtura.server.apis.openai_chat_tools import normalize_messages
from mixtura.server.apis.tool_names import Toolbox
from mixtura.server.apis.validation import decode_fields
from mixtura.server.json_responses import json_response
from mixtura.server.request_body import receive_body
from mixtura.server.service import Service


class PlanRequest(msgspec.Struct):
    """The body of ``POST /api/plan``."""

    model: str = "default"
    mixtura: MixtureOptions = MixtureOptions()
    messages: list[MessageBody] = []
    against: str | None = None
    """One model, or mixture, that is asked beside it: its calls count too."""


async def handle_plan(service: Service, request: Request) -> Response:
    """``POST /api/plan``: calls, worst price and what is in the way. Raises ApiError."""
    client = service.authenticator.authenticate_request(request.scope)
    data = await receive_body(request.scope, request.receive, service)
    body, messages = await run_in_thread_if_large(len(data), _read_plan, data)
    # Without messages it is the plan of the shortest question.
    wanted = words.Request(tuple(messages) or words.ask("").messages)
    call = ApiCall(body.model, wanted, options=body.mixtura)
    plans = [service.chooser.choose_mixture(call, client).plan]
    if body.against:
        plans += [service.chooser.choose_mixture(ApiCall(body.against, wanted), client).plan]
    size, agreement = estimate_request_bytes(wanted), body.mixtura.agreement
    try:
        told = await run_in_thread_if_large(size, _plan_json, service, plans, wanted, agreement)
    except ConfigError as error:
        raise ApiError(400, str(error)) from None
    # Models are built here, in the one thread that builds them.
    problems = (plan_problem(service.config, plan) for plan in plans)
    return json_response(told | {"problem": next(filter(None, problems), None)})


def _read_plan(data: bytes) -> tuple[PlanRequest, list[words.Message]]:
    try:
        body = decode_fields(data, PlanRequest)
        check_call_bodies(body.messages)
        plain = normalize_messages(msgspec.to_builtins(body.messages), Toolbox())
        return body, list(map(message_from_json, plain))
    except MixturaError as error:
        raise ApiError(400, f"the body is not a plan: {error}") from None


def _plan_json(
    service: Service, plans: list[MixtureSpec], request: words.Request, agreement: bool
) -> dict[str, Any]:
    config, plan = service.config, plans[0]
    calls = list(forecast_calls(config.build_outline(plan, agreement=agreement), request))
    for other in plans[1:]:
        calls += forecast_calls(config.build_outline(other), request)
    worst, unknown = worst_case_spend(calls, config.usage_cost)
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


def plan_problem(config: Config, plan: MixtureSpec) -> str | None:
    """Why a mixture cannot answer here, in a few words; None when it can."""
    if missing := missing_key_variables(config.registry, plan):
        return f"needs {' and '.join(missing)}"
    try:
        config.build_mixture(plan)
    except ConfigError as error:
        return to_one_line(error)
    return None
