"""Reads the team that a caller asks for: a mixture by name or written as one, and its changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from mixtura.config.plan import (
    MemberSpec,
    MixtureSpec,
    RequestedSeat,
    TeamChanges,
    parse_inline,
    parse_member,
)
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
    changes: TeamChanges = TeamChanges()
    """What is wanted otherwise than the base has it."""
    names: Mapping[str, str] = MappingProxyType({})
    """Every name that the caller chose, with its field."""
    nested: str | None = None
    """The field that has a whole mixture where one member belongs."""

    @property
    def has_changes(self) -> bool:
        """Whether it has other members than the base, or another depth."""
        return self.changes != TeamChanges()


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
    changes = TeamChanges(
        None if proposers is None else tuple(seats[fields.proposers]),
        next(iter(seats[fields.aggregator]), None),
        layers,
    )
    return RequestedTeam(base, fields.base, inline, written, changes, names, nested)


def _read_seat(
    seat: str | ProposerTable | AggregatorTable, field: str, *, is_drawn: bool
) -> RequestedSeat:
    """A member that is named, ``NAME*3`` too where it may be drawn, or written out."""
    if isinstance(seat, str):
        member = _parse_name(parse_member, seat, field) if is_drawn else MemberSpec(seat)
        return RequestedSeat(member, whole=False)
    try:
        return RequestedSeat(MemberSpec.from_table(seat, ()), whole=True)
    except ConfigError as error:
        raise ConfigError(f"`{field}`: {error}", key=field) from None


def _parse_name(read: Callable[[str], T], text: str, field: str) -> T:
    if len(text) > MAX_NAME_CHARS:
        raise ConfigError(f"`{field}` is longer than {MAX_NAME_CHARS} letters", key=field)
    try:
        return read(text)
    except ConfigError as error:
        raise ConfigError(str(error), key=field) from None
