"""What answers a call: the names in it made into a plan, and whether its client may use that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from mixtura import hub
from mixtura.config import PRESETS, Config
from mixtura.errors import ConfigError
from mixtura.plan import Plan, Seated, seated, written
from mixtura.server.access import Client
from mixtura.server.dialect import Call, Refused, Wish
from mixtura.server.side import is_side

T = TypeVar("T")

LONGEST_NAME = 2000
"""Letters of a model's name: a mixture may be written as one."""
DEFAULT = "default"
BASE, PROPOSERS, AGGREGATOR = "mixtura.mixture", "mixtura.proposers", "mixtura.aggregator"


class Choice(NamedTuple):
    """What answers a call."""

    name: str
    plan: Plan
    calls: int
    label: str
    """What metrics call it."""
    inside: frozenset[str] = frozenset()
    """Members that nobody named: they come along with a configured mixture that was."""
    whole: bool = False
    """It is one of ours, as it is configured."""
    side: bool = False
    """A front end's small request that went to the model for those."""


class _Asked(NamedTuple):
    """The names in a call, read by the grammar of names; nothing is looked up yet."""

    base: str
    """A name, or a mixture written as one."""
    param: str
    """The field that has it."""
    inline: Plan | None
    """The base as a plan, where it is written as one."""
    proposers: tuple[Seated, ...]
    names: Mapping[str, str]
    """Every name that the client chose, with its field."""
    nested: str | None
    """The field that has a whole mixture where one member belongs."""


class Chooser:
    """Makes choices, the same one each time for the same configured name."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._usual: dict[str, Choice] = {}
        """Choices by name, of ours only; none of them says who may use it."""
        plans = (config.plan(name) for name in config.mixtures())
        self._ours = frozenset(name for plan in plans for name in plan.members()) | set(hub.known())

    def choose(self, call: Call, client: Client) -> Choice:
        """
        The plan that a call names or describes.

        Raises Refused: 400 for what is no name, 403 for what the client may not use, 404 for
        what is unknown. A key's rights are looked at twice: for the names in the call, before
        anything is looked up, so that no one learns what else there is; and for the members of
        the plan that came of it, so that nothing gets in that nobody named.
        """
        asked = _read(call)
        client.check(asked.names)
        if asked.nested:
            said = f"`{asked.nested}` takes names: a mixture written as one goes into `model`"
            raise Refused(400, said, param=asked.nested)
        side = self._config.serve.side
        if side and call.wish == Wish() and is_side(call.request):
            return self._within(self._named(side, "model")._replace(side=True), call)
        choice = self._named(asked.base, asked.param, asked.inline)
        if call.wish.chooses:
            choice = self._changed(choice, asked, call.wish)
        if client.models is not None:
            added = choice.plan.members() - choice.inside - self._meanings(asked.names)
            client.check(dict.fromkeys(sorted(added), "mixtura"))
        return self._within(choice, call)

    def label(self, name: str) -> str:
        """What metrics call a model: a name of ours, never a client's words."""
        known = name in self._config.mixtures() or name in self._config.tables()
        return name if known or name in self._ours else "other"

    def label_for(self, label: str, client: Client) -> str:
        """The same for the metrics of a client that may use some models only."""
        if client.lists(label):
            return label
        default = client.may_use(DEFAULT) and label == meant(self._config, DEFAULT)
        return DEFAULT if default else "other"

    def _within(self, choice: Choice, call: Call) -> Choice:
        calls, most = choice.calls * call.n, self._config.serve.most_calls
        if calls > most:
            said = f"that takes {calls} calls, and one request may make {most}"
            raise Refused(400, said, code="too_many_calls", param="model")
        return choice

    def _named(self, base: str, param: str, inline: Plan | None = None) -> Choice:
        """What a name, or a mixture written as one, stands for."""
        name = meant(self._config, base)
        if found := self._usual.get(name):
            return found
        for member in sorted(inline.members()) if inline else ():
            self._found(member, param)
        plan = self._resolved(self._found(name, param))
        inside = frozenset(() if inline else plan.members())
        label = self.label(name)
        choice = Choice(name, plan, self._config.calls(plan), label, inside)
        if label == name and not inline:
            choice = self._usual[name] = choice._replace(whole=True)
        return choice

    def _changed(self, choice: Choice, asked: _Asked, wish: Wish) -> Choice:
        """A mixture with other members or another depth; all else in it stays as it was."""
        plan = choice.plan
        if wish.aggregator is not None:
            self._found(wish.aggregator, AGGREGATOR)
        if wish.proposers is not None:
            row = self._seats(plan, asked.proposers)
            plan = replace(plan, layers=(row,) * max(len(plan.layers), 1))
        elif not plan.layers:
            said = f"{plan.name} is a model alone: name `mixtura.proposers`, too"
            raise Refused(400, said, param="mixtura")
        if wish.layers is not None:
            if wish.layers < 2 and wish.proposers is not None:
                said = "`mixtura.layers` counts the aggregator's: with proposers it is at least 2"
                raise Refused(400, said, param="mixtura.layers")
            rows = plan.layers[: wish.layers - 1]
            rows += (plan.layers[-1],) * (wish.layers - 1 - len(rows))
            plan = replace(plan, layers=rows)
        smallest = min((sum(s.samples for s in row) for row in plan.layers), default=1)
        plan = replace(plan, quorum=min(plan.quorum, smallest))
        inside = choice.inside & _kept(plan, wish)
        plan = self._resolved(replace(plan, aggregator=wish.aggregator or plan.aggregator))
        return choice._replace(
            plan=plan, calls=self._config.calls(plan), inside=inside, whole=False
        )

    def _seats(self, plan: Plan, seats: Sequence[Seated]) -> tuple[Seated, ...]:
        """New proposers; one that sat there already keeps its persona and its sampling."""
        before = {seat.model: seat for row in reversed(plan.layers) for seat in row}
        for seat in seats:
            self._found(seat.model, PROPOSERS)
        return tuple(replace(before.get(seat.model, seat), samples=seat.samples) for seat in seats)

    def _resolved(self, plan: Plan) -> Plan:
        """A plan in which `default` stands for what it means here."""
        if DEFAULT not in plan.members():
            return plan
        layers = tuple(
            tuple(replace(seat, model=meant(self._config, seat.model)) for seat in row)
            for row in plan.layers
        )
        return replace(plan, layers=layers, aggregator=meant(self._config, plan.aggregator))

    def _meanings(self, names: Iterable[str]) -> set[str]:
        """What *names* stand for in a plan: themselves, and `default` its meaning, too."""
        return {*names, *(meant(self._config, name) for name in names)}

    def _found(self, name: str, param: str) -> Plan:
        """What a name means. A file on this machine has none unless it is configured."""
        if self._config.is_path(name):
            raise _unknown(f"the model `{name}` does not exist", param)
        try:
            return self._config.plan(name)
        except ConfigError as error:
            raise _unknown(str(error), param) from None


