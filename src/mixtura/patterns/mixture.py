"""The paper's mixture, as a configuration file names it."""

from __future__ import annotations

from mixtura.engine.mixture import Mixture
from mixtura.patterns.spec import PatternSpec

PATTERN = PatternSpec(
    help="a synthesis that the aggregator writes of all proposals",
    kind=Mixture,
    aggregator="the model that writes the answer",
)
