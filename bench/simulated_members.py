"""Members whose accuracy and correlation of errors are known, to try a choice of mixtures on."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from mixtura.selection.counting import DrawTable, Labels

_OTHER_WRONG = 4
"""Wrong answers that are nobody's favourite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedMembers:
    """
    Members that are right by a Gaussian copula. *accuracy*: of a draw of each. *correlation*: of
    two members' latent variables; *consistency*: the share of the rest that a member keeps from
    draw to draw. *shared_error*: the chance that a member's favourite wrong answer is the
    prompt's popular one; *stubbornness*: that a wrong draw gives the favourite.
    """

    accuracy: tuple[float, ...]
    correlation: float
    consistency: float
    shared_error: float
    stubbornness: float

    def draw_table(self, prompts: int, draws: int, rng: np.random.Generator) -> DrawTable:
        """So many prompts, each with its draws of every member; 0 is the right answer."""
        members = len(self.accuracy)
        kept = (1 - self.correlation) * self.consistency
        common = rng.standard_normal((prompts, 1, 1))
        own = rng.standard_normal((prompts, members, 1))
        luck = rng.standard_normal((prompts, members, draws))
        latent = np.sqrt(self.correlation) * common + np.sqrt(kept) * own
        latent = latent + np.sqrt(1 - self.correlation - kept) * luck
        bar = np.array([NormalDist().inv_cdf(a) for a in self.accuracy])[None, :, None]
        right = latent < bar
        labels = np.where(right, 0, self._wrong_answers(right.shape, rng))
        return DrawTable(
            tuple(f"m{number}" for number in range(members)), labels, right.astype(float)
        )

    def _wrong_answers(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Labels:
        prompts, members, _ = shape
        # 1 is the popular wrong answer; each member has one of its own; then come the others.
        popular = rng.random((prompts, members, 1)) < self.shared_error
        own = np.arange(2, members + 2)[None, :, None]
        favourite = np.where(popular, 1, own)
        other = rng.integers(members + 2, members + 2 + _OTHER_WRONG, shape)
        return np.where(rng.random(shape) < self.stubbornness, favourite, other)
