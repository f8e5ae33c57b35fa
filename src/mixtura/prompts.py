"""How proposals are shown to the next model: pure functions from a request to a request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from hashlib import blake2b
from importlib import resources

from mixtura.control_tokens import inert_json, inert_text
from mixtura.errors import ContextOverflowError
from mixtura.part_forms import NOT_SEEN as NOT_SEEN
from mixtura.part_forms import with_stand_ins
from mixtura.provider_data import provider_bytes, strip_provider_data
from mixtura.request_size import request_tokens
from mixtura.turns import split
from mixtura.types import Completion, ImagePart, Json, Message, Part, Request, TextPart

Synthesis = Callable[[Request, Sequence[Completion]], Request]
"""Shows proposals to a model: the request it was going to get, with the proposals in it."""

LONGEST_REPEATED = 1000
"""Characters of a question that is repeated after the drafts."""

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def envelope(request: Request, proposals: Sequence[Completion]) -> Request:
    """
    Show the proposals as fenced JSON data after the conversation.

    The history stays as it was, byte for byte, so that prompt caches hold; proposals
    never enter the system message and carry no model names. Beside tools, a call may be the
    best reply, and the text says so.
    """
    name = "envelope_tools.md" if may_call(request) else "envelope.md"
    return _layout(_shipped(name))(request, proposals)


def may_call(request: Request) -> bool:
    """Whether whoever answers can call a tool."""
    return bool(request.tools) and request.tool_choice != "none"


def paper(request: Request, proposals: Sequence[Completion]) -> Request:
    """
    Show the proposals as the paper does: a numbered list in the system message.

    Wang et al. 2024 (arXiv 2406.04692), table 1 and section 2.2, in our own words. It has
    no trust boundary: for comparison with published results, not for untrusted members.
    """
    if not proposals:
        return request
    numbered = "\n".join(f"{i}. {inert_text(p.text)}" for i, p in enumerate(proposals, start=1))
    text = _fill(_shipped("paper.md"), {"proposals": numbered, "count": str(len(proposals))})
    return with_system(request, text.rstrip("\n") + _beside_tools(request))


def _beside_tools(request: Request) -> str:
    """What is added to an instruction that knows of no tools, where there are some."""
    return "\n\n" + _shipped("beside_tools.md").rstrip("\n") if may_call(request) else ""


def ranking(request: Request, proposals: Sequence[Completion]) -> Request:
    """Ask which proposal is the best one: they are shown as in the envelope, as data."""
    return template(_shipped("rank.md"))(_spoken(request), proposals)


def judging(request: Request, proposals: Sequence[Completion]) -> Request:
    """Ask for the score of a proposal, which is shown as in the envelope, as data."""
    return template(_shipped("judge.md"))(_spoken(request), proposals)


def _spoken(request: Request) -> Request:
    """The conversation for someone who is to call nothing: calls and results told as text."""
    return advised(replace(request, tools=(), tool_choice=None))


def template(text: str) -> Synthesis:
    """
    The envelope with an instruction of your own.

    *text* must hold ``{{proposals}}``, with ``{{fence}}`` on a line before and after it;
    ``{{count}}`` is their number, ``{{question}}`` the message to answer (repeated when it is
    short, named when it is long: small models lose sight of it). Raises ValueError.
    """
    names = set(_PLACEHOLDER.findall(text))
    for needed, why in (("proposals", "the place of the drafts"), ("fence", "what holds them")):
        if needed not in names:
            raise ValueError(f"the text must contain {{{{{needed}}}}}: {why}")
    if unknown := names - {"proposals", "fence", "count", "question"}:
        raise ValueError(
            f"unknown placeholder {{{{{min(unknown)}}}}}:"
            " only proposals, fence, count and question exist"
        )

    layout = _layout(text)

    def show(request: Request, proposals: Sequence[Completion]) -> Request:
        shown = layout(request, proposals)
        return (
            _appended(shown, note)
            if proposals and (note := _beside_tools(request).strip())
            else shown
        )

    return show


def _layout(text: str) -> Synthesis:
    """The envelope with an instruction that is known to be right."""

    def show(request: Request, proposals: Sequence[Completion]) -> Request:
        if not proposals:
            return request
        listed = _listed(proposals)
        values = {
            "proposals": listed,
            "fence": _fence(request, listed),
            "count": str(len(proposals)),
            "question": _question(request),
        }
        return _appended(request, _fill(text, values).rstrip("\n"))

    return show


# ---- who may not act, who cannot see


def advised(request: Request) -> Request:
    """
    The request as a proposer reads it: tools described, calls and their results told as text.

    Proposers call nothing; many endpoints also refuse a conversation with calls in it that
    comes without the tools.
    """
    called = any(m.role == "tool" or m.tool_calls for m in request.messages)
    if not (request.tools or called):
        return request
    messages = request.messages if not called else _told(request.messages)
    plain = strip_provider_data(replace(request, messages=messages, tools=(), tool_choice=None))
    if not request.tools:
        return plain
    listed = "\n".join(_described(tool) for tool in request.tools)
    return with_system(plain, _fill(_shipped("tools.md"), {"tools": listed}).rstrip("\n"))


def _described(tool: Json) -> str:
    """One tool in one line: its name, its arguments, what it is for."""
    function: Json = tool.get("function") or tool
    name = function.get("name") or tool.get("type") or "a tool"
    parameters: Json = function.get("parameters") or {}
    arguments: Json = parameters.get("properties") or {}
    about = " ".join(str(function.get("description") or "").split())
    told = f"- {name}({', '.join(arguments)})" + (f": {about}" if about else "")
    return inert_text(told)


def _told(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Calls and results as text; neighbours of one role become one message."""
    names = {call.id: call.name for m in messages for call in m.tool_calls}
    told: list[list[Message]] = []
    for message in messages:
        if message.role == "tool":
            name = names.get(message.tool_call_id or "", "a tool")
            said = TextPart(inert_text(f"[{name} returned]\n{message.text}"))
            others = _not_text(message)
            content = (said, *others) if others else said.text
            message = Message("user", content)  # noqa: PLW2901
        elif message.tool_calls:
            calls = "\n".join(
                inert_text(f"[called {c.name} with {c.arguments}]") for c in message.tool_calls
            )
            text = f"{message.text}\n\n{calls}" if message.text else calls
            others = _not_text(message)
            content = (*others, TextPart(text)) if others else text
            message = replace(message, content=content, tool_calls=())  # noqa: PLW2901
        if told and told[-1][0].role == message.role != "system":
            told[-1].append(message)
        else:
            told.append([message])
    return tuple(map(_as_one, told))


