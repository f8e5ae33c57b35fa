"""A digest that is the same for the same evaluation: task, rows, models, settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.config.plan_settings import json_default, plan_settings
from mixtura.evals.eval_request import FILE_FIELDS, EvalRequest, names_file
from mixtura.evals.forecast import EvalModels
from mixtura.evals.tasks import dataset

_SCORING_ONLY = ("labels", "difficulty", "gamed")
"""Fields of `EvalRequest` that change the scoring alone, not the requests."""


def eval_identity(config: Config, players: EvalModels, request: EvalRequest) -> str:
    """A digest of the task, its files' contents and the settings of all models.

    Raises ConfigError for a file that cannot be read.
    """
    words = {name: value for name, value in asdict(request).items() if name not in _SCORING_ONLY}
    if not request.agreement:
        del words["agreement"]  # so that logs from before there was the option are found
    for name in FILE_FIELDS:
        if (file := words.get(name)) and names_file(file):
            # By what is in it: a file that was moved is the same, one that was changed is another.
            words[name] = dataset.content_digest(file)
    for role, plan in zip(EvalModels._fields, players, strict=True):
        if plan or role != "reporter":
            words[f"the {role}"] = plan_settings(config, plan) if plan else None
    whole = json.dumps(words, sort_keys=True, default=json_default)
    return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()


def judging_identity(
    config: Config, plans: Sequence[MixtureSpec], judge: MixtureSpec | None, request: EvalRequest
) -> str:
    """A digest of the judge, the judged mixtures and the rows that they answer.

    Raises ConfigError for a file that cannot be read.
    """
    each = [eval_identity(config, EvalModels(plan, judge, None), request) for plan in plans]
    return hashlib.blake2b("".join(each).encode(), digest_size=16).hexdigest()
