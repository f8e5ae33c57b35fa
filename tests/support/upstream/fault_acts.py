"""One act for each way to go wrong: what an upstream does on the wire instead of an answer."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any, Literal

from mixtura.core.errors import (
    ModelError,
)
from tests.support.upstream.dialects import CANARY, Json, frame
from tests.support.upstream.server import Play, Wire, honest

Where = Literal["head", "stream", "whole"]
Act = Callable[[Wire, int], Awaitable[None]]
"""What happens to a request of which so many words have been answered."""

HTML = f"<html><head><title>{CANARY}</title></head><body><h1>Bad Gateway</h1></body></html>"


@dataclass(frozen=True)
class Fault:
    """
    One way to go wrong, and its declared outcome.

    *where*: in the "head" (no answer has begun, unless *late*), in the "stream" (after none or
    some of the words), or the "whole" answer is odd. *errors*: what a call ends in; empty when
    the answer is good all the same. *retried*: true, a second call has to be made; false, it
    must not be made; None, nobody minds. *wait*: seconds that the second call has to wait.
    """

    name: str
    row: int
    does: str
    act: Act
    where: Where = "head"
    late: bool = False
    errors: tuple[type[ModelError], ...] = ()
    retried: bool | None = False
    wait: float = 0.0
    text: Callable[[list[str]], str] = "".join
    """The text of a good answer, from the words of the script."""
    finish: str = "stop"
    estimated: bool = False
    """The upstream tells no tokens, so the caller has to count."""
    shows: bool = False
    """Some words are sent before it happens, wherever it happens."""
    learns: str | None = None
    """The parameter that has to be missing from the second request, which is answered."""
    timeouts: tuple[float | None, float | None, float | None] = (None, None, None)
    """First token, progress, total: shorter than usual where a clock has to end it."""
    heavy: bool = False
    """It takes a processor's while, so only few are played side by side."""
    address: Literal["nobody", "tls"] | None = None
    """The fault is in the address; no request arrives."""
    dialects: tuple[str, ...] = ("openai", "llamacpp", "anthropic")

    @property
    def ends_well(self) -> bool:
        return not self.errors

    @property
    def may_be_late(self) -> bool:
        """Whether it can happen after the first words."""
        return self.late or self.where == "stream"

    def play(self, said: int = 0) -> Play:
        """The fault as something a Script can hold, after *said* words."""
        return partial(_played, self.act, said if self.may_be_late else 0)


async def _played(act: Act, said: int, wire: Wire) -> None:
    await act(wire, said)


OPENAI_LIKE = ("openai", "llamacpp")


# ---------------------------------------------------------------- building blocks


async def _begin(wire: Wire, said: int, **head: Any) -> None:
    """Headers, the opening and the first *said* words."""
    await wire.head(**head)
    await wire.send(wire.voice.opening())
    await wire.say(*wire.words[:said])


async def _complete(wire: Wire, said: int, **how: Any) -> None:
    """The words that are left, and a proper end."""
    await wire.say(*wire.words[said:])
    await wire.finish(**how)
    await wire.end()


def refused(
    status: int,
    kind: str,
    said_: str,
    headers: Callable[[], Mapping[str, str]] = dict,
    body: Json | str | None = None,
) -> Act:
    """An HTTP refusal; after the first words the same refusal as an error in the stream."""

    async def act(wire: Wire, said: int) -> None:
        if said:
            await _begin(wire, said)
            await wire.send(wire.voice.error_frame(kind, said_))
            await wire.end()
            return
        told = wire.voice.error(kind, said_) if body is None else body
        await wire.reply(status, told, headers())

    return act


def fixed_headers(**fixed: str) -> Callable[[], Mapping[str, str]]:
    return lambda: {name.replace("_", "-"): value for name, value in fixed.items()}


