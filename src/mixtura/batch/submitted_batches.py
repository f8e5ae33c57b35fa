"""The batches at one endpoint: calls gathered, written down, sent, looked for, read."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from mixtura.batch.followed_batches import (
    LONGEST_POLL,
    ODD_REPLIES,
    PASSING,
    Batches,
    FollowedBatch,
    NotAskedError,
    TimeIsUpError,
    UncertainBatchError,
    WaitingCall,
    let_calls_come,
    read_results,
    seconds_to_look,
    wait_until_over,
)
from mixtura.batch.provider_fields import GONE
from mixtura.batch.provider_forms import BatchForm, ProviderBatchRow, RemoteBatch, RowResult
from mixtura.catalog.batch_terms import BatchTerms
from mixtura.core.errors import MalformedError, ModelError, QuotaError, RejectedError
from mixtura.core.text import to_one_line
from mixtura.storage.batch_journal import SubmittedBatch

LOOKS = (0.0, 1.0, 3.0)
"""Seconds before each of the first looks for a batch that may have been made."""
LATER_LOOKS = 5.0
"""Seconds between the looks after them, until the provider's list is no longer behind."""
SUBMISSIONS = 10
"""Times in a row that a provider may fail to take a batch: five minutes."""
_LOG = logging.getLogger("mixtura.batches")


class BatchRecords:
    """The batches in the journal, and the calls that each has."""

    def __init__(self, batches: Batches) -> None:
        self._journal = batches.journal.journal
        self._run_job = batches.run_job
        self._known: dict[str, SubmittedBatch] | None = None

    async def read(self) -> dict[str, SubmittedBatch]:
        """Those of earlier processes and of this one, by their tags."""
        if self._known is None:
            read: Any = await self._run_job(self._journal.read_provider_batches)
            self._known = self._known or {one.tag: one for one in read}
        return self._known

    async def find_call(self, call: str, key: str = "") -> tuple[str, str, int] | None:
        """A call's name, its batch's tag and its number there; by *key*, the name's beginning."""
        found: Any = await self._run_job(partial(self._journal.find_provider_call, call, key))
        return found

    async def keep(self, record: SubmittedBatch, calls: Sequence[str] | None = None) -> None:
        """Write a batch; *calls*: where it is new, the names of those in it, in order."""
        more = () if calls is None else (calls,)
        if self._known is not None:
            self._known[record.tag] = record
        await self._run_job(partial(self._journal.keep_provider_batch, record, *more))

    async def forget(self, tag: str) -> None:
        """Take a batch out: nothing of it is at the provider."""
        await self._run_job(partial(self._journal.forget_provider_batch, tag))

    async def forget_calls(self, calls: Iterable[str]) -> None:
        """Take calls out of their batches."""
        await self._run_job(partial(self._journal.forget_provider_calls, [*calls]))


