"""A digest that is the same for the same evaluation: task, rows, models, settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any

import msgspec

from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.evals.eval_request import FILE_FIELDS, EvalRequest, names_file
from mixtura.evals.forecast import EvalModels
from mixtura.evals.tasks import dataset

_SCORING_ONLY = ("labels", "difficulty", "gamed")
"""Fields of `EvalRequest` that change the scoring alone, not the requests."""

_SETTINGS_ONCE_SHARED = {"window": 6, "repeat": 1, "extract": "text"}
"""Settings that every pattern had once: so the digests of earlier evaluations hold."""


def eval_identity(config: Config, players: EvalModels, request: EvalRequest) -> str:
    """A digest of the task, its files' contents and the settings of all models.

    Raises ConfigError for a file that cannot be read.
    """
    words = {name: value for name, value in asdict(request).items() if name not in _SCORING_ONLY}
    for name in FILE_FIELDS:
        if (file := words.get(name)) and names_file(file):
            # By what is in it: a file that was moved is the same, one that was changed is another.
            words[name] = dataset.content_digest(file)
    for role, plan in zip(EvalModels._fields, players, strict=True):
        words[f"the {role}"] = _plan_settings(config, plan) if plan else None
    whole = json.dumps(words, sort_keys=True, default=_json_default)
    return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()


def judging_identity(
    config: Config, plans: Sequence[MixtureSpec], judge: MixtureSpec | None, request: EvalRequest
) -> str:
    """A digest of the judge, the judged mixtures and the rows that they answer.

    Raises ConfigError for a file that cannot be read.
    """
    each = [eval_identity(config, EvalModels(plan, judge, None), request) for plan in plans]
    return hashlib.blake2b("".join(each).encode(), digest_size=16).hexdigest()


def _json_default(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    # By its name: the text of a function has its address, which changes from run to run.
    return getattr(value, "__qualname__", None) or str(value)


def _plan_settings(config: Config, plan: MixtureSpec) -> dict[str, Any]:
    """The settings of a mixture and of all its members, as JSON data."""
    members: dict[str, Any] = {}
    for name in sorted(plan.member_names()):
        if name in config.registry.mixtures:
            members[name] = _plan_settings(config, config.mixture_spec(name))
        elif table := config.registry.model_tables().get(name):
            members[name] = msgspec.to_builtins(table)
    # A synthesis is a function over its texts: other texts make another evaluation.
    own = [str(cell.cell_contents) for cell in getattr(plan.synthesis, "__closure__", None) or ()]
    # But for its line in the file: a comment above it changes nothing.
    words = {one.name: getattr(plan, one.name) for one in fields(plan) if one.name != "where"}
    words["layers"] = [[replace(seat, path=()) for seat in layer] for layer in plan.layers]
    settings = msgspec.structs.asdict(plan.pattern.settings)
    words["pattern"] = {"kind": plan.pattern.kind} | _SETTINGS_ONCE_SHARED | settings
    words["synthesis"] = [getattr(plan.synthesis, "__qualname__", ""), *own]
    return words | {"members": members}
