"""Whether a mixture is better than its best member: chosen on some prompts, proved on others.

The best of many tries was lucky, so its own score says too much. What is chosen on one part of the
prompts is tested once on the other: the paired difference to the best member, with its interval.
A mixture whose lower bound is below -1 point is not to be written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from mixtura.core.wilson_interval import wilson_interval
from mixtura.evals.statistics import intervals
from mixtura.selection.counting import Table
from mixtura.selection.proof_looks import LookTerms

LOWEST_BOUND = -0.01
"""One point: a mixture that may be worse by more than that is not written."""
STRONG_MEMBER_GAP = 0.10
"""Members that are weaker than the best one by more than this are scouts only."""
USUAL_SPREAD = 0.4
"""The standard deviation, from prompt to prompt, of a difference of right and wrong answers."""
MIN_GATE_PROMPTS = 100
"""So many recorded prompts are needed to set a gate's threshold below 1."""


class Proof(NamedTuple):
    """
    How much better a mixture is than the best member, with the bounds of the 95 % interval, on so
    many prompts. *needed*: prompts at which the lower bound would be above -1 point with a power
    of 80 %, if the difference is as seen; None where more prompts would not help. Of several looks
    at the same prompts the interval is that of what *look* may spend. *unscored*: prompts without
    a score of the mixture, and of the member; each of them is left out on both sides.
    """

    difference: float
    low: float
    high: float
    n: int
    needed: int | None
    look: LookTerms = LookTerms()
    missing: int = 0
    unscored: tuple[int, int] = (0, 0)

    @property
    def holds(self) -> bool:
        """Whether the mixture is seen not to be worse by more than one point."""
        return self.low >= LOWEST_BOUND and not self.look.is_spent


def admit_members(scores: Mapping[str, float]) -> dict[str, str]:
    """
    By member, the best one first: ``aggregator``, ``proposer``, or ``scout`` for one that is
    weaker by more than ten points (arXiv 2410.03777): its draft is counted and read by no model.
    """
    ranked = sorted(scores, key=lambda name: -scores[name])
    best = scores[ranked[0]]
    near = {name for name in ranked if best - scores[name] <= STRONG_MEMBER_GAP + 1e-9}
    roles = {name: "proposer" if name in near else "scout" for name in ranked}
    return roles | {ranked[0]: "aggregator"}


def choose_mixture(scores: Mapping[str, Table], best: Table) -> str:
    """
    The name of the mixture to prove: the one with the highest gain over the *best* member, less
    half of its standard error; the first of equals. Of many the luckiest is likely one whose gain
    is uncertain.
    """

    def rate(name: str) -> float:
        gain = scores[name] - best
        gain = gain[~np.isnan(gain)]
        if len(gain) < 2:
            return -math.inf
        return float(gain.mean() - gain.std(ddof=1) / math.sqrt(len(gain)) / 2)

    return max(scores, key=rate)


def prove_gain(
    ours: Table, best: Table, find_look: Callable[[float], LookTerms] | None = None
) -> Proof:
    """
    The paired difference on prompts that chose nothing; *find_look* says which look at them it is,
    given the difference. Where hardly a prompt tells the two apart, the bounds are those of what
    may be unseen, which a bootstrap knows nothing of. Raises ValueError below two prompts.
    """
    gain = intervals.paired_difference(ours, best)
    look = find_look(gain.value) if find_look else LookTerms()
    if look.confidence != intervals.CONFIDENCE:
        gain = intervals.paired_difference(ours, best, confidence=look.confidence)
    least, most = intervals.unseen_bounds(
        np.array(gain.value), gain.prompts, confidence=look.confidence
    )
    return Proof(
        difference=gain.value,
        low=min(gain.low, float(least)),
        high=max(gain.high, float(most)),
        n=gain.prompts,
        needed=_needed_prompts(gain, look.confidence),
        look=look,
        missing=gain.missing,
        unscored=(int(np.isnan(ours).sum()), int(np.isnan(best).sum())),
    )


def prompts_to_prove(gain: float, confidence: float = intervals.CONFIDENCE) -> int:
    """Prompts that prove a true *gain*, where scores differ as much as they usually do."""
    return intervals.prompts_for_difference(
        USUAL_SPREAD, gain - LOWEST_BOUND, confidence=confidence
    )


def _needed_prompts(gain: intervals.IntervalEstimate, confidence: float) -> int | None:
    above = gain.value - LOWEST_BOUND
    if above <= 0:
        return None
    unseen = intervals.prompts_for_unseen(gain.value, LOWEST_BOUND, confidence=confidence)
    if gain.spread <= 0:
        return unseen
    by_spread = intervals.prompts_for_difference(gain.spread, above, confidence=confidence)
    return max(by_spread, unseen)


def gate_threshold(agreement: Table, right: Table, error: float) -> float:
    """
    The smallest threshold of a gate at which the answers that pass are wrong no more often than
    *error*, by the upper bound of Wilson's interval; 1 without enough prompts.

    *agreement*: of the scouts on each prompt; *right*: what the answer that would go out scored.
    """
    known = ~np.isnan(right)
    agreement, right = agreement[known], right[known]
    if len(right) < MIN_GATE_PROMPTS:
        return 1.0
    for threshold in sorted(set(agreement.tolist())):
        passed = right[agreement >= threshold]
        if (
            threshold > 0
            and wilson_interval(1 - float(passed.mean()), len(passed), 1.96)[1] <= error
        ):
            return threshold
    return 1.0
