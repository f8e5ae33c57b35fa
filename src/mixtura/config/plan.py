"""A mixture by names: nothing loaded, nothing asked, no key needed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import msgspec

from mixtura.catalog.patterns import find_pattern, pattern_names
from mixtura.config import toml_document
from mixtura.config.schema import AggregatorTable, ProposerTable
from mixtura.core.credentials import looks_like_key
from mixtura.core.errors import ConfigError
from mixtura.core.text import unknown_name_message
from mixtura.core.types import Sampling
from mixtura.patterns.spec import NoSettings, PatternSpec
from mixtura.prompts.instructions import prompt_variants
from mixtura.prompts.synthesis import Synthesis, envelope

EMBEDDED_MODEL = "smollm2-135m"
"""The model that needs nothing but this package: for a first look, not for good answers."""
AUTO, AUTO_TEAM = "auto", "auto-team"
INLINE_MARKS = "*,>"
"""What makes mixtures of names, and so stands in none."""
MAX_SAMPLES = 1000
"""Draws of one member in one layer."""

Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """A member as the file names it."""

    model: str
    samples: int = 1
    persona: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    path: tuple[toml_document.Key, ...] = field(default=(), compare=False)
    """Where it stands in its mixture's table."""
    variants: tuple[str, ...] = ()
    """Instructions that its draws take in turn, each beside the persona."""

    @classmethod
    def from_table(
        cls, seat: ProposerTable | AggregatorTable, path: tuple[toml_document.Key, ...]
    ) -> Self:
        """
        A member that says all of its seat; *path*: where it stands. Raises ConfigError, with the
        key that is wrong.
        """
        samples, variants = 1, ()
        if isinstance(seat, ProposerTable):
            samples = check_samples(seat.samples)
            variants = prompt_variants() if seat.variants is True else tuple(seat.variants or ())
        if variants and seat.model == AUTO_TEAM:
            said = "variants belong to one model, and 'auto-team' stands for several"
            raise ConfigError(said, key="variants")
        if any(not text.strip() for text in variants):
            said = "a variant is a text; for a draw without one, leave `variants` out"
            raise ConfigError(said, key="variants")
        sampling = seat.sampling.to_sampling()
        return cls(seat.model, samples, seat.persona, sampling, path, variants)

    def draws(self) -> list[tuple[str | None, int]]:
        """The system prompts of its draws and how many have each, in the order of the draws."""
        if not self.variants:
            return [(self.persona, self.samples)]
        texts = (self.variants[i % len(self.variants)] for i in range(self.samples))
        return [(f"{self.persona}\n\n{text}" if self.persona else text, 1) for text in texts]


@dataclass(frozen=True, slots=True)
class PatternChoice:
    """What becomes of the proposals: a pattern by its name, and its own settings."""

    kind: str = "mixture"
    settings: msgspec.Struct = field(default_factory=NoSettings)

    @classmethod
    def of(cls, kind: str, **settings: object) -> Self:
        """The pattern *kind* with these of its settings. Raises ConfigError for none."""
        return cls(kind, cls(kind).spec.settings(**settings))

    @property
    def spec(self) -> PatternSpec:
        """What the pattern says of itself. Raises ConfigError where there is none."""
        if (spec := find_pattern(self.kind)) is None:
            raise ConfigError(unknown_name_message("pattern", self.kind, pattern_names()))
        return spec

    @property
    def stops_early(self) -> bool:
        """Whether an answer may take fewer calls than are planned where nothing fails."""
        return self.spec.stops_early(self.settings)


