"""A client's call to a mixture of ours, run under its caps, counted and kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from starlette.types import Scope

from mixtura.apart import apart, weight
from mixtura.budget import Pocket
from mixtura.config import Config
from mixtura.errors import ConfigError, MixturaError, OutOfTimeError
from mixtura.events import Event
from mixtura.model import Model, logprobs
from mixtura.model_lists import ModelLists
from mixtura.record import Record, State, begun, ended, record
from mixtura.redaction import Redactor, current
from mixtura.server.access import CLIENT, Client, Doors
from mixtura.server.bodies import named_calls
from mixtura.server.choice import Choice, Chooser
from mixtura.server.dialect import Call, Refused, Wish
from mixtura.server.failures import refusal
from mixtura.server.frames import summary
from mixtura.server.metrics import Metrics
from mixtura.server.stored_responses import StoredResponses
from mixtura.server.truncation import truncated
from mixtura.server.turnstile import Turnstile
from mixtura.store_writer import StoreWriter
from mixtura.streaming import Recorder
from mixtura.text import one_line
from mixtura.trace import Call as AskedCall
from mixtura.trace import Trace
from mixtura.turn_memory import TurnMemory
from mixtura.turns import Turns
from mixtura.types import Completion, Request
from mixtura.windows import conversation_window

SOON = 0.02
"""Seconds after which a run that has ended is counted and kept."""
A_MOMENT = 1.0
"""Seconds that whoever looks at runs waits for those that are being written."""
PATIENCE = 0.5
"""Seconds that someone waits for endpoints that tell their models' sizes."""
A_WHILE = 5.0
"""Seconds that runs have to end once they are told to."""

Watch = Callable[[int, Event], None]
"""Told of every event of every answer that is under way."""


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
    redactor: Redactor = field(default_factory=current)
    """Knows what its client may not see, and the client's own key."""
    started: float = field(default_factory=time.time)
    recorders: dict[int, Recorder] = field(default_factory=dict[int, Recorder])
    over: list[tuple[str, Trace]] | None = None
    """What its runs were, once they have ended."""
    failed: MixturaError | Refused | None = None
    """Why there is no answer, once that is so."""
    left_out: list[str] = field(default_factory=list[str])
    """What its client is told was left out, beside what the models left out."""
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


NO_LOGPROBS = "the model that writes the answer gives no log-probabilities"


