"""Caps on what a run and a day may spend, as [budget] and a caller set them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mixtura.billing.price import Pricer
from mixtura.billing.spending_caps import DailyCap, RunCap, SpendingCap
from mixtura.config.plan import MixtureSpec
from mixtura.config.provider_keys import find_key_variable
from mixtura.config.registry import NameRegistry
from mixtura.config.schema import BudgetTable
from mixtura.core.arguments import check_number
from mixtura.core.errors import ConfigError
from mixtura.core.model import Model
from mixtura.core.quantities import DOLLARS, POSITIVE_SECONDS
from mixtura.core.roles import Composite
from mixtura.models.wrappers.budget_per_run import BudgetedPerRun
from mixtura.storage.interfaces import Store
from mixtura.storage.spending import DailySpendLedger


def check_caps(max_cost: float | None, deadline: float | None) -> None:
    """Raises ConfigError for dollars or seconds that are negative, infinite or not a number."""
    try:
        if max_cost is not None:
            check_number("max_cost", max_cost, DOLLARS)
        if deadline is not None:
            check_number("deadline", deadline, POSITIVE_SECONDS)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None


class ConfiguredCaps:
    """The caps of [budget]: on each run, on the day, and on the day of each API key."""

    def __init__(self, table: BudgetTable, store: Store, registry: NameRegistry) -> None:
        self._table = table
        self._store = store
        self._registry = registry

    def apply_caps(
        self,
        mixture: Composite,
        plan: MixtureSpec,
        price: Pricer,
        *,
        max_cost: float | None = None,
        more_caps: Sequence[SpendingCap] = (),
        also: Sequence[str] = (),
    ) -> Model:
        """
        *mixture*, which *plan* describes, under the configured caps and *more_caps*.

        *max_cost*: dollars of one run, in place of the configured ones. *also*: models that it
        calls and *plan* does not name.
        """
        table = self._table
        run_usd = table.run_usd if max_cost is None else max_cost
        lasting_caps = [*self._daily_caps(plan, also), *more_caps]
        if run_usd is None and table.run_tokens is None and not lasting_caps:
            return mixture

        def caps_of_one_run() -> list[SpendingCap]:
            return [RunCap("this run", run_usd, table.run_tokens), *lasting_caps]

        return BudgetedPerRun(mixture, caps_of_one_run, price, at_the_cap=table.at_the_cap)

    def _daily_caps(self, plan: MixtureSpec, also: Sequence[str]) -> list[SpendingCap]:
        """The cap of the day, and those of the API keys that the plan's models use."""
        table = self._table
        caps: list[SpendingCap] = []
        if table.day_usd is not None or table.day_tokens is not None:
            ledger = DailySpendLedger(self._store, "day")
            caps.append(DailyCap("the day", ledger, table.day_usd, table.day_tokens))
        used = self._key_variables(plan.member_names() | set(also)) if table.keys else ()
        for variable, key_caps in table.keys.items():
            if variable in used:
                ledger = DailySpendLedger(self._store, f"key {variable}")
                name = f"{variable} for the day"
                caps.append(DailyCap(name, ledger, key_caps.day_usd, key_caps.day_tokens))
        return caps

    def _key_variables(self, names: Iterable[str]) -> set[str]:
        """The variables with the keys of models, and of the members of mixtures, called so."""
        variables: set[str] = set()
        for name in names:
            if name in self._registry.mixtures:
                variables |= self._key_variables(self._registry.mixture_spec(name).member_names())
            else:
                variables |= self._model_key_variables(name)
        return variables

    def _model_key_variables(self, name: str) -> set[str]:
        """The variable of a model, and those of the models that its hedged calls go to."""
        entry = self._registry.models.get(name)
        table = entry.table if entry else None
        variables: set[str] = set()
        if table is not None and table.hedge and table.hedge.elsewhere not in (None, name):
            variables |= self._model_key_variables(table.hedge.elsewhere or "")
        variable = find_key_variable(name, table, self._registry.environ)
        return variables if variable is None else variables | {variable}
