"""An evaluation checked before a model is asked: files, models, task, earlier log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from inspect_ai.log import EvalLog, list_eval_logs

from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.errors import ConfigError
from mixtura.evals import forecast, kept_calls, log_reader
from mixtura.evals.eval_request import FILE_FIELDS, EvalRequest, absolute_path, names_file
from mixtura.evals.findings import JudgeContext
from mixtura.evals.forecast import CostForecast, EvalModels
from mixtura.evals.identity import eval_identity
from mixtura.evals.judges import families
from mixtura.evals.registry import TASK_SPECS, TaskSpec, task_spec
from mixtura.evals.tasks import alpaca_eval, baseline_answers, jsonl

if TYPE_CHECKING:
    from inspect_ai import Task

SampleKey = tuple[str, int]
"""A sample's id and epoch."""


@dataclass(frozen=True, slots=True)
class PreparedEval:
    """A checked evaluation, before a model is asked."""

    config: Config
    asked: EvalRequest
    players: EvalModels
    name: str
    """The name of the evaluated mixture or model."""
    task: Task
    identity: str
    logs: Path
    earlier: EvalLog | None
    """The log of an earlier run of the same evaluation."""
    kept: frozenset[SampleKey]
    """Samples that the earlier log has an answer to."""
    total: int
    kinship: families.FamilyOverlap
    """Evaluated models of the judge's own family."""
    fresh: bool = False
    """Whether earlier runs are ignored."""

    @property
    def task_spec(self) -> TaskSpec:
        return task_spec(self.asked.task)

    @property
    def judge_context(self) -> JudgeContext:
        """What the task's findings need to know of this evaluation."""
        return JudgeContext(
            self.kinship.side, self.name, self.asked.judge or "", self.asked.labels,
            self.asked.difficulty, self.asked.gamed,
        )  # fmt: skip

    @property
    def journal_path(self) -> Path:
        """The journal of its calls."""
        return kept_calls.journal_path(self.logs, self.identity)

    @property
    def earlier_cost_usd(self) -> float:
        """Dollars that earlier runs of it have paid."""
        tally = (
            None if self.fresh else kept_calls.read_tally(self.journal_path, self.config.usage_cost)
        )
        return tally.cost_usd if tally else 0.0

    def forecast_remaining(self) -> CostForecast:
        """The calls still to be made and their highest cost."""
        left = self.total - len(self.kept)
        judged = (
            self.task_spec.verdicts.against if self.asked.against else self.task_spec.verdicts.alone
        )
        rounds = forecast.CallsPerSample(self.task_spec.turns, judged if self.players.judge else 0)
        return forecast.forecast_cost(self.config, self.players, self.task.dataset, left, rounds)


def prepare_eval(
    config: Config,
    plan: MixtureSpec | None,
    asked: EvalRequest,
    *,
    logs: Path = Path("logs"),
    capped: bool = False,
    fresh: bool = False,
) -> PreparedEval:
    """Check *asked* and look for an earlier run's log; asks no model. Raises ConfigError."""
    asked = _resolve_request(asked, plan)
    players = _resolve_models(config, plan, asked)
    if capped:
        forecast.check_priced(config, players.all_plans)
    task = _build_task(asked)
    identity = eval_identity(config, players, asked)
    earlier = None if fresh else _find_earlier_log(logs, identity)
    total = min(len(task.dataset), asked.limit or len(task.dataset)) * asked.epochs
    name = plan.name if plan else alpaca_eval.output_generator(asked.outputs or "")
    ready = PreparedEval(
        config, asked, players, name, task, identity, logs, earlier, _answered_samples(earlier),
        total, _find_family_overlap(config, players, asked, name), fresh,
    )  # fmt: skip
    ready.task_spec.collect_findings(
        (), ready.judge_context
    )  # reads the files of labels, which may be wrong
    return ready


