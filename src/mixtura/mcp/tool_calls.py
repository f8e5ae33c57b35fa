"""What the tools do: their arguments checked, mixtures asked, results as data of the schemas."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.attached_files import attach_text, find_image_kind
from mixtura.core.call_ledger import open_ledger
from mixtura.core.errors import ConfigError, MixturaError, UnavailableError
from mixtura.core.json_schema import find_mismatches
from mixtura.core.quantities import DOLLARS
from mixtura.core.redaction import NO_SECRETS, Redactor
from mixtura.core.text import unknown_name_message
from mixtura.core.types import ImagePart, Message, Request, TextPart, ask, sum_usage
from mixtura.engine.trace import support_json
from mixtura.mcp.recorded_runs import ProgressNotifier, ToolRun, run_recorded
from mixtura.mcp.tool_schemas import TOOLS
from mixtura.server.access import ApiClient
from mixtura.server.apis.base import ApiCall, ApiError, MixtureOptions
from mixtura.server.fair_queue import FairQueue
from mixtura.server.model_choice import MixtureChooser

Json = dict[str, Any]
REVIEW_NAME = "review"
DEFAULT_QUESTION = "Review this."


class ToolClient(NamedTuple):
    """
    Who calls the tools. *name*: whose runs it sees; empty: all. *rights*: what it may use; None:
    all that is offered. *redactor* knows the secrets that it is not told.
    """

    name: str = ""
    rights: ApiClient | None = None
    redactor: Redactor = NO_SECRETS


class ToolCalls:
    """
    The tools over one configuration. *max_cost*: dollars, and *deadline*: seconds that no answer
    passes. *advice* is told where nothing here can answer.
    """

    def __init__(
        self, config: Config, max_cost: float | None, deadline: float | None, advice: str = ""
    ) -> None:
        self._config = config
        self._advice = advice
        self._max_cost = max_cost
        self._deadline = deadline
        self._chooser = MixtureChooser(config)
        self._queue = FairQueue(config.serve.at_once, config.serve.waiting)
        self._offered = ApiClient.with_models(
            "mcp",
            config.settings.mcp.mixtures,
            default=config.default_names.get("default", "default"),
        )

    async def call_tool(
        self, name: str, arguments: Json, progress: ProgressNotifier, client: ToolClient
    ) -> Json:
        """
        The result of a tool, as its schema says. Raises ConfigError for wrong arguments, and what
        the models raise.
        """
        if name not in TOOLS:
            raise ConfigError(unknown_name_message("tool", name, TOOLS))
        # Agents' models write null for what they leave out.
        arguments = {key: value for key, value in arguments.items() if value is not None}
        if wrong := find_mismatches(TOOLS[name].takes, arguments):
            raise ConfigError(f"the arguments of `{name}` are wrong: {'; '.join(wrong)}")
        if name == "models":
            return self._list_models(client)
        handlers = {"ask": self._ask, "review": self._review, "compare": self._compare}
        return await handlers[name](arguments, progress, client)

    async def _ask(self, given: Json, progress: ProgressNotifier, client: ToolClient) -> Json:
        agreement = bool(given.get("agreement"))
        plan = self._choose_mixture(given.get("mixture"), client, agreement=agreement)
        question = _build_question(given["question"], given.get("attachments", ()))
        over = await self._run_mixture(plan, question, given, progress, client)
        support = support_json(over.answer)
        return _answer_json(plan.name, over) | {
            "agreement": support.get("agreement"),
            "confidence": support["confidence"],
            "support": support["support"],
        }

    async def _review(self, given: Json, progress: ProgressNotifier, client: ToolClient) -> Json:
        plan = self._choose_mixture(given.get("mixture") or REVIEW_NAME, client)
        if plan.pattern.kind != "review":
            raise ConfigError(
                f"mixture: {plan.name} is not a mixture for reviews: its pattern is"
                f" '{plan.pattern.kind}', not 'review'"
            )
        question = f"{given['text']}\n\n{given.get('question', DEFAULT_QUESTION)}"
        over = await self._run_mixture(plan, question, given, progress, client)
        return {
            "review": json.loads(over.answer.text),
            "cost_usd": over.cost,
            "seconds": over.trace.elapsed,
            "run": over.run,
        }

    async def _compare(self, given: Json, progress: ProgressNotifier, client: ToolClient) -> Json:
        # All of them are known before one is paid.
        plans = [self._choose_mixture(name, client) for name in given["mixtures"]]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._compared_answer(plan, given, progress, client))
                for plan in plans
            ]
        return {"answers": [task.result() for task in tasks]}

    async def _compared_answer(
        self, plan: MixtureSpec, given: Json, progress: ProgressNotifier, client: ToolClient
    ) -> Json:
        try:
            over = await self._run_mixture(plan, given["question"], given, progress, client)
        except MixturaError as error:
            # One that fails leaves the others their answers; what it cost is in its kept run.
            return {
                "mixture": plan.name, "answer": None, "cost_usd": None, "seconds": None,
                "run": None, "left_out": [], "error": str(error),
            }  # fmt: skip
        return _answer_json(plan.name, over) | {"error": None}

    async def _run_mixture(
        self,
        plan: MixtureSpec,
        question: str | Request,
        given: Json,
        progress: ProgressNotifier,
        client: ToolClient,
    ) -> ToolRun:
        wanted: float | None = given.get("max_cost_usd")
        if wanted is not None and (problem := DOLLARS.range_error(wanted)):
            raise ConfigError(f"max_cost_usd: {problem}")
        costs = [cost for cost in (wanted, self._max_cost) if cost is not None]
        try:
            model = self._config.build_runnable(
                plan,
                max_cost=min(costs) if costs else None,
                deadline=self._deadline,
                caps=client.rights.caps if client.rights else (),
                agreement=bool(given.get("agreement")),
            )
        except ConfigError as error:
            if not self._advice or self._can_answer("default"):
                raise
            raise ConfigError(f"{error}. {self._advice}") from None
        request = ask(question) if isinstance(question, str) else question
        # Runs of all clients take turns, as those of the server do; what each takes counts for its
        # key, however it ends.
        async with self._hold_turn(client):
            with open_ledger() as ledger:
                try:
                    return await run_recorded(
                        self._config, model, plan.name, request, progress, client.name
                    )
                finally:
                    if client.rights:
                        client.rights.record_token_usage(sum_usage(ledger.charges).total_tokens)

    @asynccontextmanager
    async def _hold_turn(self, client: ToolClient) -> AsyncGenerator[None]:
        try:
            await self._queue.acquire_slot(client.name)
        except ApiError as full:
            raise UnavailableError(str(full)) from None
        try:
            yield
        finally:
            self._queue.release_slot()

    # ---- who may answer

    def _choose_mixture(self, name: str | None, client: ToolClient, **options: Any) -> MixtureSpec:
        """
        By the rules of the server's requests. Raises ConfigError for a name that means nothing, or
        that may not be used here.
        """
        wanted = name or "default"
        try:
            call = ApiCall(wanted, Request(()), options=MixtureOptions(**options))
            choices = [
                self._chooser.choose_mixture(call, rights) for rights in self._rights_of(client)
            ]
        except ApiError as refused:
            if refused.status != 403:
                raise ConfigError(f"mixture: {refused.message}") from None
            may = ", ".join(self._usable_names(client)) or "none"
            said = f"mixture: `{wanted}` may not be used here; what may: {may}"
            raise ConfigError(said) from None
        return choices[0].plan

    def _rights_of(self, client: ToolClient) -> tuple[ApiClient, ...]:
        return (self._offered, client.rights) if client.rights else (self._offered,)

    def _may_use(self, name: str, client: ToolClient) -> bool:
        return all(rights.can_use_model(name) for rights in self._rights_of(client))

    def _usable_names(self, client: ToolClient) -> list[str]:
        registry = self._config.registry
        known = ("default", *registry.mixtures, *registry.models)
        return [name for name in dict.fromkeys(known) if self._may_use(name, client)]

    def _can_answer(self, name: str) -> bool:
        try:
            name = self._config.default_names.get(name, name)
            self._config.build_mixture(self._config.mixture_spec(name))
        except ConfigError:
            return False
        return True

    def _list_models(self, client: ToolClient) -> Json:
        names = [name for name in self._usable_names(client) if self._can_answer(name)]
        mixtures = self._config.registry.mixtures
        return {
            "default": next(
                (name for name in (self._config.default, "default") if name in names), None
            ),
            "mixtures": [name for name in names if name in mixtures or name == "default"],
            "models": [name for name in names if name not in mixtures and name != "default"],
        }


def _build_question(question: str, attachments: Sequence[Json]) -> Request:
    """Files first, the question last. Raises ConfigError for a picture that is none."""
    text = "".join(
        [*(attach_text(one["name"], one["text"]) for one in attachments if "text" in one), question]
    )
    pictures = [_read_picture(one) for one in attachments if "picture" in one]
    # A text alone stays a string: some servers take nothing else.
    return Request((Message("user", (*pictures, TextPart(text)) if pictures else text),))


def _read_picture(given: Json) -> ImagePart:
    try:
        data = base64.b64decode(given["picture"], validate=True)
    except ValueError:
        data = b""
    kind = find_image_kind(data)
    if kind is None:
        said = f"attachments: {given['name']} is no PNG, JPEG, GIF or WebP picture as base64"
        raise ConfigError(said)
    return ImagePart(f"data:{kind};base64,{given['picture']}")


def _answer_json(name: str, over: ToolRun) -> Json:
    return {
        "mixture": name,
        "answer": over.answer.text,
        "cost_usd": over.cost,
        "seconds": over.trace.elapsed,
        "run": over.run,
        "left_out": list(over.answer.degraded),
    }
