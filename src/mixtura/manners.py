"""What a model behind HTTP will not take: known by its name, and learned from its refusals."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import TypeVar

import msgspec

from mixtura import message_shapes, provider_data
from mixtura.budget import REQUESTS
from mixtura.catalog import Quirks
from mixtura.chunks import JsonObject
from mixtura.clocks import one_call
from mixtura.errors import MalformedError, ModelError, QuotaError, RejectedError, bill, leave
from mixtura.events import Emit, Noticed, Restarted, Token
from mixtura.missing_data import MissingData
from mixtura.part_forms import CACHE_MARK
from mixtura.prefill import asked_to_go_on, is_refused
from mixtura.prompts import NO_PICTURES
from mixtura.quantities import FEWEST_TOKENS, excerpt, window_size
from mixtura.redaction import current
from mixtura.request_bounds import NAMES, RequestBound
from mixtura.sampling_words import SOFT
from mixtura.types import Charge, Request
from mixtura.wire import Assembly, Fresh

T = TypeVar("T")

_OTHER_NAME = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
_SYSTEM, _DEVELOPER = "the role system", "the role developer"
_LATER_SYSTEM = "later instructions"
_CACHE_MARKS, _LISTS, _NULLS = "cache marks", "texts in parts", "empty contents"
_PREFILL = "a begun answer"


def _as_system(messages: Sequence[JsonObject]) -> list[JsonObject]:
    return [m | {"role": "system"} if m["role"] == "developer" else m for m in messages]


_SHAPES: Mapping[str, Callable[[list[JsonObject]], list[JsonObject]]] = {
    _DEVELOPER: _as_system,
    _LATER_SYSTEM: message_shapes.gather_instructions,
    _SYSTEM: message_shapes.in_users_words,
    **{k: partial(message_shapes.without_kind, kind=k) for k in message_shapes.KINDS},
    _CACHE_MARKS: message_shapes.without_cache_marks,
    _PREFILL: asked_to_go_on,
    _LISTS: message_shapes.with_plain_texts,
    _NULLS: message_shapes.with_empty_texts,
}
"""What a model may refuse in messages, and how it is done without; in the order of doing."""
_MAY_GO = (
    "temperature", "top_p", "stop", "stop_sequences", "seed", "stream_options", "stream",
    "max_tokens", "max_completion_tokens", "reasoning_effort", "top_k", "verbosity",
    *sorted(SOFT - {"reasoning_effort", "top_k", "verbosity", "parallel_tool_calls"}),
)  # fmt: skip
"""What an answer is possible without. Tools and response formats are not among them."""
_TEACH = (400, 422, 500)
"""Statuses of refusals that are about the request; a 500 where its model's template says so."""
LESSONS = 16
"""Refusals that one call learns from at most; the next call knows them and learns more."""

_NOT_TAKEN = re.compile(
    r"not (?:\w+ )?(?:support(?:ed)?|allow(?:ed)?|permit(?:ted)?|recogni[sz]ed?|accept(?:ed)?"
    r"|available|enabled)\b"
    r"|unsupported|unrecogni[sz]ed|unknown|unexpected|deprecated|extra (?:inputs?|fields?)"
    r"|cannot both|only the default|n't (?:support|accept|allow)"
    r"|invalid (?:parameter|argument|field)"
    r"|不支持",
    re.IGNORECASE,
)
_OUT_OF_RANGE = re.compile(
    r"above (?:the )?maximum|below (?:the )?minimum|[<>]=?\s*\d|(?:less|greater) than or equal"
    r"|\brange\b|between \d",
    re.IGNORECASE,
)
_MOST = re.compile(
    r"(?:> |at most |<= ?|less than or equal to |maximum (?:value )?(?:of |is )?)([0-9]+)"
)
_NO_STREAM = re.compile(r"stream(?:ing|ed)?\b.{0,40}\bnot\b|verified to stream", re.IGNORECASE)
_NO_ROLE = re.compile(
    r"(system|developer)['\"` ]*(?:role|message|instruction|prompt)?s?\b.{0,40}"
    r"\bnot (?:be )?(?:supported|enabled|allowed|permitted)"
    r"|(?:not|n't) support ['\"`]?(system|developer)|roles must alternate user/assistant"
    r"|only user and assistant roles|should be '(?:user|assistant)' or '(?:user|assistant)'"
    r"|(?:first message|conversation|messages) must (?:be|have|start|begin)\b.{0,30}\buser"
    r"|only user,? (?:and )?assistant(?:,? and tool)? roles"
    r"|(?:unknown|invalid|unexpected|unsupported|bad|illegal) (?:message )?role[ :='\"`]+system"
    r"|roles? .{0,40}\bgot[ '\"`]+system",
    re.IGNORECASE | re.DOTALL,
)
_NO_DEVELOPER = re.compile(
    r"\bdeveloper\b|(?:unknown|invalid|unexpected|unsupported|bad|illegal) (?:message )?role",
    re.IGNORECASE,
)
"""The role is newer than the others: what complains of any is asked once without it."""
_NO_LISTS = re.compile(
    r"content\b.{0,60}\b(?:a |valid )?string|invalid type: sequence, expected a string"
    r"|messages\b.{0,40}\b(?:value )?(?:must|should) be a (?:valid )?string",
    re.IGNORECASE | re.DOTALL,
)
_NO_NULLS = re.compile(
    r"\bcontent\b.{0,60}(?:\bnull\b|<?\bnil\b|\bNone\b|\brequired\b|\bmissing\b|\bempty\b)"
    r"|(?:\bnull\b|<?\bnil\b|\bNone\b).{0,40}\bcontent\b",
    re.IGNORECASE | re.DOTALL,
)
_ABOUT_ROLES = re.compile(
    r"\b(?:system|developer|roles?|instructions?)\b|alternat|\b(?:first|last) message\b"
    r"|\border of (?:the )?messages|\bmessage order|系统(?:消息|提示|指令)|角色",
    re.IGNORECASE | re.ASCII,  # a letter of Chinese ends a word
)

