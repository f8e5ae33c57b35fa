"""Mixtures that only count: what they would answer, out of draws that are there. Nothing is asked.

The same rules as `vote`, `mux`, `switch` and `combine` have in `mixtura.patterns`, over tables of
numbers: thousands of prompts in a moment, where every mixture is tried on the same draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixtura.patterns.combine import FEATURES

Table = NDArray[np.float64]
Labels = NDArray[np.int64]
CountingPattern = Literal["vote", "mux", "switch", "combine"]

NO_ANSWER = -1


@dataclass(frozen=True, slots=True)
class DrawTable:
    """
    What each member said to each prompt, several times. Shapes: prompts, members, draws.

    *labels*: equal numbers are equal answers, `NO_ANSWER` for none. *scores*: 0 to 1, not a number
    where there is none. *dollars* and *seconds*: of one draw of each member, on average; None
    where a price is unknown. *lengths*: of the texts, in characters; None where they are unknown,
    and then all are taken to be alike.
    """

    names: tuple[str, ...]
    labels: Labels
    scores: Table
    dollars: tuple[float | None, ...] = ()
    seconds: tuple[float | None, ...] = ()
    lengths: Table | None = None

    @property
    def draws(self) -> int:
        return self.labels.shape[2]

    def mean_scores(self) -> dict[str, float]:
        """By member, how well it does alone; without those that have no score."""
        known = ~np.isnan(self.scores)
        return {
            name: float(self.scores[:, i][known[:, i]].mean())
            for i, name in enumerate(self.names)
            if known[:, i].any()
        }

    def solo_scores(self, name: str) -> Table:
        """
        A member alone, on each prompt: the mean of its draws, which is what one draw is expected
        to score, with less chance in it than one draw has.
        """
        return _mean_of_known(self.scores[:, self.names.index(name)])

    def pick_members(self, names: Sequence[str]) -> DrawTable:
        """The same prompts with these members, in this order."""
        at = [self.names.index(name) for name in names]
        return replace(
            self,
            names=tuple(names),
            labels=self.labels[:, at],
            scores=self.scores[:, at],
            dollars=tuple(self.dollars[i] for i in at) if self.dollars else (),
            seconds=tuple(self.seconds[i] for i in at) if self.seconds else (),
            lengths=None if self.lengths is None else self.lengths[:, at],
        )


@dataclass(frozen=True, slots=True)
class CountingMixture:
    """
    A mixture that only counts. *members*: in their order, each of so many *draws*. *accuracy*:
    by member, for mux, switch and combine. *threshold*: switch's. *weights* and *families*:
    combine's.
    """

    pattern: CountingPattern
    members: tuple[str, ...]
    draws: int
    accuracy: Mapping[str, float]
    threshold: float = 1.0
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    families: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def name(self) -> str:
        times = "" if self.draws == 1 else f"*{self.draws}"
        return f"{self.pattern} of {', '.join(f'{name}{times}' for name in self.members)}"

    def score_prompts(self, table: DrawTable) -> Table:
        """
        Its expected score on each prompt. Where it needs fewer draws than there are, it is scored
        with each of them in turn, and the mean is taken.
        """
        there = table.pick_members(self.members)
        turns = there.draws if self.draws < there.draws else 1
        rows = [self._score_once(there, turn) for turn in range(turns)]
        return _mean_of_known(np.stack(rows, axis=1))

    def _score_once(self, table: DrawTable, turn: int) -> Table:
        labels = np.roll(table.labels, -turn, axis=2)[:, :, : self.draws]
        scores = np.roll(table.scores, -turn, axis=2)[:, :, : self.draws]
        lengths = None
        if table.lengths is not None:
            lengths = np.roll(table.lengths, -turn, axis=2)[:, :, : self.draws]
        chosen = self.choose_draws(labels, lengths)
        return scores.reshape(len(scores), -1)[np.arange(len(scores)), chosen]

    def choose_draws(self, labels: Labels, lengths: Table | None = None) -> Labels:
        """
        The position of the answer among the proposals, for each prompt; *labels* and *lengths*: of
        the draws that the mixture is given. Without any answer it is the first proposal.
        """
        weights = [self.accuracy.get(name, 1.0) for name in self.members]
        match self.pattern:
            case "vote":
                return _count_votes(labels)
            case "mux":
                return _pick_surest_member(labels, weights)
            case "switch":
                return _ask_in_turn(labels, weights, self.threshold)
            case "combine":
                features = answer_features(labels, lengths, self.members, weights, self.families)
                return choose_highest(features, labels, self.weights)

    def agreement(self, table: DrawTable) -> Table:
        """The share of the most frequent answer among the first draws, on each prompt."""
        labels = table.pick_members(self.members).labels[:, :, : self.draws]
        return _matches(labels).sum(axis=2).max(axis=1) / (labels.shape[1] * labels.shape[2])

    def score_first_draws(self, table: DrawTable) -> Table:
        """Its score on each prompt with the first draws alone."""
        return self._score_once(table.pick_members(self.members), 0)

    def answer_cost(self, table: DrawTable) -> tuple[float | None, float | None]:
        """Dollars and seconds of an answer, on average; None where one is unknown."""
        there = table.pick_members(self.members)
        dollars, seconds = there.dollars, there.seconds
        asked = self._asked_shares(there)
        cost = time = None
        if dollars and None not in dollars:
            each = zip(dollars, asked, strict=True)
            cost = self.draws * math.fsum((one or 0.0) * share for one, share in each)
        if seconds and None not in seconds:
            known = [one or 0.0 for one in seconds]
            time = max(known)
            if self.pattern == "switch":  # its members wait for each other
                time = math.fsum(one * share for one, share in zip(known, asked, strict=True))
        return cost, time

    def _asked_shares(self, there: DrawTable) -> list[float]:
        """By member, on how many of the prompts it is asked: switch stops where one agrees."""
        if self.pattern != "switch":
            return [1.0] * len(self.members)
        labels = there.labels[:, :, : self.draws]
        agreed = _own_counts(labels).max(axis=2) / self.draws >= self.threshold
        return [
            float((~agreed[:, :place].any(axis=1)).mean()) for place in range(len(self.members))
        ]


def counting_mixtures(
    ranked: Sequence[str], accuracy: Mapping[str, float], draws: int
) -> Iterator[CountingMixture]:
    """
    The mixtures to try: the best few of *ranked*, the best one first, by every rule; so the number
    of tries grows with the number of members, not with that of their subsets.
    """
    for count in range(1, len(ranked) + 1):
        members = tuple(ranked[:count])
        # As many digits as a file has of them: what is written must choose as what was measured.
        known = {name: round(accuracy[name], 4) for name in members}
        for each in sorted({1, draws}):
            # A vote of two is the first one's answer.
            if count * each > 2:
                yield CountingMixture("vote", members, each, {})
        if count > 1 and draws > 1:
            yield CountingMixture("mux", members, draws, known)
            yield CountingMixture("switch", members, draws, known)


# ---- the rules


def _matches(labels: Labels) -> NDArray[np.bool_]:
    """Which proposals give the same answer: prompts, proposals, proposals."""
    flat = labels.reshape(len(labels), -1).astype(np.int16)
    return (flat[:, :, None] == flat[:, None, :]) & (flat[:, :, None] != NO_ANSWER)


def _own_counts(labels: Labels) -> Labels:
    """How many of a member's draws give the same answer as each of them."""
    same = labels[..., :, None] == labels[..., None, :]
    return (same & (labels[..., None] != NO_ANSWER)).sum(axis=3, dtype=np.int64)


