"""The team that a caller asks for: a mixture by name or written as one, its members changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from mixtura.config.mixture_tables import read_seat
from mixtura.config.plan import MemberSpec, MixtureSpec, parse_inline, parse_member
from mixtura.config.schema import AggregatorTable, ProposerTable
from mixtura.core.errors import ConfigError

T = TypeVar("T")

MAX_NAME_CHARS = 2000
"""Characters of a model's name: a mixture may be written as one."""


class TeamFields(NamedTuple):
    """What a caller calls the fields that name models: errors have one of them as their key."""

    base: str
    proposers: str
    aggregator: str


class RequestedSeat(NamedTuple):
    """A member that a caller names."""

    member: MemberSpec
    whole: bool
    """It is written out, as a file has it, and not called by its name alone."""


class RequestedTeam(NamedTuple):
    """A team by its names, read by their grammar; nothing is looked up yet."""

    base: str
    """A name, or a mixture written as one."""
    field: str
    """What has the base."""
    inline: MixtureSpec | None = None
    """The base as a plan, where it is written as one."""
    written: tuple[str, ...] = ()
    """The names in that."""
    proposers: tuple[RequestedSeat, ...] | None = None
    aggregator: RequestedSeat | None = None
    layers: int | None = None
    """In the paper's count."""
    names: Mapping[str, str] = MappingProxyType({})
    """Every name that the caller chose, with its field."""
    nested: str | None = None
    """The field that has a whole mixture where one member belongs."""

    @property
    def has_changes(self) -> bool:
        """Whether it has other members than the base, or another depth."""
        return (self.proposers, self.aggregator, self.layers) != (None, None, None)


class ResolvedTeam(NamedTuple):
    """The plan that a team comes to."""

    plan: MixtureSpec
    added: frozenset[str]
    """Its members that do not come with a configured mixture."""


def read_team(
    base: str,
    proposers: Sequence[str | ProposerTable] | None,
    aggregator: str | AggregatorTable | None,
    layers: int | None,
    fields: TeamFields,
) -> RequestedTeam:
    """
    The team that a caller's fields ask for. Raises ConfigError, with the field as its key, for what
    follows no grammar of names.
    """
    inline = _parse_name(parse_inline, base, fields.base)
    written = tuple(sorted(inline.member_names())) if inline else ()
    names = dict.fromkeys(written or [base], fields.base)
    nested: str | None = None
    seats: dict[str, list[RequestedSeat]] = {fields.proposers: [], fields.aggregator: []}
    for seat, field in (
        *((seat, fields.proposers) for seat in proposers or ()),
        *([(aggregator, fields.aggregator)] if aggregator is not None else ()),
    ):
        text = seat if isinstance(seat, str) else seat.model
        if mixture := _parse_name(parse_inline, text, field):
            nested = field
            names |= dict.fromkeys(sorted(mixture.member_names()), field)
        else:
            read = _read_seat(seat, field, is_drawn=field == fields.proposers)
            seats[field].append(read)
            names[read.member.model] = field
    return RequestedTeam(
        base, fields.base, inline, written,
        None if proposers is None else tuple(seats[fields.proposers]),
        next(iter(seats[fields.aggregator]), None), layers, names, nested,
    )  # fmt: skip


def _read_seat(
    seat: str | ProposerTable | AggregatorTable, field: str, *, is_drawn: bool
) -> RequestedSeat:
    """A member that is named, ``NAME*3`` too where it may be drawn, or written out."""
    if isinstance(seat, str):
        member = _parse_name(parse_member, seat, field) if is_drawn else MemberSpec(seat)
        return RequestedSeat(member, whole=False)
    try:
        return RequestedSeat(read_seat(seat, ()), whole=True)
    except ConfigError as error:
        raise ConfigError(f"`{field}`: {error}", key=field) from None


def _parse_name(read: Callable[[str], T], text: str, field: str) -> T:
    if len(text) > MAX_NAME_CHARS:
        raise ConfigError(f"`{field}` is longer than {MAX_NAME_CHARS} letters", key=field)
    try:
        return read(text)
    except ConfigError as error:
        raise ConfigError(str(error), key=field) from None


def resolve_team(
    plan: MixtureSpec, team: RequestedTeam, meanings: Mapping[str, str]
) -> ResolvedTeam:
    """What *team* comes to, whose base is *plan*; *meanings*: what names such as `default` mean."""
    plan = _rename_members(plan, meanings)
    own = set[str]() if team.inline else plan.member_names()
    if team.has_changes:
        plan = _change_members(plan, team)
        own &= _kept_members(plan, team)
        plan = _rename_members(plan, meanings)
    return ResolvedTeam(plan, frozenset(plan.member_names() - own))


def _change_members(plan: MixtureSpec, team: RequestedTeam) -> MixtureSpec:
    """*plan* with the members and the depth of *team*; all else in it stays as it was."""
    if team.proposers is not None:
        row = _replace_proposers(plan, team.proposers)
        plan = replace(plan, layers=(row,) * max(len(plan.layers), 1))
    if team.layers is not None:
        rows = plan.layers[: team.layers - 1]
        # More layers repeat the last one, as the paper's do.
        rows += (plan.layers[-1],) * (team.layers - 1 - len(rows))
        plan = replace(plan, layers=rows)
    smallest = min((sum(s.samples for s in row) for row in plan.layers), default=1)
    # Fewer proposers could not reach the configured quorum.
    plan = replace(plan, quorum=min(plan.quorum, smallest))
    if team.aggregator is not None:
        last, whole = team.aggregator
        plan = plan.with_aggregator(last.model)
        if whole:
            plan = replace(plan, answer=last.sampling, answer_persona=last.persona)
    return plan


def _replace_proposers(plan: MixtureSpec, seats: Sequence[RequestedSeat]) -> tuple[MemberSpec, ...]:
    """
    New proposers; one that was there already and is called by its name alone keeps its persona
    and its sampling.
    """
    before = {member.model: member for row in reversed(plan.layers) for member in row}
    return tuple(
        member if whole else replace(before.get(member.model, member), samples=member.samples)
        for member, whole in seats
    )


def _kept_members(plan: MixtureSpec, team: RequestedTeam) -> set[str]:
    """
    Members of a changed *plan* that stand where their mixture has them, and that *team* does not
    name.

    An aggregator with no proposers before it is no longer a part of the mixture.
    """
    if not plan.layers:
        return set()
    rows = plan.layers if team.proposers is None else ()
    kept = {member.model for row in rows for member in row} | set(plan.fallbacks)
    return kept if team.aggregator is not None else kept | {plan.aggregator}


def _rename_members(plan: MixtureSpec, meanings: Mapping[str, str]) -> MixtureSpec:
    """A plan whose members go by what their names mean: `default` by the name it stands for."""
    if not meanings.keys() & plan.member_names():
        return plan
    layers = tuple(
        tuple(replace(member, model=meanings.get(member.model, member.model)) for member in row)
        for row in plan.layers
    )
    return replace(plan, layers=layers, aggregator=meanings.get(plan.aggregator, plan.aggregator))