_OF_MESSAGES = (*_SHAPES, *provider_data.OF_A_MESSAGE)
_NOTICES = {
    "stream_options": "tells no usage while it streams: tokens are counted here",
    "stream": "does not stream: its answers come in one piece",
    _SYSTEM: "takes no system message: its text goes in front of the first user message",
    _DEVELOPER: "takes no developer message: it is sent as a system message",
    _LATER_SYSTEM: "takes instructions in one message in front: later ones are moved",
    "pictures": NO_PICTURES,
    **{
        kind: f"takes no {kind}: a line of text stands in for each"
        for kind in message_shapes.KINDS
        if kind != "pictures"
    },
    _CACHE_MARKS: "takes no marks for a cache: left out",
    _LISTS: "takes no texts in parts: they are joined",
    _NULLS: "takes no message without a text: an empty one is sent beside its calls",
    _PREFILL: "begins no answer with given words: it is asked to go on behind them",
}


class Manners:
    """
    How to ask one model: leaves out or renames what it refuses, and says so once.

    *quirks* is what its name tells. A 400 or 422 that names a parameter that was sent
    teaches the rest, and the request is sent again at once. *needed* are the parameters
    that the dialect cannot do without. *window* is what is known of its context beforehand.
    """

    def __init__(
        self,
        model: str,
        quirks: Quirks,
        *,
        needed: frozenset[str] = frozenset(),
        window: int | None = None,
    ) -> None:
        self.window = window
        """Tokens of its context, the fewest that anyone stated."""
        self._model = model
        self._refused = set(quirks.refuses) - needed
        self._said = self._refused & _OTHER_NAME.keys()  # a name known beforehand is no news
        self._most = quirks.most_tokens
        self._needed = needed
        self.inside = quirks.inside
        """Its answers begin in the middle of its thoughts."""

    async def ask(
        self, body: JsonObject, send: Callable[[JsonObject], Awaitable[T]], emit: Emit | None
    ) -> T:
        """*send* the body as this model takes it. Raises what *send* raises."""
        with one_call(self._model):
            return await self._ask(body, send, emit)

    async def _ask(
        self, body: JsonObject, send: Callable[[JsonObject], Awaitable[T]], emit: Emit | None
    ) -> T:
        bound, missing = RequestBound(), MissingData()
        guess: str | None = None

        def fitted() -> JsonObject:
            return missing.applied(bound.applied(self.applied(body)))

        for _ in range(LESSONS):
            fitting = fitted()
            self._say(body, fitting, emit)
            try:
                return await send(fitting)
            except (RejectedError, QuotaError) as error:
                self._learn_window(error.limits.window, fitting, emit)
                other = next(n for n in NAMES if n not in self._refused or n == NAMES[-1])
                said = bound.learn(error, fitting, name=other) or missing.learn(error, fitting)
                if said is not None:
                    if emit:
                        emit(Noticed(self._model, said))
                    continue
                if guess == str(error):  # the same again: it was about something else
                    self._refused.discard(_LATER_SYSTEM)
                known = _LATER_SYSTEM in self._refused
                self._learn(error, fitting)
                if fitted() == fitting:
                    raise
                guess = None if known or _LATER_SYSTEM not in self._refused else str(error)
        return await send(fitted())

    def applied(self, body: JsonObject) -> JsonObject:
        """*body* without what this model refuses."""
        fitting: JsonObject = {}
        for name, value in body.items():
            taken = name if name not in self._refused else _OTHER_NAME.get(name, name)
            if taken in self._refused:
                continue
            bounded = taken in _OTHER_NAME and self._most is not None
            fitting[taken] = min(value, self._most) if bounded else value
        if "stream" not in fitting:
            fitting.pop("stream_options", None)
        if "messages" in fitting and self._refused & _SHAPES.keys():
            fitting["messages"] = self._reshape(fitting["messages"])
        if own := self._refused.intersection(provider_data.OF_A_MESSAGE):
            fitting["messages"] = provider_data.without_fields(fitting["messages"], own)
        return fitting

    def _reshape(self, messages: list[JsonObject]) -> list[JsonObject]:
        """The messages in the form that this model takes."""
        for name, shape in _SHAPES.items():
            if name in self._refused:
                messages = shape(messages)
        return messages

    # ---- learning

    def _learn_window(self, told: int | None, sent: JsonObject, emit: Emit | None) -> None:
        """A window that someone states is the model's, unless what was *sent* fits in anyway."""
        told = window_size(told)
        if told is None or (self.window is not None and told >= self.window):
            return
        messages = sent.get("messages", [])
        most = len(msgspec.json.encode(messages)) + (sent.get("max_tokens") or 0)
        if most < told and not any(map(_has_media, messages)):
            return
        self.window = told
        if emit:
            emit(Noticed(self._model, f"its window has {told} tokens: drafts are cut to it"))

    def _learn(self, error: ModelError, sent: JsonObject) -> None:
        if type(error) is not RejectedError or error.status not in _TEACH or error.charges:
            return
        said = str(error)
        if (most := error.limits.output) is not None:
            asked = next((sent[name] for name in NAMES if name in sent), 0)
            self._most = most if FEWEST_TOKENS <= most < asked else self._most
        elif is_refused(said, sent.get("messages", ())):
            self._refused.add(_PREFILL)
        elif field := provider_data.refused_field(said, sent.get("messages", ())):
            self._refused.add(field)
        elif shape := self._shape(error, said, sent.get("messages", ())):
            self._refused.add(shape)
        elif (name := self._parameter(error, said, sent)) is None:
            self._learn_place(said, sent.get("messages", ()))
        elif name not in self._needed and not _OUT_OF_RANGE.search(said):
            self._refused.add(name)

    def _learn_place(self, said: str, messages: Sequence[JsonObject]) -> None:
        """
        Whoever complains about instructions or roles, in whatever words, is asked once more with
        the instructions in front.
        """
        if _ABOUT_ROLES.search(said) and message_shapes.is_scattered(messages):
            self._refused.add(_LATER_SYSTEM)

    def _shape(self, error: RejectedError, said: str, messages: Sequence[JsonObject]) -> str | None:
        """What of the messages' form the error is about."""
        if kind := message_shapes.refused_kind(said, messages):
            return kind
        if CACHE_MARK in said and message_shapes.has_cache_marks(messages):
            return _CACHE_MARKS
        if message_shapes.has_null_content(messages) and (
            _NO_NULLS.search(said) or _NO_LISTS.search(said)
        ):
            return _NULLS
        if _NO_LISTS.search(said) and message_shapes.has_listed_texts(messages):
            return _LISTS
        return self._role(error, said, messages)

    def _role(self, error: RejectedError, said: str, messages: Sequence[JsonObject]) -> str | None:
        about_role = error.parameter is not None and error.parameter.endswith("role")
        roles = {m["role"] for m in messages}
        if "developer" in roles and _NO_DEVELOPER.search(said):
            return _DEVELOPER
        if not _NO_ROLE.search(said) and not about_role:
            return None
        if message_shapes.is_scattered(messages):
            return _LATER_SYSTEM
        return _SYSTEM if roles & set(message_shapes.SYSTEM_ROLES) else None

    def _parameter(self, error: RejectedError, said: str, sent: JsonObject) -> str | None:
        """Which of the parameters that were sent the error is about."""
        if error.parameter in _MAY_GO and error.parameter in sent:
            return error.parameter
        if "stream" in sent and _NO_STREAM.search(said):
            return "stream"
        named = [
            name for name in _MAY_GO if name in sent and _spelled(name).search(said)
        ]  # fmt: skip
        if not named or not (_NOT_TAKEN.search(said) or _MOST.search(said)):
            return None
        # «a and b cannot both be given»: the first of _MAY_GO is worth more.
        if "both" in said:
            return named[-1]
        return min(named, key=lambda name: _spelled(name).search(said).start())  # pyright: ignore

    # ---- saying

    def _say(self, body: JsonObject, fitting: JsonObject, emit: Emit | None) -> None:
        if emit is None:
            return
        for notice in self._unsaid(body, fitting):
            emit(Noticed(self._model, notice))

    def _unsaid(self, body: JsonObject, fitting: JsonObject) -> Iterator[str]:
        for name in sorted(self._refused - self._said):
            other = _OTHER_NAME.get(name)
            if name in body or other in body or name in _OF_MESSAGES:
                self._said.add(name)
                yield (
                    f"takes {other} instead of {name}"
                    if other in fitting
                    else _NOTICES.get(name, f"takes no {name}: left out")
                )
        asked = next((body[name] for name in _OTHER_NAME if name in body), None)
        if self._most is not None and asked is not None and asked > self._most:
            bound = f"writes at most {self._most} tokens, not {asked}"
            if bound not in self._said:
                self._said.add(bound)
                yield bound


