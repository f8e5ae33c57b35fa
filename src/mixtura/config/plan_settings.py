"""All settings of a mixture as data, so that two can be compared."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import msgspec

from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec

_SETTINGS_ONCE_SHARED = {"window": 6, "repeat": 1, "extract": "text"}
"""Settings that every pattern had once: so the digests of earlier evaluations hold."""
_SETTINGS_ADDED = {"confidence": "p-true"}
"""Settings that came later, with what a pattern did before: as if they were not there, likewise."""


def json_default(value: object) -> object:
    """What stands in JSON for a value that has no form there."""
    if is_dataclass(value) and not isinstance(value, type):
        row = {one.name: getattr(value, one.name) for one in fields(value)}
        if row.get("variants") == ():  # evaluations from before there were any go on
            del row["variants"]
        return row
    # By its name: the text of a function has its address, which changes from run to run.
    return getattr(value, "__qualname__", None) or str(value)


def _describe_function(function: object) -> list[Any]:
    """A function by its name and what it encloses, functions in it likewise."""
    cells = (cell.cell_contents for cell in getattr(function, "__closure__", None) or ())
    own = [_describe_function(one) if callable(one) else str(one) for one in cells]
    return [getattr(function, "__qualname__", ""), *own]


def plan_settings(config: Config, plan: MixtureSpec) -> dict[str, Any]:
    """The settings of a mixture and of all its members, as JSON data."""
    members: dict[str, Any] = {}
    for name in sorted(plan.member_names()):
        if name in config.registry.mixtures:
            members[name] = plan_settings(config, config.mixture_spec(name))
        elif table := config.registry.model_tables().get(name):
            members[name] = msgspec.to_builtins(table)
    # A synthesis is a function over its texts: other texts make another evaluation.
    # But for its line in the file: a comment above it changes nothing.
    words = {one.name: getattr(plan, one.name) for one in fields(plan) if one.name != "where"}
    words["layers"] = [[replace(seat, path=()) for seat in layer] for layer in plan.layers]
    own = msgspec.structs.asdict(plan.pattern.settings)
    settings = {key: value for key, value in own.items() if _SETTINGS_ADDED.get(key) != value}
    words["pattern"] = {"kind": plan.pattern.kind} | _SETTINGS_ONCE_SHARED | settings
    words["synthesis"] = _describe_function(plan.synthesis)
    return words | {"members": members}
