"""BudgetedPerRun: a Mixture whose whole run is reserved under the spending caps, then begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, get_args

from mixtura.billing.answer_cost import price_models
from mixtura.billing.cheaper_mixtures import cheaper_variants
from mixtura.billing.forecast import fallback_model_names, forecast_calls, worst_case_spend
from mixtura.billing.price import Pricer
from mixtura.billing.run_budget import RUN_BUDGET, RunBudget, unknown_price_error
from mixtura.billing.spending_caps import Spend, SpendingCap, retry_while_busy
from mixtura.core.arguments import check_choice, check_function, check_kind
from mixtura.core.call_ledger import open_ledger
from mixtura.core.errors import (
    BudgetExceededError,
    CallOverBudgetError,
    MixturaError,
    QuorumNotMetError,
)
from mixtura.core.events import Emit, Notice
from mixtura.core.model import Wrapper
from mixtura.core.roles import Composite
from mixtura.core.types import Completion, Request, Usage
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.engine.kept_drafts import current_drafts

CapPolicy = Literal["refuse", "degrade"]


class BudgetedPerRun(Wrapper):
    """
    Reserves the worst case of a run under every cap before the first call; the calls spend of it
    through `BudgetedPerAttempt`, which belongs around each model: without it, nothing bounds how
    long an answer is, nor how often it is tried.

    *caps* is called for each run, so that a run may have one of its own. Without room,
    *at_the_cap* decides: refuse (BudgetExceededError, nothing is sent), or degrade: fewer
    proposers, then the aggregator alone, then refuse; the result says what was left out.
    *pricer* says what each model's usage costs: by default what its ``info`` says.
    A cap whose store is busy is waited for; one whose store is broken raises StoreError.
    Raises TypeError and ValueError for arguments that are none.
    """

    def __init__(
        self,
        mixture: Composite,
        caps: Callable[[], Sequence[SpendingCap]],
        pricer: Pricer | None = None,
        *,
        at_the_cap: CapPolicy = "refuse",
    ) -> None:
        check_kind("mixture", mixture, Composite, "a Mixture or another pattern")
        super().__init__(mixture)
        check_function("caps", caps, "a function that returns caps, as in `lambda: [RunCap(…)]`")
        check_choice("at_the_cap", at_the_cap, get_args(CapPolicy))
        self._mixture = mixture
        self._caps = caps
        if pricer is not None:
            check_function("pricer", pricer)
        self._pricer = pricer or price_models(mixture)
        self._at_the_cap = at_the_cap

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        caps = self._caps()
        budget = RunBudget(caps, self._pricer, RUN_BUDGET.get())
        mixture, left_out = await self._reserve_budget(budget, caps, request)
        if left_out and emit:
            emit(Notice(self.name, left_out))
        token = RUN_BUDGET.set(budget)
        with open_ledger() as ledger:
            try:
                answer = ledger.bill_answer(await mixture.complete(request, emit))
            except MixturaError as error:
                if _is_over_budget(error):
                    raise BudgetExceededError(str(error)) from None
                raise
            finally:
                RUN_BUDGET.reset(token)
                budget.close(ledger.charges)
        return replace(answer, degraded=(left_out, *answer.degraded)) if left_out else answer

    async def check_caps(self, request: Request) -> str:
        """
        What an answer would leave out for its caps; nothing is sent, and what was set aside is
        given back. Raises BudgetExceededError, ConfigError and StoreError as an answer does.
        """
        caps = self._caps()
        budget = RunBudget(caps, self._pricer, RUN_BUDGET.get())
        try:
            return (await self._reserve_budget(budget, caps, request))[1]
        finally:
            budget.close(())

    async def _reserve_budget(
        self, budget: RunBudget, caps: Sequence[SpendingCap], request: Request
    ) -> tuple[Composite, str]:
        """The mixture, or the richest form of it for which there is room."""
        forms = [(self._mixture, "")]
        if self._at_the_cap == "degrade":
            forms += cheaper_variants(self._mixture)
        said, drafts = "", current_drafts()
        for mixture, left_out in forms:
            without = drafts.find_calls_not_made(mixture) if drafts else ()
            forecast = partial(forecast_calls, without=without)
            calls = await run_in_thread_if_large(
                estimate_request_bytes(request), forecast, mixture, request
            )
            worst, unknown = worst_case_spend(calls, self._pricer)
            once = Usage(1, 1)
            unknown += tuple(
                n for n in fallback_model_names(mixture) if self._pricer(n, once) is None
            )
            if unknown and any(cap.has_dollar_cap for cap in caps):
                raise unknown_price_error(dict.fromkeys(unknown))
            full = await retry_while_busy(partial(budget.reserve_spend, worst))
            if full is None:
                return mixture, left_out
            said = said or _refusal_text(next(cap for cap in caps if cap.name == full), worst)
        error = BudgetExceededError(f"this run {said}. Nothing was sent.")
        error.forecast = said
        raise error


def _refusal_text(cap: SpendingCap, worst: Spend) -> str:
    """What a run could take at worst, and the cap that leaves less than that; no subject."""
    whose = "its cap" if cap.name == "this run" else f"the cap of {cap.name}"
    if cap.dollars is not None and worst.dollars > cap.dollars:
        limit = f"{cap.dollars:,.10f}".rstrip("0").rstrip(".")
        return f"could cost up to ${worst.dollars:,.4f}, over {whose} of ${limit}"
    if cap.tokens is not None and worst.tokens > cap.tokens:
        limit = f"{cap.tokens:,} tokens"
        return f"could use up to {worst.tokens:,} tokens, over {whose} of {limit}"
    return (
        f"could cost up to ${worst.dollars:,.4f} and {worst.tokens:,} tokens, more than is left of"
        f" {whose}"
    )


def _is_over_budget(error: BaseException) -> bool:
    """Whether it is the cap that ended a run, not what its models did."""
    if isinstance(error, QuorumNotMetError):
        return all(map(_is_over_budget, error.causes))
    return isinstance(error, CallOverBudgetError)
