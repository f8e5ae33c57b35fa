"""The paper's mixture, as a configuration file names it."""

from __future__ import annotations

from mixtura.engine.mixture import Mixture
from mixtura.patterns.spec import FinalModel, PatternSpec

PATTERN = PatternSpec(
    name="mixture",
    help="a synthesis that the aggregator writes of all proposals",
    kind=Mixture,
    final_model=FinalModel("aggregator", "the model that writes the answer"),
    takes_fallbacks=True,
)
