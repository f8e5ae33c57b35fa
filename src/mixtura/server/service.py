"""A client's call to a mixture of ours, run under its caps, counted and kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from mixtura import hub
from mixtura.budget import Pocket
from mixtura.config import PRESETS, Config
from mixtura.errors import ConfigError, MixturaError, OutOfTimeError
from mixtura.events import Event
from mixtura.model import Model
from mixtura.plan import Plan, Seated, seated
from mixtura.record import Record, State, begun, ended, record
from mixtura.run_writer import RunWriter
from mixtura.server.access import Client, Doors
from mixtura.server.dialect import Call, Refused, Wish
from mixtura.server.failures import refusal
from mixtura.server.frames import summary
from mixtura.server.metrics import Metrics
from mixtura.server.side import is_side
from mixtura.server.turnstile import Turnstile
from mixtura.streaming import Recorder
from mixtura.trace import Call as AskedCall
from mixtura.trace import Trace
from mixtura.turns import Turns
from mixtura.types import Completion

LONGEST_NAME = 2000
"""Letters of a model's name: a mixture may be written as one."""
SOON = 0.02
"""Seconds after which a run that has ended is counted and kept."""
A_MOMENT = 1.0
"""Seconds that whoever looks at runs waits for those that are being written."""
A_WHILE = 5.0
"""Seconds that runs have to end once they are told to."""

Watch = Callable[[int, Event], None]
"""Told of every event of every answer that is under way."""


class Choice(NamedTuple):
    """What answers a call."""

    name: str
    plan: Plan
    calls: int
    label: str
    """What metrics call it."""
    side: bool = False
    """A front end's small request that went to the model for those."""


@dataclass(slots=True)
class Job:
    """One call on its way: what answers it, and what is known of its runs by now."""

    call: Call
    client: Client
    choice: Choice
    model: Model
    deadline: float | None
    """Seconds that all of it may take."""
    new_id: Callable[[], str]
    reserved: int
    """Tokens that were taken from the client's minute beforehand."""
    size: int = 0
    """Bytes of its body."""
    started: float = field(default_factory=time.time)
    recorders: dict[int, Recorder] = field(default_factory=dict[int, Recorder])
    over: list[tuple[str, Trace]] | None = None
    """What its runs were, once they have ended."""
    failed: MixturaError | Refused | None = None
    """Why there is no answer, once that is so."""
    _numbers: list[str] = field(default_factory=list[str])

    @property
    def numbers(self) -> list[str]:
        """Its runs', in the order of the answers; not made before the calls are out."""
        if not self._numbers:
            self._numbers = [self.new_id() for _ in range(self.call.n)]
        return self._numbers

    def traces(self) -> list[tuple[str, Trace]]:
        """Of the runs that have begun, by their numbers."""
        if self.over is not None:
            return self.over
        return [(self.numbers[i], self.recorders[i].trace()) for i in sorted(self.recorders)]


