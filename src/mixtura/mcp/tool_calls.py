"""What the tools do: their arguments checked, mixtures asked, results as data of the schemas."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from mixtura.billing.spending_caps import SpendingCap
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.attached_files import attach_text
from mixtura.core.errors import ConfigError, MixturaError
from mixtura.core.json_schema import find_mismatches
from mixtura.core.text import unknown_name_message
from mixtura.core.types import ask
from mixtura.engine.trace import support_json
from mixtura.mcp.recorded_runs import ProgressTeller, ToolRun, run_recorded
from mixtura.mcp.tool_schemas import TOOLS

Json = dict[str, Any]
REVIEW_NAME = "review"
DEFAULT_QUESTION = "Review this."


class ToolClient:
    """Who calls the tools: a name, the mixtures it may use (None: all), its daily caps."""

    def __init__(
        self,
        name: str = "",
        mixtures: frozenset[str] | None = None,
        caps: Sequence[SpendingCap] = (),
    ) -> None:
        self.name = name
        self.mixtures = mixtures
        self.caps = caps


class ToolCalls:
    """
    The tools over one configuration. *max_cost*: dollars, and *deadline*: seconds that no answer
    passes.
    """

    def __init__(self, config: Config, max_cost: float | None, deadline: float | None) -> None:
        self._config = config
        self._max_cost = max_cost
        self._deadline = deadline
        listed = config.settings.mcp.mixtures
        self._allowed = None if listed is None else frozenset(listed)

    async def call_tool(
        self, name: str, arguments: Json, progress: ProgressTeller, client: ToolClient
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

    async def _ask(self, given: Json, progress: ProgressTeller, client: ToolClient) -> Json:
        plan = self._choose_mixture(given.get("mixture"), client)
        files = [attach_text(one["name"], one["text"]) for one in given.get("attachments", ())]
        question = "".join([*files, given["question"]])
        over = await self._run_mixture(plan, question, given, progress, client)
        support = support_json(over.answer)
        return _answer_json(plan.name, over) | {
            "agreement": support.get("agreement"),
            "confidence": support["confidence"],
            "support": support["support"],
        }

    async def _review(self, given: Json, progress: ProgressTeller, client: ToolClient) -> Json:
        plan = self._choose_mixture(given.get("mixture") or REVIEW_NAME, client)
        if plan.pattern.kind != "review":
            raise ConfigError(
                f"mixture: {plan.name} is no mixture for reviews: its pattern is"
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

    async def _compare(self, given: Json, progress: ProgressTeller, client: ToolClient) -> Json:
        # All of them are known before one is paid.
        plans = [self._choose_mixture(name, client) for name in given["mixtures"]]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._compared_answer(plan, given, progress, client))
                for plan in plans
            ]
        return {"answers": [task.result() for task in tasks]}

    async def _compared_answer(
        self, plan: MixtureSpec, given: Json, progress: ProgressTeller, client: ToolClient
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
        question: str,
        given: Json,
        progress: ProgressTeller,
        client: ToolClient,
    ) -> ToolRun:
        wanted: float | None = given.get("max_cost_usd")
        costs = [cost for cost in (wanted, self._max_cost) if cost is not None]
        model = self._config.build_runnable(
            plan,
            max_cost=min(costs) if costs else None,
            deadline=self._deadline,
            caps=client.caps,
            agreement=bool(given.get("agreement")),
        )
        return await run_recorded(
            self._config, model, plan.name, ask(question), progress, client.name
        )

    # ---- who may answer

    def _choose_mixture(self, name: str | None, client: ToolClient) -> MixtureSpec:
        """Raises ConfigError for a name that means nothing, or that may not be used here."""
        wanted = name or "default"
        if not self._may_use(wanted, client):
            may = ", ".join(self._usable_names(client)) or "none"
            raise ConfigError(f"mixture: `{wanted}` may not be used here; what may: {may}")
        return self._config.mixture_spec(self._config.default_names.get(wanted, wanted))

    def _may_use(self, name: str, client: ToolClient) -> bool:
        names = {name, self._config.default_names.get(name, name)}
        lists = (self._allowed, client.mixtures)
        return all(listed is None or names & listed for listed in lists)

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
            "default": self._config.default,
            "mixtures": [name for name in names if name in mixtures or name == "default"],
            "models": [name for name in names if name not in mixtures and name != "default"],
        }


def _answer_json(name: str, over: ToolRun) -> Json:
    return {
        "mixture": name,
        "answer": over.answer.text,
        "cost_usd": over.cost,
        "seconds": over.trace.elapsed,
        "run": over.run,
        "left_out": list(over.answer.degraded),
    }