def _in(seconds: float) -> datetime:
    """A whole second at least so far from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds + 0.999)).replace(microsecond=0)


def date_header() -> Mapping[str, str]:
    return {"Retry-After": format_datetime(_in(0.5), usegmt=True)}


def anthropic_reset() -> Mapping[str, str]:
    return {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": _in(0.5).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "anthropic-ratelimit-tokens-remaining": "40000",
        "anthropic-ratelimit-tokens-reset": _in(3000).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def dislikes(name: str, status: int, said: str, detail: bool = False) -> Act:
    """Refuse as long as the request holds the parameter *name*."""

    async def act(wire: Wire, _: int) -> None:
        if name not in wire.voice.body:
            await honest(wire)
        elif detail:
            row = {"type": "extra_forbidden", "loc": ["body", name], "msg": f"{said} {CANARY}"}
            await wire.reply(status, {"detail": [row]})
        else:
            await wire.reply(status, wire.voice.error("invalid", said, name))

    return act


# ---------------------------------------------------------------- the line


async def hang_up(wire: Wire, _: int) -> None:
    """Returning before the body's end cuts the line."""


async def reset(wire: Wire, _: int) -> None:
    await wire.reset()


async def reset_in_the_headers(wire: Wire, _: int) -> None:
    await wire.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-str")
    await wire.reset()


async def no_http(wire: Wire, _: int) -> None:
    await wire.raw(b"SSH-2.0-nothing of yours\r\n\r\n")


async def endless_headers(wire: Wire, _: int) -> None:
    await wire.raw(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"p" * 400_000 + b"\r\n\r\n")


async def unreached(wire: Wire, _: int) -> None:
    raise AssertionError("nobody is there, so nobody can have asked")


async def hang(wire: Wire, _: int) -> None:
    await wire.hang()


