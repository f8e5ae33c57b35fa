"""Calls of the client over every transport: statuses, timeouts, bounds, secrets, called off."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from mixtura import (
    MalformedError,
    ModelError,
    OpenAI,
    QuotaError,
    RateLimitedError,
    RejectedError,
    TimedOutError,
    UnavailableError,
    answer_sync,
)
from mixtura.transport.client import CallTimeouts, get_json, post_stream
from tests.conftest import run
from tests.support.byte_server import (
    END,
    OK,
    STREAM,
    TRANSPORT,
    Peer,
    Play,
    answering,
    asked,
    chunk,
    events,
    serving,
    sized,
)

pytestmark = pytest.mark.usefixtures("each_transport")

KEY = "sk-test-0123456789abcdefgh"


def call_fails(play: Play, *, largest: int = 10_000, **timeouts: float) -> ModelError:
    """What a streamed call to a server that plays this ends in."""
    given = CallTimeouts(**{"first_token": 15.0, "progress": 15.0, "total": 15.0, **timeouts})

    async def read_whole(url: str) -> None:
        async with post_stream(
            url, {}, headers={}, timeouts=given, largest=largest, transport=TRANSPORT.get()
        ) as reply:

            def take(_: list[bytes]) -> bool:
                reply.note_progress()
                return False

            await reply.read_events(take)

    async def call() -> ModelError:
        async with serving(play) as server:
            with pytest.raises(ModelError) as error:
                await read_whole(server.url)
            return error.value

    return run(call())


def refusal(status: int, body: bytes = b"{}", *headers: bytes) -> bytes:
    return b"HTTP/1.1 %d So\r\n" % status + sized(body, *headers).removeprefix(OK)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, RejectedError), (401, RejectedError), (402, QuotaError), (404, RejectedError),
     (429, RateLimitedError), (500, UnavailableError), (503, UnavailableError)],
)  # fmt: skip
def test_a_refusal_is_the_error_that_its_status_means(status, kind):
    error = call_fails(answering(refusal(status, b'{"error": {"message": "no"}}')))

    assert type(error) is kind
    assert error.status == status
    assert str(error) == f"HTTP {status}: no"


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_says_when_to_come_back(status):
    error = call_fails(answering(refusal(status, b"{}", b"Retry-After: 7")))

    assert error.retry_after == 7.0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_and_no_key_follows_it(status):
    async def ask() -> int:
        async with serving(answering(sized(b"{}"))) as other:
            reply = refusal(status, b"", b"Location: http://%b/v1" % other.host.encode())
            async with serving(answering(reply)) as server:
                with pytest.raises(MalformedError, match=f"HTTP {status}"):
                    await get_json(
                        server.url,
                        headers={"Authorization": f"Bearer {KEY}"},
                        seconds=15.0,
                        transport=TRANSPORT.get(),
                    )
                return len(other.peers) + len(server.requests)

    assert run(ask()) == 1


def test_no_cookie_comes_back():
    _, server = asked(answering(sized(b"", b"Set-Cookie: who=you; Path=/")), times=2)

    assert [headers.get("cookie") for _, headers, _ in server.requests] == [None, None]


# ---- timeouts and bounds


async def silent(peer: Peer) -> None:
    await peer.request()
    await peer.left()


async def begun(peer: Peer) -> None:
    await peer.request()
    await peer.send(STREAM, *events("a"))
    await peer.left()


async def chatting(peer: Peer) -> None:
    await peer.request()
    await peer.send(STREAM)
    while True:
        await peer.send(*events("more"))


@pytest.mark.parametrize(
    ("play", "timeouts", "said"),
    [
        (silent, {"first_token": 0.5}, "no first token within 0.5 s"),
        (begun, {"progress": 0.3}, "stalled: no new data for 0.3 s"),
        (chatting, {"total": 0.5}, "not finished within 0.5 s"),
    ],
)
def test_each_clock_ends_its_part_of_a_call(play, timeouts, said):
    error = call_fails(play, largest=10**9, **timeouts)

    assert isinstance(error, TimedOutError)
    assert str(error) == said


@pytest.mark.parametrize(
    "body",
    [
        lambda: (b"data: x\n\n",),
        lambda: (b": still here\n\n",),
        lambda: (b"data: x" * 100,),
        lambda: (b"{" + b" " * 99,),
    ],
    ids=["events", "comments", "one line", "no stream"],
)
def test_a_body_without_an_end_is_ended_by_its_bytes(body):
    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for piece in itertools.cycle(body()):
            peer.writer.write(chunk(piece) * 20)
            await peer.writer.drain()
            await asyncio.sleep(0)

    error = call_fails(endless)

    assert isinstance(error, MalformedError)
    assert "the answer has more than 10000 bytes" in str(error)


def test_a_list_has_a_bound_on_its_bytes():
    async def ask() -> None:
        async with serving(answering(sized(b"[" + b"1," * 600 + b"1]"))) as server:
            for most, fits in ((1000, False), (2000, True)):
                asking = get_json(
                    server.url, headers={}, seconds=15.0, most=most, transport=TRANSPORT.get()
                )
                if fits:
                    assert len(await asking) == 601
                else:
                    with pytest.raises(MalformedError, match="more than 1000 bytes"):
                        await asking

    run(ask())


# ---- secrets


def test_what_a_server_says_of_the_key_is_not_passed_on():
    said = b'{"error": {"message": "no such key: %b"}}' % KEY.encode()

    async def ask() -> str:
        async with serving(answering(refusal(401, said))) as server:
            model = OpenAI("m", f"http://{server.host}/v1", api_key=KEY, transport=TRANSPORT.get())
            with pytest.raises(RejectedError) as error:
                await asyncio.to_thread(answer_sync, model, "Hi")
            return repr(error.value) + str(error.value)

    shown = run(ask())
    assert "no such key" in shown
    assert KEY not in shown


def test_a_login_in_an_address_goes_out_and_is_shown_nowhere():
    async def ask() -> tuple[str, str]:
        async with serving(answering(sized(b"{}"))) as server:
            url = f"http://user:s3cret-word@{server.host}/v1"
            await get_json(url, headers={}, seconds=15.0, transport=TRANSPORT.get())
            sent = server.requests[0][1]["authorization"]
        await TRANSPORT.get().close()
        with pytest.raises(UnavailableError) as error:
            await get_json(url, headers={}, seconds=15.0, transport=TRANSPORT.get())
        return sent, repr(error.value) + str(error.value)

    sent, shown = run(ask())
    assert sent == "basic dxnlcjpzm2nyzxqtd29yza=="
    assert "no connection to 127.0.0.1" in shown
    assert "s3cret-word" not in shown


# ---- loops


def test_a_transport_serves_one_loop_after_the_other_and_closes_on_request():
    async def ask() -> int:
        transport = TRANSPORT.get()
        async with serving(answering(STREAM, *events("a"), END)) as server:
            for _ in range(2):
                await get_json_text(server.url)
            await transport.close()
            await get_json_text(server.url)
            return len(server.peers)

    async def get_json_text(url: str) -> None:
        await get_json(url, headers={}, seconds=15.0, read=bytes, transport=TRANSPORT.get())

    assert [run(ask()), run(ask())] == [2, 2]
