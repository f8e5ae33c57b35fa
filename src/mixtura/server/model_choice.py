"""From the names in a call to the mixture that answers it, if its client may use that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from mixtura.catalog import local_models
from mixtura.config.config import Config
from mixtura.config.mixture_tables import read_seat
from mixtura.config.plan import MemberSpec, MixtureSpec, parse_inline, parse_member
from mixtura.config.schema import AggregatorTable, ProposerTable
from mixtura.core.errors import ConfigError
from mixtura.server.access import ApiClient
from mixtura.server.apis.base import ApiCall, ApiError, MixtureOptions
from mixtura.server.background_requests import is_frontend_request

T = TypeVar("T")

MAX_NAME_CHARS = 2000
"""Characters of a model's name: a mixture may be written as one."""
DEFAULT_NAME = "default"
BASE, PROPOSERS, AGGREGATOR = "mixtura.mixture", "mixtura.proposers", "mixtura.aggregator"


class MixtureChoice(NamedTuple):
    """The mixture that answers a call."""

    name: str
    plan: MixtureSpec
    calls: int
    label: str
    """Its name in metrics."""
    inside: frozenset[str] = frozenset()
    """Members that come with a configured mixture, and that the client did not name."""
    whole: bool = False
    """Whether it is a configured mixture, unchanged."""
    side: bool = False
    """Whether it is the model for front ends' small requests."""


