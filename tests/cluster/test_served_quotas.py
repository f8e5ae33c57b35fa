"""What a key may ask in a minute, where one process counts it for all replicas of a server."""

import asyncio
from hashlib import sha256

import httpx
import pytest

from mixtura.cluster import served_replicas
from mixtura.cluster.served_replicas import LeasingApp, RemoteQuota, ServeOwner
from mixtura.config.config import load
from mixtura.engine.endpoint_lease import EndpointUse
from mixtura.models.wrappers.rate_limit import RateLimits
from mixtura.server.app import make_app
from tests.conftest import run
from tests.support.call_models import Clock
from tests.support.serving import team
from tests.support.upstream import Script, upstream_fixture

KEY = f"""
[serve.keys.ben]
sha256 = "{sha256(b"mx-ben").hexdigest()}"
requests_per_minute = 3
"""

upstream = upstream_fixture({"a": Script("A draft."), "chief": Script("An answer.")})


class Remote:
    """An owner as Ray shows it: each method is called by its `remote`."""

    def __init__(self, owner):
        self._owner = owner

    def __getattr__(self, name):
        method = getattr(self._owner, name)

        class Method:
            @staticmethod
            def remote(*arguments):
                said = method(*arguments)
                return asyncio.ensure_future(said) if asyncio.iscoroutine(said) else said

        return Method


class GoneOwner:
    """One whose process is gone."""

    async def try_consume_quota(self, *_):
        raise ConnectionError("the actor died")

    async def lend(self, *_):
        raise ConnectionError("the actor died")


class SilentOwner:
    """One whose machine is away: it never responds."""

    async def try_consume_quota(self, *_):
        await asyncio.Event().wait()


async def ask_at_once(folder, upstream, owner, times):
    """The responses to so many requests side by side, of a server that counts at *owner*."""
    (folder / "mixtura.toml").write_text(team(upstream, "a", "chief", more=KEY))
    config = load(None, environ={"XDG_STATE_HOME": str(folder)}, folder=folder, home=folder)
    app = make_app(
        config, host="127.0.0.1",
        make_quota=lambda name, a_minute: RemoteQuota(Remote(owner), name, a_minute),
    )  # fmt: skip
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        body = {"model": "team", "messages": [{"role": "user", "content": "Why?"}]}
        headers = {"Authorization": "Bearer mx-ben"}
        calls = [
            http.post("/v1/chat/completions", json=body, headers=headers) for _ in range(times)
        ]
        found = await asyncio.gather(*calls)
        await app.state.service.close()
        return found


def test_requests_side_by_side_take_no_more_than_the_key_has(tmp_path, upstream):
    found = run(ask_at_once(tmp_path, upstream, ServeOwner(), 20))

    statuses = [one.status_code for one in found]
    assert statuses.count(200) == 3
    assert statuses.count(429) == 17


@pytest.mark.parametrize("owner", [GoneOwner(), SilentOwner()])
def test_where_nobody_counts_a_request_is_refused_as_one_to_try_again(
    tmp_path, upstream, owner, monkeypatch
):
    monkeypatch.setattr(served_replicas, "QUOTA_SECONDS", 0.1)

    found = run(ask_at_once(tmp_path, upstream, owner, 2))

    for one in found:
        assert (one.status_code, one.json()["error"]["code"]) == (503, "quota_unavailable")
        assert int(one.headers["retry-after"]) >= 1


def test_a_replica_whose_owner_of_limits_is_gone_says_that_and_nothing_of_a_batch(caplog, tmp_path):
    async def answer(scope, receive, send):
        """Nothing is sent."""

    async def asks():
        app = LeasingApp(answer, config, Remote(GoneOwner()), 2)
        await app({"type": "lifespan"}, None, None)
        while not caplog.messages:
            await asyncio.sleep(0.01)
        app._leasing.cancel()
        await asyncio.gather(app._leasing, return_exceptions=True)

    config = load(None, environ={"XDG_STATE_HOME": str(tmp_path)}, folder=tmp_path, home=tmp_path)
    run(asks())

    said = "the process that shares the rate limits does not respond: the actor died"
    assert caplog.messages == [said]


def test_what_a_replica_that_ended_was_lent_goes_to_the_others():
    clock = Clock()
    owner, limits = ServeOwner(clock), {"here": RateLimits(concurrency=4)}
    busy = EndpointUse(0, 9, 0, 0, 0, 0, 0, 0.0)

    def lend(name):
        leases, _ = owner.lend(name, limits, {"here": busy}, None)
        return leases["here"].concurrency

    for number in range(8):  # as replicas come and go with the load
        for _ in range(3):
            lend("stays")
            lend(f"goes {number}")
        clock.now += 1.0
    clock.now += 31.0

    assert lend("stays") == 4


def test_a_replica_that_was_silent_for_a_while_is_lent_its_share_again():
    clock = Clock()
    owner, limits = ServeOwner(clock), {"here": RateLimits(concurrency=4, requests_per_minute=10)}

    def lend(name, requests):
        busy = EndpointUse(0, 9, requests, 0, 0, 0, 0, 0.0)
        leases, _ = owner.lend(name, limits, {"here": busy}, None)
        return leases["here"]

    for _ in range(3):
        lend("silent", 4)
        lend("other", 5)
    clock.now += 31.0
    lend("other", 5)

    for _ in range(3):
        back, other = lend("silent", 4), lend("other", 5)
    assert (back.concurrency, other.concurrency) == (2, 2)
    assert (back.requests, other.requests) == (5, 5)
    clock.now += 61.0  # when what a replica that is gone has asked is forgotten
    assert lend("other", 5).requests == 5, "the others are lent no more than what is left"
