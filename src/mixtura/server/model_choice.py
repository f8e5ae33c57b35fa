"""From the names in a call to the mixture that answers it, if its client may use that."""

from __future__ import annotations

from typing import NamedTuple

from mixtura.catalog import local_models
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec, resolve_team
from mixtura.config.requested_team import RequestedTeam
from mixtura.core.errors import ConfigError
from mixtura.server.access import ApiClient
from mixtura.server.apis.base import (
    AGGREGATOR,
    PROPOSERS,
    ApiCall,
    ApiError,
    MixtureOptions,
)
from mixtura.server.frontend_requests import is_frontend_request

DEFAULT_NAME = "default"


class MixtureChoice(NamedTuple):
    """The mixture that answers a call."""

    name: str
    plan: MixtureSpec
    calls: int
    label: str
    """Its name in metrics."""
    added: frozenset[str] = frozenset()
    """Members that do not come with a configured mixture."""
    whole: bool = False
    """Whether it is a configured mixture, unchanged."""
    is_for_front_end: bool = False
    """Whether it is the model for the small requests of chat front ends (`[serve] side`)."""


class MixtureChooser:
    """Chooses mixtures, the same one each time for the same configured name."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._usual: dict[str, MixtureChoice] = {}
        """Choices by name, of ours only; none of them says who may use it."""
        plans = (config.mixture_spec(name) for name in config.registry.mixtures)
        self._ours = frozenset(name for plan in plans for name in plan.member_names()) | set(
            local_models.known_models()
        )

    def choose_mixture(self, call: ApiCall, client: ApiClient) -> MixtureChoice:
        """
        The mixture that a call names or describes.

        Raises ApiError: 400 for what is no mixture, 403 for what the client may not use, 404 for
        what is unknown. A key's rights are checked twice: for the names in the call, before
        anything is looked up, so that no one learns what else there is; and for the members of the
        resulting plan, so that it has none that nobody named.
        """
        team = call.team
        client.require_model_access(team.names)
        if team.nested:
            message = f"`{team.nested}` takes names: a mixture written as one goes into `model`"
            raise ApiError(400, message, param=team.nested)
        small, is_small = self._config.serve.side, False
        # A request with options of ours was not made by a front end.
        if small and call.options == MixtureOptions() and is_frontend_request(call.request):
            team, is_small = RequestedTeam(small, "model"), True
        choice = self._choose_team(team)
        # A key without a list of models may use all of them, and the small model is the server's.
        if client.models is not None and not is_small:
            # A mixture's own members come with it; each one that the call adds needs its own right.
            meanings = self._config.default_names
            named = {*team.names, *(meanings.get(name, name) for name in team.names)}
            client.require_model_access(dict.fromkeys(sorted(choice.added - named), "mixtura"))
        calls = (choice.calls + call.options.agreement) * call.n
        if calls > (most := self._config.serve.most_calls):
            raise _too_many_calls_error(f"takes {calls} calls, and one request may make {most}")
        return choice._replace(is_for_front_end=True) if is_small else choice

    def forget_choices(self) -> None:
        """Look names up anew: a key or a model has come."""
        self._usual.clear()

    def metrics_label(self, name: str) -> str:
        """What metrics call a model: a name of ours, never a client's words."""
        known = name in self._config.registry.mixtures or name in self._config.registry.models
        return name if known or name in self._ours else "other"

    def metrics_label_for(self, label: str, client: ApiClient) -> str:
        """Its name in the metrics of a client that may use some models only."""
        if client.has_listed_model(label):
            return label
        default = client.can_use_model(DEFAULT_NAME) and label == self._config.default_names.get(
            DEFAULT_NAME, DEFAULT_NAME
        )
        return DEFAULT_NAME if default else "other"

    def _choose_team(self, team: RequestedTeam) -> MixtureChoice:
        """What a team stands for, whoever asks for it."""
        name = self._config.default_names.get(team.base, team.base)
        if not team.has_changes and (known := self._usual.get(name)):
            return known
        label = self.metrics_label(name)
        base = self._look_up_team(name, team)
        plan, added = resolve_team(
            base, team.changes, self._config.default_names, is_configured=team.inline is None
        )
        seats, most = plan.seat_count, self._config.serve.most_calls
        # What a client made up is measured before its calls are counted, one by one.
        if seats > most and (team.inline or team.has_changes):
            message = f"has {seats} proposers, and one request may make {most} calls"
            raise _too_many_calls_error(message)
        choice = MixtureChoice(name, plan, self._config.count_calls(plan), label, added)
        # Only configured names are kept: what clients make up is without bound.
        if label == name and not team.inline and not team.has_changes:
            choice = self._usual[name] = choice._replace(whole=True)
        return choice

    def _look_up_team(self, name: str, team: RequestedTeam) -> MixtureSpec:
        """The plan of the base, called *name* here, where all that *team* names is known."""
        for member in team.written:
            self._look_up_plan(member, team.field)
        plan = self._look_up_plan(name, team.field)
        proposers, aggregator, layers = team.changes
        if aggregator is not None:
            self._look_up_plan(aggregator.member.model, AGGREGATOR)
        for seat in proposers or ():
            self._look_up_plan(seat.member.model, PROPOSERS)
        if team.has_changes and proposers is None and not plan.layers:
            message = f"{plan.name} is a single model: name `mixtura.proposers`, too"
            raise ApiError(400, message, param="mixtura")
        if proposers is not None and layers is not None and layers < 2:
            message = "`mixtura.layers` counts the aggregator's: with proposers it is at least 2"
            raise ApiError(400, message, param="mixtura.layers")
        return plan

    def _look_up_plan(self, name: str, param: str) -> MixtureSpec:
        """What a name means. A file on this machine has none unless it is configured."""
        if self._config.registry.is_model_path(name):
            raise _unknown_model_error(f"the model `{name}` does not exist", param)
        try:
            return self._config.mixture_spec(name)
        except ConfigError as error:
            raise _unknown_model_error(str(error), param) from None


def _unknown_model_error(message: str, param: str) -> ApiError:
    return ApiError(404, message, code="model_not_found", param=param)


def _too_many_calls_error(problem: str) -> ApiError:
    return ApiError(400, f"that {problem}", code="too_many_calls", param="model")
