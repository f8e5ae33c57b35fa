"""Tools as clients send them, through the served APIs: offered, called, answered."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from mixtura.server.apis.anthropic_messages import MessagesApi
from mixtura.server.apis.base import ApiError, ServedApi
from mixtura.server.apis.openai_chat import ChatCompletionsApi
from mixtura.server.apis.openai_responses import ResponsesApi
from tests.support import paths, tool_clients
from tests.support.tool_clients import (
    ANTHROPIC_TOOLS,
    ASKED,
    CHAT,
    FLAT,
    INPUT,
    LOOK,
    MESSAGES,
    RESPONSES,
    SHAPE,
    body_of,
    events_of,
)
from tests.support.upstream import drawn

world = tool_clients.world


CASES = paths.CASES / "requests"
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": 'start: "a"+'}


def without_id(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "id"}


# ---- OpenAI's responses: tools that the caller runs

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
    "api", [ChatCompletionsApi(), ResponsesApi(), MessagesApi()], ids=lambda d: d.path
)
def test_no_tool_choice_or_item_whatever_ends_in_anything_but_a_call_or_a_refusal(api):
    said = "input" if api.path == RESPONSES else "messages"
    taken = 0
    for number in range(1000):
        dice = drawn(0, api.path, number)
        body = body_of(api.path, None, {})
        for name in ("tools", "tool_choice", "functions", "function_call", "mcp_servers", said):
            if dice.random() < 0.4:
                rows = [anything(dice, 4) for _ in range(dice.randint(0, 3))]
                single = name in ("tool_choice", "function_call")
                before = body.get(name) or []
                body[name] = anything(dice, 4) if single else [*before, *rows]
        refused = read_by(api, body)
        taken += refused is None
        assert refused is None or refused.status == 400, body
    assert taken > 30


def read_by(api: ServedApi, body: dict[str, Any]) -> ApiError | None:
    try:
        api.parse_request(json.dumps(body).encode())
    except ApiError as refused:
        return refused
    except Exception as error:
        raise AssertionError(json.dumps(body)) from error
    return None