def _as_one(messages: Sequence[Message]) -> Message:
    """What messages of one role say: as one text until there is something else, then in parts."""
    if len(messages) == 1:
        return messages[0]
    first = next((i for i, m in enumerate(messages) if _parts(m)), len(messages))
    texts = [m.text for m in messages[:first]]
    text = "\n\n".join((*filter(None, texts[:1]), *texts[1:]))
    if first == len(messages):
        return replace(messages[0], content=text)
    parts: list[Part] = [TextPart(text)] if first else []
    for message in messages[first:]:
        parts += _parts(message) or (TextPart(message.text),)
    return replace(messages[0], content=tuple(parts))


def blinded(request: Request) -> Request:
    """The request for a model that sees no pictures: a line of text stands in for each."""
    return with_stand_ins(request, lambda part: not isinstance(part, ImagePart))[0]


NO_PICTURES = "sees no pictures: a line of text stands in for each"


def is_blinded(request: Request) -> bool:
    """Whether a line of text stands in for a picture."""
    seen = (part for message in request.messages for part in _parts(message))
    return any(isinstance(part, TextPart) and part.text == NOT_SEEN for part in seen)


def _not_text(message: Message) -> tuple[Part, ...]:
    return tuple(part for part in _parts(message) if not isinstance(part, TextPart))


def _parts(message: Message) -> tuple[Part, ...]:
    return message.content if isinstance(message.content, tuple) else ()


def within_turn(synthesis: Synthesis) -> Synthesis:
    """Proposals stand with the question they answer, also once tools were called since."""

    def show(request: Request, proposals: Sequence[Completion]) -> Request:
        asked, since = split(request)
        whole = synthesis(asked, proposals)
        return replace(whole, messages=(*whole.messages, *since)) if since else whole

    return show


# ---- fitting a window

BYTES_A_TOKEN = 3
"""The rule for fitting: a token is taken as three bytes, which few texts undercut."""
LEFT_OUT = "\n[… a part of this draft is left out here …]\n"
LEAST_ROOM_FOR_ANSWER = 256


def room(request: Request, window: int) -> int:
    """
    Tokens that drafts may take in a window of *window*.

    What is left after the conversation and the answer (max_tokens, else a quarter of the
    window up to 4,096; half of what is left where that is less). Negative when the conversation
    alone does not fit.
    """
    own = sum(provider_bytes(message) for message in request.messages)
    return room_beside(request_tokens(request, tokens), own, request, window)


