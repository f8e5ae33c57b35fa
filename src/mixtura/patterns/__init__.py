"""A mixture's relatives, each a Model, too: what to compare a mixture with."""

from mixtura.patterns.best_of import BestOf, Verifier
from mixtura.patterns.choosing import Chooser, Chosen, Verdict
from mixtura.patterns.ranker import Ranker
from mixtura.patterns.self_moa import self_moa
from mixtura.patterns.sequential import Sequential
from mixtura.patterns.vote import Vote

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