@cache
def _spelled(name: str) -> re.Pattern[str]:
    """A parameter's *name* as refusals write it: top_k, also topK and "top k"."""
    if "_" not in name:
        return re.compile(rf"\b{name}\b", re.ASCII)
    return re.compile(rf"\b{name.replace('_', '[_ ]?')}\b", re.ASCII | re.IGNORECASE)


def notice_all(model: str, notices: Iterable[str], emit: Emit | None) -> None:
    """Say what a call to *model* goes without."""
    for notice in notices:
        if emit is not None:
            emit(Noticed(model, notice))


def told(so_far: Assembly, fresh: Fresh | None, emit: Emit | None) -> None:
    """Report what came of an answer."""
    if fresh is None or emit is None:
        return
    if fresh.thought:
        emit(Token(fresh.thought, reasoning=True, pieces=fresh.pieces))
    if fresh.text:
        so_far.shown = so_far.shown or not fresh.text.isspace()
        emit(Token(fresh.text, pieces=fresh.pieces, refusal=fresh.refusal))
    for piece in fresh.calls:
        so_far.shown = True
        emit(piece)


def told_anew(model: str, request: Request, emit: Emit | None) -> None:
    """Report that what was taken for the answer so far was reasoning."""
    if emit is None:
        return
    if request.draft:
        emit(Restarted(model, None))
    else:
        emit(Noticed(model, "what came so far was reasoning, not yet the answer"))


