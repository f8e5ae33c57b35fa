"""Public doubles: models that say what a test tells them to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from mixtura.core.call_ledger import record_charge
from mixtura.core.errors import ModelError
from mixtura.core.events import Emit, Token
from mixtura.core.model_info import ModelInfo
from mixtura.core.types import Charge, Completion, Message, Request, Usage
from mixtura.protocols.usage_estimates import estimate_usage

_WORD = re.compile(r"\s*\S+\s*")


class FailedCall(NamedTuple):
    """A step of a script: the call fails with *error* after it has cost *charges*."""

    error: BaseException
    charges: tuple[Charge, ...] = ()


ScriptStep = str | Completion | BaseException | FailedCall | Callable[[Request], str]


class Scripted:
    """
    Answers with the next step of its script: a text, a Completion, an exception to raise,
    a failed call that costs something, or a function of the request. *asked* keeps every request.

    *delay*: seconds before the first token; *pace*: seconds between tokens. *info*: what it says
    of itself, only its name by default.
    A script that has run out raises AssertionError: the test asked more than it planned.
    """

    def __init__(
        self,
        name: str = "scripted",
        script: Iterable[ScriptStep] = (),
        *,
        delay: float = 0.0,
        pace: float = 0.0,
        usage: Usage | None = None,
        info: ModelInfo | None = None,
    ) -> None:
        self._name = name
        self.info = info or ModelInfo(name)
        self._script = iter(script)
        self._delay = delay
        self._pace = pace
        self._usage = usage
        self.asked: list[Request] = []
        self.in_flight = 0

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        self.asked.append(request)
        step = self._next_step(request)
        self.in_flight += 1
        try:
            return await self._play_step(step, request, emit)
        finally:
            self.in_flight -= 1

    def _next_step(self, request: Request) -> str | Completion | BaseException:
        step = next(self._script, None)
        if step is None:
            raise AssertionError(
                f"{self._name} got {len(self.asked)} requests, more than its script has answers"
            )
        if isinstance(step, FailedCall):
            for charge in step.charges:
                record_charge(charge)
            return step.error
        return step(request) if callable(step) else step

    async def _play_step(
        self, step: str | Completion | BaseException, request: Request, emit: Emit | None
    ) -> Completion:
        await asyncio.sleep(self._delay)
        if isinstance(step, BaseException):
            if isinstance(step, ModelError):
                step.model = step.model or self._name
            raise step
        answer = self._build_completion(step, request) if isinstance(step, str) else step
        for word in _WORD.findall(answer.text) if emit or self._pace else ():
            if self._pace:
                await asyncio.sleep(self._pace)
            if emit:
                emit(Token(word))
        for charge in answer.charges:
            record_charge(charge)
        return answer

    def _build_completion(self, text: str, request: Request) -> Completion:
        usage = self._usage or replace(estimate_usage(request, text), estimated=False)
        return Completion(
            Message("assistant", text), self._name, charges=(Charge(self._name, usage),)
        )


def echo(name: str = "echo", *, delay: float = 0.0, info: ModelInfo | None = None) -> Scripted:
    """A model that answers with the last message it was shown, as often as it is asked."""

    def endless_steps() -> Iterable[ScriptStep]:
        while True:
            yield lambda request: request.messages[-1].text

    return Scripted(name, endless_steps(), delay=delay, info=info)


def failing_model(
    error: ModelError | FailedCall, name: str = "failing", *, delay: float = 0.0
) -> Scripted:
    """A model that raises *error* whenever it is asked."""

    def endless_steps() -> Iterable[ScriptStep]:
        while True:
            yield error

    return Scripted(name, endless_steps(), delay=delay)


def slow_model(seconds: float, text: str = "at last", name: str = "slow") -> Scripted:
    """A model that takes its time."""

    def endless_steps() -> Iterable[ScriptStep]:
        while True:
            yield text

    return Scripted(name, endless_steps(), delay=seconds)
