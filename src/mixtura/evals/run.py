"""A task over a model: resumed where it stopped, capped, and the result as data."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from mixtura.budget import Amount, Pocket, forecast, priced
from mixtura.config import Config
from mixtura.errors import BudgetExceededError, ConfigError, MixturaError, billed
from mixtura.evals.tasks import NAMES
from mixtura.events import Emit
from mixtura.model import Model, Wrapper
from mixtura.plan import Plan
from mixtura.text import one_line
from mixtura.types import Completion, Request, ask

try:
    import inspect_ai
    from inspect_ai._util.error import PrerequisiteError
    from inspect_ai.event import InfoEvent, ModelEvent
    from inspect_ai.log import EvalLog, EvalSample, list_eval_logs, read_eval_log
    from inspect_ai.model import GenerateConfig, get_model

    from mixtura.evals import answers, provider, stats
    from mixtura.evals.tasks import gsm8k, humaneval, ifeval, jsonl, source
    from mixtura.evals.tasks import math as mathematics
except ModuleNotFoundError as error:
    if error.name is None or error.name.startswith("mixtura"):
        raise
    said = f'evaluation needs {error.name}, which is not there: pip install "mixtura[eval]"'
    raise ConfigError(said) from None

if TYPE_CHECKING:
    from inspect_ai import Task

HOMES: Mapping[str, str] = {
    "gsm8k": gsm8k.HOME,
    "math": mathematics.HOME,
    "ifeval": ifeval.HOME,
    "humaneval": humaneval.HOME,
}
"""Where the data of each task has its public home."""
_MADE: Mapping[str, Callable[..., Task]] = {
    "gsm8k": gsm8k.gsm8k,
    "math": mathematics.math,
    "ifeval": ifeval.ifeval,
    "humaneval": humaneval.humaneval,
    "jsonl": jsonl.jsonl,
}
_NO_ROOM = "BudgetExceededError"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    What is to be evaluated, and how.

    *data*: a file or an address, instead of the task's public home. *limit*: so many samples,
    the first or, given a *seed*, drawn with it; the seed goes to the models, too. *epochs*:
    answers to each. *judge*: who grades rows that have a rubric; *rubric* is for those that
    have none. *scoring*: how `jsonl` compares.
    """

    task: str
    data: str | None = None
    judge: str | None = None
    rubric: str | None = None
    scoring: str | None = None
    limit: int | None = None
    seed: int | None = None
    epochs: int = 1


class Missing(NamedTuple):
    """A sample without a score, and why."""

    sample: str
    error: str


@dataclass(frozen=True, slots=True)
class Result:
    """
    What came of it. *score*, from 0 to 1, lies between *low* and *high* with 95 %; None where
    too few samples have one. *n* of *samples* have a score, *missing* the rest. *figures* are
    other scores of the same answers. Cost and tokens are those of every call in the log,
    failed ones included, *reused* ones of earlier runs, too; an unknown cost is None.
    """

    task: str
    model: str
    judge: str | None
    score: float | None
    low: float | None
    high: float | None
    n: int
    samples: int
    missing: tuple[Missing, ...]
    capped: int
    """So many were not asked because of the cap."""
    figures: Mapping[str, float]
    cost_usd: float | None
    prompt_tokens: int
    completion_tokens: int
    calls: int
    seconds: float
    reused: int
    """So many were answered in an earlier run and not asked again."""
    degraded: int
    """So many answers were made with less than the whole mixture."""
    log: str
    """Inspect's log: `inspect view` shows it."""

    def json(self) -> dict[str, Any]:
        """The same as plain data."""
        return cast(dict[str, Any], msgspec.to_builtins(self))


class Progress(NamedTuple):
    """So many samples are done of so many, so many of them without an answer."""

    done: int
    total: int
    failed: int


Watch = Callable[[Progress], None]
_Key = tuple[str, int]
"""A sample's id, and which of its epochs."""


