"""A task over a model: resumed where it stopped, capped, and the result as data."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mixtura.budget import Amount, Pocket
from mixtura.config import Config, check_caps
from mixtura.errors import BudgetExceededError, ConfigError, MixturaError, billed
from mixtura.events import Emit
from mixtura.model import Model, Wrapper
from mixtura.plan import Plan
from mixtura.types import Completion, Request

try:
    import inspect_ai
    from inspect_ai._util.error import PrerequisiteError
    from inspect_ai.log import EvalLog, list_eval_logs
    from inspect_ai.model import GenerateConfig, get_model
    from inspect_ai.model import Model as InspectModel

    from mixtura.evals import answers, families, forecast, journal, provider
    from mixtura.evals.findings import Side
    from mixtura.evals.forecast import Forecast, Players
    from mixtura.evals.journal import Journal, Tally, tally
    from mixtura.evals.kinds import KINDS, Kind
    from mixtura.evals.result import Asking, Result, result, took
    from mixtura.evals.tasks import alpaca_eval as alpaca
    from mixtura.evals.tasks import grader, jsonl, opponent, source
except ModuleNotFoundError as error:
    if error.name is None or error.name.startswith("mixtura"):
        raise
    said = f'evaluation needs {error.name}, which is not there: pip install "mixtura[eval]"'
    raise ConfigError(said) from None

if TYPE_CHECKING:
    from inspect_ai import Task

_FILES = (
    "data", "references", "skills", "template", "against", "outputs", "labels", "difficulty",
    "gamed",
)  # fmt: skip
"""The words of `Asked` that may name a file."""
_AFTERWARDS = ("labels", "difficulty", "gamed")
"""Those that change nothing of what is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    What is to be evaluated, and how.

    *data*: a file or an address, instead of the task's public home. *limit*: so many samples,
    the first or, given a *seed*, drawn with it; the seed goes to the models, too. *epochs*:
    answers to each. *judge*: who judges; *rubric* is for rows that have none. *scoring*: how
    `jsonl` compares. *against*: whose answers stand beside, a file or a model's name. *outputs*:
    answers that are there already, so that no model is asked for them. *references*, *skills*,
    *template*, *difficulty*, *gamed*: other files of a task; *labels*: what people said of the same
    samples.
    """

    task: str
    data: str | None = None
    judge: str | None = None
    rubric: str | None = None
    scoring: str | None = None
    against: str | None = None
    outputs: str | None = None
    references: str | None = None
    skills: str | None = None
    template: str | None = None
    labels: str | None = None
    difficulty: str | None = None
    gamed: str | None = None
    limit: int | None = None
    seed: int | None = None
    epochs: int = 1


class Progress(NamedTuple):
    """So many samples are done of so many, so many of them without an answer."""

    done: int
    total: int
    failed: int


Watch = Callable[[Progress], None]
_Key = tuple[str, int]
"""A sample's id, and which of its epochs."""


@dataclass(frozen=True, slots=True)
class Ready:
    """An evaluation in which nothing is wrong, before anything is asked."""

    config: Config
    asked: Asked
    players: Players
    name: str
    """Whose answers they are."""
    task: Task
    identity: str
    logs: Path
    earlier: EvalLog | None
    """What an earlier run of the same evaluation left."""
    kept: frozenset[_Key]
    total: int
    kinship: families.Kinship
    """Whom the judge knows: said before it is asked."""
    fresh: bool = False
    """It begins anew, whatever was asked and paid before."""

    @property
    def kind(self) -> Kind:
        return KINDS[self.asked.task]

    @property
    def side(self) -> Side:
        """What the findings are to know of it."""
        return Side(
            self.kinship.side, self.name, self.asked.judge or "", self.asked.labels,
            self.asked.difficulty, self.asked.gamed,
        )  # fmt: skip

    @property
    def journal(self) -> Path:
        """Where its calls are written down."""
        return journal.location(self.logs, self.identity)

    def expected(self) -> Forecast:
        """What is still to be asked, and the most that it takes."""
        left = self.total - len(self.kept)
        judged = self.kind.verdicts.against if self.asked.against else self.kind.verdicts.alone
        rounds = forecast.Rounds(self.kind.turns, judged if self.players.judge else 0)
        return forecast.forecast(self.config, self.players, self.task.dataset, left, rounds)