async def stall(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.hang()


async def stall_inside_an_event(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.send(wire.voice.word("half")[:30])
    await wire.hang()


def for_ever(piece: Callable[[Wire], bytes]) -> Act:
    async def act(wire: Wire, said: int) -> None:
        await _begin(wire, said)
        while True:
            await wire.send(piece(wire))
            await wire.pause(0.05)

    return act


async def endless(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    while True:
        await wire.say("more ")
        await wire.pause(0.02)


async def trickling_json(wire: Wire, _: int) -> None:
    """An answer that is not streamed, a byte now and then, never done."""
    await wire.head(kind="application/json")
    while True:
        await wire.send(b" ")
        await wire.pause(0.05)


async def reasons_for_long(wire: Wire, _: int) -> None:
    """Longer than the clock of the first token, but never silent for long."""
    await _begin(wire, 0)
    for k in range(8):
        await wire.think(f"thought-{k} ")
        await wire.pause(0.2)
    await _complete(wire, 0)


async def silent_for_a_while(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    for _k in range(5):
        await wire.send(b": still thinking\n\n")
        await wire.pause(0.1)
    await _complete(wire, 0)


async def reset_mid_stream(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.reset()


async def hang_up_mid_stream(wire: Wire, said: int) -> None:
    await _begin(wire, said)


async def hang_up_inside_an_event(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.send(wire.voice.word("half")[:30])


async def promise_too_much(wire: Wire, said: int) -> None:
    await _begin(wire, said, length=100_000)


async def promise_too_little(wire: Wire, said: int) -> None:
    """A Content-Length that is kept, and is too short for the answer."""
    words = [wire.voice.word(word) for word in wire.words[:said]]
    body = b"".join([wire.voice.opening(), *words])
    wire.voice.tally.completion += said
    await wire.head(length=len(body))
    await wire.raw(body)
    await wire.end()


async def end_unfinished(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.end()


async def close_unfinished(wire: Wire, said: int) -> None:
    """No framing: the end of the connection is a legal end of the body."""
    await _begin(wire, said, framing="close")
    await wire.end()


async def done_unfinished(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.send(wire.voice.done)
    await wire.end()


async def done_and_stay(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    await wire.say(*wire.words)
    await wire.finish()
    await wire.hang()


async def finished_without_done(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    await _complete(wire, 0, done=False)


def breaks_with(reason: str) -> Act:
    """A finish reason that says that the answer was cut off."""

    async def act(wire: Wire, said: int) -> None:
        await _begin(wire, said)
        await wire.finish(reason)
        await wire.end()

    return act


def finishes_with(reason: str) -> Act:
    """All of the answer, and a finish reason nobody has heard of."""

    async def act(wire: Wire, _: int) -> None:
        await _begin(wire, 0)
        await _complete(wire, 0, reason=reason)

    return act


# ---------------------------------------------------------------- odd spellings of a good answer


def spelled(change: Callable[[bytes], bytes], **head: Any) -> Act:
    """A good answer, its bytes changed by *change*."""

    async def act(wire: Wire, _: int) -> None:
        await wire.head(**head)
        body = [wire.voice.opening()]
        for word in wire.words:
            body.append(wire.voice.word(word))
            wire.voice.tally.completion += 1
        body += [wire.voice.ending("stop"), wire.voice.done]
        if wire.voice.wants_usage:
            wire.reported()
        await wire.send(change(b"".join(body)))
        await wire.end()

    return act


def many_lines(body: bytes) -> bytes:
    """Every JSON broken over lines, each a data line of its own."""
    rows = []
    for line in body.split(b"\n"):
        if line.startswith(b"data: {"):
            line = b"\n".join(
                b"data: " + part.encode()
                for part in json.dumps(json.loads(line[6:]), indent=1).split("\n")
            )
        rows.append(line)
    return b"\n".join(rows)


def with_other_fields(body: bytes) -> bytes:
    extra = b": hello\nid: 7\nretry: 10\nfoo: bar\nfoo\ndata: "
    return body.replace(b"data: ", extra)


async def byte_by_byte(wire: Wire, _: int) -> None:
    """A chunk of one byte each, so that every word, also UTF-8, is cut everywhere."""
    whole: list[bytes] = []
    send = wire.send

    async def keep(data: bytes) -> None:
        whole.append(data)

    wire.send = keep  # type: ignore[method-assign]
    await wire.send(wire.voice.opening())
    await wire.say(*wire.words)
    await wire.finish()
    wire.send = send  # type: ignore[method-assign]
    await wire.head()
    body = b"".join(whole)
    cuts = b"".join(b"1\r\n%b\r\n" % body[i : i + 1] for i in range(len(body)))
    for start in range(0, len(cuts), 997):
        await wire.raw(cuts[start : start + 997])
    await wire.end()


async def no_last_line(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    await wire.say(*wire.words)
    tail = wire.voice.ending("stop") + wire.voice.done
    wire.reported()
    await wire.send(tail.rstrip(b"\n"))
    await wire.end()


async def undeclared_gzip(wire: Wire, _: int) -> None:
    await wire.head()
    await wire.send(gzip.compress(wire.voice.opening() + wire.voice.done))
    await wire.end()


async def half_gzip(wire: Wire, said: int) -> None:
    body = [wire.voice.opening(), *(wire.voice.word(word) for word in wire.words)]
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = packer.compress(b"".join(body)) + packer.flush(zlib.Z_SYNC_FLUSH)
    await wire.head(headers={"Content-Encoding": "gzip"})
    await wire.send(packed)


async def early_hints(wire: Wire, _: int) -> None:
    await wire.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
    await honest(wire)


async def unstreamed(wire: Wire, _: int) -> None:
    wire.voice.tally.completion = len(wire.words)
    wire.reported()
    await wire.reply(200, wire.voice.whole(wire.script.text))


async def unstreamed_unfinished(wire: Wire, _: int) -> None:
    whole = wire.voice.whole("".join(wire.words[:2]), "stop")
    whole.pop("usage")
    if wire.voice.name == "anthropic":
        whole["stop_reason"] = None
    else:
        whole["choices"][0]["finish_reason"] = None
    await wire.reply(200, whole)


async def unstreamed_as_events(wire: Wire, _: int) -> None:
    await wire.reply(200, wire.voice.whole(wire.script.text), kind="text/event-stream")


async def finish_twice(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    await wire.say(*wire.words)
    await wire.send(wire.voice.finish("stop"))
    await wire.finish()
    await wire.send(wire.voice.done)
    await wire.end()


async def keep_alive_between_words(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    for word in wire.words:
        await wire.send(b": OPENROUTER PROCESSING\n\n" + wire.voice.nothing() + b":\n\n")
        await wire.say(word)
    await _complete(wire, len(wire.words))


# ---------------------------------------------------------------- broken pieces, errors inside


def then(piece: Callable[[Wire], bytes], *, pause: float = 1.0) -> Act:
    """*piece* in the middle of the answer, which goes on when the caller has borne it so long."""

    async def act(wire: Wire, said: int) -> None:
        await _begin(wire, said)
        await wire.send(piece(wire))
        await wire.pause(pause)
        await _complete(wire, said)

    return act


def last(piece: Callable[[Wire], bytes], *, done: bool = False) -> Act:
    """*piece* in the middle of the answer, and nothing after it."""

    async def act(wire: Wire, said: int) -> None:
        await _begin(wire, said)
        await wire.send(piece(wire) + (wire.voice.done if done else b""))
        await wire.end()

    return act


def cut_json(wire: Wire) -> bytes:
    """A piece of the answer whose JSON stops half-way."""
    return wire.voice.word("half a piece")[:-25] + b"\n\n"


def error_without_error(_: Wire) -> bytes:
    said = {"object": "error", "message": f"temperature must be above 0 {CANARY}", "code": 400}
    return frame(said | {"type": "BadRequestError", "param": None})


def giant(wire: Wire) -> bytes:
    return wire.voice.word("x" * (9 * 1024 * 1024))


async def big(wire: Wire, _: int) -> None:
    """One event of a megabyte."""
    wire.words = ["y" * 1_000_000]
    await _begin(wire, 0)
    await _complete(wire, 0)


async def json_error(wire: Wire, _: int) -> None:
    await wire.reply(200, wire.voice.error("overloaded", "we are overloaded"))


# ---------------------------------------------------------------- what is in the answer


def only(words: Callable[[list[str]], list[str]], reason: str) -> Act:
    """Some words (or none) and a proper end for *reason*."""

    async def act(wire: Wire, _: int) -> None:
        await _begin(wire, 0)
        await wire.say(*words(wire.words))
        await wire.finish(reason)
        await wire.end()

    return act


def only_thoughts(reason: str) -> Act:
    async def act(wire: Wire, _: int) -> None:
        await _begin(wire, 0)
        await wire.think("thinking ", "aloud ", "only ")
        await wire.finish(reason)
        await wire.end()

    return act


async def refuses(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    for word in wire.words:
        await wire.send(wire.voice.refusal(word))  # type: ignore[union-attr]
        wire.voice.tally.completion += 1
    await wire.finish()
    await wire.end()


async def filtered(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.finish("content_filter")
    await wire.end()


async def no_choices(wire: Wire, _: int) -> None:
    await wire.head()
    await wire.send(wire.voice.usage())  # type: ignore[union-attr]
    wire.reported()
    await wire.send(wire.voice.done)
    await wire.end()


async def stray_choice(wire: Wire, _: int) -> None:
    """A second answer nobody asked for, between the words of the first."""
    await _begin(wire, 0)
    for word in wire.words:
        await wire.say(word)
        await wire.say("stray ", index=1)
    await wire.send(wire.voice.finish("length", 1))
    await _complete(wire, len(wire.words))


# ---------------------------------------------------------------- usage


async def no_usage(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    await _complete(wire, 0, usage=False)


def usage_is(value: Any) -> Act:
    """Usage that cannot be true, or is no usage at all."""

    async def act(wire: Wire, _: int) -> None:
        await _begin(wire, 0)
        await wire.say(*wire.words)
        await wire.send(wire.voice.finish("stop"))
        await wire.send(frame({"choices": [], "usage": value}) + wire.voice.done)
        await wire.end()

    return act


async def usage_everywhere(wire: Wire, _: int) -> None:
    """Running totals in every chunk, as some providers send them."""
    await _begin(wire, 0)
    for word in wire.words:
        await wire.say(word)
        await wire.send(wire.voice.usage())  # type: ignore[union-attr]
    await _complete(wire, len(wire.words))


async def usage_in_the_finish(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    await wire.say(*wire.words)
    choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
    await wire.send(frame({"choices": [choice], "usage": wire.voice.usage_json()}))
    wire.reported()
    await wire.send(wire.voice.done)
    await wire.end()
