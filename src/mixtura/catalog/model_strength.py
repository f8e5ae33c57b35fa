"""How strong hosted models are, as far as the table that comes with the program knows them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import date as Date  # noqa: N812  (the field below is called date)
from functools import cache
from importlib import resources

import msgspec

FAR_WEAKER = 1 / 5
"""A member with less of the aggregator's strength is likely more than ten points weaker."""


class ModelStrength(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the table: a number to compare by, and since when and from where it is known."""

    strength: float
    date: Date
    source: str


@cache
def model_strengths() -> Mapping[str, ModelStrength]:
    """All rows, by the last part of a model's name in lower case."""
    text = (resources.files("mixtura") / "presets" / "strength.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text)["models"], dict[str, ModelStrength])


def find_strength(model: str) -> ModelStrength | None:
    """What is known of a model, whoever serves it; None where nothing is."""
    return model_strengths().get(model.rpartition("/")[2].lower())


def find_strongest(models: Mapping[str, str], otherwise: str | None) -> str | None:
    """
    Which of a team is the strongest, as far as it can be said without asking.

    *models*: by the names of the team, what each model is called where it is served. Where the
    table has all of them, it is the first of the strongest; else the member *otherwise*, which
    someone chose to write the answer; else the strongest of those that the table has; else None.
    """
    known = {name: found.strength for name in models if (found := find_strength(models[name]))}
    if len(known) < len(models) and otherwise in models:
        return otherwise
    return max(known, key=known.__getitem__, default=None)


def is_far_weaker(model: str, aggregator: str) -> bool:
    """Whether a proposer would more likely hurt than help, as far as both strengths are known."""
    own, last = find_strength(model), find_strength(aggregator)
    return own is not None and last is not None and own.strength < FAR_WEAKER * last.strength


def sort_by_strength(names: Sequence[str]) -> list[str]:
    """The strongest first; models that are not in the table last, equals in their order."""

    def strength(name: str) -> float:
        found = find_strength(name)
        return found.strength if found else 0.0

    return sorted(names, key=strength, reverse=True)
