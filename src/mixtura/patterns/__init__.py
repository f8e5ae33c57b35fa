"""A mixture's relatives, each a Model behind the same seam: what to compare a mixture with."""

from mixtura.patterns.best_of import BestOf, Verifier
from mixtura.patterns.chosen import Chooser, Chosen, Verdict
from mixtura.patterns.drawn import self_moa
from mixtura.patterns.ranked import Ranker
from mixtura.patterns.sequential import Sequential
from mixtura.patterns.voted import Vote

__all__ = [
    "BestOf",
    "Chooser",
    "Chosen",
    "Ranker",
    "Sequential",
    "Verdict",
    "Verifier",
    "Vote",
    "self_moa",
]