def evaluate(
    config: Config,
    plan: Plan,
    asked: Asked,
    *,
    logs: Path = Path("logs"),
    max_cost: float | None = None,
    deadline: float | None = None,
    connections: int = provider.AT_ONCE,
    fresh: bool = False,
    watch: Watch | None = None,
) -> Result:
    """
    Evaluate *plan*. What an earlier run with the same words answered is not asked again.

    That run's log is looked for in *logs*; *fresh* looks for none. *max_cost* dollars are for
    the whole evaluation, earlier runs included, *deadline* seconds for each answer;
    *connections* samples are under way at once. Raises ConfigError before anything is asked,
    MixturaError when the evaluation itself breaks, KeyboardInterrupt when a person stops it.
    """
    began = time.monotonic()
    asked = _checked(config, plan, asked, max_cost)
    task = _task(asked)
    identity = _identity(config, plan, asked)
    earlier = None if fresh else _earlier(logs, identity)
    kept = _answered(earlier)
    pocket = Pocket("this evaluation", max_cost, spent=Amount(_spent(earlier) or 0.0))
    purses = [pocket] if max_cost is not None else []
    turns = _Turns()
    models = {
        one.name: _Patient(config.runnable(one, deadline=deadline, purses=purses), turns)
        for one in (plan, *([config.plan(asked.judge)] if asked.judge else []))
    }
    dataset = task.dataset
    total = min(len(dataset), asked.limit or len(dataset)) * asked.epochs
    count = _Count(plan.name, watch, kept, total)
    log = earlier
    if log is None or len(kept) < total:
        with provider.using(config, models, count.heard):
            log = _run(plan, asked, task, identity, earlier, logs, connections)
    known = not _unpriced(config, plan, asked.judge)
    return _result(log, plan, asked, time.monotonic() - began, len(kept), total, known)


def _data(asked: Asked) -> str:
    """Where the rows of a task are. Raises ConfigError."""
    if asked.task not in NAMES:
        raise ConfigError(f"no task is called '{asked.task}'; there is: {', '.join(NAMES)}")
    data = asked.data or HOMES.get(asked.task)
    if data is None:
        raise ConfigError(f"{asked.task} needs a file: --data FILE")
    return data


def _checked(config: Config, plan: Plan, asked: Asked, max_cost: float | None) -> Asked:
    """What was asked with its data filled in. Raises ConfigError."""
    data = _data(asked)
    if not data.startswith(source.ADDRESSES):
        data = str(Path(data).expanduser().resolve())
    for name in ("judge", "rubric", "scoring"):
        if getattr(asked, name) is not None and asked.task != "jsonl":
            raise ConfigError(f"--{name} is for the task jsonl, not for {asked.task}")
    if asked.task == "jsonl" and asked.judge is None and jsonl.needs_judge(data, asked.rubric):
        raise ConfigError("rows with a rubric are graded by a judge: --judge MODEL")
    if max_cost is not None and (unknown := _unpriced(config, plan, asked.judge)):
        raise ConfigError(
            f"a cap in dollars needs the price of every model, and that of {', '.join(unknown)}"
            " is unknown: give its `price` in the configuration"
        )
    return replace(asked, data=data)


def _unpriced(config: Config, plan: Plan, judge: str | None) -> tuple[str, ...]:
    """The models whose price no one knows."""
    plans = [plan, *([config.plan(judge)] if judge else [])]
    calls = [call for one in plans for call in forecast(config.outline(one), ask("?"))]
    return priced(calls, config.price)[1]


def _task(asked: Asked) -> Task:
    given: dict[str, Any] = {"data": asked.data, "seed": asked.seed}
    if asked.task == "jsonl":
        given |= {"scoring": asked.scoring or "exact", "rubric": asked.rubric}
    return _MADE[asked.task](**given)


def questions(asked: Asked) -> list[str]:
    """What would be asked, in words: a prompt for each answer. Raises ConfigError."""
    dataset = _task(replace(asked, data=_data(asked))).dataset
    samples = list(dataset)[: asked.limit] * asked.epochs
    return [
        one.input if isinstance(one.input, str) else "\n\n".join(m.text for m in one.input)
        for one in samples
    ]


# ---- the same evaluation again


def _identity(config: Config, plan: Plan, asked: Asked) -> str:
    """The same for the same task over the same rows with the same models and settings."""
    words: dict[str, Any] = asdict(asked) | {
        "data": source.digest(asked.data or ""),
        "model": _described(config, plan),
        "judge": _described(config, config.plan(asked.judge)) if asked.judge else None,
    }
    whole = json.dumps(words, sort_keys=True, default=_plainly)
    return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()