class _RequestedNames(NamedTuple):
    """The names in a call, read by the grammar of names; nothing is looked up yet."""

    base: str
    """A name, or a mixture written as one."""
    param: str
    """The field that has it."""
    inline: MixtureSpec | None
    """The base as a plan, where it is written as one."""
    proposers: tuple[MemberSpec, ...]
    aggregator: MemberSpec | None
    names: Mapping[str, str]
    """Every name that the client chose, with its field."""
    nested: str | None
    """The field that has a whole mixture where one member belongs."""


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

        Raises ApiError: 400 for what is no name, 403 for what the client may not use, 404 for what
        is unknown. A key's rights are checked twice: for the names in the call, before anything is
        looked up, so that no one learns what else there is; and for the members of the resulting
        plan, so that it has none that nobody named.
        """
        requested = _parse_names(call)
        client.require_model_access(requested.names)
        if requested.nested:
            message = (
                f"`{requested.nested}` takes names: a mixture written as one goes into `model`"
            )
            raise ApiError(400, message, param=requested.nested)
        side = self._config.serve.side
        # A request with options of ours was not made by a front end.
        if side and call.options == MixtureOptions() and is_frontend_request(call.request):
            return self._check_call_limit(
                self._choose_by_name(side, "model")._replace(side=True), call
            )
        choice = self._choose_by_name(requested.base, requested.param, requested.inline)
        if call.options.has_member_overrides:
            choice = self._with_changed_members(choice, requested, call.options)
        # A key without a list of models may use all of them.
        if client.models is not None:
            added = (
                # A mixture's own members come with it; each one that the call adds needs its own
                # right.
                choice.plan.member_names() - choice.inside - self._resolved_names(requested.names)
            )
            client.require_model_access(dict.fromkeys(sorted(added), "mixtura"))
        return self._check_call_limit(choice, call)

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

    def _check_seats(self, plan: MixtureSpec) -> None:
        """Raises ApiError for more proposers than there may be calls, before each is looked at."""
        seats, most = plan.count_seats(), self._config.serve.most_calls
        if seats > most:
            message = f"that has {seats} proposers, and one request may make {most} calls"
            raise ApiError(400, message, code="too_many_calls", param="model")

    def _check_call_limit(self, choice: MixtureChoice, call: ApiCall) -> MixtureChoice:
        each = choice.calls + call.options.agreement
        calls, most = each * call.n, self._config.serve.most_calls
        if calls > most:
            message = f"that takes {calls} calls, and one request may make {most}"
            raise ApiError(400, message, code="too_many_calls", param="model")
        return choice

    def _choose_by_name(
        self, base: str, param: str, inline: MixtureSpec | None = None
    ) -> MixtureChoice:
        """What a name, or a mixture written as one, stands for."""
        name = self._config.default_names.get(base, base)
        if known := self._usual.get(name):
            return known
        if inline:
            self._check_seats(inline)
        for member in sorted(inline.member_names()) if inline else ():
            self._look_up_plan(member, param)
        plan = self._resolve_default(self._look_up_plan(name, param))
        inside = frozenset(() if inline else plan.member_names())
        label = self.metrics_label(name)
        choice = MixtureChoice(name, plan, self._config.count_calls(plan), label, inside)
        # Only configured names are kept: what clients make up is without bound.
        if label == name and not inline:
            choice = self._usual[name] = choice._replace(whole=True)
        return choice

    def _with_changed_members(
        self, choice: MixtureChoice, requested: _RequestedNames, options: MixtureOptions
    ) -> MixtureChoice:
        """A mixture with other members or another depth; all else in it stays as it was."""
        plan = choice.plan
        last = requested.aggregator
        if last is not None:
            self._look_up_plan(last.model, AGGREGATOR)
        if options.proposers is not None:
            row = self._replace_proposers(plan, requested.proposers, options.proposers)
            plan = replace(plan, layers=(row,) * max(len(plan.layers), 1))
        elif not plan.layers:
            message = f"{plan.name} is a model alone: name `mixtura.proposers`, too"
            raise ApiError(400, message, param="mixtura")
        if options.layers is not None:
            if options.layers < 2 and options.proposers is not None:
                message = (
                    "`mixtura.layers` counts the aggregator's: with proposers it is at least 2"
                )
                raise ApiError(400, message, param="mixtura.layers")
            rows = plan.layers[: options.layers - 1]
            # More layers repeat the last one, as the paper's do.
            rows += (plan.layers[-1],) * (options.layers - 1 - len(rows))
            plan = replace(plan, layers=rows)
        smallest = min((sum(s.samples for s in row) for row in plan.layers), default=1)
        # Fewer proposers could not reach the configured quorum.
        plan = replace(plan, quorum=min(plan.quorum, smallest))
        inside = choice.inside & _unchanged_members(plan, options)
        if last is not None:
            plan = plan.with_aggregator(last.model)
        if isinstance(options.aggregator, AggregatorTable) and last is not None:
            plan = replace(plan, answer=last.sampling, answer_persona=last.persona)
        plan = self._resolve_default(plan)
        self._check_seats(plan)
        return choice._replace(
            plan=plan, calls=self._config.count_calls(plan), inside=inside, whole=False
        )

    def _replace_proposers(
        self,
        plan: MixtureSpec,
        members: Sequence[MemberSpec],
        seats: Sequence[str | ProposerTable],
    ) -> tuple[MemberSpec, ...]:
        """
        New proposers; one that was there already and is called by its name alone keeps its persona
        and its sampling.
        """
        before = {member.model: member for row in reversed(plan.layers) for member in row}
        for member in members:
            self._look_up_plan(member.model, PROPOSERS)
        return tuple(
            replace(before.get(member.model, member), samples=member.samples)
            if isinstance(seat, str)
            else member
            for member, seat in zip(members, seats, strict=True)
        )

    def _resolve_default(self, plan: MixtureSpec) -> MixtureSpec:
        """A plan in which `default` stands for what it means here."""
        if DEFAULT_NAME not in plan.member_names():
            return plan
        layers = tuple(
            tuple(
                replace(member, model=self._config.default_names.get(member.model, member.model))
                for member in row
            )
            for row in plan.layers
        )
        return replace(
            plan,
            layers=layers,
            aggregator=self._config.default_names.get(plan.aggregator, plan.aggregator),
        )

    def _resolved_names(self, names: Iterable[str]) -> set[str]:
        """What *names* stand for in a plan: themselves, and `default` its meaning, too."""
        return {*names, *(self._config.default_names.get(name, name) for name in names)}

    def _look_up_plan(self, name: str, param: str) -> MixtureSpec:
        """What a name means. A file on this machine has none unless it is configured."""
        if self._config.registry.is_model_path(name):
            raise _unknown_model_error(f"the model `{name}` does not exist", param)
        try:
            return self._config.mixture_spec(name)
        except ConfigError as error:
            raise _unknown_model_error(str(error), param) from None


def _parse_names(call: ApiCall) -> _RequestedNames:
    """The names in a call. Raises ApiError (400) for what follows no grammar of names."""
    options = call.options
    base, param = (options.mixture, BASE) if options.mixture else (call.model, "model")
    inline = _parse_name(parse_inline, base, param)
    names = dict.fromkeys(sorted(inline.member_names()) if inline else [base], param)
    proposers: list[MemberSpec] = []
    aggregator: MemberSpec | None = None
    nested: str | None = None
    for seat, field in (
        *((seat, PROPOSERS) for seat in options.proposers or ()),
        *([(options.aggregator, AGGREGATOR)] if options.aggregator is not None else ()),
    ):
        text = seat if isinstance(seat, str) else seat.model
        if plan := _parse_name(parse_inline, text, field):
            nested = field
            names |= dict.fromkeys(sorted(plan.member_names()), field)
        elif field == PROPOSERS:
            proposers.append(_parse_seat(seat, field))
            names[proposers[-1].model] = field
        else:
            aggregator = MemberSpec(text) if isinstance(seat, str) else _parse_seat(seat, field)
            names[text] = field
    return _RequestedNames(base, param, inline, tuple(proposers), aggregator, names, nested)


def _parse_seat(seat: str | ProposerTable | AggregatorTable, param: str) -> MemberSpec:
    """A member that is named, or written out as a file has it. Raises ApiError (400)."""
    if isinstance(seat, str):
        return _parse_name(parse_member, seat, param)
    try:
        return read_seat(seat, ())
    except ConfigError as error:
        raise ApiError(400, f"`{param}`: {error}", param=param) from None


def _parse_name(read: Callable[[str], T], text: str, param: str) -> T:
    if len(text) > MAX_NAME_CHARS:
        raise ApiError(400, f"`{param}` is longer than {MAX_NAME_CHARS} letters", param=param)
    try:
        return read(text)
    except ConfigError as error:
        raise ApiError(400, str(error), param=param) from None


def _unchanged_members(plan: MixtureSpec, options: MixtureOptions) -> set[str]:
    """
    Members that stand where their mixture has them, and that *options* does not name.

    An aggregator with no proposers before it is no longer a part of the mixture.
    """
    if not plan.layers:
        return set()
    rows = plan.layers if options.proposers is None else ()
    kept = {member.model for row in rows for member in row} | set(plan.fallbacks)
    return kept if options.aggregator is not None else kept | {plan.aggregator}


def _unknown_model_error(message: str, param: str) -> ApiError:
    return ApiError(404, message, code="model_not_found", param=param)