def _no_logprobs() -> Refused:
    return Refused(400, NO_LOGPROBS, param="logprobs", code="unsupported_value")


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
        self._writer = StoreWriter(config.runs)
        most = int(config.serve.largest_megabytes * 1024**2)
        self.responses = StoredResponses(config.responses, most=most, locked=doors.locked)
        self.lists = ModelLists(config)
        stored = self.responses.writer
        self.metrics = Metrics(self.turnstile, {"run": self._writer, "response": stored})
        self._own_metrics: dict[str, Metrics] = {}
        """Those of clients whose keys may use some models only."""
        self._turns = Turns()
        self._memory = TurnMemory()
        self._running: set[asyncio.Task[Any]] = set()
        self._ending = False
        self._unsettled: list[Job] = []
        """Jobs that are over, until they are counted and kept."""
        self.chooser = Chooser(config)
        self._models: dict[tuple[str, str, str], Model] = {}
        """What answers calls that wish for nothing, by choice, consultation and client."""

    async def close(self) -> None:
        """Return when every run has ended and is on the disk."""
        self.end()
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=A_WHILE)
        self.settle()
        self.lists.close()
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self.responses.close)

    # ---- what a call may ask for

    def job(self, call: Call, client: Client, *, tokens: int, size: int) -> Job:
        """
        *tokens*: those of its request, where the client's are counted; *size*: bytes of its body.

        Raises Refused when there is no such mixture, or the client may not use it.
        """
        choice = self.chooser.choose(call, client)
        model, deadline = self._runnable(choice, call.wish, client)
        if call.request.extra.get("logprobs") and logprobs(model) is False:
            raise _no_logprobs()
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
                turns=self._turns.owned_by(client.name) if key[1] == "turn" else None,
            )
        except ConfigError as error:
            if wish.chooses:  # what it asks for does not go together
                raise Refused(400, str(error), code="not_possible", param="mixtura") from None
            raise Refused(503, str(error), kind="api_error", code="model_not_ready") from None
        if usual and choice.whole:
            self._models[key] = model
        return model, deadline

    async def fit(self, job: Job) -> None:
        """Leave the oldest messages out of a call that wants that, where all of them do not fit."""
        if not job.call.truncate:
            return
        plan = job.choice.plan
        await self.lists.learn([job.choice.name, *plan.members()], patience=PATIENCE)
        if (window := conversation_window(self.config.mixture(plan))) is None:
            return
        asked = job.call.request
        request, gone = await apart(weight(asked), truncated, asked, window)
        if gone:
            job.call = replace(job.call, request=request)
            job.left_out.append(
                f"the {gone} oldest messages: with them the conversation is larger than the"
                f" {window} tokens that there is room for"
            )

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
                if not job.call.stream:
                    raise _no_logprobs()
                job.left_out.append(NO_LOGPROBS)  # the answer is out already
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
        request = job.call.asked(choice)
        if choice:
            seed = request.sampling.seed
            sampling = replace(request.sampling, seed=None if seed is None else seed + choice)
            request = replace(request, draw=choice, sampling=sampling)
        request = self._memory.restore(job.client.name, request)
        answer = _with_ids(await job.model.complete(request, recorder), job.numbers[choice])
        self._memory.keep(job.client.name, request, answer.message)
        return answer

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
                self._count(job, trace, state)
                if self.config.runs.keeps:
                    size = job.size + sum(map(_kept_bytes, trace.leaves()))
                    request = job.call.asked(job.numbers.index(number))
                    make = partial(self._record, job, request, number, trace, state, reason)
                    self._writer.end(number, size, make, job.redactor)

    def answered(self, scope: Scope, path: str, status: int) -> None:
        """Count an answer to any request, *path* as the routes have it."""
        for metrics in self._metrics_of(scope.get(CLIENT)):
            metrics.answered(path, status)

    def _count(self, job: Job, trace: Trace, state: State) -> None:
        label, price = self.chooser.label, self.config.price
        whole, *own = self._metrics_of(job.client)
        whole.ran(job.choice.label, trace, state, price, label)
        for metrics in own:
            asked = self.chooser.label_for(job.choice.label, job.client)

            def seen(name: str, asked: str = asked) -> str:
                return name if job.client.lists(name) and label(name) == name else asked

            metrics.ran(asked, trace, state, price, seen)

    def _metrics_of(self, client: Client | None) -> list[Metrics]:
        """The server's metrics, and those of a client whose key may not see them."""
        if client is None or client.models is None:
            return [self.metrics]
        return [self.metrics, self.metrics_for(client)]

    def metrics_for(self, client: Client) -> Metrics:
        """What *client* may see: all, or what its own requests did, by its own models' names."""
        if client.models is None:
            return self.metrics
        if client.name not in self._own_metrics:
            self._own_metrics[client.name] = Metrics()
        return self._own_metrics[client.name]

    async def kept(self) -> None:
        """Return when what has ended is on the disk, or soon after: for whoever looks at runs."""
        self.settle()
        if self._writer.waiting:
            await asyncio.to_thread(self._writer.flush, A_MOMENT)

    def _begun(self, job: Job, choice: int) -> None:
        if job.over is None:
            number = job.numbers[choice]
            make = partial(
                begun, job.call.asked(choice), self.config.price, id=number, started=job.started,
                via="serve", model=job.call.model, who=self._who(job),
            )  # fmt: skip
            self._writer.begin(number, make, job.redactor)

    def _who(self, job: Job) -> str:
        return job.client.name if self.doors.locked else ""

    def _record(
        self,
        job: Job,
        request: Request,
        number: str,
        trace: Trace,
        state: State,
        reason: str | None,
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
            request=request,
            model=job.call.model,
            who=self._who(job),
        )

    def summary(self, job: Job) -> dict[str, Any]:
        """The ``mixtura`` object of the answer."""
        told = summary(job.traces(), self.config.price)
        told["notices"] = [*job.call.notices, *told["notices"]]
        left_out = map(one_line, (*job.call.left_out, *job.left_out))
        told["left_out"] = [*told["left_out"], *left_out]
        return told | {"routed_to": job.choice.name} if job.choice.side else told


def _with_ids(answer: Completion, number: str) -> Completion:
    """*answer* with an id of its own for each tool call: some models give none, or one to many."""
    calls = answer.message.tool_calls
    if len({call.id for call in calls if call.id}) == len(calls):
        return answer
    named = named_calls(answer, f"call_{number.replace('-', '')}_")
    return replace(answer, message=replace(answer.message, tool_calls=tuple(named)))


def _kept_bytes(call: AskedCall) -> int:
    """About how much memory a call's own texts take until they are written."""
    return len(call.text) + 64 * len(call.pieces) + 1000


def _ended() -> Refused:
    said = "the server is ending: ask again in a moment"
    return Refused(503, said, kind="api_error", code="server_ending", retry_after=1)