def _count_votes(labels: Labels) -> Labels:
    """The first proposal of the answer that most give."""
    return _matches(labels).sum(axis=2, dtype=np.int16).argmax(axis=1)


def _weigh_votes(labels: Labels, weights: Table) -> Labels:
    """The first proposal of the answer with the most weight."""
    same = _matches(labels)
    support = (same * weights.reshape(len(labels), 1, -1)).sum(axis=2)
    # Rounding is not to break a tie; an answer without weight is one all the same.
    return np.where(same.any(axis=2), support.round(12), -1.0).argmax(axis=1)


def _modal_draws(labels: Labels) -> Labels:
    """
    By member, its first draw with the answer that it gives most often. Of equals the answer is
    taken that came first among all proposals, as groups are in that order.
    """
    prompts, members, draws = labels.shape
    first = _matches(labels).argmax(axis=2).reshape(prompts, members, draws)
    return (_own_counts(labels) * (members * draws + 1) - first).argmax(axis=2)


def _pick_surest_member(labels: Labels, accuracy: Sequence[float]) -> Labels:
    prompts, members, draws = labels.shape
    modal = _modal_draws(labels)
    share = _own_counts(labels).max(axis=2)
    every = _matches(labels).sum(axis=2, dtype=np.int64).reshape(labels.shape)
    support = np.take_along_axis(every, modal[:, :, None], axis=2)[:, :, 0]
    order = np.array(sorted(set(accuracy))).searchsorted(accuracy)
    # One number for three keys, each of which the next one cannot outweigh.
    whole = members * draws + 1
    key = (share * (len(accuracy) + 1) + order) * whole + support
    best = np.where(share > 0, key, -1).argmax(axis=1)
    return best * draws + modal[np.arange(prompts), best]


