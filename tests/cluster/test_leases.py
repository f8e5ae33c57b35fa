"""What workers are lent of limits and of a budget: never more than there is, and all of it used."""

import asyncio
import random

import pytest

from mixtura import Completion, Message, ask
from mixtura.billing.spending_caps import Spend
from mixtura.cluster.dollar_leases import DollarOwner, DollarUse, LeasedBudget, LeasedCap
from mixtura.cluster.leases import LimitOwner, SharedQuantity
from mixtura.core.errors import BudgetExceededError, RateLimitedError, UnavailableError
from mixtura.engine.endpoint_lease import EndpointUse
from mixtura.models.fake import echo
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
from tests.conftest import run
from tests.support.call_models import Clock

IDLE = EndpointUse(0, 0, 0, 0, 0, 0, 0, 0.0)
HERE = {"here": RateLimits(concurrency=8)}


def lend(owner, worker, limits=None, **use):
    return owner.lend(worker, limits or HERE, {"here": IDLE._replace(**use)})["here"]


@pytest.mark.parametrize("seed", range(5))
def test_what_all_workers_use_is_never_more_than_the_limit(seed):
    dice, limit, used = random.Random(seed), 20, {}
    quantity, leases = SharedQuantity(limit), {}
    for turn in range(400):
        worker = f"w{dice.randrange(6)}"
        used[worker] = dice.randint(0, max(used.get(worker, 0), leases.get(worker, 0)))
        wanted = used[worker] + dice.choice((0, 3, 40))
        leases[worker] = quantity.lend(worker, used[worker], wanted, turn)

        assert sum(max(leases.get(w, 0), n) for w, n in used.items()) <= limit


def test_a_worker_that_has_no_use_for_its_part_leaves_it_to_the_others():
    owner = LimitOwner(Clock())
    lend(owner, "busy", waiting=20)
    lend(owner, "idle")
    for _ in range(3):
        idle, busy = lend(owner, "idle"), lend(owner, "busy", inside=4, waiting=20)

    assert busy.concurrency == 8
    assert idle.concurrency == 0
    assert lend(owner, "idle", waiting=9).concurrency == 0, "the other one still uses it"
    assert lend(owner, "busy", inside=8, waiting=20).concurrency == 4
    assert lend(owner, "idle", waiting=9).concurrency == 0
    lend(owner, "busy", inside=4, waiting=20)
    assert lend(owner, "idle", waiting=9).concurrency == 4


def test_one_call_at_once_goes_from_worker_to_worker():
    clock = Clock()
    owner, limits = LimitOwner(clock), {"here": RateLimits(concurrency=1)}
    had = set()
    for _ in range(20):
        for worker in ("a", "b", "c"):
            if lend(owner, worker, limits, waiting=5).concurrency:
                had.add(worker)
        clock.now += 1.0

    assert had == {"a", "b", "c"}


def test_a_429_of_one_worker_lowers_the_calls_of_all_and_answers_raise_them_again():
    clock = Clock()
    owner = LimitOwner(clock)
    for _ in range(2):
        for worker in ("a", "b"):
            lend(owner, worker, inside=4, waiting=9)
    first = lend(owner, "a", inside=4, waiting=9, rate_limited=1, closed=7.0)
    second = lend(owner, "b", inside=4, waiting=9)

    assert (first.concurrency, second.concurrency) == (1, 1), "until fewer are in use"
    assert second.closed == 7.0
    for _ in range(60):
        clock.now += 1.0
        leases = [lend(owner, one, waiting=9, answered=4).concurrency for one in ("a", "b")]
    assert leases == [4, 4]


def test_a_dead_workers_calls_are_the_others_at_once_and_its_minute_once_that_is_over():
    clock, limits = Clock(), {"here": RateLimits(concurrency=4, requests_per_minute=10)}
    owner = LimitOwner(clock)
    lend(owner, "dead", limits, inside=4, requests=9, waiting=1)
    owner.forget_worker("dead")

    now = lend(owner, "alive", limits, waiting=20)
    clock.now += 61.0
    later = lend(owner, "alive", limits, waiting=20)

    assert (now.concurrency, now.requests) == (4, 0)
    assert (later.concurrency, later.requests) == (4, 10)


