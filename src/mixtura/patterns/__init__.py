"""A mixture's relatives, each a Model, too: what to compare a mixture with."""

from typing import TYPE_CHECKING

from mixtura.core.lazy_names import load_when_used

# Its module has the same name, which would take its place.
from mixtura.patterns.self_moa import self_moa

if TYPE_CHECKING:
    from mixtura.patterns.adaptive import Adaptive
    from mixtura.patterns.analyse import Analyse
    from mixtura.patterns.best_of import BestOf, Verifier
    from mixtura.patterns.checked import Checked
    from mixtura.patterns.choosing import Chooser, Chosen, Verdict
    from mixtura.patterns.combine import Combine
    from mixtura.patterns.gate import Gate
    from mixtura.patterns.guard import Guard
    from mixtura.patterns.knockout import Knockout
    from mixtura.patterns.modes import Modes
    from mixtura.patterns.mux import Mux
    from mixtura.patterns.ranker import Ranker
    from mixtura.patterns.recursive import Recursive
    from mixtura.patterns.residual import Residual
    from mixtura.patterns.robust import Robust
    from mixtura.patterns.sequential import Sequential
    from mixtura.patterns.sparse import Sparse
    from mixtura.patterns.switch import Switch
    from mixtura.patterns.tree import Tree
    from mixtura.patterns.vote import Vote
    from mixtura.patterns.weighted import Weighted

__all__ = [
    "Adaptive",
    "Analyse",
    "BestOf",
    "Checked",
    "Chooser",
    "Chosen",
    "Combine",
    "Gate",
    "Guard",
    "Knockout",
    "Modes",
    "Mux",
    "Ranker",
    "Recursive",
    "Residual",
    "Robust",
    "Sequential",
    "Sparse",
    "Switch",
    "Tree",
    "Verdict",
    "Verifier",
    "Vote",
    "Weighted",
    "self_moa",
]

__getattr__ = load_when_used(
    "mixtura.patterns",
    {
        "Adaptive": "adaptive",
        "Analyse": "analyse",
        "BestOf": "best_of",
        "Checked": "checked",
        "Chooser": "choosing",
        "Chosen": "choosing",
        "Combine": "combine",
        "Gate": "gate",
        "Guard": "guard",
        "Knockout": "knockout",
        "Modes": "modes",
        "Mux": "mux",
        "Ranker": "ranker",
        "Recursive": "recursive",
        "Residual": "residual",
        "Robust": "robust",
        "Sequential": "sequential",
        "Sparse": "sparse",
        "Switch": "switch",
        "Tree": "tree",
        "Verdict": "choosing",
        "Verifier": "best_of",
        "Vote": "vote",
        "Weighted": "weighted",
    },
)
