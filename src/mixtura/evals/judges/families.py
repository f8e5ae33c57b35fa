"""Whether a judge is of a family that takes part: then it may favour its own."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from mixtura.catalog.providers import model_family
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec


class FamilyOverlap(NamedTuple):
    """*side*: 1 where the judge is kin of the answers, -1 of those beside them, else 0."""

    side: int = 0
    warnings: tuple[str, ...] = ()


def plan_model_names(config: Config, plan: MixtureSpec) -> set[str]:
    """The models of a plan, those of mixtures inside it too, as their makers call them."""
    found: set[str] = set()
    for name in plan.member_names():
        if name in config.configured_mixtures():
            found |= plan_model_names(config, config.mixture_spec(name))
            continue
        table = config.model_tables().get(name)
        found.add(f"{table.provider or ''}/{table.model or name}" if table else name)
    return found


def find_family_overlap(
    judge: Collection[str], ours: Collection[str], theirs: Collection[str]
) -> FamilyOverlap:
    """Who of *ours* and *theirs* is kin of the *judge*, all of them names of models."""
    warnings: list[str] = []
    kin = [_first_related_pair(judge, side) for side in (ours, theirs)]
    for shared, whose in zip(kin, ("the answers", "the answers beside them"), strict=True):
        if shared:
            one, other, made = shared
            by = "itself" if one == other else f"{_short_name(one)}, of its own family ({made})"
            warnings.append(
                f"the judge {_short_name(other)} takes part: {whose}, or a part of them, are by"
                f" {by}; judges favour their own"
            )
    side = bool(kin[0]) - bool(kin[1])
    return FamilyOverlap(side, tuple(warnings))


def _first_related_pair(
    judge: Collection[str], side: Collection[str]
) -> tuple[str, str, str] | None:
    for one in sorted(side):
        for other in sorted(judge):
            made = model_family(one)
            if one == other or (made is not None and made == model_family(other)):
                return one, other, made or ""
    return None


def _short_name(name: str) -> str:
    return name.strip("/").rpartition("/")[2]