def _plainly(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    return getattr(value, "__qualname__", None) or str(value)


def _described(config: Config, plan: Plan) -> dict[str, Any]:
    """A plan's settings, and those of everything in it."""
    members: dict[str, Any] = {}
    for name in sorted(plan.members()):
        if name in config.mixtures():
            members[name] = _described(config, config.plan(name))
        elif table := config.tables().get(name):
            members[name] = msgspec.to_builtins(table)
    own = [str(cell.cell_contents) for cell in getattr(plan.synthesis, "__closure__", None) or ()]
    words = {one.name: getattr(plan, one.name) for one in fields(plan) if one.name != "where"}
    words["layers"] = [[replace(seat, path=()) for seat in layer] for layer in plan.layers]
    words["synthesis"] = [getattr(plan.synthesis, "__qualname__", ""), *own]
    return words | {"members": members}


def _earlier(logs: Path, identity: str) -> EvalLog | None:
    """The log of the last run of the same evaluation."""
    if not logs.is_dir():
        return None
    found = list_eval_logs(
        str(logs), filter=lambda log: (log.eval.metadata or {}).get("identity") == identity
    )
    return read_eval_log(found[0]) if found else None


def _answered(log: EvalLog | None) -> set[_Key]:
    samples = (log.samples if log else None) or []
    return {(str(one.id), one.epoch) for one in samples if one.error is None}


def _run(
    plan: Plan,
    asked: Asked,
    task: Task,
    identity: str,
    earlier: EvalLog | None,
    logs: Path,
    connections: int,
) -> EvalLog:
    try:
        if earlier is not None:
            found = inspect_ai.eval_retry(  # pyright: ignore[reportUnknownMemberType]
                earlier, log_dir=str(logs), display="none", max_samples=connections,
                max_connections=connections, ctl_server=False, log_level="critical",
            )  # fmt: skip
        else:
            settings = GenerateConfig(seed=asked.seed)
            judge = asked.judge and get_model(f"mixtura/{asked.judge}", memoize=False)
            found = inspect_ai.eval(  # pyright: ignore[reportUnknownMemberType]
                task,
                model=get_model(f"mixtura/{plan.name}", config=settings, memoize=False),
                model_roles={jsonl.JUDGE: judge} if judge else None,
                display="none", log_dir=str(logs), log_format="eval", log_buffer=1,
                limit=asked.limit, epochs=asked.epochs, fail_on_error=False,
                max_samples=connections, max_connections=connections, ctl_server=False,
                metadata={"identity": identity, "contender": answers.described(plan)},
                log_level="critical",
            )  # fmt: skip
    except PrerequisiteError as error:
        raise ConfigError(str(error.message)) from None
    if not found or found[0].status == "cancelled":
        raise KeyboardInterrupt  # Inspect has written down what there is
    log = found[0]
    if log.status == "error":
        raise MixturaError(log.error.message if log.error else "the evaluation broke off")
    return log


# ---- the cap


class _Turns:
    """How many answers are under way, and who waits for one of them to end."""

    def __init__(self) -> None:
        self.under_way = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def one_ends(self) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        await place

    def ended(self) -> None:
        self.under_way -= 1
        for place in self._waiting:
            if not place.done():
                place.set_result(None)
        self._waiting.clear()


class _Patient(Wrapper):
    """
    Waits where the cap has no room only because of what is set aside for others: an answer
    takes far less than its worst case. It is refused once no other is under way.
    """

    def __init__(self, model: Model, turns: _Turns) -> None:
        super().__init__(model)
        self._turns = turns

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        while True:
            self._turns.under_way += 1
            try:
                return await self._model.complete(request, emit)
            except BudgetExceededError as error:
                if billed(error) or self._turns.under_way == 1:
                    raise
            finally:
                self._turns.ended()
            await self._turns.one_ends()


# ---- progress


class _Count:
    """Counts samples as they are answered and tells whoever watches."""

    def __init__(self, model: str, watch: Watch | None, kept: set[_Key], total: int) -> None:
        self._model = model
        self._watch = watch
        self._done = set(kept)
        self._total = total
        self._failed = 0
        self._tell()

    def heard(self, model: str, sample: str, epoch: int, failed: bool) -> None:
        if model == self._model and (sample, epoch) not in self._done:
            self._done.add((sample, epoch))
            self._failed += failed
            self._tell()

    def _tell(self) -> None:
        if self._watch:
            self._watch(Progress(len(self._done), self._total, self._failed))


# ---- the result


def _result(
    log: EvalLog, plan: Plan, asked: Asked, seconds: float, reused: int, total: int, priced: bool
) -> Result:
    samples = log.samples or []
    rows: dict[str, list[float | None]] = {}
    missing: list[Missing] = []
    for sample in samples:
        value, why = _scored(sample)
        rows.setdefault(str(sample.id), []).append(value)
        if value is None:
            missing.append(Missing(str(sample.id), why))
    low, value, high = _interval(list(rows.values()))
    usage = [used for sample in samples for used in sample.model_usage.values()]
    lost = [bill for sample in samples for bill in _lost(sample)]
    return Result(
        task=asked.task,
        model=plan.name,
        judge=asked.judge,
        score=value,
        low=low,
        high=high,
        n=len(samples) - len(missing),
        samples=total,
        missing=tuple(missing),
        capped=sum(one.error.startswith(_NO_ROOM) for one in missing),
        figures=_figures(asked.task, samples),
        cost_usd=_spent(log) if priced else None,
        prompt_tokens=sum(_read(used) for used in usage) + _sum(lost, "prompt_tokens"),
        completion_tokens=sum(used.output_tokens for used in usage)
        + _sum(lost, "completion_tokens"),
        calls=sum(map(_calls, samples)) + _sum(lost, "calls"),
        seconds=seconds,
        reused=reused,
        degraded=sum(bool((one.output.metadata or {}).get("left_out")) for one in samples),
        log=log.location.removeprefix("file://"),
    )


def _scored(sample: EvalSample) -> tuple[float | None, str]:
    """The sample's score; None and the reason in one line where it has none."""
    value, why = answers.scored(sample)
    return value, _said(why)


def _said(error: str) -> str:
    """An exception as Inspect writes it down, in a line a person can read."""
    written = re.fullmatch(r"(\w+)\((['\"])(.*)\2\)", error, re.DOTALL)
    return one_line(f"{written[1]}: {written[3]}" if written else error)


def _interval(
    rows: Sequence[Sequence[float | None]],
) -> tuple[float | None, float | None, float | None]:
    """The mean over prompts and its bounds; two prompts are the least that have any."""
    known = [value for row in rows for value in row if value is not None]
    whole = [row for row in rows if any(value is not None for value in row)]
    if len(whole) < 2:
        return None, (known[0] if len(known) == 1 else None), None
    width = max(map(len, rows))
    found = stats.mean([[*row, *[None] * (width - len(row))] for row in rows])
    return found.low, found.value, found.high


def _figures(task: str, samples: Sequence[EvalSample]) -> dict[str, float]:
    if task != "ifeval":
        return {}
    scores = [next(iter(sample.scores.values())) for sample in samples if sample.scores]
    rows = [score.metadata for score in scores if score.metadata]
    if not rows:
        return {}
    shares: dict[str, float] = {}
    for manner in ifeval.MANNERS:
        shares[f"prompt_{manner}"] = sum(all(row[manner]) for row in rows) / len(rows)
        shares[f"instruction_{manner}"] = ifeval.instruction_share(rows, manner)
    return shares


# ---- what it took


def _spent(log: EvalLog | None) -> float:
    """Dollars of every call in a log, as far as prices are known."""
    samples = (log.samples if log else None) or []
    used = [use.total_cost for sample in samples for use in sample.model_usage.values()]
    lost = [bill.get("cost_usd") for sample in samples for bill in _lost(sample)]
    return math.fsum(dollars for dollars in (*used, *lost) if dollars)


def _lost(sample: EvalSample) -> list[dict[str, Any]]:
    """The bills of calls that failed, of earlier attempts, too."""
    retries = [event for retry in sample.error_retries or () for event in retry.events or ()]
    return [
        cast(dict[str, Any], event.data)
        for event in (*sample.events, *retries)
        if isinstance(event, InfoEvent) and event.source == provider.SOURCE
    ]


def _calls(sample: EvalSample) -> int:
    outputs = [event.output for event in sample.events if isinstance(event, ModelEvent)]
    return sum(int((output.metadata or {}).get("calls", 0)) for output in outputs)


def _read(usage: Any) -> int:
    apart = (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
    return int(usage.input_tokens + apart)


def _sum(bills: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(int(bill[name]) for bill in bills)