def evaluate(
    config: Config,
    plan: Plan | None,
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
    ready = prepare(config, plan, asked, logs=logs, capped=max_cost is not None, fresh=fresh)
    return carry_out(
        ready, max_cost=max_cost, deadline=deadline, connections=connections, watch=watch
    )


def prepare(
    config: Config,
    plan: Plan | None,
    asked: Asked,
    *,
    logs: Path = Path("logs"),
    capped: bool = False,
    fresh: bool = False,
) -> Ready:
    """Everything that can be said before a model is asked. Raises ConfigError."""
    asked = _checked(asked, plan)
    players = _players(config, plan, asked)
    if capped:
        forecast.check_priced(config, players.plans)
    task = _task(asked)
    identity = _identity(config, players, asked)
    earlier = None if fresh else _earlier(logs, identity)
    total = min(len(task.dataset), asked.limit or len(task.dataset)) * asked.epochs
    name = plan.name if plan else alpaca.generator(asked.outputs or "")
    ready = Ready(
        config, asked, players, name, task, identity, logs, earlier, _answered(earlier), total,
        _kinship(config, players, asked, name), fresh,
    )  # fmt: skip
    ready.kind.found((), ready.side)  # it reads what must be right by then
    return ready


def carry_out(
    ready: Ready,
    *,
    max_cost: float | None = None,
    deadline: float | None = None,
    connections: int = provider.AT_ONCE,
    watch: Watch | None = None,
) -> Result:
    """Ask what is still to be asked. See `evaluate`."""
    check_caps(max_cost, deadline)
    began = time.monotonic()
    config, asked = ready.config, ready.asked
    already = _carried(ready)
    spent = Amount(already.cost_usd)
    purses = [Pocket("this evaluation", max_cost, spent=spent)] if max_cost is not None else []
    turns = Turns()
    models = {
        plan.name: Patient(config.runnable(plan, deadline=deadline, purses=purses), turns)
        for plan in ready.players.plans
    }
    count = _Count(ready, watch)
    log = ready.earlier
    if log is None or len(ready.kept) < ready.total:
        with (
            Journal(ready.journal, config.price) as requests,
            requests.keeping(),
            provider.using(config, models, count.heard),
        ):
            log = _run(ready, connections)
    asking = Asking(
        task=asked.task,
        model=ready.name,
        judge=asked.judge,
        seconds=time.monotonic() - began,
        reused=len(ready.kept),
        total=ready.total,
        priced=not forecast.unpriced(config, ready.players.plans),
    )
    findings = ready.kind.found(log.samples or [], ready.side)
    bill = tally(ready.journal, config.price) or already
    return result(log, asking, findings, bill, ready.kinship.warnings)


def _checked(asked: Asked, plan: Plan | None) -> Asked:
    """What was asked with its data filled in, and its files' whole names. Raises ConfigError."""
    if asked.task not in KINDS:
        raise ConfigError(f"no task is called '{asked.task}'; there is: {', '.join(KINDS)}")
    kind = KINDS[asked.task]
    for name in _OPTIONAL:
        if getattr(asked, name) is not None and name not in kind.takes:
            known = ", ".join(task for task, one in KINDS.items() if name in one.takes)
            raise ConfigError(f"--{name} is for {known}, not for {asked.task}")
    if (plan is None) != (asked.outputs is not None):
        raise ConfigError("either a model answers (--model NAME) or its answers are there already")
    beside = asked.against if kind.rows_beside and _is_file(asked.against) else None
    data = asked.data or beside or kind.home
    if data is None:
        raise ConfigError(f"{asked.task} needs a file: --data FILE")
    asked = replace(asked, data=data)
    asked = replace(asked, **{name: _whole(getattr(asked, name)) for name in _FILES})
    if asked.judge is None and kind.judged:
        raise ConfigError(f"{asked.task} needs a judge: --judge MODEL")
    if asked.task == "jsonl" and asked.judge is None and asked.scoring != jsonl.UNSCORED:
        assert asked.data
        if jsonl.needs_judge(asked.data, asked.rubric):
            raise ConfigError("rows with a rubric are graded by a judge: --judge MODEL")
    return asked


_OPTIONAL = (
    "judge", "rubric", "scoring", "against", "outputs", "references", "skills", "template",
    "labels", "difficulty", "gamed",
)  # fmt: skip


_SUFFIXES = (".json", ".jsonl", ".gz", ".txt", ".csv")


def _is_file(name: str | None) -> bool:
    """Whether a name is that of a file or an address, there or not, and not a model's."""
    if name is None:
        return False
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":  # a local model's name
        return False
    return name.startswith(source.ADDRESSES) or path.suffix in _SUFFIXES or path.is_file()


def _whole(name: str | None) -> str | None:
    """A file's whole name; anything else as it is."""
    if name is None or not _is_file(name) or name.startswith(source.ADDRESSES):
        return name
    return str(Path(name).expanduser().resolve())


def _players(config: Config, plan: Plan | None, asked: Asked) -> Players:
    judge = config.plan(asked.judge) if asked.judge else None
    other = None if asked.against is None or _is_file(asked.against) else asked.against
    return Players(plan, judge, config.plan(other) if other else None)


def _task(asked: Asked) -> Task:
    kind = KINDS[asked.task]
    words = {name: getattr(asked, name) for name in kind.given}
    if asked.against is not None:
        words |= {"against": asked.against} if _is_file(asked.against) else {"compare": True}
    given = {name: value for name, value in words.items() if value is not None}
    return kind.made(data=asked.data, seed=asked.seed, **given)


def _kinship(config: Config, players: Players, asked: Asked, name: str) -> families.Kinship:
    """Whom the judge knows."""
    if players.judge is None:
        return families.Kinship()
    ours = families.members(config, players.candidate) if players.candidate else {name}
    if players.other:
        theirs = families.members(config, players.other)
    elif asked.against:
        theirs = {opponent.read(asked.against).author}
    else:
        theirs = set(KINDS[asked.task].beside)
    return families.kinship(families.members(config, players.judge), ours, theirs)


# ---- the same evaluation again


def _identity(config: Config, players: Players, asked: Asked) -> str:
    """The same for the same task over the same rows with the same models and settings."""
    words = {name: value for name, value in asdict(asked).items() if name not in _AFTERWARDS}
    for name in _FILES:
        if (file := words.get(name)) and _is_file(file):
            words[name] = source.digest(file)
    for role, plan in zip(Players._fields, players, strict=True):
        words[f"the {role}"] = _described(config, plan) if plan else None
    whole = json.dumps(words, sort_keys=True, default=_plainly)
    return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()


def judging_identity(
    config: Config, plans: Sequence[Plan], judge: Plan | None, asked: Asked
) -> str:
    """The same where the same judge reads what the same plans answer to the same rows."""
    each = [_identity(config, Players(plan, judge, None), asked) for plan in plans]
    return hashlib.blake2b("".join(each).encode(), digest_size=16).hexdigest()


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
    for info in list_eval_logs(str(logs)):  # the newest come first
        head = answers.opened(info.name, header_only=True)
        if (head.eval.metadata or {}).get("identity") == identity:
            return answers.opened(info.name)
    return None


def _carried(ready: Ready) -> Tally:
    """What earlier runs of it asked and paid; a log from before there were journals tells it."""
    if ready.fresh:
        ready.journal.unlink(missing_ok=True)
    if (found := tally(ready.journal, ready.config.price)) is not None:
        return found
    if ready.earlier is None:
        return Tally()
    told = took(ready.earlier.samples or ())
    found = Tally(told.cost_usd or 0.0, told.prompt_tokens, told.completion_tokens, told.calls)
    with Journal(ready.journal, ready.config.price) as begun:
        begun.carry(found)
    return found


def _answered(log: EvalLog | None) -> frozenset[_Key]:
    samples = (log.samples if log else None) or []
    return frozenset((str(one.id), one.epoch) for one in samples if one.error is None)


def _run(ready: Ready, connections: int) -> EvalLog:
    logs, asked, players = str(ready.logs), ready.asked, ready.players
    try:
        if ready.earlier is not None:
            found = inspect_ai.eval_retry(  # pyright: ignore[reportUnknownMemberType]
                ready.earlier, log_dir=logs, display="none", max_samples=connections,
                max_connections=connections, ctl_server=False, log_level="critical",
            )  # fmt: skip
        else:
            about = players.candidate and answers.described(players.candidate)
            found = inspect_ai.eval(  # pyright: ignore[reportUnknownMemberType]
                ready.task, model=_model(players.candidate, asked.seed),
                model_roles=_roles(players),
                display="none", log_dir=logs, log_format="eval", log_buffer=1,
                limit=asked.limit, epochs=asked.epochs, fail_on_error=False,
                max_samples=connections, max_connections=connections, ctl_server=False,
                metadata={"identity": ready.identity} | ({"contender": about} if about else {}),
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


def _model(plan: Plan | None, seed: int | None = None) -> InspectModel | None:
    config = GenerateConfig(seed=seed)
    return get_model(f"mixtura/{plan.name}", config=config, memoize=False) if plan else None


def _roles(players: Players) -> dict[str, str | InspectModel] | None:
    """Who has which role, in Inspect's words."""
    found = {grader.JUDGE: _model(players.judge), grader.OTHER: _model(players.other)}
    return {role: model for role, model in found.items() if model} or None


# ---- the cap


class Turns:
    """How many answers are under way, and who waits for one of them to end."""

    def __init__(self) -> None:
        self.under_way = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def one_ends(self) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        await place

    def ended(self, *, made_room: bool) -> None:
        self.under_way -= 1
        if not made_room:
            return
        for place in self._waiting:
            if not place.done():
                place.set_result(None)
        self._waiting.clear()


class Patient(Wrapper):
    """
    Waits where the cap has no room only because of what is set aside for others: an answer
    takes far less than its worst case. It is refused once no other is under way.
    """

    def __init__(self, model: Model, turns: Turns) -> None:
        super().__init__(model)
        self._turns = turns

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        while True:
            self._turns.under_way += 1
            waits = False
            try:
                return await self._model.complete(request, emit)
            except BudgetExceededError as error:
                waits = not billed(error) and self._turns.under_way > 1
                if not waits:
                    raise
            finally:
                self._turns.ended(made_room=not waits)
            await self._turns.one_ends()


# ---- progress


class _Count:
    """
    Counts samples as they are done and tells whoever watches: a judged one is once the judge
    has spoken, any other once it is answered.
    """

    def __init__(self, ready: Ready, watch: Watch | None) -> None:
        self._last = grader.JUDGED if ready.kind.judged else ready.name
        self._model = ready.name
        self._watch = watch
        self._done = set(ready.kept)
        self._total = ready.total
        self._failed = 0
        self._tell()

    def heard(self, model: str, sample: str, epoch: int, failed: bool) -> None:
        over = model == self._last or (failed and model == self._model)
        if over and (sample, epoch) not in self._done:
            self._done.add((sample, epoch))
            self._failed += failed
            self._tell()

    def _tell(self) -> None:
        if self._watch:
            self._watch(Progress(len(self._done), self._total, self._failed))
