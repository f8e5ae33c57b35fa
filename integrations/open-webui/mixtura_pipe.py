"""
title: Mixtura
description: A mixture's answer with its proposals above it, each behind a fold.
version: 0.1.0
license: Apache-2.0
requirements: aiohttp
"""

from __future__ import annotations

import html
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from pydantic import BaseModel, Field

TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10)


class Pipe:
    """A function of Open WebUI: its models are the mixtures of a server of Mixtura."""

    class Valves(BaseModel):
        """Settings that an administrator fills in."""

        base_url: str = Field(
            default="http://host.docker.internal:6498/v1",
            description="Where `mixtura serve` is, with /v1 at its end.",
        )
        api_key: str = Field(default="none", description="A key of [serve.keys].")
        show_proposals: bool = Field(default=True, description="Show each member's answer.")
        max_cost: float | None = Field(default=None, description="Dollars of one answer.")

    def __init__(self) -> None:
        self.valves = self.Valves()

    async def pipes(self) -> list[dict[str, str]]:
        """The models that the server offers."""
        async with self._session() as session, session.get(self._url("/models")) as reply:
            reply.raise_for_status()
            rows = (await reply.json())["data"]
        return [{"id": row["id"], "name": f"Mixtura: {row['id']}"} for row in rows]

    async def pipe(self, body: dict[str, Any], __event_emitter__: Any = None) -> AsyncIterator[str]:
        """The answer in pieces; before it, a fold for every proposal."""
        own: dict[str, Any] = {"proposals": self.valves.show_proposals}
        if self.valves.max_cost is not None:
            own["max_cost"] = self.valves.max_cost
        # Open WebUI puts the function's own id before the model's.
        model = str(body["model"]).partition(".")[2] or str(body["model"])
        sent = {**body, "model": model, "stream": True, "mixtura": own}
        async with (
            self._session() as session,
            session.post(self._url("/chat/completions"), json=sent) as reply,
        ):
            if reply.status != 200:
                raise RuntimeError(_error_text(await reply.text(), reply.status))
            async for line in reply.content:
                if not line.startswith(b"data:") or b"[DONE]" in line:
                    continue
                frame = json.loads(line.removeprefix(b"data:"))
                if frame.get("error"):
                    raise RuntimeError(frame["error"].get("message", "the run failed"))
                async for piece in self._show(frame, __event_emitter__):
                    yield piece

    async def _show(self, frame: dict[str, Any], tell: Any) -> AsyncIterator[str]:
        for choice in frame.get("choices") or ():
            if text := choice.get("delta", {}).get("content"):
                yield text
        event = frame.get("mixtura") or {}
        kind = event.get("event")
        if kind == "proposal" and self.valves.show_proposals and _is_draft(event):
            yield _fold(f"{event['model']} proposed", event["text"])
        elif kind == "asked" and tell is not None:
            said = f"{event['model']} is asked"
            await tell({"type": "status", "data": {"description": said, "done": False}})
        elif kind == "failure":
            yield _fold(f"{event['model']} did not answer", event["error"])
        elif "cost_usd" in event and kind is None and tell is not None:
            cost = event["cost_usd"]
            said = "cost unknown" if cost is None else f"${cost:.4f}"
            await tell({"type": "status", "data": {"description": said, "done": True}})

    def _session(self) -> aiohttp.ClientSession:
        headers = {"Authorization": f"Bearer {self.valves.api_key}"}
        return aiohttp.ClientSession(headers=headers, timeout=TIMEOUT)

    def _url(self, path: str) -> str:
        return self.valves.base_url.rstrip("/") + path


def _is_draft(event: dict[str, Any]) -> bool:
    """Whether it is of a member of the mixture itself; judges and reporters write no draft."""
    at = event.get("at") or ()
    return len(at) == 1 and at[0]["role"] == "proposer"


def _fold(title: str, text: str) -> str:
    # A proposal is shown as text: no HTML or picture of a model's is drawn inside the fold.
    lines = "\n".join(f"> {html.escape(line)}" for line in text.splitlines())
    return f"<details>\n<summary>{html.escape(title)}</summary>\n\n{lines}\n\n</details>\n\n"


def _error_text(body: str, status: int) -> str:
    try:
        return json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"the server of Mixtura answers with status {status}"
