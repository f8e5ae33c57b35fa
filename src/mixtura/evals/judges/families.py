"""Whether a judge is of a family that takes part: then it may favour its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from mixtura.catalog.providers import model_family
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec


class FamilyOverlap(NamedTuple):
    """*side*: 1 where the judge is of the answers' family, -1 of the other answers', else 0."""

    side: int = 0
    warnings: tuple[str, ...] = ()


def plan_model_names(config: Config, plan: MixtureSpec) -> set[str]:
    """The models of a plan, those of mixtures inside it too, as their makers call them."""
    names: set[str] = set()
    for name in plan.member_names():
        if name in config.registry.mixtures:
            names |= plan_model_names(config, config.mixture_spec(name))
            continue
        table = config.registry.model_tables().get(name)
        # By their makers' names: a family is read from these, not from what a file calls a model.
        names.add(f"{table.provider or ''}/{table.model or name}" if table else name)
    return names


def model_families(config: Config, names: Iterable[str]) -> dict[str, str]:
    """By member, the family of its model; without those of no known one, or of several."""
    found = {
        name: {model_family(model) for model in plan_model_names(config, config.mixture_spec(name))}
        for name in names
    }
    return {
        name: family
        for name, kinds in found.items()
        if len(kinds) == 1 and (family := next(iter(kinds))) is not None
    }


def find_family_overlap(
    judge: Collection[str], ours: Collection[str], theirs: Collection[str]
) -> FamilyOverlap:
    """The models of *ours* and *theirs* that are of the *judge*'s family."""
    warnings: list[str] = []
    related = [_first_related_pair(judge, side) for side in (ours, theirs)]
    for shared, whose in zip(
        related, ("the answers", "the answers compared with them"), strict=True
    ):
        if shared:
            one, other, family = shared
            by = (
                "the judge itself"
                if one == other
                else f"{_short_name(one)}, of its own family ({family})"
            )
            warnings.append(
                f"the judge {_short_name(other)} may be biased: {whose} are, at least in part, by"
                f" {by}; judges favour their own"
            )
    side = bool(related[0]) - bool(related[1])
    return FamilyOverlap(side, tuple(warnings))


def _first_related_pair(
    judge: Collection[str], side: Collection[str]
) -> tuple[str, str, str] | None:
    for one in sorted(side):
        for other in sorted(judge):
            family = model_family(one)
            if one == other or (family is not None and family == model_family(other)):
                return one, other, family or ""
    return None


def _short_name(name: str) -> str:
    return name.strip("/").rpartition("/")[2]
