"""Labels moved apart where they would overlap."""

from __future__ import annotations

from collections.abc import Sequence

LABEL_GAP = 18.0
"""Pixels between two labels at the end of lines."""


def space_apart(values: Sequence[float], gap: float) -> list[float]:
    """Rising *values* moved as little as needed for *gap* between each two."""
    groups: list[list[float]] = []
    for value in values:
        groups.append([value])
        # Whoever overlaps the group above joins it, and the group is centred on its members' mean:
        # pooling of neighbours, as in isotonic regression.
        while (
            len(groups) > 1
            and _lowest_position(groups[-1], gap) - _highest_position(groups[-2], gap) < gap
        ):
            groups[-2:] = [[*groups[-2], *groups[-1]]]
    return [_lowest_position(group, gap) + i * gap for group in groups for i in range(len(group))]


def _lowest_position(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _highest_position(group: Sequence[float], gap: float) -> float:
    return _lowest_position(group, gap) + gap * (len(group) - 1)