def test_a_leased_limiter_lets_in_what_is_lent_and_more_with_the_next_lease():
    owner, limiter = LimitOwner(), RateLimiter(RateLimits(concurrency=2, requests_per_minute=3))
    model = Limited(echo("m"), limiter)

    async def asks():
        limiter.apply_lease(owner.lend("w", {}, {}).get("here") or _nothing())
        calls = [asyncio.create_task(model.complete(ask(str(n)))) for n in range(5)]
        await asyncio.sleep(0)
        assert limiter.current_load().in_flight == 0
        use = limiter.current_use()
        limiter.apply_lease(owner.lend("w", {"here": limiter.limits}, {"here": use})["here"])
        await asyncio.wait(calls, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        while limiter.current_use().answered < 3:
            await asyncio.sleep(0)
        assert limiter.current_use().requests == 3
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    run(asks())


def _nothing():
    from mixtura.engine.endpoint_lease import Lease

    return Lease(concurrency=0, requests=0)


class Paid:
    """Answers take *held* dollars at most, and cost *spent*."""

    name, info = "paid", None

    def __init__(self, cap, held, spent):
        self.cap, self.held, self.spent, self.answered = cap, held, spent, 0
        self.asked = 0

    async def complete(self, request, emit=None):
        self.asked += 1
        hold = self.cap.reserve(Spend(self.held))
        if hold is None:
            raise BudgetExceededError("no room")
        await asyncio.sleep(0)
        self.cap.settle(hold, Spend(self.spent))
        self.answered += 1
        return Completion(Message("assistant", "yes"), self.name)


@pytest.mark.parametrize("held", [1.0, 4.0])
def test_workers_spend_the_whole_budget_and_no_cent_more(held):
    owner, workers = DollarOwner(50.0), []
    for _ in range(3):
        cap = LeasedCap("the batch", 50.0)
        workers.append((cap, Paid(cap, held, 1.0)))

    async def renew():
        while True:
            for number, (cap, _) in enumerate(workers):
                cap.apply_lease(owner.lend(str(number), cap.current_use()))
            await asyncio.sleep(0)

    async def asks():
        renewing = asyncio.create_task(renew())
        models = [LeasedBudget(paid, cap) for cap, paid in workers]
        rows = [models[n % 3].complete(ask(str(n))) for n in range(90)]
        ended = await asyncio.wait_for(asyncio.gather(*rows, return_exceptions=True), 60)
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        return ended

    results = []

    async def keep():
        results.extend(await asks())

    run(keep())
    answered = sum(not isinstance(one, Exception) for one in results)
    refused = [one for one in results if isinstance(one, Exception)]
    assert {type(one) for one in refused} == {BudgetExceededError}
    assert 50 - held < answered <= 50
    assert answered == sum(paid.answered for _, paid in workers)


def test_of_many_rows_that_wait_for_room_in_a_lease_those_try_again_for_whom_there_is_some():
    owner, cap = DollarOwner(1000.0), LeasedCap("the batch", 1000.0)
    paid = Paid(cap, 100.0, 1.0)

    async def renew():
        while True:
            cap.apply_lease(owner.lend("one", cap.current_use()))
            await asyncio.sleep(0.01)

    async def asks():
        renewing = asyncio.create_task(renew())
        rows = [LeasedBudget(paid, cap).complete(ask(str(n))) for n in range(300)]
        await asyncio.wait_for(asyncio.gather(*rows), 60)
        renewing.cancel()

    run(asks())
    assert paid.answered == 300
    assert paid.asked <= 3 * 300


def test_what_a_dead_worker_did_not_spend_is_lent_to_others():
    owner = DollarOwner(10.0)
    dead, alive = LeasedCap("the batch", 10.0), LeasedCap("the batch", 10.0)

    async def asks():
        waits = asyncio.create_task(dead.wait_for_room(9.0))
        await asyncio.sleep(0)
        dead.apply_lease(owner.lend("dead", dead.current_use()))
        assert await waits
        waits = asyncio.create_task(alive.wait_for_room(5.0))
        await asyncio.sleep(0)
        alive.apply_lease(owner.lend("alive", alive.current_use()))
        assert not waits.done()
        owner.settle_dead("dead", 3.0)
        alive.apply_lease(owner.lend("alive", alive.current_use()))
        assert await waits
        assert alive.reserve(Spend(5.0)) is not None
        assert alive.reserve(Spend(2.5)) is None

    run(asks())


@pytest.mark.parametrize(
    "error",
    [RateLimitedError("slow").with_retry_after(3.0), UnavailableError("down", status=503)],
    ids=["rate limit", "unavailable"],
)
def test_errors_keep_what_they_are_when_they_cross_processes(error):
    import pickle

    from mixtura.core.errors import QuorumNotMetError

    whole = QuorumNotMetError(1, 2, 0, [error], late=True)
    read = pickle.loads(pickle.dumps(whole))

    assert (type(read), str(read), read.late) == (QuorumNotMetError, str(whole), True)
    (cause,) = read.causes
    assert (type(cause), str(cause)) == (type(error), str(error))
    assert (cause.retry_after, cause.status) == (error.retry_after, error.status)


def test_a_question_that_comes_again_is_lent_nothing_twice():
    owner, cap = DollarOwner(10.0), LeasedCap("the batch", 10.0)

    async def asks():
        waits = asyncio.create_task(cap.wait_for_room(2.0))
        await asyncio.sleep(0)
        use = cap.current_use()
        first = owner.lend("w", use)
        assert owner.lend("w", use) == first, "its response was lost on the way"
        cap.apply_lease(first)
        assert await waits
        owner.lend("other", DollarUse(0.0, 0.0, 0.0, needed=9.0, number=1))
        cap.apply_lease(owner.lend("w", cap.current_use()))
        returned = cap.current_use()
        assert returned.returned == first.more, "another needs it"
        for _ in range(3):
            owner.lend("w", returned)

        use = DollarUse(0.0, 0.0, 0.0, needed=10.0, number=2)
        assert owner.lend("other", use).more == 10.0, "it was returned once"

    run(asks())


def test_what_a_worker_of_a_lost_machine_was_lent_counts_as_spent():
    owner = DollarOwner(10.0)
    lost, alive = LeasedCap("the batch", 10.0), LeasedCap("the batch", 10.0)

    async def asks():
        waits = asyncio.create_task(lost.wait_for_room(6.0))
        await asyncio.sleep(0)
        lost.apply_lease(owner.lend("lost", lost.current_use()))
        assert await waits
        owner.settle_dead("lost", None)
        waits = asyncio.create_task(alive.wait_for_room(5.0))
        await asyncio.sleep(0)
        alive.apply_lease(owner.lend("alive", alive.current_use()))
        alive.apply_lease(owner.lend("alive", alive.current_use()))
        assert not await waits, "there are no 5 dollars of which it is known that nobody spent them"

    run(asks())


def test_what_a_call_cost_beyond_its_reservation_is_lent_to_nobody():
    owner = DollarOwner(10.0)
    over, other = LeasedCap("the batch", 10.0), LeasedCap("the batch", 10.0)

    async def reserve(cap, name, dollars):
        waits = asyncio.create_task(cap.wait_for_room(dollars))
        await asyncio.sleep(0)
        cap.apply_lease(owner.lend(name, cap.current_use()))
        return await waits and cap.reserve(Spend(dollars)) is not None

    async def asks():
        assert await reserve(over, "over", 4.0)
        over.settle(1, Spend(7.0))
        owner.lend("over", over.current_use())

        assert not await reserve(other, "other", 4.0), "7 of 10 are spent"
        assert await reserve(other, "other", 2.0)
        other.settle(1, Spend(2.0))
        assert await reserve(over, "over", 1.0)

    run(asks())