def room_beside(asked: int, own: int, request: Request, window: int) -> int:
    """The same for a conversation of *asked* tokens and *own* bytes of a provider's own data."""
    asked += own // BYTES_A_TOKEN
    most = request.sampling.max_tokens or min(window // 4, 4096)
    left = window - asked
    answer = most if most <= left else left // 2
    return left - max(answer, LEAST_ROOM_FOR_ANSWER)


def tokens(text: str) -> int:
    """About how many tokens a text is, rather more than fewer."""
    return len(text.encode("utf-8", "replace")) // BYTES_A_TOKEN + 1


def shown(
    synthesis: Synthesis, request: Request, proposals: Sequence[Completion], window: int | None
) -> Request:
    """
    The request as a reader with *window* tokens gets it: proposals shortened until they fit.

    Raises ContextOverflowError when the conversation alone does not.
    """
    if window is None:
        return synthesis(request, proposals)
    blank = [replace(p, message=replace(p.message, content="")) for p in proposals]
    space = room(synthesis(request, blank), window)
    if space < 0:
        needed = window - space
        raise ContextOverflowError(
            f"the conversation needs about {needed} tokens with its answer,"
            f" the model's window has {window}"
        )
    return synthesis(request, fitted(proposals, space))


def fitted(proposals: Sequence[Completion], space: int) -> Sequence[Completion]:
    """
    The proposals cut to *space* tokens in all.

    Each has an equal share; what short ones leave over goes to the longer. One that is
    longer than its share loses its middle and is marked as incomplete.
    """
    sizes = [tokens(p.text) + 24 for p in proposals]
    if sum(sizes) <= space:
        return proposals
    share = _share(sizes, space)
    return [
        p if size <= share else _shortened(p, max(share - 24, 16))
        for p, size in zip(proposals, sizes, strict=True)
    ]


def _share(sizes: Sequence[int], space: int) -> int:
    """The cap for each that fills *space*: what is under it leaves room for the rest."""
    left, remaining = space, len(sizes)
    for size in sorted(sizes):
        cap = left // remaining
        if size > cap:
            return cap
        left -= size
        remaining -= 1
    return max(sizes)


def _shortened(proposal: Completion, most: int) -> Completion:
    keep = max((most - tokens(LEFT_OUT)) * BYTES_A_TOKEN, 0)
    raw = proposal.text.encode("utf-8", "replace")
    head, tail = raw[: keep * 2 // 3], raw[len(raw) - keep // 3 :]
    text = head.decode("utf-8", "ignore") + LEFT_OUT + tail.decode("utf-8", "ignore")
    return replace(
        proposal, message=replace(proposal.message, content=text), finish_reason="length"
    )


def with_system(request: Request, text: str) -> Request:
    """The request with *text* at the end of its system message, or as a new one in front."""
    messages = request.messages
    if not messages or messages[0].role not in ("system", "developer"):
        return replace(request, messages=(Message("system", text), *messages))
    first = replace(messages[0], content=_joined(messages[0], text))
    return replace(request, messages=(first, *messages[1:]))


def _appended(request: Request, text: str) -> Request:
    """*text* at the end of the user's last message, or as one of its own after another role's.

    Many chat templates refuse two user messages in a row, hence no message of its own.
    """
    messages = request.messages
    if not messages or messages[-1].role != "user":
        return replace(request, messages=(*messages, Message("user", text)))
    last = replace(messages[-1], content=_joined(messages[-1], text))
    return replace(request, messages=(*messages[:-1], last))


def _joined(message: Message, text: str) -> str | tuple[Part, ...]:
    if isinstance(message.content, str):
        return f"{message.content}\n\n{text}" if message.content else text
    return (*message.content, TextPart(text))


def _listed(proposals: Sequence[Completion]) -> str:
    rows = [
        f'{{"slot": {slot}, "complete": {json.dumps(p.finish_reason == "stop")},'
        f' "text": {quote_draft(p.text)}}}'
        for slot, p in enumerate(proposals, start=1)
    ]
    return "[\n" + ",\n".join(rows) + "\n]"


LONGEST_KEPT = 16 * 1024
"""Characters of a draft that is kept as it will be quoted: of longer ones there could be many."""


def quote_draft(text: str) -> str:
    """
    *text* as JSON for a model to read. A draft that was quoted when it came is at hand when the
    last one comes: whoever waits for the answer waits for that work no more.
    """
    return _kept_quotes(text) if len(text) <= LONGEST_KEPT else inert_json(text)


_kept_quotes = lru_cache(maxsize=128)(inert_json)


def _question(request: Request) -> str:
    """The message to answer, or where it stands."""
    last = request.messages[-1] if request.messages else None
    if last is None or last.role != "user" or not last.text.strip():
        return "the conversation above."
    if len(last.text) > LONGEST_REPEATED:
        return "the message above, the one that these notes were added to."
    return f"this message:\n\n{inert_text(last.text)}"


def _fence(request: Request, listed: str) -> str:
    """
    A 128-bit mark that no proposal can contain.

    It is the hash of the proposals themselves, so that no one of them can have known it,
    and yet the same run gives the same prompt: caches, replays and prompt caches hold.
    """
    said = "\n".join(f"{m.role}: {m.text}" for m in request.messages)
    seed = f"{len(said)}\n{said}\n{listed}"
    turn = 0
    while True:
        digest = blake2b(f"{turn}\n{seed}".encode("utf-8", "replace"), digest_size=16).hexdigest()
        fence = f"=====drafts-{digest}====="
        if digest not in listed:
            return fence
        turn += 1


def _fill(text: str, values: Mapping[str, str]) -> str:
    # One pass: a proposal that contains a placeholder keeps it.
    return _PLACEHOLDER.sub(lambda m: values.get(m[1], m[0]), text)


@cache
def _shipped(name: str) -> str:
    return (resources.files("mixtura") / "texts" / name).read_text(encoding="utf-8")


BY_NAME: Mapping[str, Synthesis] = {"envelope": envelope, "paper": paper}
"""The layouts a configuration can name."""
