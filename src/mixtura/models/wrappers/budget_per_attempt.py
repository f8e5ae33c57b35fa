"""BudgetedPerAttempt: a Model each attempt of which is reserved in the run's budget, then sent."""

from __future__ import annotations

from dataclasses import replace

from mixtura.billing.forecast import ExpectedCall, forecast_calls
from mixtura.billing.run_budget import RUN_BUDGET, reserve_for_attempt
from mixtura.core.call_ledger import open_ledger
from mixtura.core.events import Emit
from mixtura.core.model import Wrapper, ask_model
from mixtura.core.token_estimate import DEFAULT_ANSWER_TOKENS
from mixtura.core.types import Completion, Request
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large


class BudgetedPerAttempt(Wrapper):
    """
    Reserves the worst case of each attempt at one call in the budget of the run (`RunBudget`),
    and settles it afterwards. Stands directly around a model that costs money, inside retries
    and hedges.

    Outside a `BudgetedPerRun` it only passes on. Inside one, an answer has at most
    ``DEFAULT_ANSWER_TOKENS`` tokens where no one says, so that a worst case exists.
    """

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        budget = RUN_BUDGET.get()
        if budget is None:
            return await ask_model(self._model, request, emit)
        most = request.sampling.max_tokens or DEFAULT_ANSWER_TOKENS
        request = replace(request, sampling=replace(request.sampling, max_tokens=most))
        worst: ExpectedCall = (
            await run_in_thread_if_large(
                estimate_request_bytes(request), forecast_calls, self._model, request
            )
        )[0]
        reserved = await reserve_for_attempt(budget, self.name, worst.usage)
        with open_ledger() as ledger:
            try:
                return ledger.bill_answer(await ask_model(self._model, request, emit))
            finally:
                budget.release_attempt(reserved, ledger.charges)
