"""What `auto` stands for: the default mixture's models, those of a key, or those at hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice, zip_longest

from mixtura.catalog import providers
from mixtura.catalog.model_strength import find_strength, is_far_weaker, sort_by_strength
from mixtura.config.embedded_model import embedded_settings
from mixtura.config.plan import (
    AUTO,
    AUTO_TEAM,
    EMBEDDED_MODEL,
    Environment,
    MemberSpec,
    MixtureSpec,
    parse_member,
)
from mixtura.core.types import Sampling

SAMPLES_OF_ONE = 3
"""Proposals of a model that is alone, as where one key is set."""
MAX_TEAM = 4
"""Proposers of a team across providers: more cost more and wait for the slowest."""


@dataclass(frozen=True, slots=True)
class AutoDefaults:
    """
    The models of the default mixture; where none is configured, what this machine has: a key,
    Ollama, or the embedded model.
    """

    team: tuple[MemberSpec, ...]
    aggregator: str
    why: str
    answer: Sampling = field(default_factory=Sampling)
    pattern: str | None = None
    """What makes the answer of the mixture `default`, where that is no aggregator."""

    @property
    def is_embedded(self) -> bool:
        return self.aggregator == EMBEDDED_MODEL


def parse_team(
    names: Iterable[str], sampling: Sampling | None = None, persona: str | None = None
) -> tuple[MemberSpec, ...]:
    """The members that *names* stand for. Raises ConfigError for one that is none."""
    asked = sampling or Sampling()
    return tuple(replace(parse_member(name), sampling=asked, persona=persona) for name in names)


def use_default_mixture(plan: MixtureSpec) -> AutoDefaults:
    """
    The proposers of the first layer of *plan*, the configured default, and the model of its last
    step; its first proposer where that is no model. One proposal alone is asked for three times.
    """
    rows = plan.layers or ((MemberSpec(plan.aggregator),),)
    team = [replace(seat, path=()) for seat in rows[0]]
    if sum(seat.samples for seat in team) == 1:
        team = [replace(team[0], samples=SAMPLES_OF_ONE)]
    last = plan.aggregator if plan.has_final_model else team[0].model
    why = f"the default mixture is '{plan.name}'"
    # What a judge is asked with is not how an answer is written.
    answer = Sampling() if plan.pattern.spec.kind.proposals_answer else plan.answer
    return AutoDefaults(tuple(team), last, why, answer)


def reaches_auto(plan: MixtureSpec, mixtures: Mapping[str, MixtureSpec]) -> bool:
    """Whether a member of *plan*, or of one of the *mixtures* in it, is `auto` or `auto-team`."""
    seen: set[str] = set()
    names = plan.member_names()
    while names:
        if names & {AUTO, AUTO_TEAM}:
            return True
        seen |= names
        inside = [mixtures[name].member_names() for name in names if name in mixtures]
        names = set[str]().union(*inside) - seen
    return False


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
    return AutoDefaults(parse_team(team), aggregator, why)


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
        team = parse_team(f"{name}/{model}" for model in provider.usual)
        return AutoDefaults(team, f"{name}/{provider.aggregator}", f"{key} is set")
    if here is not None:
        return here
    if len(pulled) > 1:
        team = parse_team(pulled, Sampling(max_tokens=512))
        why = "the starter team is on this machine"
        return AutoDefaults(team, pulled[0], why, Sampling(max_tokens=1024))
    silent = "does not answer" if is_ollama_silent else "has no models"
    why = f"no API key is set and Ollama {silent}"
    use = embedded_settings()
    team = parse_team([f"{use.model}*{use.samples}"], use.draft, use.persona)
    return AutoDefaults(team, use.model, why, use.answer, use.pattern)
