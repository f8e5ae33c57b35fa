"""A mixture by names: nothing loaded, nothing asked, no key needed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import cycle, islice, zip_longest
from typing import Self

import msgspec

from mixtura.catalog import providers
from mixtura.catalog.model_strength import find_strength, is_far_weaker, sort_by_strength
from mixtura.catalog.patterns import find_pattern, pattern_names
from mixtura.config import toml_document
from mixtura.config.embedded_model import embedded_settings
from mixtura.core.credentials import looks_like_key
from mixtura.core.errors import ConfigError
from mixtura.core.text import unknown_name_message
from mixtura.core.types import Sampling
from mixtura.patterns.spec import NoSettings, PatternSpec
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
        choice = self.pattern
        return len(self.layers) + choice.spec.count_final_layers(choice.settings, proposals)

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


class AutoDefaults:
    """What this machine has, when nothing is configured: a key, Ollama, or the embedded model."""

    def __init__(
        self,
        team: Sequence[str],
        aggregator: str,
        why: str,
        drafts: Sampling | None = None,
        answer: Sampling | None = None,
        *,
        persona: str | None = None,
        pattern: str | None = None,
        is_across: bool = False,
    ) -> None:
        self.team = tuple(
            replace(parse_member(name), sampling=drafts or Sampling(), persona=persona)
            for name in team
        )
        self.pattern = pattern
        """What makes the answer of the mixture `default`, where that is no aggregator."""
        self.aggregator = aggregator
        self.why = why
        self.answer = answer or Sampling()
        self.is_across = is_across
        """Whether it is a team of several providers' models, so that one had to be chosen."""

    @property
    def is_embedded(self) -> bool:
        return self.aggregator == EMBEDDED_MODEL


MAX_TEAM = 4
"""Proposers of a team across providers: more cost more and wait for the slowest."""


def find_provider_keys(environ: Environment) -> dict[str, str]:
    """Hosted providers that models can be chosen from, and the variable with the key of each."""
    return {
        name: key
        for name, provider in providers.providers().items()
        if provider.aggregator and not provider.local
        if (key := next((key for key in provider.keys if environ.get(key)), None))
    }


def choose_team_across(keys: Mapping[str, str]) -> AutoDefaults:
    """
    A team of the models of several providers: the strongest known one writes the answer.

    *keys*: the variable with the key of each provider. Each proposes with its first usual model
    that is not far weaker than the aggregator, in the order of their strongest ones; a provider
    whose models all are is left out. With fewer than three models, some propose twice.
    """
    known = providers.providers()
    ranked = sort_by_strength([f"{name}/{known[name].aggregator}" for name in keys])
    order = [name.partition("/")[0] for name in ranked]
    aggregator = ranked[0]

    def good_models(name: str) -> list[str]:
        strongest = f"{name}/{known[name].aggregator}"
        if is_far_weaker(strongest, aggregator):  # whatever is known of its others
            return []
        usual = [f"{name}/{model.partition('*')[0]}" for model in known[name].usual]
        return [one for one in usual if not is_far_weaker(one, aggregator)] or [strongest]

    by_provider = {name: good_models(name) for name in order}
    left_out = [keys[name] for name, models in by_provider.items() if not models]
    rounds = zip_longest(*by_provider.values())
    pairs = [model for models in rounds for model in models if model]
    team = list(islice(cycle(pairs), max(3, min(len(order) - len(left_out), MAX_TEAM))))
    why = f"{_join_words(list(keys.values()))} are set"
    if (found := find_strength(aggregator)) is not None:
        why += (
            f"; {aggregator} is ranked first by list price, a rough guide to strength"
            f" (prices of {found.date})"
        )
    if left_out:
        why += f"; the models of {_join_words(left_out)} are left out as far weaker"
    return AutoDefaults(team, aggregator, why, is_across=True)


def _join_words(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def detect_defaults(
    environ: Environment,
    here: AutoDefaults | None = None,
    pulled: Sequence[str] = (),
    *,
    is_ollama_silent: bool = True,
) -> AutoDefaults:
    """
    Choose: the provider whose key is set, a team across several of them, else the team *here* of
    this machine's servers and tools, else the starter team once it was pulled, else the embedded
    model.

    *pulled* has the members of the starter team that are on this machine. *is_ollama_silent*:
    it does not answer, rather than having no models.
    """
    keys = find_provider_keys(environ)
    if len(keys) > 1:
        return choose_team_across(keys)
    for name, key in keys.items():
        provider = providers.providers()[name]
        team = [f"{name}/{model}" for model in provider.usual]
        return AutoDefaults(team, f"{name}/{provider.aggregator}", f"{key} is set")
    if here is not None:
        return here
    if len(pulled) > 1:
        why = "the starter team is on this machine"
        return AutoDefaults(
            pulled, pulled[0], why, Sampling(max_tokens=512), Sampling(max_tokens=1024)
        )
    silent = "does not answer" if is_ollama_silent else "has no models"
    why = f"no API key is set and Ollama {silent}"
    use = embedded_settings()
    return AutoDefaults(
        [f"{use.model}*{use.samples}"], use.model, why, use.draft, use.answer,
        persona=use.persona, pattern=use.pattern,
    )  # fmt: skip
