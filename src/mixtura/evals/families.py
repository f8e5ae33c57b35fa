"""Whether a judge is of a family that takes part: then it may favour its own."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from mixtura.catalog import family
from mixtura.config import Config
from mixtura.plan import Plan


class Kinship(NamedTuple):
    """*side*: 1 where the judge is kin of the answers, -1 of those beside them, else 0."""

    side: int = 0
    warnings: tuple[str, ...] = ()


def members(config: Config, plan: Plan) -> set[str]:
    """The models of a plan, those of mixtures inside it too, as their makers call them."""
    found: set[str] = set()
    for name in plan.members():
        if name in config.mixtures():
            found |= members(config, config.plan(name))
            continue
        table = config.tables().get(name)
        found.add(f"{table.provider or ''}/{table.model or name}" if table else name)
    return found


def kinship(judge: Collection[str], ours: Collection[str], theirs: Collection[str]) -> Kinship:
    """Who of *ours* and *theirs* is kin of the *judge*, all of them names of models."""
    warnings: list[str] = []
    kin = [_shared(judge, side) for side in (ours, theirs)]
    for shared, whose in zip(kin, ("the answers", "the answers beside them"), strict=True):
        if shared:
            one, other, made = shared
            by = "itself" if one == other else f"{_short(one)}, of its own family ({made})"
            warnings.append(
                f"the judge {_short(other)} takes part: {whose}, or a part of them, are by {by};"
                " judges favour their own"
            )
    side = bool(kin[0]) - bool(kin[1])
    return Kinship(side, tuple(warnings))


def _shared(judge: Collection[str], side: Collection[str]) -> tuple[str, str, str] | None:
    for one in sorted(side):
        for other in sorted(judge):
            made = family(one)
            if one == other or (made is not None and made == family(other)):
                return one, other, made or ""
    return None


def _short(name: str) -> str:
    return name.strip("/").rpartition("/")[2]
