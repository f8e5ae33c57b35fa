"""Which of its tools a model may call."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import tool_clients
from tests.support.tool_clients import (
    ANTHROPIC_TOOLS,
    CHAT,
    LOOK,
    MESSAGES,
    OWN,
    RESPONSES,
    body_of,
)

world = tool_clients.world


SMELL = {CHAT: {"type": "function", "function": {"name": "smell"}},
         RESPONSES: {"type": "function", "name": "smell"}}  # fmt: skip
NAMED = {CHAT: {"type": "function", "function": {"name": "look"}},
         RESPONSES: {"type": "function", "name": "look"}}  # fmt: skip


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_only_allowed_tools_are_offered(world, path, mode):
    server, provider = world
    provider.call = None
    allowed: dict[str, Any] = {"mode": mode, "tools": [NAMED[path]]}
    choice = {"type": "allowed_tools"} | ({"allowed_tools": allowed} if path == CHAT else allowed)
    answer = server.post(path, body_of(path, [OWN[path], SMELL[path]], {"tool_choice": choice}))

    assert answer.status == 200, answer.body
    assert list(provider.offered) == ["look"]
    assert provider.last["tool_choice"] == mode


CUSTOM = {CHAT: {"type": "custom", "custom": {"name": "patch"}},
          RESPONSES: {"type": "custom", "name": "patch"}}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "tools", "choice", "name"),
    [
        (CHAT, [CUSTOM[CHAT]], CUSTOM[CHAT], "patch"),
        (RESPONSES, [CUSTOM[RESPONSES]], CUSTOM[RESPONSES], "patch"),
        (RESPONSES, [{"type": "local_shell"}], {"type": "local_shell"}, "local_shell"),
        (RESPONSES, [{"type": "shell"}], {"type": "shell"}, "shell"),
        (RESPONSES, [{"type": "apply_patch"}], {"type": "apply_patch"}, "apply_patch"),
        (RESPONSES, [{"type": "computer"}], {"type": "computer_use"}, "computer"),
        (RESPONSES, [{"type": "namespace", "name": "crm", "tools": [LOOK]}],
         {"type": "function", "namespace": "crm", "name": "look"}, "crm__look"),
        (MESSAGES, [ANTHROPIC_TOOLS[0][0]], {"type": "tool", "name": "bash"}, "bash"),
    ],
)  # fmt: skip
def test_a_tool_of_any_kind_can_be_demanded(world, path, tools, choice, name):
    server, provider = world
    provider.call = None
    answer = server.post(path, body_of(path, tools, {"tool_choice": choice}))

    assert answer.status == 200, answer.body
    assert provider.last["tool_choice"] == {"type": "function", "function": {"name": name}}