@contextmanager
def accounted(
    model: str, request: Request, so_far: Assembly, emit: Emit | None = None
) -> Generator[None]:
    """
    One request to an upstream. Whatever ends it early knows whose it was, what was shown, what
    it cost, and no secret; it is written down where someone does (``budget.REQUESTS``), and it
    is said where the upstream's own count makes no sense.
    """
    requests = REQUESTS.get()
    call = requests.asked(model, request) if requests else ""
    charges: Sequence[Charge] = ()
    try:
        yield
        charges = (so_far.charge(model, request),) if requests else ()
    except (RecursionError, ArithmeticError) as error:  # of reading what it sent
        odd = MalformedError(f"its answer cannot be read: {excerpt(str(error), 200)}")
        charges = _settled(odd, model, request, so_far).charges
        raise odd from error
    except ModelError as error:
        charges = _settled(error, model, request, so_far).charges
        raise
    except asyncio.CancelledError as error:
        # It was sent and perhaps read: a provider may charge for it, so we do.
        charges = (so_far.charge(model, request, failed=True),)
        bill(error, *charges)
        leave(error, "".join(so_far.text))
        raise
    except Exception as error:
        current().error(error)
        raise
    finally:
        if requests:
            requests.over(call, charges)
        if so_far.doubts and emit is not None:
            told = ", ".join(dict.fromkeys(so_far.doubts[:DOUBTS]))
            emit(Noticed(model, f"its usage makes no sense ({told}): that is not taken over"))


DOUBTS = 5
"""Of what makes no sense in a usage so many are named."""


def _settled(error: ModelError, model: str, request: Request, so_far: Assembly) -> ModelError:
    current().error(error)
    error.model = error.model or model
    error.shown = so_far.shown
    leave(error, "".join(so_far.text))
    if so_far.begun and not error.charges:
        error.paid(so_far.charge(model, request, failed=True))
    return error


_MEDIA = ("image", "image_url", "document", "file", "input_audio", "video_url")


def _has_media(message: JsonObject) -> bool:
    """Whether something in it has more tokens than bytes tell."""
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") in _MEDIA  # pyright: ignore
        for part in content  # pyright: ignore
    )
