"""Tools that a provider would run: left out and named, refused, or told as text."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from anthropic.types import Message as AnthropicMessage
from anthropic.types import WebSearchToolResultBlock
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response as OpenAIResponse

from mixtura.server.apis.tool_names import Tool, Toolbox
from tests.support import tool_clients
from tests.support.tool_clients import (
    ASKED,
    CHAT,
    CHAT_LOOK,
    FLAT,
    INPUT,
    LOOK,
    MESSAGES,
    OWN,
    RESPONSES,
    body_of,
    events_of,
)

world = tool_clients.world


# ---- tools that a provider runs

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
