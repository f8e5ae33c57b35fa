"""The models that answer calls, under the server's and the client's limits."""

from __future__ import annotations

from mixtura.billing.spending_caps import RunCap
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.core.model import Model
from mixtura.engine.proposal_cache import ProposalCache
from mixtura.server.access import ApiClient
from mixtura.server.apis.base import ApiError, MixtureOptions
from mixtura.server.model_choice import MixtureChoice


class CallModels:
    """
    Builds the models, and keeps those of calls without options of their own.

    *max_cost*: dollars, and *deadline*: seconds that no answer passes.
    """

    def __init__(self, config: Config, max_cost: float | None, deadline: float | None) -> None:
        self._config = config
        self._max_cost = max_cost
        self._deadline = deadline
        self._turns = ProposalCache()
        self._models: dict[tuple[str, str, str], Model] = {}
        """By the names of the mixture, of the ``consult`` option and of the client."""

    def forget_models(self) -> None:
        """Build all anew from now on: a name may mean something else."""
        self._models.clear()

    def build_model(
        self, choice: MixtureChoice, wish: MixtureOptions, client: ApiClient
    ) -> tuple[Model, float | None]:
        """
        The model that answers, and the seconds that it may take.

        Raises ApiError when it cannot be built: 400 where the call's own options are at fault, else
        503.
        """
        deadline = self._deadline
        if wish.deadline is not None:
            deadline = wish.deadline if deadline is None else min(wish.deadline, deadline)
        key = (choice.name, wish.consult or self._config.serve.consult, client.name)
        usual = (
            wish.max_cost is None
            and deadline == self._deadline
            and not wish.has_member_overrides
            and not wish.agreement
        )
        if usual and key in self._models:
            return self._models[key], deadline
        caps = [*client.caps]
        if wish.max_cost is not None:  # of all its answers together
            caps.append(RunCap("this request", wish.max_cost))
        try:
            model = self._config.build_runnable(
                choice.plan,
                max_cost=self._max_cost,
                deadline=deadline,
                caps=caps,
                turns=self._turns.for_owner(client.name) if key[1] == "turn" else None,
                agreement=wish.agreement,
            )
        except ConfigError as error:
            if wish.has_member_overrides:  # the client's own combination is at fault
                raise ApiError(400, str(error), code="not_possible", param="mixtura") from None
            raise ApiError(503, str(error), kind="api_error", code="model_not_ready") from None
        if usual and choice.whole:
            self._models[key] = model
        return model, deadline