def _resolve_request(request: EvalRequest, plan: MixtureSpec | None) -> EvalRequest:
    """*request* with its data filled in and absolute paths. Raises ConfigError."""
    kind = task_spec(request.task)
    for name in _OPTIONAL:
        if getattr(request, name) is not None and name not in kind.options:
            known = ", ".join(task for task, one in TASK_SPECS.items() if name in one.options)
            raise ConfigError(f"--{name} is for {known}, not for {request.task}")
    if (plan is None) != (request.outputs is not None):
        raise ConfigError("give either the model that answers (--model NAME) or existing answers")
    beside = request.against if kind.baseline_has_rows and names_file(request.against) else None
    if request.agreement and kind.turns > 1:
        raise ConfigError(f"--agreement is for single answers, but {request.task} has dialogues")
    data = request.data or beside or kind.default_data
    if data is None:
        raise ConfigError(f"{request.task} needs a file: give --data FILE")
    request = replace(request, data=data)
    # A run that goes on later may do so from another folder.
    request = replace(
        request, **{name: absolute_path(getattr(request, name)) for name in FILE_FIELDS}
    )
    if request.judge is None and kind.needs_judge:
        raise ConfigError(f"{request.task} needs a judge: give --judge MODEL")
    if request.task == "jsonl" and request.judge is None and request.scoring != jsonl.UNSCORED:
        assert request.data
        if jsonl.needs_judge(request.data, request.rubric):
            raise ConfigError("rows with a rubric are graded by a judge: give --judge MODEL")
    return request


_OPTIONAL = (
    "judge", "rubric", "scoring", "against", "outputs", "references", "skills", "template",
    "labels", "difficulty", "gamed",
)  # fmt: skip


def _resolve_models(config: Config, plan: MixtureSpec | None, request: EvalRequest) -> EvalModels:
    judge = config.mixture_spec(request.judge) if request.judge else None
    other = None if request.against is None or names_file(request.against) else request.against
    reporter = None
    if request.agreement:
        reporter = config.mixture_spec(_find_reporter(config, plan))
    return EvalModels(plan, judge, config.mixture_spec(other) if other else None, reporter)


def _find_reporter(config: Config, plan: MixtureSpec | None) -> str:
    """Who reports where *plan*'s proposals agree. Raises ConfigError where there are no two."""
    if plan is None:
        raise ConfigError("--agreement compares the proposals of a mixture: give --model NAME")
    if sum(seat.samples for row in plan.layers for seat in row) < 2:
        raise ConfigError(
            f"--agreement compares proposals, but {plan.name} has fewer than two: name a mixture"
            " with several"
        )
    return config.reporter_name(plan)


def list_questions(request: EvalRequest) -> list[str]:
    """
    What each row of the data asks a model, all of it, as texts that are equal where that is.

    Raises ConfigError with the file and the line for a row that is none of the task's.
    """
    samples = _build_task(request).dataset
    return [log_reader.whole_question(one.input, one.metadata) for one in samples]


def _build_task(request: EvalRequest) -> Task:
    kind = task_spec(request.task)
    words = {name: getattr(request, name) for name in kind.arguments}
    if request.against is not None:
        words |= {"against": request.against} if names_file(request.against) else {"compare": True}
    settings = {name: value for name, value in words.items() if value is not None}
    return kind.create_task(data=request.data, seed=request.seed, **settings)


def _find_family_overlap(
    config: Config, players: EvalModels, request: EvalRequest, name: str
) -> families.FamilyOverlap:
    """The evaluated and compared models that are of the judge's family."""
    if players.judge is None:
        return families.FamilyOverlap()
    ours = families.plan_model_names(config, players.candidate) if players.candidate else {name}
    if players.other:
        theirs = families.plan_model_names(config, players.other)
    elif request.against:
        theirs = {baseline_answers.read_answers(request.against).author}
    else:
        theirs = set(task_spec(request.task).baselines)
    return families.find_family_overlap(
        families.plan_model_names(config, players.judge), ours, theirs
    )


def _find_earlier_log(logs: Path, identity: str) -> EvalLog | None:
    """The log of the last run with this *identity*; None where there is none."""
    if not logs.is_dir():
        return None
    for info in list_eval_logs(str(logs)):  # the newest come first
        head = log_reader.open_log(info.name, header_only=True)
        if (head.eval.metadata or {}).get("identity") == identity:
            return log_reader.open_log(info.name)
    return None


def _answered_samples(log: EvalLog | None) -> frozenset[SampleKey]:
    samples = (log.samples if log else None) or []
    # A sample that failed is asked again: its error may have been the network's.
    return frozenset((str(one.id), one.epoch) for one in samples if one.error is None)