class EndpointBatches:
    """
    The batches at *place*, an address. A batch and its calls are in the journal before anything is
    sent, so that a later process finds it: by what the journal knows, else by *form*.
    """

    def __init__(self, batches: Batches, place: str, form: BatchForm, terms: BatchTerms) -> None:
        self._batches = batches
        self._place = place
        self._form = form
        self._terms = terms
        self._gathered: dict[str, WaitingCall] = {}
        self._gathering: asyncio.Task[None] | None = None
        self._failures = 0
        self._full = 0  # batches in a row that found the provider's queue full
        self._rows = terms.rows
        self._records = BatchRecords(batches)
        self.following: dict[str, FollowedBatch] = {}

    async def ask(self, call: str, body: bytes) -> RowResult:
        """
        What comes of a call. Raises TimeIsUpError and NotAskedError, which cost nothing, and
        ModelError where the provider takes no batch.
        """
        answer: asyncio.Future[RowResult] = asyncio.get_running_loop().create_future()
        one = WaitingCall(call, body, answer)
        while (found := await self._find_batch(call)) is not None:
            batch, number = found
            if batch.closed and batch.task is not None:
                await asyncio.wait({batch.task})
                continue
            batch.waiting[number] = one
            return await answer
        if await self._batches.seconds_left() <= 0:
            raise TimeIsUpError("the time limit for batches is reached")
        self._gather_again([one])
        try:
            return await answer
        finally:
            self._gathered.pop(call, None)

    async def find_earlier_name(self, key: str, call: str) -> str:
        """
        The name under which an earlier process has sent the call whose name begins with *key*:
        what it asked may differ, as by the limit of an answer under a cap. Else *call*.
        """
        if not await self._records.read():
            return call
        found = await self._records.find_call(call, key)
        return found[0] if found else call

    async def forget_calls(self, calls: Iterable[str]) -> None:
        """No answer came of them: they may be asked in another batch."""
        await self._records.forget_calls(calls)

    async def drop_tasks(self) -> None:
        tasks = [one.task for one in self.following.values() if one.task]
        tasks += [self._gathering] if self._gathering else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- gathered

    def _gather_again(self, calls: Iterable[WaitingCall]) -> None:
        self._gathered |= {one.call: one for one in calls if not one.answer.done()}
        if self._gathering is None or self._gathering.done():
            self._gathering = asyncio.create_task(self._submit_when_gathered())

    async def _submit_when_gathered(self) -> None:
        """Send what came, once nothing more comes for a while or there is enough."""
        try:
            while before := len(self._gathered):
                if before < self._rows:
                    await asyncio.sleep(self._batches.gather)
                if before < len(self._gathered) < self._rows:
                    continue
                if await self._batches.seconds_left() <= 0:
                    self._fail_gathered(TimeIsUpError("the time limit for batches is reached"))
                elif some := _take_some(self._gathered, self._terms, self._rows):
                    await self._submit(some)
        except Exception as error:  # noqa: BLE001 - who waits is told, or would wait for ever
            self._fail_gathered(error)

    def _fail_gathered(self, error: Exception) -> None:
        for one in self._gathered.values():
            if not one.answer.done():
                one.answer.set_exception(error)
        self._gathered.clear()

    async def _submit(self, some: list[WaitingCall]) -> None:
        tag = f"mixtura-{secrets.token_hex(8)}"
        record = SubmittedBatch(tag, self._place, "made", "", "", time.time(), len(some))
        batch = FollowedBatch(record, dict(enumerate(some)), fresh=True)
        try:
            await self._records.keep(record, [one.call for one in some])
        except Exception as error:
            batch.fail_waiting(error)
            raise
        self._follow(batch)

    # ---- found

    async def _find_batch(self, call: str) -> tuple[FollowedBatch, int] | None:
        """The batch that a call is in already, which is followed from now on."""
        earlier = await self._records.read()
        if (found := await self._records.find_call(call)) is None:
            return None
        _, tag, number = found
        if (batch := self.following.get(tag)) is None:
            batch = FollowedBatch(earlier[tag])
            self._follow(batch)
        return batch, number

    def _follow(self, batch: FollowedBatch) -> None:
        self.following[batch.record.tag] = batch
        batch.task = asyncio.create_task(self._run(batch))

    async def _run(self, batch: FollowedBatch) -> None:
        try:
            if await self._ensure_sent(batch):
                await self._read_to_end(batch)
            else:
                batch.closed = True
                again, batch.waiting = batch.waiting, {}
                self._gather_again(again.values())
        except ModelError as error:
            batch.closed = True
            batch.fail_waiting(_error_of_calls(batch.record, error))
        except Exception as error:  # noqa: BLE001 - who waits is told, or would wait for ever
            batch.closed = True
            batch.fail_waiting(error)
        finally:
            batch.closed = True
            del self.following[batch.record.tag]

    # ---- sent

    async def _ensure_sent(self, batch: FollowedBatch) -> bool:
        """Whether the provider has this batch; if not, its entry leaves the journal."""
        if batch.record.state == "sent":
            return True
        if batch.record.state == "sending":
            return await self._look_for(batch)
        if not batch.fresh:  # its process ended before anything that costs was sent
            await self._forget(batch)
            return False
        tag = batch.record.tag
        rows = [
            ProviderBatchRow(f"{tag}-{number}", msgspec.json.decode(one.body))
            for number, one in batch.waiting.items()
        ]
        try:
            file = await self._form.upload(tag, rows)
        except ModelError as error:
            return await self._wait_after_refusal(batch, error)
        await self._note_batch(batch, state="sending", file=file)
        try:
            remote = await self._form.create(tag, file, rows)
        except ModelError as error:
            if 400 <= (getattr(error, "status", None) or 0) < 500:
                return await self._wait_after_refusal(batch, error)
            # It may be there all the same.
            return await self._look_for(batch) or await self._wait_after_refusal(batch, error)
        self._failures = 0
        await self._note_batch(batch, state="sent", remote=remote)
        return True

    async def _look_for(self, batch: FollowedBatch) -> bool:
        record, until = batch.record, time.monotonic() + self._terms.lag
        looks, odd = list(LOOKS), 0
        while looks:
            await asyncio.sleep(looks[0])
            # Not to be in a list that may be behind proves nothing: it would be paid twice.
            if len(looks) == 1 and time.monotonic() < until:
                looks.append(min(LATER_LOOKS, until - time.monotonic()))
            try:
                found = await _find_once(self._batches, self._form, record)
            except TimeIsUpError:
                raise
            except (*PASSING, MalformedError, RejectedError) as error:
                odd += not isinstance(error, PASSING)  # one odd reply does not give it up
                if odd == ODD_REPLIES:
                    raise
                looks[0] = min(2 * looks[0] + 1, LONGEST_POLL)
                continue
            if found is not None:
                await self._note_batch(batch, state="sent", remote=found.id)
                return True
            del looks[0]
        await self._forget(batch)
        return False

    async def _wait_after_refusal(self, batch: FollowedBatch, error: ModelError) -> bool:
        """False after a wait, to try it again; raises *error* where that is of no use."""
        await self._forget(batch)
        self._failures += 1
        passes = isinstance(error, PASSING) and not isinstance(error, QuotaError)
        if not passes or self._failures >= SUBMISSIONS:
            raise error
        wait = max(self._batches.poll * 2**self._failures, getattr(error, "retry_after", None) or 0)
        await asyncio.sleep(min(wait, LONGEST_POLL))
        return False

    async def _note_batch(self, batch: FollowedBatch, **changes: str) -> None:
        record = batch.record = batch.record._replace(**changes)
        await self._records.keep(record)

    async def _forget(self, batch: FollowedBatch) -> None:
        batch.record = batch.record._replace(state="made")  # nothing of it is at the provider
        await self._records.forget(batch.record.tag)

    # ---- read

    async def _read_to_end(self, batch: FollowedBatch) -> None:
        try:
            remote = await wait_until_over(self._batches, self._form, batch)
            await let_calls_come(batch, self._batches.gather)
            batch.closed = True
            await read_results(self._form, batch, remote, self._batches.poll)
        except RejectedError as error:
            # Else a later process may read it; and those that came may not be kept yet.
            if error.status in GONE:
                await self.forget_calls([one.call for one in batch.waiting.values()])
            raise
        if remote.full:
            await self._ask_later(batch)
            return
        self._full, self._rows = 0, min(2 * self._rows, self._terms.rows)
        left = [one.call for one in batch.waiting.values()]
        if remote.failure:
            await self._forget(batch)
        else:
            await self.forget_calls(left)
        batch.fail_waiting(
            NotAskedError(remote.failure or "the provider's batch returned no result for it")
        )

    async def _ask_later(self, batch: FollowedBatch) -> None:
        """Its provider has enough of ours in its queue: its calls go out again, fewer at once."""
        await self._forget(batch)
        self._full += 1
        self._rows = max(1, min(self._rows, batch.record.size) // 2)
        left = max(0.0, await self._batches.seconds_left())
        await asyncio.sleep(min(self._batches.poll * 2 ** min(self._full, 20), LONGEST_POLL, left))
        again, batch.waiting = batch.waiting, {}
        self._gather_again(again.values())


def _error_of_calls(record: SubmittedBatch, error: ModelError) -> ModelError:
    """What a batch that ended in *error* means for its calls."""
    if isinstance(error, NotAskedError):
        return error
    # A list that is not there does not say that the batch is not; a batch that is not there does.
    gone = record.state == "sent" and error.status in GONE
    if record.state != "made" and not gone:
        _LOG.warning("a batch cannot be read: %s", to_one_line(error))
        return UncertainBatchError(error)
    if not isinstance(error, RejectedError):
        return error
    # It was the batch that was refused: a call of it may be right all the same.
    said = f"the provider refused a request about a batch: {to_one_line(error)}"
    _LOG.warning("%s", said)
    return NotAskedError(said)


async def _find_once(
    batches: Batches, form: BatchForm, record: SubmittedBatch
) -> RemoteBatch | None:
    """Raises TimeIsUpError, where it stays in the journal as one that may be there."""
    try:
        async with asyncio.timeout(await seconds_to_look(batches)):
            return await form.find(record.tag, record.file, record.size, record.made)
    except TimeoutError:
        raise TimeIsUpError("the time limit for batches is reached") from None


def _take_some(gathered: dict[str, WaitingCall], terms: BatchTerms, most: int) -> list[WaitingCall]:
    """As many as one batch may have: *most* at most."""
    some: list[WaitingCall] = []
    size = 0
    for call, one in [*gathered.items()]:
        size += len(one.body) + 200  # with what is around it
        full = len(some) >= most or size > terms.megabytes * 1e6
        if full and some:
            break
        del gathered[call]
        some.append(one)
    return some
