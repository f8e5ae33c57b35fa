"""Candidates and teams on parts of the prompts: asked once, scored or judged, and paid for."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mixtura.billing.spending_caps import RunCap
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.errors import BudgetExceededError, ConfigError
from mixtura.core.text import to_one_line
from mixtura.evals import forecast, inspect_provider, kept_calls, log_reader, prepare, run
from mixtura.evals.eval_request import EvalRequest
from mixtura.evals.identity import judging_identity
from mixtura.evals.judges import pairwise
from mixtura.evals.log_reader import LoggedEvaluation, SampleAnswer
from mixtura.evals.sample_progress import EvalProgress
from mixtura.evals.tasks import dataset, jsonl
from mixtura.selection.pick import Goal
from mixtura.selection.preset import PROPOSER_SAMPLING
from mixtura.selection.prompts import HELD_OUT, PromptPart
from mixtura.selection.search import BEAM_WIDTH, NO_BOUNDS, Bounds, Measurement, Team

ScoringMode = Literal["score", "grade", "win rate"]
"""By a task's own check; by a judge who reads a rubric; by a judge beside a reference answer."""
OnProgress = Callable[[EvalProgress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionTerms:
    """
    What is selected for, and how.

    *data*: the prompts, of which *held_out*, a share, judge the winner. *size*: the most members;
    *draws*: answers of each candidate to each prompt, at least as many. *max_cost*: dollars for
    the whole selection, earlier runs included; *bounds*: for one answer of the team. *looks*: so
    many tunings are planned that prove on the same prompts.
    """

    data: str
    task: str | None = None
    judge: str | None = None
    scoring: str | None = None
    goal: Goal = "quality"
    size: int = 3
    draws: int | None = None
    aggregator: str | None = None
    limit: int | None = None
    seed: int = 0
    held_out: float = HELD_OUT
    beam: int = BEAM_WIDTH
    bounds: Bounds = NO_BOUNDS
    logs: Path = Path("logs")
    max_cost: float | None = None
    deadline: float | None = None
    connections: int = inspect_provider.DEFAULT_CONNECTIONS
    looks: int = 1

    @property
    def draws_per_candidate(self) -> int:
        """Answers of each candidate to each prompt: a single-proposer team needs its size."""
        return max(self.draws or 0, self.size)

    @property
    def scoring_mode(self) -> ScoringMode:
        """How answers are scored.

        Raises ConfigError where some rows have a rubric and some have none.
        """
        if self.judge is None:
            return "score"
        if self.task is not None:
            return "grade"
        ruled = [bool(row.get("rubric")) for row in dataset.load_rows(self.data)]
        if any(ruled) and not all(ruled):
            raise ConfigError(
                f"{self.data}: some rows have a rubric, others not: give all of them one, or none"
            )
        return "grade" if any(ruled) else "win rate"

    def eval_request(self, data: str, scoring_mode: ScoringMode, epochs: int = 1) -> EvalRequest:
        """An evaluation on some prompts. No seed: draws are to differ by themselves."""
        return EvalRequest(
            task=self.task or "jsonl",
            data=data,
            judge=self.judge if scoring_mode == "grade" else None,
            scoring=jsonl.UNSCORED if scoring_mode == "win rate" else self.scoring,
            epochs=epochs,
        )


def list_prompts(terms: SelectionTerms, data: str | None = None) -> list[str]:
    """What each row of the prompts, or of *data*, asks. Raises ConfigError for a wrong row."""
    return prepare.list_questions(terms.eval_request(data or terms.data, terms.scoring_mode))


class SelectionCapError(BudgetExceededError):
    """The cap has no room for what is to be measured next."""


class Evaluator:
    """Asks what is to be measured, and keeps count of calls and dollars."""

    def __init__(
        self, config: Config, terms: SelectionTerms, folder: Path, names: Sequence[str]
    ) -> None:
        self.calls = 0
        self.scoring_mode: ScoringMode = terms.scoring_mode
        self.reference: str | None = None
        """The candidate whose first answers all others are judged beside."""
        self.reserve = 0.0
        """Dollars of the cap that are kept for later."""
        self.config = config
        self._terms = terms
        self._folder = folder
        self._bills: list[float | None] = []
        # Answers by plan, file and epochs: the ablations and the held-out comparisons ask for some
        # again.
        self._found: dict[tuple[str, Path, int], LoggedEvaluation] = {}
        judge = config.mixture_spec(terms.judge) if terms.judge else None
        plans = [config.mixture_spec(name) for name in names]
        identity = judging_identity(
            config, plans, judge, terms.eval_request(terms.data, self.scoring_mode)
        )
        path = kept_calls.journal_path(folder, f"judge-{identity}")
        self._verdict_calls = kept_calls.JournaledCalls(path, config)
        self._priced = judge is None or not forecast.unpriced_models(config, (judge,))
        self._reported = kept_calls.RequestTally()
        self._count_verdict_calls()

    def _count_verdict_calls(self) -> None:
        """Count the judge's calls that were not told by now, those of earlier runs first."""
        before, now = self._reported, self._verdict_calls.tally
        self._reported = now
        # A judge without a known price makes the sum unknown: that amount is not zero.
        if now != before:
            self.calls += now.calls - before.calls
            self._bills.append(now.cost_usd - before.cost_usd if self._priced else None)

    @property
    def notes(self) -> list[str]:
        """What is to be said of the judge's calls."""
        return kept_calls.unfinished_notes(self._reported)

    @property
    def spent_usd(self) -> float | None:
        """Dollars, those of earlier runs of the same selection included."""
        return None if None in self._bills else self._known_spend

    @property
    def _known_spend(self) -> float:
        return math.fsum(bill for bill in self._bills if bill)

    def evaluate_alone(
        self, name: str, part: PromptPart, watch: OnProgress | None = None
    ) -> LoggedEvaluation:
        """A candidate by itself, asked as a proposer is: its answers are a team's proposals.

        Raises SelectionCapError where the cap has no room left.
        """
        plan = self.config.mixture_spec(name)
        # The same request as in a team, sampling and all: then the answer cache gives these draws
        # to every team that the candidate is in, and they are paid for once.
        as_proposer = replace(plan, sampling=plan.sampling.with_defaults(PROPOSER_SAMPLING))
        return self._collect_answers(as_proposer, part, self._terms.draws_per_candidate, watch)

    def evaluate_team(
        self, team: Team, part: PromptPart, watch: OnProgress | None = None
    ) -> LoggedEvaluation:
        # No draws: the proposals of a team differ already, and its answer is what is compared.
        return self.evaluate_plan(self.config.mixture_spec(team_name(team)), part, watch)

    def evaluate_plan(
        self, plan: MixtureSpec, part: PromptPart, watch: OnProgress | None = None
    ) -> LoggedEvaluation:
        """A mixture, once a prompt. Raises SelectionCapError where the cap has no room left."""
        return self._collect_answers(plan, part, 1, watch)

    def measure_answers(self, evaluation: LoggedEvaluation, part: PromptPart) -> Measurement:
        """The scores in the order of the prompts; what an answer takes, as if none was kept.

        Raises SelectionCapError where a judge is needed and the cap has no room left.
        """
        rows: dict[str, list[SampleAnswer]] = {}
        for one in sorted(evaluation.answers, key=lambda one: (one.sample, one.epoch)):
            rows.setdefault(one.sample, []).append(one)
        scores = self._score_answers(evaluation, rows, part)
        there = [one for one in evaluation.answers if one.has_answer]
        return Measurement(
            tuple(scores),
            _mean_if_all_known([one.cost_usd for one in there]),
            _mean_if_all_known([one.duration_seconds for one in there]),
        )

    # ---- answers

    def _collect_answers(
        self, plan: MixtureSpec, part: PromptPart, epochs: int, watch: OnProgress | None
    ) -> LoggedEvaluation:
        key = plan.name, part.file, epochs
        if key not in self._found:
            result = run.evaluate(
                self.config,
                plan,
                self._terms.eval_request(str(part.file), self.scoring_mode, epochs),
                logs=self._folder / _folder_name(plan.name),
                max_cost=self._budget_left,
                deadline=self._terms.deadline,
                connections=self._terms.connections,
                watch=watch,
            )
            self.calls += result.calls
            self._bills.append(result.cost_usd)
            # Half an evaluation is none: its scores are of other prompts than those of its rivals.
            if result.capped:
                raise SelectionCapError(f"the cap of ${self._terms.max_cost:g} is used up")
            self._found[key] = log_reader.load_evaluation(result.log)
        return self._found[key]

    @property
    def _budget_left(self) -> float | None:
        most = self._terms.max_cost
        return None if most is None else max(most - self.reserve - self._known_spend, 0.0)

    def cut_answer_notes(self) -> list[str]:
        """Whose answers the limit of tokens cut off, in words."""
        rows: dict[str, list[bool]] = {}
        for evaluation in self._found.values():
            rows.setdefault(evaluation.name, []).extend(one.cut for one in evaluation.answers)
        return [
            log_reader.truncation_note(sum(row), len(row), to_one_line(name))
            for name, row in rows.items()
            if any(row)
        ]

    # ---- scores

    def _score_answers(
        self,
        evaluation: LoggedEvaluation,
        rows: Mapping[str, Sequence[SampleAnswer]],
        part: PromptPart,
    ) -> list[float | None]:
        if self.scoring_mode != "win rate":
            return [_mean_known([one.score for one in row]) for row in rows.values()]
        assert self.reference is not None
        # Next to itself a judge could only show which place it prefers: a tie by definition, no
        # call.
        if evaluation.name == self.reference:
            return [0.5 if row[0].has_answer else None for row in rows.values()]
        others = {
            one.sample: one
            for one in self.evaluate_alone(self.reference, part).answers
            if one.epoch == 1
        }
        return self._judge_answers([(row[0], others.get(sample)) for sample, row in rows.items()])

    def _judge_answers(
        self, rows: Sequence[tuple[SampleAnswer, SampleAnswer | None]]
    ) -> list[float | None]:
        """How far the judge prefers each answer to the reference; None where it cannot say."""
        pairs = {
            place: pairwise.AnswerPair(ours.question, ours.text, other.text, ours.target)
            for place, (ours, other) in enumerate(rows)
            if other is not None and ours.has_answer and other.has_answer
        }
        left = self._budget_left
        caps = [] if left is None else [RunCap("this selection", left)]
        plan = self.config.mixture_spec(self._terms.judge or "")
        judge = self.config.build_runnable(plan, deadline=self._terms.deadline, caps=caps)
        at_once = self._terms.connections
        with self._verdict_calls.keep_verdicts():
            judgements = asyncio.run(
                pairwise.judge_pairs(judge, list(pairs.values()), at_once=at_once)
            )
        self._count_verdict_calls()
        # A verdict that the cap refused is no tie. What was judged by now is in the journal.
        if any(
            isinstance(call.error, BudgetExceededError) for one in judgements for call in one.calls
        ):
            raise SelectionCapError(f"the cap of ${self._terms.max_cost:g} is used up")
        preferences = dict(zip(pairs, (one.mean_preference for one in judgements), strict=True))
        return [preferences.get(place) for place in range(len(rows))]


def team_name(team: Team) -> str:
    """A team as the name of a mixture: ``a,b>c``, or ``a*3>c``."""
    times = {name: team.members.count(name) for name in team.members}
    row = ",".join(name if count == 1 else f"{name}*{count}" for name, count in times.items())
    return f"{row}>{team.aggregator}"


def _folder_name(name: str) -> str:
    """A folder's name."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in name)[:60]
    # Two names may have the same letters and digits, and a file's name has a limit.
    return f"{plain}-{hashlib.blake2b(name.encode(), digest_size=3).hexdigest()}"


def _mean_if_all_known(values: Sequence[float | None]) -> float | None:
    """None where one of them is unknown, or there are none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