def _ask_in_turn(labels: Labels, accuracy: Sequence[float], threshold: float) -> Labels:
    prompts, members, draws = labels.shape
    own = _own_counts(labels)
    agreed = (own.max(axis=2) / draws >= threshold) & (draws > 1)
    weights = np.array(accuracy)[None, :] * _member_sureness(own) / draws
    last = _weigh_votes(labels, np.broadcast_to(weights[:, :, None], labels.shape))
    chosen = np.where(agreed.any(axis=1), -1, last)
    for place in range(members):
        here = agreed[:, place] & ~agreed[:, :place].any(axis=1)
        # Only those who were asked by then count in which answer came first.
        modal = _modal_draws(labels[:, : place + 1])[:, place]
        chosen = np.where(here, place * draws + modal, chosen)
    return chosen.reshape(prompts)


def _member_sureness(own: Labels) -> Table:
    """By member 1 - H / log k, H the entropy of its answers; half where there is one draw."""
    draws = own.shape[2]
    if draws == 1:
        return np.full(own.shape[:2], 0.5)
    share = own / draws
    # Each draw stands for a part of its answer: the sum over draws is that over answers.
    entropy = -np.where(own > 0, np.log(np.maximum(share, 1e-300)), 0.0).sum(axis=2) / draws
    return np.maximum(0.0, 1 - entropy / math.log(draws))


def answer_features(
    labels: Labels,
    lengths: Table | None,
    members: Sequence[str],
    accuracy: Sequence[float],
    families: Mapping[str, str],
) -> Table:
    """
    What is known of each proposal's answer. Shape: prompts, proposals, features, in the order of
    `mixtura.patterns.combine.FEATURES`, which says what each of them is.
    """
    prompts, count, draws = labels.shape
    same = _matches(labels)
    total = count * draws
    known = np.repeat(np.array(accuracy, float), draws)
    by_member = same.reshape(prompts, total, count, draws).mean(axis=3)
    kin = [families.get(name, name) for name in members]
    by_family = np.stack(
        [
            by_member[:, :, [i for i, own in enumerate(kin) if own == family]].mean(axis=2)
            for family in dict.fromkeys(kin)
        ],
        axis=2,
    )
    size = np.ones((prompts, total)) if lengths is None else lengths.reshape(prompts, total)
    mine = (same * size[:, None, :]).sum(axis=2) / np.maximum(same.sum(axis=2), 1)
    relative = np.maximum(mine, 1.0) / np.maximum(size.mean(axis=1), 1.0)[:, None]
    return np.stack(
        [
            same.mean(axis=2),
            (same * known).sum(axis=2) / (known.sum() or 1.0),
            (by_family > 0).mean(axis=2),
            by_family.mean(axis=2),
            by_member.max(axis=2),
            np.log(relative),
        ],
        axis=2,
    )


def choose_highest(features: Table, labels: Labels, weights: Mapping[str, float]) -> Labels:
    """The first proposal of the answer with the highest score."""
    row = np.array([weights.get(name, 0.0) for name in FEATURES])
    # Rounding is not to break a tie; a proposal without an answer has no score.
    scores = (features @ row).round(12)
    return np.where(labels.reshape(len(labels), -1) != NO_ANSWER, scores, -np.inf).argmax(axis=1)


def _mean_of_known(rows: Table) -> Table:
    """The mean of each row; not a number where nothing is known."""
    known = ~np.isnan(rows)
    count = known.sum(axis=1)
    total = np.where(known, rows, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), math.nan)
