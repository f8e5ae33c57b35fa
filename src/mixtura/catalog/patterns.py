"""Which patterns there are by name: ours, and those that other packages add."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from mixtura.catalog.entry_points import find_entry_points, load_entry_point
from mixtura.core.errors import ConfigError
from mixtura.patterns.spec import PatternSpec

ENTRY_POINT_GROUP = "mixtura.patterns"
BUILT_IN = {
    "mixture": "mixture",
    "sequential": "sequential",
    "tree": "tree",
    "sparse": "sparse",
    "adaptive": "adaptive",
    "residual": "residual",
    "recursive": "recursive",
    "analyse": "analyse",
    "gate": "gate",
    "guard": "guard",
    "robust": "robust",
    "rank": "ranker",
    "knockout": "knockout",
    "best-of": "best_of",
    "checked": "checked",
    "modes": "modes",
    "vote": "vote",
    "weighted": "weighted",
    "combine": "combine",
    "mux": "mux",
    "switch": "switch",
    "review": "review",
}
"""Modules of our patterns, loaded when they are used; no other package can take their places."""


def pattern_names() -> list[str]:
    """Every pattern's name, ours first; nothing is loaded for it."""
    others = find_entry_points(ENTRY_POINT_GROUP)
    return [*BUILT_IN, *sorted(name for name in others if name not in BUILT_IN)]


def find_pattern(name: str) -> PatternSpec | None:
    """The pattern of that name; None where there is none. Raises ConfigError: a broken package."""
    if name in BUILT_IN:
        return cast(PatternSpec, import_module(f"mixtura.patterns.{BUILT_IN[name]}").PATTERN)
    spec = load_entry_point(ENTRY_POINT_GROUP, name, PatternSpec)
    if spec is not None and spec.name != name:
        raise ConfigError(f"the entry point '{name}' gives a pattern that is called '{spec.name}'")
    return spec


def all_patterns() -> list[PatternSpec]:
    """Every pattern. Raises ConfigError for one that cannot be loaded."""
    return [spec for spec in map(find_pattern, pattern_names()) if spec is not None]
