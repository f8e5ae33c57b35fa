"""What is compared and how: the prompts, a judge, the caps, and the mixtures by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.errors import ConfigError
from mixtura.evals import inspect_provider
from mixtura.evals.comparison.baselines import VOTE_EXTRACTS
from mixtura.evals.eval_request import EvalRequest
from mixtura.evals.tasks import jsonl
from mixtura.patterns.final_answer import Extract


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonSettings:
    """
    What is compared, and how: the prompts and their task, or a *judge* of open answers.

    *max_cost*: dollars for everything, earlier runs included; *deadline*: seconds for an answer.
    """

    asked: EvalRequest
    judge: str | None = None
    logs: Path = Path("logs")
    max_cost: float | None = None
    deadline: float | None = None
    connections: int = inspect_provider.DEFAULT_CONNECTIONS
    fresh: bool = False

    @property
    def vote_extract(self) -> Extract:
        """What a vote compares for this task; ``text`` where there is no final answer.

        Raises ConfigError for rows that cannot be read.
        """
        if self.judge or self.asked.rubric:
            return "text"
        task, data = self.asked.task, self.asked.data
        how = jsonl.default_scoring(data, self.asked.scoring) if task == "jsonl" and data else task
        return VOTE_EXTRACTS.get(how, "text")


def resolve_plans(config: Config, names: Sequence[str]) -> list[MixtureSpec]:
    """The mixtures to compare. Raises ConfigError where there is nothing to compare."""
    plans = [config.mixture_spec(name) for name in dict.fromkeys(names)]
    if not plans:
        raise ConfigError("there is nothing to compare: name a mixture")
    if len(plans) == 1 and not plans[0].layers:
        problem = f"{plans[0].name} is a single model: there is nothing to compare it with"
        raise ConfigError(f"{problem}. Name a mixture, or several models")
    return plans
