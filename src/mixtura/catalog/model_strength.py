"""How strong hosted models are, as far as the table that comes with the program knows them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import date as Date  # noqa: N812  (the field below is called date)
from functools import cache
from importlib import resources

import msgspec


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


def sort_by_strength(names: Sequence[str]) -> list[str]:
    """The strongest first; models that are not in the table last, equals in their order."""

    def strength(name: str) -> float:
        found = find_strength(name)
        return found.strength if found else 0.0

    return sorted(names, key=strength, reverse=True)
