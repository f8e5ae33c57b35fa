"""Every fault that an upstream can have ends alike over every transport."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from mixtura import Anthropic, ModelError, OpenAI, Token, Transport, ask
from mixtura.transport.client import CallTimeouts
from tests.conftest import run
from tests.support.upstream import Record, Script, Upstream, running
from tests.support.upstream.faults import BY_NAME, FAULTS, Fault
from tests.transport.conftest import TRANSPORTS

KINDS = {"openai": OpenAI, "llamacpp": OpenAI, "anthropic": Anthropic}
WORDS = "Light of short waves is scattered more."
OVER_HTTP = [fault for fault in FAULTS if not fault.address]
AT_ONCE = 30


async def outcome(
    fault: Fault, upstream: Upstream, name: str, transport: Transport, draft: bool
) -> str:
    """What one call comes to, without what differs from call to call."""
    first, progress, total = fault.timeouts
    timeouts = CallTimeouts(
        first_token=first or 15.0, progress=progress or 15.0, total=total or 20.0
    )
    kind, base_url = KINDS[fault.dialects[0]], upstream.base_url(fault.dialects[0])
    model = kind(
        f"{fault.name} {name}", base_url, api_key="sk-x", timeouts=timeouts, transport=transport
    )
    seen: list[str] = []
    try:
        answer = await model.complete(
            replace(ask("Why is the sky blue?"), draft=draft),
            lambda event: seen.append(event.text) if isinstance(event, Token) else None,
        )
        end = f"{answer.finish_reason} {answer.usage}"
    except ModelError as error:
        after = getattr(error, "retry_after", None)
        end = f"{type(error).__name__}, wait: {after is not None}: {error}"
    end = re.sub(
        r"more than \S+ bytes of headers|too many or too long headers", "too many headers", end
    )
    text = re.sub(r"(more ){2,}", "more and more ", "".join(seen))  # as long as it was listened to
    return text + re.sub(r"\d+", "N", end.replace(name, "NAME"))


@pytest.mark.parametrize(("said", "draft"), [(0, False), (2, True)])
def test_every_fault_ends_alike_over_every_transport(said, draft):
    def script(record: Record) -> Script:
        return Script(WORDS, ever=BY_NAME[record.model.split()[0]].play(said))

    async def ask_all(upstream: Upstream) -> list[dict[str, str]]:
        room = asyncio.Semaphore(AT_ONCE)
        transports = {name: make() for name, make in TRANSPORTS.items()}

        async def one(fault: Fault) -> dict[str, str]:
            async with room:
                made = [
                    outcome(fault, upstream, name, transport, draft)
                    for name, transport in transports.items()
                ]
                return dict(zip(transports, await asyncio.gather(*made), strict=True))

        return await asyncio.gather(*map(one, OVER_HTTP))

    with running(script) as upstream:
        found = run(ask_all(upstream))
    odd = [
        (f.name, ends)
        for f, ends in zip(OVER_HTTP, found, strict=True)
        if len({*ends.values()}) > 1
    ]
    assert len(found) > 100
    assert not odd
