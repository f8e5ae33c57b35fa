"""Candidates whose quality and correlation are known, to try a selection on: nothing is asked.

A prompt is of one of many kinds. A kind is easier or harder for all models, for each family and
for each model; given the kind, every draft is right or wrong by a chance of its own, so that two
models err together as far as they share what is hard for them, and two draws of one model most of
all. An aggregator is right by what it can do itself, raised by each right draft and lowered by
each wrong one, by as much as that draft's author convinces: a model may answer well and still be
a bad proposer, and propose well and write badly. What a team is truly worth is summed over all
kinds and outcomes, without noise; what is measured is drawn prompt by prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixtura.selection import search
from mixtura.selection.search import Measurement, Search, Team

Table = NDArray[np.float64]
Rights = NDArray[np.bool_]

KIND_COUNT = 1500
"""Kinds of prompts: enough that no one of them matters."""
FAMILY_SIZES = (4, 3, 2, 1, 1, 1)
"""Models of each family: siblings are alike in quality and err together."""


class WorldSetting(NamedTuple):
    """How candidates differ, on the scale of the logistic function."""

    level: float = 0.8
    apart: float = 0.9
    """The spread of the families' quality, and, with half of it, of siblings'."""
    common: float = 2.0
    family: float = 2.5
    own: float = 3.0
    """What is hard for all, for a family, for one model: spreads over the kinds of prompts."""
    helps: float = 2.0
    misleads: float = 0.8
    convincing: float = 0.6
    """What a right and a wrong draft do, and how much that differs (of the logarithm)."""
    writing: float = 0.4
    """The spread of what aggregators can do themselves."""


USUAL_SETTING = WorldSetting()


@dataclass(frozen=True, slots=True)
class SimulatedWorld:
    """So many candidates, by number. *chances*: of a right draft, by kind and candidate."""

    chances: Table
    ease: Table
    helps: Table
    misleads: Table
    writes: Table

    @classmethod
    def random_world(cls, seed: int, setting: WorldSetting = USUAL_SETTING) -> SimulatedWorld:
        rng = np.random.default_rng(seed)
        # Shuffled: a search that favours early names must not find a family by it.
        family = rng.permutation(np.repeat(np.arange(len(FAMILY_SIZES)), FAMILY_SIZES))
        count = len(family)
        quality = setting.level + rng.normal(0, setting.apart, len(FAMILY_SIZES))[family]
        quality = quality + rng.normal(0, setting.apart / 2, count)
        ease = rng.normal(0, setting.common, KIND_COUNT)
        hard = rng.normal(0, setting.family, (KIND_COUNT, len(FAMILY_SIZES)))[:, family]
        hard = hard + rng.normal(0, setting.own, (KIND_COUNT, count))
        convincing = np.exp(rng.normal(0, setting.convincing, (2, count)))
        return cls(
            chances=_logistic(quality + ease[:, None] + hard),
            ease=ease,
            helps=setting.helps * convincing[0],
            misleads=setting.misleads * convincing[1],
            writes=rng.normal(-1.0, setting.writing, count),
        )

    @property
    def candidate_count(self) -> int:
        return len(self.helps)

    def candidate_names(self) -> tuple[str, ...]:
        return tuple(f"m{number:02d}" for number in range(self.candidate_count))

    def solo_accuracies(self) -> Table:
        """How often each is right by itself."""
        return self.chances.mean(axis=0)

    def team_accuracy(self, team: Team) -> float:
        """How often a team is right, over every kind of prompt and every outcome of its drafts."""
        members, aggregator = _member_numbers(team)
        right = self.chances[:, members]
        whole = np.zeros(len(self.ease))
        for outcome in product((True, False), repeat=len(members)):
            chance = np.where(outcome, right, 1 - right).prod(axis=1)
            moved = np.where(outcome, self.helps[members], -self.misleads[members]).sum()
            whole += chance * _logistic(self.writes[aggregator] + self.ease + moved)
        return float(whole.mean())

    def all_teams(self, size: int, aggregator: int) -> list[Team]:
        """All there are: different models, and each one by itself."""
        names = self.candidate_names()
        mixed = [Team(members, names[aggregator]) for members in combinations(names, size)]
        return [*mixed, *(Team((name,) * size, names[aggregator]) for name in names)]


@dataclass(frozen=True, slots=True)
class PromptSample:
    """So many prompts of a world, and every candidate's drafts to them, the same for all teams."""

    world: SimulatedWorld
    kinds: NDArray[np.int64]
    rights: Rights
    """By draw, prompt and candidate."""
    seed: int

    @classmethod
    def draw_sample(
        cls, world: SimulatedWorld, prompts: int, draws: int, seed: int
    ) -> PromptSample:
        # A stream of its own: a draft's luck says nothing about an aggregator's.
        rng = np.random.default_rng([seed, 1])
        kinds = rng.integers(0, len(world.ease), prompts)
        chances = world.chances[kinds]
        rights = rng.random((draws, *chances.shape)) < chances
        return cls(world, kinds, rights, seed)

    def measure_team(self, team: Team, start: int, end: int) -> Measurement:
        """A team on some of the prompts; it answers the same whenever it is asked."""
        members, aggregator = _member_numbers(team)
        world = self.world
        moved: Table = np.zeros(end - start)
        for place, member in enumerate(members):
            draw = members[:place].count(member)
            right = self.rights[draw, start:end, member].astype(float)
            moved = moved + right * world.helps[member] - (1 - right) * world.misleads[member]
        chance = _logistic(world.writes[aggregator] + world.ease[self.kinds[start:end]] + moved)
        # Seeded by the team and the slice: the order in which a search asks changes no measurement.
        rng = np.random.default_rng([self.seed, 2, start, aggregator, *members])
        return Measurement(tuple((rng.random(end - start) < chance).astype(float).tolist()))


def run_search(sample: PromptSample, size: int, aggregator: str | None) -> Search:
    """A whole search over a sample."""
    rights = sample.rights
    slices = search.slice_sizes(rights.shape[1])
    ends = [0, *accumulate(slices)]
    names = sample.world.candidate_names()
    order: list[int] = np.argsort(-draft_accuracies(rights), kind="stable").tolist()
    state = search.begin_search(
        Search(
            models=tuple(names[i] for i in order),
            size=size,
            slices=slices,
            aggregator=aggregator,
        )
    )
    while trials := search.next_trials(state):
        state = search.with_results(
            state,
            {t.team: sample.measure_team(t.team, ends[t.slice], ends[t.slice + 1]) for t in trials},
        )
    return state


def _member_numbers(team: Team) -> tuple[list[int], int]:
    return [int(name[1:]) for name in team.members], int(team.aggregator[1:])


def _logistic(value: Table) -> Table:
    return 1 / (1 + np.exp(-value))


def draft_accuracies(rights: Rights) -> Table:
    """Each candidate's share of right drafts."""
    return rights.mean(axis=(0, 1))


def most_accurate(rights: Rights, size: int) -> Sequence[int]:
    """The first rule of thumb: the candidates that are right most often."""
    return sorted(np.argsort(-draft_accuracies(rights))[:size].tolist())


def most_diverse(rights: Rights, size: int) -> Sequence[int]:
    """The second: the candidates whose errors go together least."""
    together = np.corrcoef(rights[0].T.astype(float))
    return min(
        (list(few) for few in combinations(range(rights.shape[2]), size)),
        key=lambda few: float(together[np.ix_(few, few)].sum()),
    )
