"""The ways to answer with a mixture that are compared: two by hand, and ours.

Every arm is a coroutine function from a question to its answer; *first* is called when the
first piece of the answer is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from openai import AsyncOpenAI

from mixtura import Request, Sampling, ask
from mixtura.core.events import Event, Token
from mixtura.core.types import Message
from mixtura.engine.mixture import Mixture
from mixtura.models.openai import OpenAI

PROPOSERS = tuple(f"proposer-{i}" for i in range(4))
AGGREGATOR = "aggregator"
MOST = 1024
INSTRUCTION = (
    "You have been given answers to the user's question by several models. Judge them"
    " critically, as some may be wrong or one-sided, and write one accurate, complete and"
    " well-ordered answer of your own. Answers by the models:"
)

First = Callable[[], None]
Arm = Callable[[str, First], Awaitable[str]]


def together(drafts: list[str], pad: int) -> str:
    """The system message of the gather arms; *pad* bytes more make it as long as ours."""
    numbered = "\n".join(f"{i}. {draft}" for i, draft in enumerate(drafts, start=1))
    return f"{INSTRUCTION}{' again' * (pad // 6)}\n{numbered}"


class Gather:
    """The usual way: the openai SDK, gather over the proposers, then a streamed aggregator."""

    def __init__(self, base_url: str, *, stream_proposers: bool = False) -> None:
        self.client = AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=600)
        self.stream_proposers = stream_proposers
        self.pad = 0

    async def propose(self, model: str, question: str) -> str:
        if self.stream_proposers:
            return await self.stream(model, [{"role": "user", "content": question}], None)
        reply = await self.client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}]
        )
        return reply.choices[0].message.content or ""

    async def stream(self, model: str, messages: list, first: First | None) -> str:
        pieces: list[str] = []
        stream = await self.client.chat.completions.create(
            model=model, messages=messages, stream=True, max_tokens=MOST
        )
        async for chunk in stream:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                if first and not pieces:
                    first()
                pieces.append(text)
        return "".join(pieces)

    async def __call__(self, question: str, first: First) -> str:
        drafts = await asyncio.gather(*(self.propose(model, question) for model in PROPOSERS))
        messages = [
            {"role": "system", "content": together(drafts, self.pad)},
            {"role": "user", "content": question},
        ]
        return await self.stream(AGGREGATOR, messages, first)


class GatherOurClient:
    """The same gather with our HTTP client: what the client gains, without the engine."""

    def __init__(self, base_url: str) -> None:
        self.models = [OpenAI(name, base_url) for name in PROPOSERS]
        self.aggregator = OpenAI(AGGREGATOR, base_url)
        self.pad = 0

    async def __call__(self, question: str, first: First) -> str:
        answers = await asyncio.gather(*(model.complete(ask(question)) for model in self.models))
        system = together([answer.text for answer in answers], self.pad)
        messages = (Message("system", system), Message("user", question))
        request = Request(messages, Sampling(max_tokens=MOST))
        return (await self.aggregator.complete(request, _at_first_token(first))).text


class Ours:
    """Mixtura, waiting for all. *watched*: every token of every member is reported."""

    def __init__(self, base_url: str, *, watched: bool = True) -> None:
        proposers = [OpenAI(name, base_url) for name in PROPOSERS]
        self.mixture = Mixture.of(proposers, OpenAI(AGGREGATOR, base_url), patience=None)
        self.watched = watched
        self.pad = 0

    async def __call__(self, question: str, first: First) -> str:
        request = ask(question, sampling=Sampling(max_tokens=MOST))
        emit = _at_first_token(first) if self.watched else None
        return (await self.mixture.complete(request, emit)).text


def _at_first_token(first: First) -> Callable[[Event], None]:
    """Calls *first* at the first token of an answer; proposers' tokens are looked at, too."""
    seen = False

    def emit(event: Event) -> None:
        nonlocal seen
        answering = type(event) is Token and (not event.at or event.at[-1].role == AGGREGATOR)
        if answering and not seen:
            seen = True
            first()

    return emit