@dataclass(frozen=True, slots=True)
class MixtureSpec:
    """A mixture by names: nothing loaded, nothing asked, no key needed."""

    name: str
    layers: tuple[tuple[MemberSpec, ...], ...]
    aggregator: str
    """Who has the last seat; the pattern's name where no model does."""
    fallbacks: tuple[str, ...] = ()
    quorum: int = 1
    patience: float | None = None
    learns_patience: bool | None = None
    """
    Whether the times of its models' last answers say how long stragglers are waited for; None: as
    `Config` has it.
    """
    deadline: float | None = None
    synthesis: Synthesis = envelope
    sampling: Sampling = field(default_factory=Sampling)
    answer: Sampling = field(default_factory=Sampling)
    """The aggregator's own sampling, over that of the whole mixture."""
    answer_persona: str | None = None
    """What the aggregator is told besides the conversation's own system message."""
    where: toml_document.TomlDocument | None = None
    pattern: PatternChoice = field(default_factory=PatternChoice)
    pattern_with_aggregator: PatternChoice | None = None
    """The pattern where someone names an aggregator for a plan that has none by itself."""

    def with_aggregator(self, model: str) -> MixtureSpec:
        """The same proposers, with *model* in the last seat."""
        pattern = self.pattern_with_aggregator or self.pattern
        return replace(self, aggregator=model, pattern=pattern, pattern_with_aggregator=None)

    def rename_members(self, meanings: Mapping[str, str]) -> MixtureSpec:
        """Its members by what their names mean: `default` by the name it stands for."""
        if not meanings.keys() & self.member_names():
            return self
        layers = tuple(
            tuple(replace(seat, model=meanings.get(seat.model, seat.model)) for seat in row)
            for row in self.layers
        )
        return replace(
            self, layers=layers, aggregator=meanings.get(self.aggregator, self.aggregator)
        )

    @property
    def answering_models(self) -> set[str]:
        """Those whose words are the answer: the aggregator, or proposers that are chosen from."""
        if self.has_final_model and not self.pattern.spec.kind.proposals_answer:
            return {self.aggregator}
        return {seat.model for seat in self.layers[-1]}

    @property
    def layer_count(self) -> int:
        """Layers in the paper's count."""
        proposals = sum(seat.samples for seat in self.layers[-1]) if self.layers else 0
        spec, settings = self.pattern.spec, self.pattern.settings
        rows = {seat.model for seat in self.layers[0]} if spec.asks_in_turn else self.layers
        return len(rows) + spec.count_final_layers(settings, proposals)

    @property
    def has_final_model(self) -> bool:
        """Whether a model has the last seat."""
        return self.pattern.spec.final_model is not None or self.aggregator != self.pattern.kind

    @property
    def final_model_path(self) -> tuple[toml_document.Key, ...]:
        """Where the file names who has the last seat."""
        final = self.pattern.spec.final_model
        return (final.key if final else "aggregator", "model")

    @property
    def final_step_text(self) -> str:
        """What the last seat does, in words."""
        choice = self.pattern
        if describe := choice.spec.describe_final_step:
            return describe(choice.settings)
        return choice.spec.final_step.format(**msgspec.structs.asdict(choice.settings))

    @property
    def seat_count(self) -> int:
        """Its proposers, each draw of one."""
        return sum(seat.samples for layer in self.layers for seat in layer)

    def member_names(self) -> set[str]:
        """Every name in it."""
        return {name for name, _ in self.member_locations()}

    def member_locations(self) -> list[tuple[str, tuple[toml_document.Key, ...]]]:
        """Every name in it, in order, and where it stands."""
        seats = [(seat.model, seat.path) for layer in self.layers for seat in layer]
        last = [(self.aggregator, self.final_model_path)] if self.has_final_model else []
        spares = [(name, ("fallbacks", i)) for i, name in enumerate(self.fallbacks)]
        named = [(name, (key,)) for key, name in self.setting_models().items()]
        return [*seats, *last, *spares, *named]

    def setting_models(self) -> dict[str, str]:
        """The models that the pattern's own settings name, by the settings' keys."""
        choice = self.pattern
        found = {key: getattr(choice.settings, key) for key in choice.spec.model_settings}
        return {key: name for key, name in found.items() if name}

    def error_at(self, path: Sequence[toml_document.Key], problem: str) -> ConfigError:
        if self.where is None:
            return ConfigError(problem)
        return self.where.error_at(["mixtures", self.name, *path], problem)

    def add_location(self, path: Sequence[toml_document.Key]) -> AbstractContextManager[None]:
        """A block whose ConfigErrors get the line of *path*, where the mixture is in a file."""
        if self.where is None:
            return nullcontext()
        return self.where.add_location(["mixtures", self.name, *path])


class RequestedSeat(NamedTuple):
    """A member that a caller names."""

    member: MemberSpec
    whole: bool
    """It is written out, as a file has it, and not called by its name alone."""


class TeamChanges(NamedTuple):
    """What a caller wants otherwise than a mixture has it; None leaves it as it is."""

    proposers: tuple[RequestedSeat, ...] | None = None
    aggregator: RequestedSeat | None = None
    layers: int | None = None
    """In the paper's count."""


class ResolvedTeam(NamedTuple):
    """The plan that a team comes to."""

    plan: MixtureSpec
    added: frozenset[str]
    """Its members that do not come with a configured mixture."""


