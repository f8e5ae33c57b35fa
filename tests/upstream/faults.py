"""Everything an upstream does wrong: a name, what happens on the wire, and how it has to end."""

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
    ContentFilterError,
    ContextOverflowError,
    EmptyAnswerError,
    MalformedError,
    ModelError,
    QuotaError,
    RateLimitedError,
    RejectedError,
    TimedOutError,
    UnavailableError,
)
from tests.upstream.dialects import CANARY, Json, frame
from tests.upstream.server import Play, Wire, honest

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
    clocks: tuple[float | None, float | None, float | None] = (None, None, None)
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


def _refused(
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


def _headers(**fixed: str) -> Callable[[], Mapping[str, str]]:
    return lambda: {name.replace("_", "-"): value for name, value in fixed.items()}


def _in(seconds: float) -> datetime:
    """A whole second at least so far from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds + 0.999)).replace(microsecond=0)


def _date() -> Mapping[str, str]:
    return {"Retry-After": format_datetime(_in(0.5), usegmt=True)}


def _anthropic_reset() -> Mapping[str, str]:
    return {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": _in(0.5).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "anthropic-ratelimit-tokens-remaining": "40000",
        "anthropic-ratelimit-tokens-reset": _in(3000).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _dislikes(name: str, status: int, said: str, detail: bool = False) -> Act:
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


async def _hang_up(wire: Wire, _: int) -> None:
    """Returning before the body's end cuts the line."""


async def _reset(wire: Wire, _: int) -> None:
    await wire.reset()


async def _reset_in_the_headers(wire: Wire, _: int) -> None:
    await wire.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-str")
    await wire.reset()


async def _no_http(wire: Wire, _: int) -> None:
    await wire.raw(b"SSH-2.0-nothing of yours\r\n\r\n")


async def _endless_headers(wire: Wire, _: int) -> None:
    await wire.raw(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"p" * 400_000 + b"\r\n\r\n")


async def _unreached(wire: Wire, _: int) -> None:
    raise AssertionError("nobody is there, so nobody can have asked")


async def _hang(wire: Wire, _: int) -> None:
    await wire.hang()


async def _stall(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.hang()


async def _stall_inside_an_event(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.send(wire.voice.word("half")[:30])
    await wire.hang()


def _for_ever(piece: Callable[[Wire], bytes]) -> Act:
    async def act(wire: Wire, said: int) -> None:
        await _begin(wire, said)
        while True:
            await wire.send(piece(wire))
            await wire.pause(0.05)

    return act


async def _endless(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    while True:
        await wire.say("more ")
        await wire.pause(0.02)


async def _trickling_json(wire: Wire, _: int) -> None:
    """An answer that is not streamed, a byte now and then, never done."""
    await wire.head(kind="application/json")
    while True:
        await wire.send(b" ")
        await wire.pause(0.05)


async def _reasons_for_long(wire: Wire, _: int) -> None:
    """Longer than the clock of the first token, but never silent for long."""
    await _begin(wire, 0)
    for k in range(8):
        await wire.think(f"thought-{k} ")
        await wire.pause(0.2)
    await _complete(wire, 0)


async def _silent_for_a_while(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    for _k in range(5):
        await wire.send(b": still thinking\n\n")
        await wire.pause(0.1)
    await _complete(wire, 0)


async def _reset_mid_stream(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.reset()


async def _hang_up_mid_stream(wire: Wire, said: int) -> None:
    await _begin(wire, said)


async def _hang_up_inside_an_event(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.send(wire.voice.word("half")[:30])


async def _promise_too_much(wire: Wire, said: int) -> None:
    await _begin(wire, said, length=100_000)


async def _promise_too_little(wire: Wire, said: int) -> None:
    """A Content-Length that is kept, and is too short for the answer."""
    words = [wire.voice.word(word) for word in wire.words[:said]]
    body = b"".join([wire.voice.opening(), *words])
    wire.voice.tally.completion += said
    await wire.head(length=len(body))
    await wire.raw(body)
    await wire.end()


async def _end_unfinished(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.end()


async def _close_unfinished(wire: Wire, said: int) -> None:
    """No framing: the end of the connection is a legal end of the body."""
    await _begin(wire, said, framing="close")
    await wire.end()


async def _done_unfinished(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.send(wire.voice.done)
    await wire.end()


async def _done_and_stay(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    await wire.say(*wire.words)
    await wire.finish()
    await wire.hang()


async def _finished_without_done(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    await _complete(wire, 0, done=False)


def _breaks_with(reason: str) -> Act:
    """A finish reason that says that the answer was cut off."""

    async def act(wire: Wire, said: int) -> None:
        await _begin(wire, said)
        await wire.finish(reason)
        await wire.end()

    return act


def _finishes_with(reason: str) -> Act:
    """All of the answer, and a finish reason nobody has heard of."""

    async def act(wire: Wire, _: int) -> None:
        await _begin(wire, 0)
        await _complete(wire, 0, reason=reason)

    return act


# ---------------------------------------------------------------- odd spellings of a good answer


def _spelled(change: Callable[[bytes], bytes], **head: Any) -> Act:
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


def _many_lines(body: bytes) -> bytes:
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


def _with_other_fields(body: bytes) -> bytes:
    extra = b": hello\nid: 7\nretry: 10\nfoo: bar\nfoo\ndata: "
    return body.replace(b"data: ", extra)


async def _byte_by_byte(wire: Wire, _: int) -> None:
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


async def _no_last_line(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    await wire.say(*wire.words)
    tail = wire.voice.ending("stop") + wire.voice.done
    wire.reported()
    await wire.send(tail.rstrip(b"\n"))
    await wire.end()


async def _undeclared_gzip(wire: Wire, _: int) -> None:
    await wire.head()
    await wire.send(gzip.compress(wire.voice.opening() + wire.voice.done))
    await wire.end()


async def _half_gzip(wire: Wire, said: int) -> None:
    body = [wire.voice.opening(), *(wire.voice.word(word) for word in wire.words)]
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = packer.compress(b"".join(body)) + packer.flush(zlib.Z_SYNC_FLUSH)
    await wire.head(headers={"Content-Encoding": "gzip"})
    await wire.send(packed)


async def _early_hints(wire: Wire, _: int) -> None:
    await wire.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
    await honest(wire)


async def _unstreamed(wire: Wire, _: int) -> None:
    wire.voice.tally.completion = len(wire.words)
    wire.reported()
    await wire.reply(200, wire.voice.whole(wire.script.text))


async def _unstreamed_unfinished(wire: Wire, _: int) -> None:
    whole = wire.voice.whole("".join(wire.words[:2]), "stop")
    whole.pop("usage")
    if wire.voice.name == "anthropic":
        whole["stop_reason"] = None
    else:
        whole["choices"][0]["finish_reason"] = None
    await wire.reply(200, whole)


async def _unstreamed_as_events(wire: Wire, _: int) -> None:
    await wire.reply(200, wire.voice.whole(wire.script.text), kind="text/event-stream")


async def _finish_twice(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    await wire.say(*wire.words)
    await wire.send(wire.voice.finish("stop"))
    await wire.finish()
    await wire.send(wire.voice.done)
    await wire.end()


async def _keep_alive_between_words(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    for word in wire.words:
        await wire.send(b": OPENROUTER PROCESSING\n\n" + wire.voice.nothing() + b":\n\n")
        await wire.say(word)
    await _complete(wire, len(wire.words))


# ---------------------------------------------------------------- broken pieces, errors inside


def _then(piece: Callable[[Wire], bytes], *, patience: float = 1.0) -> Act:
    """*piece* in the middle of the answer, which goes on when the caller has borne it so long."""

    async def act(wire: Wire, said: int) -> None:
        await _begin(wire, said)
        await wire.send(piece(wire))
        await wire.pause(patience)
        await _complete(wire, said)

    return act


def _last(piece: Callable[[Wire], bytes], *, done: bool = False) -> Act:
    """*piece* in the middle of the answer, and nothing after it."""

    async def act(wire: Wire, said: int) -> None:
        await _begin(wire, said)
        await wire.send(piece(wire) + (wire.voice.done if done else b""))
        await wire.end()

    return act


def _cut_json(wire: Wire) -> bytes:
    """A piece of the answer whose JSON stops half-way."""
    return wire.voice.word("half a piece")[:-25] + b"\n\n"


def _error_without_error(_: Wire) -> bytes:
    said = {"object": "error", "message": f"temperature must be above 0 {CANARY}", "code": 400}
    return frame(said | {"type": "BadRequestError", "param": None})


def _giant(wire: Wire) -> bytes:
    return wire.voice.word("x" * (9 * 1024 * 1024))


async def _big(wire: Wire, _: int) -> None:
    """One event of a megabyte."""
    wire.words = ["y" * 1_000_000]
    await _begin(wire, 0)
    await _complete(wire, 0)


async def _json_error(wire: Wire, _: int) -> None:
    await wire.reply(200, wire.voice.error("overloaded", "we are overloaded"))


# ---------------------------------------------------------------- what is in the answer


def _only(words: Callable[[list[str]], list[str]], reason: str) -> Act:
    """Some words (or none) and a proper end for *reason*."""

    async def act(wire: Wire, _: int) -> None:
        await _begin(wire, 0)
        await wire.say(*words(wire.words))
        await wire.finish(reason)
        await wire.end()

    return act


def _only_thoughts(reason: str) -> Act:
    async def act(wire: Wire, _: int) -> None:
        await _begin(wire, 0)
        await wire.think("thinking ", "aloud ", "only ")
        await wire.finish(reason)
        await wire.end()

    return act


async def _refuses(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    for word in wire.words:
        await wire.send(wire.voice.refusal(word))  # type: ignore[union-attr]
        wire.voice.tally.completion += 1
    await wire.finish()
    await wire.end()


async def _filtered(wire: Wire, said: int) -> None:
    await _begin(wire, said)
    await wire.finish("content_filter")
    await wire.end()


async def _no_choices(wire: Wire, _: int) -> None:
    await wire.head()
    await wire.send(wire.voice.usage())  # type: ignore[union-attr]
    wire.reported()
    await wire.send(wire.voice.done)
    await wire.end()


async def _stray_choice(wire: Wire, _: int) -> None:
    """A second answer nobody asked for, between the words of the first."""
    await _begin(wire, 0)
    for word in wire.words:
        await wire.say(word)
        await wire.say("stray ", index=1)
    await wire.send(wire.voice.finish("length", 1))
    await _complete(wire, len(wire.words))


# ---------------------------------------------------------------- usage


async def _no_usage(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    await _complete(wire, 0, usage=False)


def _usage_is(value: Any) -> Act:
    """Usage that cannot be true, or is no usage at all."""

    async def act(wire: Wire, _: int) -> None:
        await _begin(wire, 0)
        await wire.say(*wire.words)
        await wire.send(wire.voice.finish("stop"))
        await wire.send(frame({"choices": [], "usage": value}) + wire.voice.done)
        await wire.end()

    return act


async def _usage_everywhere(wire: Wire, _: int) -> None:
    """Running totals in every chunk, as some providers send them."""
    await _begin(wire, 0)
    for word in wire.words:
        await wire.say(word)
        await wire.send(wire.voice.usage())  # type: ignore[union-attr]
    await _complete(wire, len(wire.words))


async def _usage_in_the_finish(wire: Wire, _: int) -> None:
    await _begin(wire, 0)
    await wire.say(*wire.words)
    choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
    await wire.send(frame({"choices": [choice], "usage": wire.voice.usage_json()}))
    wire.reported()
    await wire.send(wire.voice.done)
    await wire.end()


# ---------------------------------------------------------------- the registry

_LATER = (UnavailableError,)
_CLOCK = (0.8, 0.6, 4.0)
_HOSTED = ("openai", "anthropic")

FAULTS: tuple[Fault, ...] = (
    # 1, 2 · too many requests, with a word about when and without
    Fault("429_seconds", 1, "429, Retry-After: 1",
          _refused(429, "rate", "slow down", _headers(Retry_After="1")),
          errors=(RateLimitedError,), retried=True, wait=1.0, late=True),
    Fault("429_date", 1, "429, Retry-After an HTTP date", _refused(429, "rate", "slow", _date),
          errors=(RateLimitedError,), retried=True, wait=0.45),
    Fault("429_milliseconds", 1, "429, retry-after-ms: 300",
          _refused(429, "rate", "slow down", _headers(retry_after_ms="300")),
          errors=(RateLimitedError,), retried=True, wait=0.3),
    Fault("429_openai_reset", 1, "429, x-ratelimit-reset-requests: 400ms; tokens are left",
          _refused(429, "rate", "slow down", _headers(
              x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="400ms",
              x_ratelimit_remaining_tokens="9000", x_ratelimit_reset_tokens="1h6m0s")),
          errors=(RateLimitedError,), retried=True, wait=0.4),
    Fault("429_anthropic_reset", 1, "429, anthropic-ratelimit-requests-reset an ISO time",
          _refused(429, "rate", "slow down", _anthropic_reset),
          errors=(RateLimitedError,), retried=True, wait=0.45),
    Fault("429_longest_counts", 1, "429 with three headers that disagree",
          _refused(429, "rate", "slow down", _headers(
              Retry_After="0", retry_after_ms="50", x_ratelimit_reset_tokens="0.5s")),
          errors=(RateLimitedError,), retried=True, wait=0.5),
    Fault("429_for_an_hour", 1, "429, Retry-After: 3600: not worth waiting for",
          _refused(429, "rate", "slow down", _headers(Retry_After="3600")),
          errors=(RateLimitedError,)),
    Fault("429_bare", 2, "429 without a header", _refused(429, "rate", "slow down"),
          errors=(RateLimitedError,), retried=True),
    Fault("429_nonsense", 2, "429, Retry-After: soon; an HTML body",
          _refused(429, "rate", "slow", _headers(Retry_After="soon"), HTML),
          errors=(RateLimitedError,), retried=True),
    # 3 · the money is spent
    Fault("429_quota", 3, "429 insufficient_quota, Retry-After: 1",
          _refused(429, "quota", "You exceeded your current quota, check your plan and billing",
                   _headers(Retry_After="1")), errors=(QuotaError,), late=True),
    Fault("402", 3, "402 payment required", _refused(402, "quota", "Insufficient Balance"),
          errors=(QuotaError,)),
    Fault("400_credit", 3, "400 that says the credit is too low",
          _refused(400, "invalid", "Your credit balance is too low to access this API"),
          errors=(QuotaError,)),
    # 4 · the upstream is ill
    Fault("500", 4, "500 with an error object", _refused(500, "server", "internal error"),
          errors=_LATER, retried=True, late=True),
    Fault("500_empty", 4, "500 with no body", _refused(500, "server", "", body=""),
          errors=_LATER, retried=True),
    Fault("502_html", 4, "502 with a page of HTML", _refused(502, "server", "", body=HTML),
          errors=_LATER, retried=True),
    Fault("503_html", 4, "503 with a page of HTML", _refused(503, "server", "", body=HTML),
          errors=_LATER, retried=True),
    Fault("503_seconds", 4, "503, Retry-After: 1",
          _refused(503, "overloaded", "loading", _headers(Retry_After="1")),
          errors=_LATER, retried=True, wait=1.0),
    Fault("504_html", 4, "504 with a page of HTML", _refused(504, "server", "", body=HTML),
          errors=_LATER, retried=True),
    Fault("524_html", 4, "524, a proxy's own status", _refused(524, "server", "", body=HTML),
          errors=_LATER, retried=True),
    Fault("529", 4, "529 overloaded", _refused(529, "overloaded", "overloaded"),
          errors=_LATER, retried=True, late=True),
    Fault("408", 4, "408 request timeout", _refused(408, "server", "too slow"),
          errors=_LATER, retried=True),
    # 5 · a parameter it does not take
    Fault("400_temperature", 5, "400 that names `temperature` as long as it is sent",
          _dislikes("temperature", 400, "Unsupported value: 'temperature' is not supported"
                    " with this model. Only the default (1) value is supported."),
          learns="temperature"),
    Fault("400_top_p", 5, "400: `temperature` and `top_p` cannot both be specified",
          _dislikes("top_p", 400, "`top_p` is not supported with this model"), learns="top_p"),
    Fault("400_max_tokens", 5, "400: use max_completion_tokens instead of max_tokens",
          _dislikes("max_tokens", 400, "Unsupported parameter: 'max_tokens' is not supported"
                    " with this model. Use 'max_completion_tokens' instead."),
          learns="max_tokens", dialects=OPENAI_LIKE),
    Fault("400_stream_options", 5, "400: unrecognised argument stream_options",
          _dislikes("stream_options", 400, "Unrecognized request argument supplied:"
                    " stream_options"), learns="stream_options", dialects=OPENAI_LIKE,
          estimated=True),
    Fault("422_top_p", 5, "422 with a list of details, one of which names `top_p`",
          _dislikes("top_p", 422, "Extra inputs are not permitted", detail=True),
          learns="top_p"),
    Fault("400_no_name", 5, "400 that names no parameter",
          _refused(400, "invalid", "the request could not be understood"),
          errors=(RejectedError,), late=True),
    Fault("422_messages", 5, "422 about the messages: nothing to leave out",
          _refused(422, "invalid", "messages: roles must alternate"), errors=(RejectedError,)),
    # 6 · the wrong key, the wrong name, the wrong door
    Fault("401", 6, "401 wrong key", _refused(401, "auth", "Incorrect API key provided"),
          errors=(RejectedError,), late=True),
    Fault("403", 6, "403 not allowed", _refused(403, "permission", "not allowed here"),
          errors=(RejectedError,)),
    Fault("404", 6, "404 no such model", _refused(404, "missing", "no such model"),
          errors=(RejectedError,)),
    Fault("404_html", 6, "404 with a page of HTML", _refused(404, "missing", "", body=HTML),
          errors=(RejectedError,)),
    Fault("413", 6, "413 request too large", _refused(413, "invalid", "request too large"),
          errors=(RejectedError,)),
    Fault("307", 6, "307 to another address: the key must not go there",
          _refused(307, "invalid", "moved", _headers(Location="/elsewhere/v1")),
          errors=(MalformedError,)),
    Fault("302_html", 6, "302 to a page where one logs in",
          _refused(302, "invalid", "", _headers(Location="/login"), HTML),
          errors=(MalformedError,)),
    # 7 · no connection, or one that breaks at once
    Fault("nobody_there", 7, "the connection is refused", _unreached, errors=_LATER, retried=True,
          address="nobody"),
    Fault("no_tls", 7, "https to a port that speaks no TLS", _unreached, errors=_LATER,
          retried=True, address="tls"),
    Fault("reset_at_once", 7, "reset before the headers", _reset, errors=_LATER, retried=True),
    Fault("closed_at_once", 7, "closed before the headers", _hang_up, errors=_LATER,
          retried=True),
    Fault("reset_in_headers", 7, "reset in the middle of the headers", _reset_in_the_headers,
          errors=_LATER, retried=True),
    Fault("no_http", 7, "something that is not HTTP", _no_http,
          errors=(UnavailableError, MalformedError), retried=None),
    Fault("endless_headers", 7, "a header of 400 kB", _endless_headers,
          errors=(UnavailableError, MalformedError), retried=None),
    # 8, 9, 10, 11 · silence
    Fault("hang", 8, "no headers, no end", _hang, errors=(TimedOutError,), retried=True,
          clocks=_CLOCK),
    Fault("stall", 9, "headers, perhaps words, then nothing", _stall, "stream",
          errors=(TimedOutError,), retried=True, clocks=_CLOCK),
    Fault("stall_in_event", 9, "nothing more in the middle of an event", _stall_inside_an_event,
          "stream", errors=(TimedOutError,), retried=True, clocks=_CLOCK),
    Fault("endless", 9, "words for ever: the total clock ends it", _endless, "stream",
          errors=(TimedOutError,), retried=False, shows=True, clocks=(0.8, 0.8, 1.0)),
    Fault("trickling_json", 9, "an unstreamed answer that never ends", _trickling_json,
          errors=(TimedOutError,), retried=True, clocks=_CLOCK),
    Fault("comments_for_ever", 10, "keep-alive comments and nothing else",
          _for_ever(lambda _: b": keep-alive\n\n"), "stream", errors=(TimedOutError,),
          retried=True, clocks=_CLOCK),
    Fault("empty_events_for_ever", 10, "pings or empty deltas and nothing else",
          _for_ever(lambda wire: wire.voice.nothing()), "stream", errors=(TimedOutError,),
          retried=True, clocks=_CLOCK),
    Fault("empty_text_for_ever", 10, "words of no letters and nothing else",
          _for_ever(lambda wire: wire.voice.word("")), "stream", errors=(TimedOutError,),
          retried=True, clocks=_CLOCK),
    Fault("long_reasoning", 11, "reasoning for longer than the first-token clock, then the answer",
          _reasons_for_long, "whole", clocks=(1.2, 1.2, 8.0)),
    Fault("silent_reasoning", 11, "half a second of comments, then the answer; patient clocks",
          _silent_for_a_while, "whole", clocks=(3.0, 3.0, 8.0)),
    Fault("keep_alive_between", 11, "comments and pings between all words",
          _keep_alive_between_words, "whole"),
    # 12, 13 · the answer is cut off
    Fault("reset_mid_stream", 12, "reset between two events", _reset_mid_stream, "stream",
          errors=_LATER, retried=True),
    Fault("closed_mid_stream", 12, "closed between two chunks", _hang_up_mid_stream, "stream",
          errors=_LATER, retried=True),
    Fault("closed_in_event", 12, "closed in the middle of an event", _hang_up_inside_an_event,
          "stream", errors=_LATER, retried=True),
    Fault("length_too_long", 12, "a Content-Length that is never reached", _promise_too_much,
          "stream", errors=_LATER, retried=True),
    Fault("half_gzip", 12, "a gzip'd body cut in half", _half_gzip, errors=_LATER,
          retried=True, shows=True),
    Fault("end_unfinished", 13, "a proper end of the body, no finish reason", _end_unfinished,
          "stream", errors=_LATER, retried=True),
    Fault("close_unfinished", 13, "no framing: closed, no finish reason", _close_unfinished,
          "stream", errors=_LATER, retried=True),
    Fault("done_unfinished", 13, "the last event, but no finish reason", _done_unfinished,
          "stream", errors=_LATER, retried=True),
    Fault("length_too_short", 13, "a Content-Length that ends in the middle of the answer",
          _promise_too_little, "stream", errors=_LATER, retried=True),
    Fault("empty_200", 13, "200 and an empty body", _refused(200, "server", "", body=""),
          errors=(UnavailableError, MalformedError), retried=None),
    Fault("204", 13, "204 no content",
          _refused(204, "server", "", body=""),
          errors=(UnavailableError, MalformedError), retried=None),
    Fault("unstreamed_unfinished", 13, "an unstreamed answer without a finish reason",
          _unstreamed_unfinished, errors=(UnavailableError, MalformedError), retried=None),
    Fault("json_as_events", 13, "an unstreamed answer that is called a stream",
          _unstreamed_as_events, "whole"),
    Fault("finish_error", 13, "finish reason `error`", _breaks_with("error"), "stream",
          errors=_LATER, retried=True),
    Fault("finish_no_resources", 13, "finish reason `insufficient_system_resource`",
          _breaks_with("insufficient_system_resource"), "stream", errors=_LATER, retried=True,
          dialects=("openai",)),
    Fault("finish_abort", 13, "finish reason `abort`", _breaks_with("abort"), "stream",
          errors=_LATER, retried=True, dialects=OPENAI_LIKE),
    Fault("finish_unknown", 13, "all of the answer and an unheard-of finish reason",
          _finishes_with("eos"), "whole", dialects=("openai",)),
    Fault("finish_without_done", 13, "a finish reason, then the end without the last event",
          _finished_without_done, "whole"),
    # 14 · done, and nobody leaves
    Fault("done_and_stay", 14, "the last event, but the connection stays open", _done_and_stay,
          "whole"),
    Fault("finish_twice", 14, "the finish reason and the last event twice", _finish_twice, "whole"),
    # 15 · odd spellings, and broken ones
    Fault("bad_json", 15, "an event that is no JSON", _then(lambda _: frame("{'not json'")),
          "stream", errors=(MalformedError,)),
    Fault("cut_json", 15, "an event whose JSON stops half-way", _then(_cut_json), "stream",
          errors=(MalformedError,)),
    Fault("wrong_json", 15, "an event that is JSON of the wrong shape",
          _then(lambda _: frame("[1, 2, 3]")), "stream", errors=(MalformedError,)),
    Fault("bad_utf8", 15, "an event that is no UTF-8",
          _then(lambda wire: wire.voice.word("ß").replace("ß".encode(), b"\xff\xfe")), "stream",
          errors=(MalformedError,)),
    Fault("giant_event", 15, "an event of nine megabytes", _last(_giant),
          "stream", errors=(MalformedError,), dialects=("openai",), heavy=True),
    Fault("big_event", 15, "an event of one megabyte", _big, "whole",
          text=lambda _: "y" * 1_000_000, dialects=_HOSTED),
    Fault("byte_by_byte", 15, "every byte a chunk of its own", _byte_by_byte, "whole"),
    Fault("crlf", 15, "lines end in CR LF",
          _spelled(lambda body: body.replace(b"\n", b"\r\n")), "whole"),
    Fault("lone_cr", 15, "lines end in CR",
          _spelled(lambda body: body.replace(b"\n", b"\r")), "whole"),
    Fault("bom", 15, "a byte order mark in front", _spelled(lambda body: b"\xef\xbb\xbf" + body),
          "whole"),
    Fault("many_lines", 15, "the data of every event over several lines", _spelled(_many_lines),
          "whole"),
    Fault("no_space", 15, "no space after the colon",
          _spelled(lambda body: body.replace(b"data: ", b"data:")), "whole"),
    Fault("other_fields", 15, "ids, retry times, comments, unknown fields",
          _spelled(_with_other_fields), "whole"),
    Fault("no_last_line", 15, "no blank line after the last event", _no_last_line, "whole"),
    Fault("text_plain", 15, "a stream that is called text/plain",
          _spelled(bytes, kind="text/plain; charset=utf-8"), "whole"),
    Fault("content_type_shouted", 15, "a stream that is called TEXT/Event-Stream;charset=UTF-8",
          _spelled(bytes, kind="TEXT/Event-Stream;charset=UTF-8"), "whole"),
    Fault("gzip", 15, "a gzip'd stream",
          _spelled(gzip.compress, headers={"Content-Encoding": "gzip"}), "whole"),
    Fault("gzip_undeclared", 15, "a gzip'd stream that does not say so", _undeclared_gzip,
          "whole", errors=(UnavailableError, MalformedError), retried=None),
    Fault("unstreamed", 15, "an answer that is not streamed, though it was asked to be",
          _unstreamed, "whole"),
    Fault("early_hints", 15, "103 before the 200", _early_hints, "whole"),
    # 16 · an error inside a 200
    Fault("error_in_stream", 16, "an error object in the stream",
          _last(lambda wire: wire.voice.error_frame("server", "internal error")), "stream",
          errors=_LATER, retried=True),
    Fault("error_then_done", 16, "an error object in the stream, then the last event",
          _last(lambda wire: wire.voice.error_frame("server", "internal error"), done=True),
          "stream", errors=_LATER, retried=True),
    Fault("overloaded_in_stream", 16, "an overloaded error in the stream",
          _last(lambda wire: wire.voice.error_frame("overloaded", "overloaded")), "stream",
          errors=_LATER, retried=True),
    Fault("rate_in_stream", 16, "a rate limit as an error in the stream",
          _last(lambda wire: wire.voice.error_frame("rate", "slow down")), "stream",
          errors=(RateLimitedError,), retried=True),
    Fault("invalid_in_stream", 16, "an invalid request as an error in the stream",
          _last(lambda wire: wire.voice.error_frame("invalid", "cannot be")), "stream",
          errors=(RejectedError,)),
    Fault("error_text", 16, "an error that is a text, in the stream",
          _last(lambda _: frame({"error": f"something broke {CANARY}"})), "stream",
          errors=_LATER, retried=True, dialects=OPENAI_LIKE),
    Fault("error_is_null", 16, "`error: null` in an event means none",
          _then(lambda _: frame({"error": None, "choices": []}), patience=0.0), "whole",
          dialects=OPENAI_LIKE),
    Fault("error_unwrapped", 16, "`object: error` with a code, in the stream",
          _last(_error_without_error, done=True), "stream", errors=(RejectedError,),
          dialects=OPENAI_LIKE),
    Fault("error_field", 16, "an error under a field name of its own, which is no data",
          _last(lambda _: b'error: {"code": 500, "message": "slot unavailable"}\n\n'), "stream",
          errors=_LATER, retried=True, dialects=("llamacpp",)),
    Fault("200_json_error", 16, "200 whose body is an error object", _json_error, errors=_LATER,
          retried=True),
    Fault("200_html", 16, "200 with a page of HTML", _refused(200, "server", "", body=HTML),
          errors=(MalformedError,)),
    # 17, 18, 19 · nothing in it
    Fault("empty", 17, "no words, finish reason stop", _only(lambda _: [], "stop"), "whole",
          errors=(EmptyAnswerError,), retried=True),
    Fault("blank", 17, "only white space, finish reason stop", _only(lambda _: ["  \n"], "stop"),
          "whole", errors=(EmptyAnswerError,), retried=True),
    Fault("empty_length", 18, "no words, finish reason length", _only(lambda _: [], "length"),
          "whole", errors=(ContextOverflowError,)),
    Fault("thoughts_only", 19, "reasoning, no words, finish reason stop", _only_thoughts("stop"),
          "whole", errors=(EmptyAnswerError,), retried=True),
    Fault("thoughts_only_length", 19, "reasoning, no words, finish reason length",
          _only_thoughts("length"), "whole", errors=(RejectedError,)),
    # 20, 21, 22 · another end than stop
    Fault("length", 20, "words, finish reason length", _only(lambda words: words[:3], "length"),
          "whole", text=lambda words: "".join(words[:3]), finish="length"),
    Fault("refusal", 21, "a refusal in its own field", _refuses, "whole",
          dialects=("openai",)),
    Fault("content_filter", 22, "finish reason content_filter", _filtered, "stream",
          errors=(ContentFilterError,)),
    Fault("400_filter", 22, "400: the content filter refuses the prompt",
          _refused(400, "filter", "The response was filtered due to the content management"
                   " policy. Content filtering"), errors=(ContentFilterError,), late=True),
    # 23 · too long
    Fault("400_overflow", 23, "400: the context is too long", _refused(400, "overflow", ""),
          errors=(ContextOverflowError,), late=True),
    # 24 · not as many answers as asked for
    Fault("no_choices", 24, "a stream with no choice in it", _no_choices, "whole",
          errors=(UnavailableError, MalformedError), retried=None, dialects=OPENAI_LIKE),
    Fault("stray_choice", 24, "a second choice that nobody asked for", _stray_choice, "whole",
          dialects=OPENAI_LIKE),
    # 25 · the bill
    Fault("no_usage", 25, "no usage", _no_usage, "whole", estimated=True),
    Fault("usage_null", 25, "usage: null at the end", _usage_is(None), "whole", estimated=True,
          dialects=OPENAI_LIKE),
    Fault("usage_zero", 25, "usage of nothing but zeros", _usage_is(
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}), "whole", estimated=True,
          dialects=OPENAI_LIKE),
    Fault("usage_half", 25, "the prompt's tokens and not the answer's",
          _usage_is({"prompt_tokens": 9}), "whole", estimated=True, dialects=OPENAI_LIKE),
    Fault("usage_negative", 25, "fewer tokens than none",
          _usage_is({"prompt_tokens": 9, "completion_tokens": -1_000_000}), "whole",
          estimated=True, dialects=OPENAI_LIKE),
    Fault("usage_wrong_type", 25, "usage that is text", _usage_is({"prompt_tokens": "many"}),
          "whole", estimated=True, dialects=OPENAI_LIKE),
    Fault("usage_everywhere", 25, "running totals in every chunk", _usage_everywhere, "whole",
          dialects=OPENAI_LIKE),
    Fault("usage_in_finish", 25, "the usage in the chunk of the finish reason",
          _usage_in_the_finish, "whole", dialects=OPENAI_LIKE),
)  # fmt: skip

BY_NAME: Mapping[str, Fault] = {fault.name: fault for fault in FAULTS}


def filters(*words: str) -> Play:
    """Refuse every prompt that holds one of *words* (row 22: leave the proposal out that has)."""

    async def play(wire: Wire) -> None:
        if any(word in wire.voice.prompt for word in words):
            await wire.reply(400, wire.voice.error("filter", "content management policy"))
        else:
            await honest(wire)

    return play
