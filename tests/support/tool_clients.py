"""Served teams before a provider that refuses tools it does not know, asked in three APIs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.serving import serving, team
from tests.support.upstream import Script, running

FLAT = re.compile(r"[A-Za-z0-9_-]{1,64}")
SHAPE = {"type": "object", "properties": {"at": {"type": "string"}}}
ASKED = {"role": "user", "content": "Look."}
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"


async def refuse_native(wire):
    kind = wire.record.body["tools"][0]["type"]
    said = f"tools.0: Input tag '{kind}' found using 'type' does not match any of the expected tags"
    await wire.reply(400, wire.voice.error("invalid", said))


class Provider:
    """An upstream that calls a tool, and the requests to the model that answers."""

    def __init__(self, upstream):
        self._upstream = upstream
        self.call: tuple[str, str] | None = None
        """A part of the flat name, and the arguments; None: an answer in words."""
        self.exactly = False
        """Whether the call is of just this name."""
        self.refuses_native = False
        """Whether tools of Anthropic's own types are refused."""
        upstream.otherwise = self._script

    def _script(self, record):
        names = [t["function"]["name"] for t in record.body.get("tools", ()) if "function" in t]
        names += [t["name"] for t in record.body.get("tools", ()) if "name" in t]
        if self.refuses_native and any("type" in t for t in record.body.get("tools", ())):
            return Script(ever=refuse_native)
        if self.call is None or not names:
            return Script("Nothing to call.")
        part, arguments = self.call
        name = part if self.exactly else next((n for n in names if part in n), part)
        return Script("", tool=(name, arguments), finish="tool_calls")

    @property
    def last(self) -> dict[str, Any]:
        """The newest request to the model that answers."""
        return next(r.body for r in reversed(self._upstream.records) if r.model != "a")

    @property
    def offered(self) -> dict[str, dict[str, Any]]:
        """The functions in it, by their names."""
        rows = [tool["function"] for tool in self.last.get("tools", ())]
        return {row["name"]: row for row in rows}

    @property
    def headers(self) -> Any:
        return next(r.headers for r in reversed(self._upstream.records) if r.model != "a")

    @property
    def asked(self) -> int:
        return len(self._upstream.records)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with running() as upstream:
        address = upstream.base_url("anthropic")
        claude = (
            f'[models.claude]\nprovider = "anthropic"\nbase_url = "{address}"\n'
            'model = "claude"\nretries = 0\n'
            '[mixtures.claudes]\nlayers = [["a"]]\naggregator = "claude"\n'
        )
        provider = Provider(upstream)
        configuration = team(upstream, "a", "chief", more=claude)
        environ = {"ANTHROPIC_API_KEY": "none"}
        with serving(tmp_path_factory.mktemp("tools"), configuration, environ=environ) as server:
            yield server, provider


def body_of(path: str, tools: Any, more: dict[str, Any], model: str = "team") -> dict[str, Any]:
    """A request in one of the APIs; *more* may replace anything."""
    body: dict[str, Any] = {"model": model, "tools": tools}
    body |= {"input": [ASKED]} if path == RESPONSES else {"messages": [ASKED]}
    body |= {"max_tokens": 100} if path == MESSAGES else {}
    return {name: value for name, value in (body | more).items() if value is not None}


def events_of(answer) -> list[dict[str, Any]]:
    rows = [row for row in answer.body.decode().split("\n") if row.startswith("data: ")]
    return [json.loads(row[6:]) for row in rows if row != "data: [DONE]"]


LOOK = {"type": "function", "name": "look", "parameters": SHAPE}
INPUT = json.dumps({"input": "*** Begin Patch"})


ANTHROPIC_TOOLS = [
    ({"type": "bash_20250124", "name": "bash"}, {"command": "ls"}),
    ({"type": "text_editor_20250728", "name": "str_replace_based_edit_tool",
      "max_characters": 100}, {"command": "view", "path": "/a"}),
    ({"type": "computer_20251124", "name": "computer", "display_width_px": 9,
      "display_height_px": 9}, {"action": "screenshot"}),
    ({"type": "memory_20250818", "name": "memory", "cache_control": {"type": "ephemeral"}},
     {"command": "view", "path": "/memories"}),
    ({"name": "mcp__" + "far_away_" * 12, "input_schema": SHAPE}, {"at": "x"}),
]  # fmt: skip


CHAT_LOOK = {"type": "function", "function": {"name": "look", "parameters": SHAPE}}
MESSAGES_LOOK = {"name": "look", "input_schema": SHAPE}
OWN = {CHAT: CHAT_LOOK, RESPONSES: LOOK, MESSAGES: MESSAGES_LOOK}
