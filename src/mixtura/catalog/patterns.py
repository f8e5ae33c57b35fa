"""Which patterns there are by name: ours, and those that other packages add."""

from __future__ import annotations

from collections.abc import Mapping

from mixtura.catalog.entry_points import find_entry_points, load_entry_point
from mixtura.core.errors import ConfigError
from mixtura.patterns import (
    adaptive,
    analyse,
    best_of,
    checked,
    gate,
    guard,
    knockout,
    mixture,
    modes,
    mux,
    ranker,
    recursive,
    residual,
    review,
    robust,
    sequential,
    sparse,
    switch,
    tree,
    vote,
    weighted,
)
from mixtura.patterns.spec import PatternSpec

ENTRY_POINT_GROUP = "mixtura.patterns"
BUILT_IN: Mapping[str, PatternSpec] = {
    module.PATTERN.name: module.PATTERN
    for module in (
        mixture,
        sequential,
        tree,
        sparse,
        adaptive,
        residual,
        recursive,
        analyse,
        gate,
        guard,
        robust,
        ranker,
        knockout,
        best_of,
        checked,
        modes,
        vote,
        weighted,
        mux,
        switch,
        review,
    )
}
"""No other package can take the place of one of these."""


def pattern_names() -> list[str]:
    """Every pattern's name, ours first; nothing is loaded for it."""
    others = find_entry_points(ENTRY_POINT_GROUP)
    return [*BUILT_IN, *sorted(name for name in others if name not in BUILT_IN)]


def find_pattern(name: str) -> PatternSpec | None:
    """The pattern of that name; None where there is none. Raises ConfigError: a broken package."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    spec = load_entry_point(ENTRY_POINT_GROUP, name, PatternSpec)
    if spec is not None and spec.name != name:
        raise ConfigError(f"the entry point '{name}' gives a pattern that is called '{spec.name}'")
    return spec


def all_patterns() -> list[PatternSpec]:
    """Every pattern. Raises ConfigError for one that cannot be loaded."""
    return [spec for spec in map(find_pattern, pattern_names()) if spec is not None]