def meant(config: Config, name: str) -> str:
    """`default` is the configured default, unless someone made a mixture of that name."""
    own = config.mixtures().get(name)
    ours = own is None or own.where is None or own.where.source == PRESETS
    return config.default if name == DEFAULT and ours else name


def _read(call: Call) -> _Asked:
    """The names in a call. Raises Refused (400) for what follows no grammar of names."""
    wish = call.wish
    base, param = (wish.mixture, BASE) if wish.mixture else (call.model, "model")
    inline = _parsed(written, base, param)
    names = dict.fromkeys(sorted(inline.members()) if inline else [base], param)
    proposers: list[Seated] = []
    nested: str | None = None
    for text, field in (
        *((text, PROPOSERS) for text in wish.proposers or ()),
        *([(wish.aggregator, AGGREGATOR)] if wish.aggregator is not None else ()),
    ):
        if plan := _parsed(written, text, field):
            nested = field
            names |= dict.fromkeys(sorted(plan.members()), field)
        elif field == PROPOSERS:
            proposers.append(_parsed(seated, text, field))
            names[proposers[-1].model] = field
        else:
            names[text] = field
    return _Asked(base, param, inline, tuple(proposers), names, nested)


def _parsed(read: Callable[[str], T], text: str, param: str) -> T:
    if len(text) > LONGEST_NAME:
        raise Refused(400, f"`{param}` is longer than {LONGEST_NAME} letters", param=param)
    try:
        return read(text)
    except ConfigError as error:
        raise Refused(400, str(error), param=param) from None


def _kept(plan: Plan, wish: Wish) -> set[str]:
    """
    Members that stand where their mixture has them, and that *wish* does not name.

    An aggregator with no proposers before it is no longer a part of the mixture.
    """
    if not plan.layers:
        return set()
    rows = plan.layers if wish.proposers is None else ()
    kept = {seat.model for row in rows for seat in row} | set(plan.fallbacks)
    return kept if wish.aggregator is not None else kept | {plan.aggregator}


def _unknown(said: str, param: str) -> Refused:
    return Refused(404, said, code="model_not_found", param=param)