def resolve_team(
    plan: MixtureSpec, changes: TeamChanges, meanings: Mapping[str, str], *, is_configured: bool
) -> ResolvedTeam:
    """
    What *plan* comes to with *changes*. *meanings*: what names such as `default` mean;
    *is_configured*: its own members come with it.
    """
    plan = plan.rename_members(meanings)
    own = plan.member_names() if is_configured else set[str]()
    if changes != TeamChanges():
        plan = _change_members(plan, changes)
        own &= _kept_members(plan, changes)
        plan = plan.rename_members(meanings)
    return ResolvedTeam(plan, frozenset(plan.member_names() - own))


def _change_members(plan: MixtureSpec, changes: TeamChanges) -> MixtureSpec:
    """*plan* with the members and the depth of *changes*; all else in it stays as it was."""
    if changes.proposers is not None:
        row = _replace_proposers(plan, changes.proposers)
        plan = replace(plan, layers=(row,) * max(len(plan.layers), 1))
    if changes.layers is not None:
        rows = plan.layers[: changes.layers - 1]
        # More layers repeat the last one, as the paper's do.
        rows += (plan.layers[-1],) * (changes.layers - 1 - len(rows))
        plan = replace(plan, layers=rows)
    smallest = min((sum(s.samples for s in row) for row in plan.layers), default=1)
    # Fewer proposers could not reach the configured quorum.
    plan = replace(plan, quorum=min(plan.quorum, smallest))
    if changes.aggregator is not None:
        last, whole = changes.aggregator
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


def _kept_members(plan: MixtureSpec, changes: TeamChanges) -> set[str]:
    """
    Members of a changed *plan* that stand where their mixture has them, and that *changes* do not
    name.

    An aggregator with no proposers before it is no longer a part of the mixture.
    """
    if not plan.layers:
        return set()
    rows = plan.layers if changes.proposers is None else ()
    kept = {member.model for row in rows for member in row} | set(plan.fallbacks)
    return kept if changes.aggregator is not None else kept | {plan.aggregator}


def parse_member(text: str) -> MemberSpec:
    """``NAME`` or ``NAME*3``. Raises ConfigError when what follows the star is no number."""
    name, star, times = text.rpartition("*")
    if not star:
        return MemberSpec(text)
    if not re.fullmatch("[0-9]{1,9}", times) or int(times) < 1 or not name:
        raise ConfigError(
            f"'{text}': write a number from 1 to 1,000 after the star, as in"
            f" '{name.strip() or 'NAME'}*3'"
        )
    return MemberSpec(name, check_samples(int(times)))


def check_samples(samples: int) -> int:
    """So many draws, where that can be. Raises ConfigError."""
    if not 1 <= samples <= MAX_SAMPLES:
        raise ConfigError(f"samples must be 1 to {MAX_SAMPLES:,}, not {samples:,}")
    return samples


def check_name(name: str) -> None:
    """A name that a person can use for a model or a mixture of theirs. Raises ConfigError."""
    if looks_like_key(name):
        raise ConfigError("this is an API key or a login, not a name: keys go into the environment")
    if not name.strip():
        raise ConfigError("a name cannot be empty")
    if not name.isprintable() or name != name.strip():
        said = "a name has no spaces around it, and no line ends or other signs that are not shown"
        raise ConfigError(said)
    if name in (AUTO, AUTO_TEAM):
        raise ConfigError(f"'{name}' stands for the models of this machine: choose another name")
    if taken := next((mark for mark in INLINE_MARKS if mark in name), None):
        said = f"'{name}': a name cannot contain '{taken}', which combines names into mixtures"
        raise ConfigError(said)


def parse_inline(text: str) -> MixtureSpec | None:
    """
    A mixture written as one name, ``a,b*2>c``: proposers, then the aggregator.

    Every ``>`` begins the next layer. None when there is none in it. Raises ConfigError.
    """
    if ">" not in text:
        return None
    *rows, last = ([name.strip() for name in row.split(",")] for row in text.split(">"))
    if len(last) != 1 or not all(name for row in (*rows, last) for name in row):
        raise ConfigError(
            f"'{text}': a mixture in one word is written PROPOSER,PROPOSER*2>AGGREGATOR, with one"
            " aggregator at its end"
        )
    layers = tuple(tuple(parse_member(name) for name in row) for row in rows)
    return MixtureSpec(text, layers, last[0], sampling=Sampling(temperature=0.7))


def uniform_layers(
    proposers: Sequence[MemberSpec], aggregator: str | None, layers: int | None, *, name: str
) -> MixtureSpec:
    """The same *proposers* in every layer but the last; *layers* in the paper's count, else 2."""
    rows = (tuple(proposers),) * ((layers or 2) - 1)
    return MixtureSpec(
        name, rows, aggregator or proposers[0].model, sampling=Sampling(temperature=0.7)
    )
