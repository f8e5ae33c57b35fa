"""The paper's mixture, as a configuration file names it."""

from __future__ import annotations

from mixtura.engine.mixture import Mixture
from mixtura.patterns.spec import FinalModel, PatternParts, PatternSpec


def _build(parts: PatternParts) -> Mixture:
    return parts.build_aggregated(Mixture)


PATTERN = PatternSpec(
    name="mixture",
    help="a synthesis that the aggregator writes of all proposals",
    kind=Mixture,
    build=_build,
    final_model=FinalModel("aggregator", "the model that writes the answer"),
    takes_fallbacks=True,
)