class Service:
    """What every route needs, and the one way from a call to its answers."""

    def __init__(
        self,
        config: Config,
        doors: Doors,
        *,
        max_cost: float | None = None,
        deadline: float | None = None,
    ) -> None:
        self.config = config
        self._max_cost = max_cost
        self._deadline = deadline
        self.doors = doors
        self.turnstile = Turnstile(config.serve.at_once, config.serve.waiting)
        self._writer = RunWriter(config.runs)
        self.metrics = Metrics(self.turnstile, self._writer)
        self._turns = Turns()
        self._running: set[asyncio.Task[Any]] = set()
        self._ending = False
        self._unsettled: list[Job] = []
        """Jobs that are over, until they are counted and kept."""
        self._choices: dict[str, Choice] = {}
        self._models: dict[tuple[str, str, str], Model] = {}
        """What answers calls that wish for nothing, by choice, consultation and client."""
        plans = (config.plan(name) for name in config.mixtures())
        self._ours = frozenset(name for plan in plans for name in plan.members()) | set(hub.known())

    async def close(self) -> None:
        """Return when every run has ended and is on the disk."""
        self.end()
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=A_WHILE)
        self.settle()
        await asyncio.to_thread(self._writer.close)

    # ---- what a call may ask for

    def job(self, call: Call, client: Client, *, tokens: int, size: int) -> Job:
        """
        *tokens*: those of its request, where the client's are counted; *size*: bytes of its body.

        Raises Refused when there is no such mixture, or the client may not use it.
        """
        choice = self.plan(call, client)
        model, deadline = self._runnable(choice, call.wish, client)
        expected = 0
        if client.counts_tokens:
            expected = tokens * choice.calls * call.n
            client.reserve(expected)
        new_id = self.config.runs.new_id
        return Job(call, client, choice, model, deadline, new_id, expected, size)

    def _runnable(self, choice: Choice, wish: Wish, client: Client) -> tuple[Model, float | None]:
        """What answers, under its caps, and the seconds that it may take. Raises Refused."""
        deadline = self._deadline
        if wish.deadline is not None:
            deadline = wish.deadline if deadline is None else min(wish.deadline, deadline)
        key = (choice.name, wish.consult or self.config.serve.consult, client.name)
        usual = wish.max_cost is None and deadline == self._deadline and not wish.chooses
        if usual and key in self._models:
            return self._models[key], deadline
        purses = [*client.purses]
        if wish.max_cost is not None:  # of all its answers together
            purses.append(Pocket("this request", wish.max_cost))
        try:
            model = self.config.runnable(
                choice.plan,
                max_cost=self._max_cost,
                deadline=deadline,
                purses=purses,
                turns=self._turns if key[1] == "turn" else None,
            )
        except ConfigError as error:
            if wish.chooses:  # what it asks for does not go together
                raise Refused(400, str(error), code="not_possible", param="mixtura") from None
            raise Refused(503, str(error), kind="api_error", code="model_not_ready") from None
        if usual and choice.name in self._choices:
            self._models[key] = model
        return model, deadline

    def plan(self, call: Call, client: Client) -> Choice:
        """The plan that a call names or describes. Raises Refused."""
        wish, serve = call.wish, self.config.serve
        asked = wish.mixture or call.model
        side = bool(serve.side) and wish == Wish() and is_side(call.request)
        name = serve.side if side and serve.side else self.meant(asked)
        if not side:
            self._check_name(asked, client, "mixtura.mixture" if wish.mixture else "model")
        choice = self._choices.get(name) or self._chosen(name, call, client)
        if wish.chooses:
            choice = self._changed(choice, call, client)
        calls = choice.calls * call.n
        if calls > serve.most_calls:
            said = f"that takes {calls} calls, and one request may make {serve.most_calls}"
            raise Refused(400, said, code="too_many_calls", param="model")
        return choice._replace(side=side)

    def _chosen(self, name: str, call: Call, client: Client) -> Choice:
        """What a name stands for; worked out once where it is one of ours."""
        plan = self._found(name, "mixtura.mixture" if call.wish.mixture else "model")
        if ">" in name:
            self._check_members(plan, client, "model")
        plan = self._resolved(plan)
        choice = Choice(name, plan, self.config.calls(plan), self.label(name))
        if choice.label == name and ">" not in name:  # else each key's rights are looked at
            self._choices[name] = choice
        return choice

    def meant(self, name: str) -> str:
        """`default` is the configured default, unless someone made a mixture of that name."""
        own = self.config.mixtures().get(name)
        ours = own is None or own.where is None or own.where.source == PRESETS
        return self.config.default if name == "default" and ours else name

    def label(self, name: str) -> str:
        """What metrics call a model: a name of ours, never a client's words."""
        known = name in self.config.mixtures() or name in self.config.tables() or name in self._ours
        return name if known else "other"

    def _check_name(self, name: str, client: Client, param: str) -> None:
        """Before anything is looked up, so that no one learns what else there is."""
        if len(name) > LONGEST_NAME:
            raise Refused(400, f"`{param}` is longer than {LONGEST_NAME} letters", param=param)
        if client.models is not None and ">" not in name and not self._usable(name, client):
            raise _forbidden(name, client)

    def _usable(self, name: str, client: Client) -> bool:
        return client.may_use(name) or client.may_use(self.meant(name))

    def _check_members(self, plan: Plan, client: Client, param: str) -> None:
        for name in sorted(plan.members()):
            if not self._usable(name, client):
                raise _forbidden(name, client)
            self._found(name, param)

    def _resolved(self, plan: Plan) -> Plan:
        """A plan in which `default` stands for what it means here."""
        if "default" not in plan.members():
            return plan
        layers = tuple(
            tuple(replace(seat, model=self.meant(seat.model)) for seat in row)
            for row in plan.layers
        )
        return replace(plan, layers=layers, aggregator=self.meant(plan.aggregator))

    def _changed(self, choice: Choice, call: Call, client: Client) -> Choice:
        """A mixture with other members or another depth; all else in it stays as it was."""
        wish, plan = call.wish, choice.plan
        if wish.aggregator is not None:
            self._check_name(wish.aggregator, client, "mixtura.aggregator")
            self._found(wish.aggregator, "mixtura.aggregator")
        if wish.proposers is not None:
            plan = replace(plan, layers=(self._seats(plan, wish.proposers, client),) * max(
                len(plan.layers), 1))  # fmt: skip
        elif not plan.layers:
            said = f"{plan.name} is a model alone: name `mixtura.proposers`, too"
            raise Refused(400, said, param="mixtura")
        if wish.layers is not None:
            if wish.layers < 2 and wish.proposers is not None:
                said = "`mixtura.layers` counts the aggregator's: with proposers it is at least 2"
                raise Refused(400, said, param="mixtura.layers")
            rows = plan.layers[: wish.layers - 1]
            rows += (plan.layers[-1],) * (wish.layers - 1 - len(rows))
            plan = replace(plan, layers=rows)
        smallest = min((sum(s.samples for s in row) for row in plan.layers), default=1)
        plan = replace(plan, quorum=min(plan.quorum, smallest))
        plan = self._resolved(replace(plan, aggregator=wish.aggregator or plan.aggregator))
        return choice._replace(plan=plan, calls=self.config.calls(plan))

    def _seats(self, plan: Plan, names: Sequence[str], client: Client) -> tuple[Seated, ...]:
        """New proposers; one that sat there already keeps its persona and its sampling."""
        before = {seat.model: seat for row in reversed(plan.layers) for seat in row}
        try:
            seats = tuple(seated(name) for name in names)
        except ConfigError as error:
            raise Refused(400, str(error), param="mixtura.proposers") from None
        for seat in seats:  # also one that sits there: a key may use it only as it was set up
            self._check_name(seat.model, client, "mixtura.proposers")
            self._found(seat.model, "mixtura.proposers")
        return tuple(replace(before.get(seat.model, seat), samples=seat.samples) for seat in seats)

    def _found(self, name: str, param: str) -> Plan:
        """What a name means. A file on this machine has none unless it is configured."""
        configured = name in self.config.tables() or name in self.config.mixtures()
        if ".gguf" in name and not configured:
            raise _unknown(f"the model `{name}` does not exist", param)
        try:
            return self.config.plan(name)
        except ConfigError as error:
            raise _unknown(str(error), param) from None

    # ---- running it

    async def run(self, job: Job, watch: Watch | None = None) -> list[Completion]:
        """Every answer that the call asked for. Raises Refused."""
        failed: MixturaError | Refused | None = None
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            answers = await self._in_time(job, watch)
            if job.call.request.extra.get("logprobs") and not all(a.logprobs for a in answers):
                said = "the model that writes the answer gives no log-probabilities"
                raise Refused(400, said, param="logprobs", code="unsupported_value")
            return answers
        except (MixturaError, Refused) as error:
            failed = error
            raise refusal(error) from None
        except asyncio.CancelledError:
            if not self._ending or task.uncancel() > 0:
                raise
            failed = _ended()
            raise failed from None
        finally:
            self._running.discard(task)
            self._over(job, failed)

    def end(self) -> None:
        """The time for runs under way is over: their clients are told so."""
        self._ending = True
        for task in tuple(self._running):
            task.cancel()

    @property
    def running(self) -> int:
        """Calls under way."""
        return len(self._running)

    async def _in_time(self, job: Job, watch: Watch | None) -> list[Completion]:
        """The answers; waiting for a turn counts, too. Raises OutOfTimeError."""
        if job.deadline is None:
            return await self._answers(job, watch)
        clock = asyncio.timeout(job.deadline)
        try:
            async with clock:
                return await self._answers(job, watch)
        except TimeoutError:
            if not clock.expired():
                raise
            raise OutOfTimeError(f"no answer within {job.deadline:g} s") from None

    async def _answers(self, job: Job, watch: Watch | None) -> list[Completion]:
        if job.call.n == 1:
            return [await self._one(job, 0, watch)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._one(job, i, watch)) for i in range(job.call.n)]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _one(self, job: Job, choice: int, watch: Watch | None) -> Completion:
        async with self.turnstile.turn(job.client.name):
            return await self._ran(job, choice, watch)

    async def _ran(self, job: Job, choice: int, watch: Watch | None) -> Completion:
        recorder = Recorder(partial(watch, choice) if watch else None)
        job.recorders[choice] = recorder
        if self.config.runs.keeps:
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._begun, job, choice)  # the calls go out first
        request = job.call.request
        if choice:
            seed = request.sampling.seed
            sampling = replace(request.sampling, seed=None if seed is None else seed + choice)
            request = replace(request, draw=choice, sampling=sampling)
        return await job.model.complete(request, recorder)

    def _over(self, job: Job, failed: MixturaError | Refused | None) -> None:
        """Charge the client; the rest can wait until the answer is out."""
        job.over, job.failed = job.traces(), failed
        used = sum(trace.usage.total_tokens for _, trace in job.over)
        job.client.used(used - job.reserved)
        self._unsettled.append(job)
        asyncio.get_running_loop().call_later(SOON, self.settle)

    def settle(self) -> None:
        """Count and keep what has ended, so that no one sees less than was answered."""
        while self._unsettled:
            job = self._unsettled.pop(0)
            failed = job.failed if isinstance(job.failed, MixturaError) else None
            for number, trace in job.traces():
                state, reason = ended(trace, failed)
                self.metrics.ran(job.choice.label, trace, state, self.config.price, self.label)
                if self.config.runs.keeps:
                    size = job.size + sum(map(_kept_bytes, trace.leaves()))
                    make = partial(self._record, job, number, trace, state, reason)
                    self._writer.end(number, size, make)

    async def kept(self) -> None:
        """Return when what has ended is on the disk, or soon after: for whoever looks at runs."""
        self.settle()
        if self._writer.waiting:
            await asyncio.to_thread(self._writer.flush, A_MOMENT)

    def _begun(self, job: Job, choice: int) -> None:
        if job.over is None:
            number = job.numbers[choice]
            make = partial(
                begun, job.call.request, self.config.price, id=number, started=job.started,
                via="serve", model=job.call.model, who=self._who(job),
            )  # fmt: skip
            self._writer.begin(number, make)

    def _who(self, job: Job) -> str:
        return job.client.name if self.doors.locked else ""

    def _record(
        self, job: Job, number: str, trace: Trace, state: State, reason: str | None
    ) -> Record:
        """Made in the writer's thread: it may take a while."""
        return record(
            trace,
            self.config.price,
            id=number,
            started=job.started,
            via="serve",
            state=state,
            error=reason,
            request=job.call.request,
            model=job.call.model,
            who=self._who(job),
        )

    def summary(self, job: Job) -> dict[str, Any]:
        """The ``mixtura`` object of the answer."""
        told = summary(job.traces(), self.config.price)
        return told | {"routed_to": job.choice.name} if job.choice.side else told


def _kept_bytes(call: AskedCall) -> int:
    """About how much memory a call's own texts take until they are written."""
    return len(call.text) + 64 * len(call.pieces) + 1000


def _ended() -> Refused:
    said = "the server is ending: ask again in a moment"
    return Refused(503, said, kind="api_error", code="server_ending", retry_after=1)


def _unknown(said: str, param: str) -> Refused:
    return Refused(404, said, code="model_not_found", param=param)


def _forbidden(name: str, client: Client) -> Refused:
    said = f"the key {client.name} may not use `{name}`"
    return Refused(403, said, kind="permission_error", code="model_not_allowed", param="model")
