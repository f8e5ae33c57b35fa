"""Tools as clients send them, through the served APIs: offered, called, answered, left out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import anthropic
import openai
import pytest
from anthropic.types import Message as AnthropicMessage
from anthropic.types import WebSearchToolResultBlock
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response as OpenAIResponse

from mixtura.server.apis.anthropic_messages import MessagesDialect
from mixtura.server.apis.base import ApiError, Dialect
from mixtura.server.apis.openai_chat import ChatDialect
from mixtura.server.apis.openai_responses import ResponsesDialect
from mixtura.server.apis.tool_names import Tool, Toolbox
from tests.serving import serving, team
from tests.upstream import Script, drawn, running

CASES = Path(__file__).parent / "cases" / "requests"
FLAT = re.compile(r"[A-Za-z0-9_-]{1,64}")
SHAPE = {"type": "object", "properties": {"at": {"type": "string"}}}
ASKED = {"role": "user", "content": "Look."}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": 'start: "a"+'}
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
    """A request in one of the dialects; *more* may replace anything."""
    body: dict[str, Any] = {"model": model, "tools": tools}
    body |= {"input": [ASKED]} if path == RESPONSES else {"messages": [ASKED]}
    body |= {"max_tokens": 100} if path == MESSAGES else {}
    return {name: value for name, value in (body | more).items() if value is not None}


def events_of(answer) -> list[dict[str, Any]]:
    rows = [row for row in answer.body.decode().split("\n") if row.startswith("data: ")]
    return [json.loads(row[6:]) for row in rows if row != "data: [DONE]"]


def without_id(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "id"}


# ---- OpenAI's responses: tools that the caller runs

LOOK = {"type": "function", "name": "look", "parameters": SHAPE}
INPUT = json.dumps({"input": "*** Begin Patch"})
RESPONSES_TOOLS = {
    "a function in a namespace": (
        {"type": "namespace", "name": "crm", "description": "Customers.", "tools": [LOOK]},
        ("crm__look", '{"at": "x"}'),
        {"type": "function_call", "namespace": "crm", "name": "look", "arguments": '{"at": "x"}'},
        {"type": "function_call_output", "output": "seen"},
        "seen",
    ),
    "a function with a dot in its name": (
        LOOK | {"name": "crm.look"},
        ("crm_look", "{}"),
        {"type": "function_call", "name": "crm.look", "arguments": "{}"},
        {"type": "function_call_output", "output": "seen"},
        "seen",
    ),
    "a function with a long name": (
        LOOK | {"name": "look_" * 24},
        ("look_", "{}"),
        {"type": "function_call", "name": "look_" * 24, "arguments": "{}"},
        {"type": "function_call_output", "output": "seen"},
        "seen",
    ),
    "a custom tool": (
        {"type": "custom", "name": "patch", "format": {"type": "text"}},
        ("patch", INPUT),
        {"type": "custom_tool_call", "name": "patch", "input": "*** Begin Patch"},
        {"type": "custom_tool_call_output", "output": "done"},
        "done",
    ),
    "a custom tool with a grammar that the model writes bare text for": (
        {"type": "custom", "name": "patch", "description": "Patch.", "format": GRAMMAR},
        ("patch", "aaa"),
        {"type": "custom_tool_call", "name": "patch", "input": "aaa"},
        {"type": "custom_tool_call_output", "output": [{"type": "input_text", "text": "done"}]},
        "done",
    ),
    "a custom tool in a namespace": (
        {"type": "namespace", "name": "fs__", "tools": [{"type": "custom", "name": "patch"}]},
        ("fs__patch", INPUT),
        {"type": "custom_tool_call", "namespace": "fs__", "name": "patch",
         "input": "*** Begin Patch"},
        {"type": "custom_tool_call_output", "output": "done"},
        "done",
    ),
    "a local shell": (
        {"type": "local_shell"},
        ("local_shell", '{"command": ["ls", "-l"], "timeout_ms": 5, "working_directory": "/a"}'),
        {"type": "local_shell_call", "action": {
            "type": "exec", "command": ["ls", "-l"], "env": {}, "timeout_ms": 5,
            "working_directory": "/a", "user": None}},
        {"type": "local_shell_call_output", "output": "a.txt"},
        "a.txt",
    ),
    "a local shell whose command is one text": (
        {"type": "local_shell"},
        ("local_shell", '{"command": "ls | wc"}'),
        {"type": "local_shell_call", "action": {
            "type": "exec", "command": ["bash", "-lc", "ls | wc"], "env": {}, "timeout_ms": None,
            "working_directory": None, "user": None}},
        {"type": "local_shell_call_output", "output": "1"},
        "1",
    ),
    "a shell": (
        {"type": "shell", "environment": {"type": "local"}},
        ("shell", '{"commands": ["ls"], "timeout_ms": 9}'),
        {"type": "shell_call", "environment": None, "action": {
            "commands": ["ls"], "timeout_ms": 9, "max_output_length": None}},
        {"type": "shell_call_output", "output": [
            {"stdout": "a.txt\n", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}},
            {"stdout": "", "stderr": "slow", "outcome": {"type": "timeout"}}]},
        "a.txt\n[exit code 0]\nslow\n[timed out]",
    ),
    "a patch of files": (
        {"type": "apply_patch"},
        ("apply_patch", '{"type": "create_file", "path": "a", "diff": "+x"}'),
        {"type": "apply_patch_call",
         "operation": {"type": "create_file", "path": "a", "diff": "+x"}},
        {"type": "apply_patch_call_output", "status": "failed", "output": "no such folder"},
        "failed\nno such folder",
    ),
    "a computer": (
        {"type": "computer_use_preview", "display_width": 9, "display_height": 9,
         "environment": "linux"},
        ("computer", '{"type": "click", "x": 1, "y": 2, "button": "left"}'),
        {"type": "computer_call", "pending_safety_checks": [],
         "action": {"type": "click", "x": 1, "y": 2, "button": "left"}},
        {"type": "computer_call_output", "output": {
            "type": "computer_screenshot", "image_url": "data:image/png;base64,iVBORw0KGgo="}},
        "[What it returned is a picture: it follows.]",
    ),
    "a search for tools that the client does": (
        {"type": "tool_search", "execution": "client", "parameters": SHAPE},
        ("tool_search", '{"at": "mail"}'),
        {"type": "tool_search_call", "execution": "client", "arguments": {"at": "mail"}},
        {"type": "tool_search_output", "execution": "client", "status": "completed",
         "tools": [{"type": "namespace", "name": "mail", "tools": [LOOK]}]},
        "Tools found: mail",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RESPONSES_TOOLS)
def test_a_tool_of_responses_is_called_and_answered_in_the_form_that_its_client_knows(world, case):
    server, provider = world
    tool, provider.call, right, output, seen = RESPONSES_TOOLS[case]
    body = body_of(RESPONSES, [tool], {})

    whole = server.post(RESPONSES, body)
    assert whole.status == 200, whole.body
    assert all(map(FLAT.fullmatch, provider.offered))
    (item,) = whole.json["output"]
    common = {"call_id": "call_1", "status": "completed"}
    assert without_id(item) == right | common

    events = events_of(server.post(RESPONSES, body | {"stream": True}))
    done = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    assert [without_id(row) for row in done] == [right | common]
    assert events[-1]["response"]["output"] == done
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    pieces = "".join(e["delta"] for e in events if e["type"].endswith(".delta"))
    assert pieces == item.get(
        "arguments" if isinstance(item.get("arguments"), str) else "input", ""
    )

    provider.call = None
    second = [ASKED, item, output | {"call_id": item["call_id"]}]
    assert server.post(RESPONSES, body | {"input": second}).status == 200
    called, brought = [m for m in provider.last["messages"] if m["role"] in ("assistant", "tool")]
    assert called["tool_calls"][0]["function"]["name"] in provider.offered
    assert brought["content"] == seen
    assert brought["tool_call_id"] == called["tool_calls"][0]["id"]


@pytest.mark.parametrize("said", ["look", "crm.look"])
def test_a_model_that_leaves_a_namespace_out_or_puts_a_dot_there_means_the_only_such_tool(
    world, said
):
    server, provider = world
    provider.call = (said, "{}")
    other = {"type": "function", "name": "smell"}
    group = {"type": "namespace", "name": "crm", "tools": [LOOK]}
    provider.exactly = True
    try:
        answer = server.post(RESPONSES, body_of(RESPONSES, [group, other], {}))
    finally:
        provider.exactly = False

    item = answer.json["output"][0]
    assert (item["namespace"], item["name"]) == ("crm", "look")


def test_a_local_shells_output_is_found_by_the_id_of_its_call(world):
    server, provider = world
    provider.call = None
    call = {"type": "local_shell_call", "id": "lsh_1", "call_id": "c9", "status": "completed",
            "action": {"type": "exec", "command": ["ls"], "env": {}}}  # fmt: skip
    output = {"type": "local_shell_call_output", "id": "lsh_1", "output": "a.txt"}
    answer = server.post(
        RESPONSES, body_of(RESPONSES, [{"type": "local_shell"}], {"input": [ASKED, call, output]})
    )

    assert answer.status == 200, answer.body
    brought = provider.last["messages"][-1]
    assert (brought["tool_call_id"], brought["content"]) == ("c9", "a.txt")


def test_tools_that_a_search_found_can_be_called_from_then_on(world):
    server, provider = world
    tool, _, _, output, _ = RESPONSES_TOOLS["a search for tools that the client does"]
    call = {"type": "tool_search_call", "execution": "client", "call_id": "c1", "arguments": {}}
    provider.call = ("mail__look", "{}")
    items = [ASKED, call, output | {"call_id": "c1"}]
    answer = server.post(RESPONSES, body_of(RESPONSES, [tool], {"input": items}))

    assert list(provider.offered) == ["tool_search", "mail__look"]
    assert answer.json["output"][0]["namespace"] == "mail"


def test_codexs_first_request_is_answered_and_its_namespaced_call_comes_back(world):
    server, provider = world
    provider.call = ("spawn_agent", '{"x": 1}')
    body = json.loads((CASES / "10-codex-0.171-responses.json").read_text())
    answer = server.post(RESPONSES, body)

    assert answer.status == 200
    assert answer.headers["x-mixtura-tools-left-out"] == "web_search"
    last = events_of(answer)[-1]["response"]
    assert "web_search" in last["mixtura"]["left_out"][0]
    assert not last["mixtura"]["degraded"]
    assert (last["output"][0]["namespace"], last["output"][0]["name"]) == (
        "multi_agent_v1", "spawn_agent",
    )  # fmt: skip
    assert len(provider.offered) == 12
    assert "multi_agent_v1__spawn_agent" in provider.offered


@pytest.mark.parametrize(
    ("tool", "call"),
    [
        ({"type": "local_shell"}, ("local_shell", '{"command": 3}')),
        ({"type": "shell"}, ("shell", "ls")),
        ({"type": "apply_patch"}, ("apply_patch", '{"type": "burn", "path": "a"}')),
        ({"type": "computer"}, ("computer", '{"type": "dance"}')),
    ],
)
def test_arguments_that_are_no_call_of_the_tool_are_an_error_and_never_a_made_up_call(
    world, tool, call
):
    server, provider = world
    provider.call = call
    body = body_of(RESPONSES, [tool], {})

    whole = server.post(RESPONSES, body)
    assert (whole.status, whole.json["error"]["code"]) == (502, "upstream_malformed")
    events = events_of(server.post(RESPONSES, body | {"stream": True}))
    assert [e["type"] for e in events[-2:]] == ["error", "response.failed"]


# ---- Anthropic's messages: tools that the caller runs

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


@pytest.mark.parametrize(("tool", "arguments"), ANTHROPIC_TOOLS)
def test_a_tool_of_anthropics_is_offered_as_a_function_and_its_call_comes_back(
    world, tool, arguments
):
    server, provider = world
    provider.call = (tool["name"][:20], json.dumps(arguments))
    body = body_of(MESSAGES, [tool], {})

    whole = server.post(MESSAGES, body)
    assert whole.status == 200, whole.body
    assert all(map(FLAT.fullmatch, provider.offered))
    (function,) = provider.offered.values()
    assert set(arguments) <= set(function["parameters"]["properties"])
    assert "native" not in provider.last["tools"][0]
    (used,) = whole.json["content"]
    assert (used["type"], used["name"], used["input"]) == ("tool_use", tool["name"], arguments)
    events = events_of(server.post(MESSAGES, body | {"stream": True}))
    begun = next(e["content_block"] for e in events if e["type"] == "content_block_start")
    assert (begun["type"], begun["name"]) == ("tool_use", tool["name"])

    provider.call = None
    result = {"type": "tool_result", "tool_use_id": used["id"], "content": "seen"}
    turns = [ASKED, {"role": "assistant", "content": [used]}, {"role": "user", "content": [result]}]
    assert server.post(MESSAGES, body | {"messages": turns}).status == 200
    called = next(m for m in provider.last["messages"] if m["role"] == "assistant")
    assert called["tool_calls"][0]["function"]["name"] in provider.offered


@pytest.mark.parametrize(("tool", "arguments"), ANTHROPIC_TOOLS[:4])
def test_a_tool_of_anthropics_reaches_an_anthropic_upstream_as_it_is(world, tool, arguments):
    server, provider = world
    provider.call = (tool["name"], json.dumps(arguments))
    answer = server.post(MESSAGES, body_of(MESSAGES, [tool], {}, model="claudes"))

    assert answer.status == 200, answer.body
    passed = {key: value for key, value in tool.items() if key != "cache_control"}
    assert provider.last["tools"] == [passed]
    assert answer.json["content"][0]["input"] == arguments
    beta = "computer-use-2025-11-24" if tool["name"] == "computer" else None
    assert provider.headers.get("anthropic-beta") == beta


def test_an_anthropic_upstream_that_refuses_such_a_tool_is_asked_with_a_function_from_then_on(
    world,
):
    server, provider = world
    provider.call, provider.refuses_native = ("bash", '{"command": "ls"}'), True
    body = body_of(MESSAGES, [ANTHROPIC_TOOLS[0][0]], {}, model="claudes")
    try:
        for _ in range(2):
            before = provider.asked
            answer = server.post(MESSAGES, body)
            assert answer.status == 200, answer.body
            assert answer.json["content"][0]["input"] == {"command": "ls"}
            assert provider.last["tools"][0]["input_schema"]["type"] == "object"
    finally:
        provider.refuses_native = False
    assert provider.asked - before == 2  # the proposer and the aggregator, once each


def test_tools_that_came_by_reference_or_in_the_conversation_can_be_called(world):
    server, provider = world
    provider.call = ("look", "{}")
    used = {"type": "tool_use", "id": "t1", "name": "ToolSearch", "input": {}}
    found = {"type": "tool_result", "tool_use_id": "t1",
             "content": [{"type": "tool_reference", "tool_name": "look"}]}  # fmt: skip
    look = {"type": "tool_definition", "definition": {"name": "look", "input_schema": SHAPE}}
    added = {"type": "tool_addition", "tool": look}
    gone = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "ToolSearch"}}
    turns = [
        ASKED, {"role": "assistant", "content": [used]},
        {"role": "user", "content": [found, added, gone]},
    ]  # fmt: skip
    tools = [{"name": "ToolSearch", "input_schema": SHAPE}]
    answer = server.post(MESSAGES, body_of(MESSAGES, tools, {"messages": turns}))

    assert answer.status == 200, answer.body
    assert list(provider.offered) == ["look"]
    told = next(m for m in provider.last["messages"] if m["role"] == "tool")
    assert told["content"] == "The tool look can be called now."


# ---- chat completions: custom tools, and functions as they were before tools


def test_a_custom_tool_of_chat_is_called_and_answered_in_its_own_form(world):
    server, provider = world
    provider.call = ("patch", INPUT)
    form = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}
    body = body_of(CHAT, [{"type": "custom", "custom": {"name": "patch", "format": form}}], {})

    message = server.post(CHAT, body).json["choices"][0]["message"]
    right = {"type": "custom", "custom": {"name": "patch", "input": "*** Begin Patch"}}
    assert without_id(message["tool_calls"][0]) == right
    assert "a+" in provider.offered["patch"]["description"]
    chunks = events_of(server.post(CHAT, body | {"stream": True}))
    streamed = next(d for c in chunks for d in [c["choices"][0]["delta"]] if "tool_calls" in d)
    assert streamed["tool_calls"][0] == message["tool_calls"][0] | {"index": 0}

    provider.call = None
    brought = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "done"}
    assert server.post(CHAT, body | {"messages": [ASKED, message, brought]}).status == 200
    called = next(m for m in provider.last["messages"] if m["role"] == "assistant")
    assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == json.loads(INPUT)


def test_functions_of_before_tools_are_called_and_answered_as_they_were(world):
    server, provider = world
    provider.call = ("look", '{"at": "x"}')
    functions = [{"name": "look", "parameters": SHAPE}]
    body = body_of(CHAT, None, {"functions": functions, "function_call": {"name": "look"}})

    choice = server.post(CHAT, body).json["choices"][0]
    right = {"name": "look", "arguments": '{"at": "x"}'}
    assert (choice["finish_reason"], choice["message"]["function_call"]) == ("function_call", right)
    assert "tool_calls" not in choice["message"]
    assert provider.last["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    chunks = events_of(server.post(CHAT, body | {"stream": True}))
    assert any(c["choices"][0]["delta"].get("function_call") == right for c in chunks)
    assert "function_call" in {c["choices"][0]["finish_reason"] for c in chunks}

    provider.call = None
    history = [ASKED, choice["message"], {"role": "function", "name": "look", "content": "seen"}]
    assert server.post(CHAT, body | {"messages": history}).status == 200
    called, brought = [m for m in provider.last["messages"] if m["role"] in ("assistant", "tool")]
    assert called["tool_calls"][0]["id"] == brought["tool_call_id"]


# ---- tools that a provider runs

CHAT_LOOK = {"type": "function", "function": {"name": "look", "parameters": SHAPE}}
MESSAGES_LOOK = {"name": "look", "input_schema": SHAPE}
OWN = {CHAT: CHAT_LOOK, RESPONSES: LOOK, MESSAGES: MESSAGES_LOOK}
HOSTED = [
    *((RESPONSES, {"type": kind}) for kind in (
        "web_search", "web_search_preview", "web_search_2025_08_26", "image_generation",
        "tool_search", "programmatic_tool_calling", "something_of_2027")),
    (RESPONSES, {"type": "file_search", "vector_store_ids": ["v"]}),
    (RESPONSES, {"type": "code_interpreter", "container": {"type": "auto"}}),
    (RESPONSES, {"type": "shell", "environment": {"type": "container_auto"}}),
    (RESPONSES, {"type": "mcp", "server_label": "deepwiki", "server_url": "https://a.example"}),
    *((MESSAGES, {"type": kind, "name": name}) for kind, name in (
        ("web_search_20250305", "web_search"), ("web_fetch_20250910", "web_fetch"),
        ("code_execution_20250825", "code_execution"), ("advisor_20260301", "advisor"),
        ("tool_search_tool_regex_20251119", "tool_search_tool_regex"))),
    (MESSAGES, {"type": "mcp_toolset", "mcp_server_name": "deepwiki"}),
    (CHAT, {"type": "web_search"}),
    (CHAT, {"type": "openrouter:web_search"}),
    (CHAT, {"type": "mcp", "server_label": "deepwiki"}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "tool"), HOSTED)
def test_a_tool_of_a_providers_is_left_out_and_named_unless_it_is_demanded(world, path, tool):
    server, provider = world
    provider.call = None
    auto = {"type": "auto"} if path == MESSAGES else "auto"
    for tools, offered in (([tool, OWN[path]], ["look"]), ([tool], [])):
        for choice in (auto, None):
            answer = server.post(path, body_of(path, tools, {"tool_choice": choice}))
            assert answer.status == 200, answer.body
            assert list(provider.offered) == offered
            assert ("tool_choice" in provider.last) == bool(offered and choice)
            (said,) = answer.json["mixtura"]["left_out"]
            assert tool["type"] in said
            assert tool["type"] in answer.headers["x-mixtura-tools-left-out"]
            assert not answer.json["mixtura"]["degraded"]


DEMANDED = [
    (RESPONSES, [{"type": "web_search"}], "required"),
    (RESPONSES, [{"type": "web_search"}, LOOK], {"type": "web_search"}),
    (RESPONSES, [{"type": "mcp", "server_label": "a"}], {"type": "mcp", "server_label": "a"}),
    (RESPONSES, [{"type": "image_generation"}, LOOK], {
        "type": "allowed_tools", "mode": "required", "tools": [{"type": "image_generation"}]}),
    (CHAT, [{"type": "web_search"}], "required"),
    (CHAT, [{"type": "web_search"}, CHAT_LOOK], {"type": "web_search"}),
    (MESSAGES, [{"type": "advisor_20260301", "name": "advisor"}],
     {"type": "tool", "name": "advisor"}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "tools", "choice"), DEMANDED)
def test_a_demand_for_a_tool_of_a_providers_is_refused_before_any_model_is_asked(
    world, path, tools, choice
):
    server, provider = world
    before = provider.asked
    for stream in (False, True):
        answer = server.post(path, body_of(path, tools, {"tool_choice": choice, "stream": stream}))
        error = answer.json["error"]
        assert (answer.status, error["type"]) == (400, "invalid_request_error")
        assert "`tool_choice`" in error["message"]
        assert path == MESSAGES or error["param"] == "tool_choice"
    assert provider.asked == before


SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
QUERY = "Perform a web search for the query: mixture of agents"
UNAVAILABLE = [
    (SEARCH, {"tool_choice": {"type": "tool", "name": "web_search"}}, "web_search"),
    (SEARCH, {"tool_choice": {"type": "any"}}, "web_search"),
    (SEARCH, {"tool_choice": {"type": "auto"}, "messages": [
        {"role": "user", "content": [{"type": "text", "text": QUERY}]}]}, "web_search"),
    (SEARCH, {"messages": [{"role": "user", "content": QUERY}]}, "web_search"),
    ({"type": "web_fetch_20250910", "name": "web_fetch"}, {"tool_choice": {"type": "any"}},
     "web_fetch"),
    ({"type": "code_execution_20250825", "name": "code_execution"},
     {"tool_choice": {"type": "any"}}, "code_execution"),
    ({"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"},
     {"tool_choice": {"type": "any"}}, "tool_search"),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "more", "name"), UNAVAILABLE)
def test_a_search_of_claude_codes_is_told_that_there_is_none_and_asks_no_model(
    world, tool, more, name
):
    server, provider = world
    before = provider.asked
    body = body_of(MESSAGES, [tool], more)
    whole = server.post(MESSAGES, body)

    assert whole.status == 200
    used, result, said = whole.json["content"]
    assert (used["type"], used["name"]) == ("server_tool_use", tool["name"])
    assert result["tool_use_id"] == used["id"]
    assert result["content"]["type"] == f"{result['type']}_error" == f"{name}_tool_result_error"
    assert result["content"]["error_code"] == "unavailable"
    assert "not available" in said["text"]
    assert whole.json["stop_reason"] == "end_turn"

    events = events_of(server.post(MESSAGES, body | {"stream": True}))
    begun = [e["content_block"] for e in events if e["type"] == "content_block_start"]
    assert [block["type"] for block in begun] == ["server_tool_use", result["type"], "text"]
    assert begun[1]["content"] == result["content"]
    assert events[-1] == {"type": "message_stop"}
    assert provider.asked == before


def test_anthropics_client_reads_whole_and_streamed_that_a_search_is_not_available(world):
    server, _ = world
    asked: dict[str, Any] = body_of(MESSAGES, [SEARCH], {"tool_choice": {"type": "any"}})
    with anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0) as client:
        whole = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            streamed = stream.get_final_message()

    for message in (whole, streamed):
        AnthropicMessage.model_validate_json(message.to_json(), strict=True)
        result = message.content[1]
        assert isinstance(result, WebSearchToolResultBlock)
        assert result.content.error_code == "unavailable"


def test_openais_client_reads_a_custom_tools_call_in_both_apis(world):
    server, provider = world
    provider.call = ("patch", INPUT)
    with openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
        chat = client.chat.completions.create(
            model="team", messages=[ASKED], tools=[{"type": "custom", "custom": {"name": "patch"}}]
        )
        asked: dict[str, Any] = {"model": "team", "input": "Look.", "tools": [
            {"type": "custom", "name": "patch"}]}  # fmt: skip
        whole = client.responses.create(**asked)
        with client.responses.stream(**asked) as stream:
            streamed = stream.get_final_response()

    assert chat.choices[0].message.tool_calls[0].custom.input == "*** Begin Patch"
    for response in (whole, streamed):
        OpenAIResponse.model_validate_json(response.to_json(), strict=True)
        assert response.output[0].input == "*** Begin Patch"


def test_a_search_with_a_model_that_a_key_may_not_use_is_refused_all_the_same(world):
    server, _ = world
    body = body_of(MESSAGES, [SEARCH], {"tool_choice": {"type": "any"}}, model="nope")
    assert server.post(MESSAGES, body).status == 404


def test_servers_of_tools_and_searches_that_a_chat_wants_are_left_out_and_named(world):
    server, provider = world
    provider.call = None
    servers = {"mcp_servers": [{"type": "url", "name": "wiki", "url": "https://a.example"}]}
    for path, more, name in ((MESSAGES, servers, "mcp:wiki"),
                             (CHAT, {"web_search_options": {}}, "web_search_options")):  # fmt: skip
        answer = server.post(path, body_of(path, None, more))
        assert answer.status == 200, answer.body
        assert answer.headers["x-mixtura-tools-left-out"] == name


NOTHING = [
    *((path, more) for path in (CHAT, RESPONSES, MESSAGES) for more in (
        {"tools": []}, {"tools": None}, {"tools": [], "parallel_tool_calls": True},
        {"mcp_servers": []}, {"container": None}, {"metadata": {}})),
    *((path, {"tools": tools, "tool_choice": choice, "parallel_tool_calls": alone})
      for path in (CHAT, RESPONSES) for tools in ([], None) for choice in ("auto", "none")
      for alone in (False, True)),
    *((MESSAGES, {"tools": tools, "tool_choice": {"type": kind}})
      for tools in ([], None) for kind in ("auto", "none")),
    (MESSAGES, {"tools": [], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    (CHAT, {"tools": None, "functions": []}),
    (CHAT, {"tools": None, "functions": [], "function_call": "auto"}),
    (RESPONSES, {"include": []}),
    (RESPONSES, {"previous_response_id": None, "prompt": None, "context_management": []}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "more"), NOTHING)
def test_empty_lists_and_a_choice_beside_no_tools_mean_nothing(world, path, more):
    server, provider = world
    provider.call = None
    answer = server.post(path, body_of(path, None, more))

    assert answer.status == 200, answer.body
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(provider.last)
    assert answer.json["mixtura"]["left_out"] == []


# ---- which of the tools may be called

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


# ---- what a provider's tools did earlier in a conversation


def test_what_a_providers_tools_did_earlier_is_told_as_text_or_said_to_be_left_out(world):
    server, provider = world
    provider.call = None
    items = [
        ASKED,
        {"type": "web_search_call", "id": "w", "status": "completed",
         "action": {"type": "search", "query": "sky"}},
        {"type": "code_interpreter_call", "id": "c", "code": "1+1", "container_id": "x",
         "status": "completed", "outputs": [{"type": "logs", "logs": "2"}]},
        {"type": "image_generation_call", "id": "i", "result": "iVBORw0KGgo="},
        {"type": "compaction", "id": "k", "encrypted_content": "sealed"},
        {"role": "user", "content": "Go on."},
    ]  # fmt: skip
    answer = server.post(RESPONSES, body_of(RESPONSES, None, {"input": items}))
    assert answer.status == 200, answer.body
    shown = json.dumps(provider.last["messages"])
    assert "web_search_call" in shown
    assert "1+1" in shown
    assert "iVBORw0KGgo=" not in shown
    left_out = answer.json["mixtura"]["left_out"]
    assert [said.partition(":")[0] for said in left_out] == ["input[3]", "input[4]"]

    used = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "sky"}}
    brought = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [
        {"type": "web_search_result", "url": "https://a.example", "title": "A",
         "encrypted_content": "sealed"}]}  # fmt: skip
    turns = [ASKED, {"role": "assistant", "content": [used, brought]}, ASKED]
    assert server.post(MESSAGES, body_of(MESSAGES, None, {"messages": turns})).status == 200
    shown = json.dumps(provider.last["messages"])
    assert "https://a.example" in shown
    assert "sealed" not in shown


# ---- any names at all

NAMES = st.text(st.sampled_from("abAB._:-_é "), min_size=1, max_size=80)


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, st.none() | NAMES, st.sampled_from(["function", "custom"])),
                min_size=1, max_size=12, unique_by=lambda row: row[:2]))  # fmt: skip
def test_flat_names_are_taken_by_every_provider_tell_all_tools_apart_and_lead_back(rows):
    tools = [Tool(name, kind, space) for name, space, kind in rows]
    toolbox = Toolbox(tools)
    flat = [toolbox.flat_name(tool.name, tool.namespace, tool.kind) for tool in tools]

    assert all(map(FLAT.fullmatch, flat))
    assert len(set(flat)) == len(flat)
    assert [toolbox.find_by_flat_name(name) for name in flat] == tools
    assert [tool["function"]["name"] for tool in toolbox.as_functions()] == flat
    as_they_are = {t.name for t in tools if not t.namespace and FLAT.fullmatch(t.name)}
    assert as_they_are <= set(flat)


# ---- any tools, choices and items at all

TYPES = (
    "function", "custom", "namespace", "local_shell", "shell", "apply_patch", "computer", "mcp",
    "tool_search", "allowed_tools", "web_search", "bash_20250124", "web_search_20250305", "tool",
    "any", "auto", "function_call", "custom_tool_call", "local_shell_call", "shell_call",
    "apply_patch_call", "computer_call", "tool_search_call", "tool_search_output",
    "additional_tools", "custom_tool_call_output", "local_shell_call_output", "message",
    "shell_call_output", "apply_patch_call_output", "computer_call_output", "compaction",
    "web_search_call", "function_call_output", "server_tool_use", "tool_use", "tool_result",
    "web_search_tool_result", "tool_reference", "tool_addition", "tool_removal", "text", "grammar",
)  # fmt: skip
KEYS = (
    "name", "namespace", "tools", "tool", "definition", "input", "input_schema", "parameters",
    "function", "custom", "format", "grammar", "arguments", "action", "operation", "output",
    "content", "id", "call_id", "role", "allowed_tools", "mode", "execution", "environment",
    "tool_calls", "function_call", "tool_use_id", "tool_call_id", "text", "syntax",
)  # fmt: skip
LEAVES = (None, True, 0, 3, "", "a", "look", "user", "assistant", "client", "required")


def anything(dice: Random, depth: int) -> Any:
    """A value of fields that mean something somewhere, nearly always with a type that does."""
    kind = dice.random() if depth else 1.0
    if kind < 0.2:
        return [anything(dice, depth - 1) for _ in range(dice.randint(0, 3))]
    if kind > 0.75:
        return dice.choice(LEAVES)
    made = {dice.choice(KEYS): anything(dice, depth - 1) for _ in range(dice.randint(0, 5))}
    return {"type": dice.choice(TYPES), **made} if dice.random() < 0.9 else made


@pytest.mark.parametrize(
    "dialect", [ChatDialect(), ResponsesDialect(), MessagesDialect()], ids=lambda d: d.path
)
def test_no_tool_choice_or_item_whatever_ends_in_anything_but_a_call_or_a_refusal(dialect):
    said = "input" if dialect.path == RESPONSES else "messages"
    taken = 0
    for number in range(1000):
        dice = drawn(0, dialect.path, number)
        body = body_of(dialect.path, None, {})
        for name in ("tools", "tool_choice", "functions", "function_call", "mcp_servers", said):
            if dice.random() < 0.4:
                rows = [anything(dice, 4) for _ in range(dice.randint(0, 3))]
                single = name in ("tool_choice", "function_call")
                before = body.get(name) or []
                body[name] = anything(dice, 4) if single else [*before, *rows]
        refused = read_by(dialect, body)
        taken += refused is None
        assert refused is None or refused.status == 400, body
    assert taken > 30


def read_by(dialect: Dialect, body: dict[str, Any]) -> ApiError | None:
    try:
        dialect.parse_request(json.dumps(body).encode())
    except ApiError as refused:
        return refused
    except Exception as error:
        raise AssertionError(json.dumps(body)) from error
    return None
