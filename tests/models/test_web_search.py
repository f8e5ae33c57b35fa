"""Members that search the web: by their provider's own means, or by a tool of an MCP server."""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial

import pytest

from mixtura import (
    Completion,
    Message,
    Notice,
    PrivateItems,
    Pseudonymized,
    Request,
    Token,
    ToolCall,
    ToolCallChunk,
    Usage,
    ask,
)
from mixtura.core.types import WebSource
from mixtura.models.fake import Scripted
from mixtura.models.mcp_search import open_mcp_search
from mixtura.models.wrappers.web_search import Searching
from tests.support import command_line
from tests.support.config_files import folder, read, refused  # noqa: F401 - a fixture
from tests.support.http_server import QuietHandler, serve_handler

desk = command_line.desk
SERVER = """
import os
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("pages")


@server.tool()
def find(text: str) -> str:
    return "no search"


@server.tool()
def search_pages(query: str) -> str:
    if query == "broken":
        raise ValueError("out of credit")
    seen = sorted(name for name in os.environ if name.endswith("_KEY"))
    return f"{query}: 42, says https://pages.example/a (keys: {seen})."


server.run()
"""
PAGE = WebSource("https://pages.example/a")


@pytest.fixture
def program(tmp_path):
    (tmp_path / "server.py").write_text(SERVER)
    return [sys.executable, str(tmp_path / "server.py")]


def wish(query, call="call_1"):
    tool = ToolCall(call, "web_search", json.dumps({"query": query}))
    return Completion(Message("assistant", "", (tool,)), "a", "tool_calls")


class Chunked(Scripted):
    """Reports the calls of its answers as they stream."""

    async def complete(self, request, emit=None):
        answer = await super().complete(request, emit)
        for index, call in enumerate(answer.message.tool_calls):
            emit(ToolCallChunk(index, call.id, call.name, ""))
            emit(ToolCallChunk(index, call.id, call.name, call.arguments))
        return answer


def search(model, program, request=None, **settings):
    events = []
    searching = Searching(model, partial(open_mcp_search, program), **settings)
    answer = asyncio.run(searching.complete(request or ask("How many?"), events.append))
    return answer, events


def test_a_member_calls_the_tool_and_its_answer_has_the_pages_and_the_price(program):
    model = Chunked("a", [wish("how many"), "It is 42."])

    answer, events = search(model, program)

    assert answer.text == "It is 42."
    assert answer.finish_reason == "stop"
    assert answer.sources == (PAGE,)
    assert answer.usage.searches == 1
    offered = [tool["function"]["name"] for tool in model.asked[0].tools]
    assert offered == ["web_search"]
    result = model.asked[1].messages[-1]
    assert result.role == "tool"
    assert result.text.startswith("how many: 42")
    # The person sees what was searched for; no client gets a call that it cannot run.
    assert [e.notice for e in events if isinstance(e, Notice)] == ["searched the web: how many"]
    assert not any(isinstance(event, ToolCallChunk) for event in events)
    assert "".join(e.text for e in events if isinstance(e, Token)) == "It is 42."


def test_rounds_end_and_a_search_that_fails_is_told_to_the_model(program):
    model = Chunked("a", [wish("broken"), wish("again"), "I do not know."])

    answer, events = search(model, program, rounds=2)

    assert answer.text == "I do not know."
    assert not model.asked[2].tools
    assert "The search failed" in model.asked[1].messages[-1].text
    notices = [event.notice for event in events if isinstance(event, Notice)]
    assert "the search failed" in notices[1]


def test_the_caller_keeps_its_own_tools_and_gets_its_own_calls_alone(program):
    own = {"type": "function", "function": {"name": "send", "parameters": {"type": "object"}}}
    both = wish("x").message.tool_calls[0], ToolCall("call_2", "send", "{}")
    model = Chunked("a", [Completion(Message("assistant", "", both), "a", "tool_calls")])

    answer, events = search(model, program, Request(ask("Go").messages, tools=(own,)))

    assert [call.name for call in answer.message.tool_calls] == ["send"]
    assert {e.index for e in events if isinstance(e, ToolCallChunk)} == {0}


def test_a_query_holds_no_more_than_the_member_was_shown(program):
    inside = Chunked("a", [wish("who is [EMAIL_1]"), "No one."])
    seat = Pseudonymized(inside, PrivateItems())

    _, events = search(seat, program, ask("Who is anna@example.com?"), hide=seat.hide_query)

    (said,) = [e.notice for e in events if isinstance(e, Notice) and "searched" in e.notice]
    assert said == "searched the web: who is [EMAIL_1]"


def test_a_server_that_is_none_costs_the_member_its_search_and_no_answer():
    model = Chunked("a", [wish("x"), "From memory."])

    answer, events = search(model, [sys.executable, "-c", "print('no server')"])

    assert answer.text == "From memory."
    assert any(
        "no connection to the search server" in e.notice for e in events if isinstance(e, Notice)
    )


# ---- by the provider's own means


def streamed_answer(bodies, events):
    """A provider that keeps each request and says *events*."""

    class Handler(QuietHandler):
        def do_POST(self):
            size = int(self.headers["Content-Length"])
            bodies.append(json.loads(self.rfile.read(size)))
            said = "".join(
                f"event: {row.get('type', 'chunk')}\ndata: {json.dumps(row)}\n\n" for row in events
            )
            self.send_body(200, said.encode(), "text/event-stream")

    return Handler


FOUND = {
    "type": "web_search_tool_result", "tool_use_id": "s1",
    "content": [
        {"type": "web_search_result", "url": "https://a.example/", "title": "A"},
        {"type": "web_search_result", "url": "https://b.example/", "title": "B"},
    ],
}  # fmt: skip
CITED = {"type": "web_search_result_location", "url": "https://a.example/", "title": "A"}
ANTHROPIC = [
    {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0,
     "content_block": {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}},
    {"type": "content_block_delta", "index": 0,
     "delta": {"type": "input_json_delta", "partial_json": '{"query": "x"}'}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": FOUND},
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 2,
     "delta": {"type": "text_delta", "text": "It is A."}},
    {"type": "content_block_delta", "index": 2,
     "delta": {"type": "citations_delta", "citation": CITED}},
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"},
     "usage": {"output_tokens": 20, "server_tool_use": {"web_search_requests": 2}}},
    {"type": "message_stop"},
]  # fmt: skip
NOTE = {"type": "url_citation", "url_citation": {"url": "https://a.example/", "title": "A"}}
OPENROUTER = [
    {"choices": [{"index": 0, "delta": {"content": "It is A.", "annotations": [NOTE]}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
     "usage": {"prompt_tokens": 9, "completion_tokens": 20}},
]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "events", "asked", "searches", "cost"),
    [
        ("anthropic", ANTHROPIC, {"tools": "web_search_20250305"}, 2, 2 * 10 / 1000),
        ("openrouter", OPENROUTER, {"plugins": "web"}, 1, None),
    ],
)
def test_a_provider_searches_and_the_run_has_the_pages_and_what_it_cost(
    desk, provider, events, asked, searches, cost
):
    bodies = []
    price = "price = { input = 0, output = 0 }"
    with serve_handler(streamed_answer(bodies, events)) as address:
        desk.write(
            f'default = "a"\n[models.a]\nprovider = "{provider}"\nmodel = "claude-x"\n'
            f'base_url = "{address}"\napi_key_env = "KEY_OF_TEST"\nsearch = true\n{price}\n'
        )
        ran = desk.run("ask", "What is it?", "--json", env={"KEY_OF_TEST": "k"})

    assert ran.code == 0, ran.err
    ((field, word),) = asked.items()
    assert word in json.dumps(bodies[0][field])
    assert ran.json["answer"] == "It is A."
    assert ran.json["sources"] == [{"url": "https://a.example/", "title": "A"}]
    assert ran.json["usage"]["searches"] == searches
    assert ran.json["cost_usd"] == cost
    assert ran.json["left_out"] == []


def test_search_is_off_and_needs_a_way_that_is_known(folder):  # noqa: F811
    table = '[models.a]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "a"\n'
    config = read(table, folder)
    names = {type(config.model("a")).__name__, type(config.model("a").inner_model).__name__}

    assert not names & {"Searching", "ProviderSearch"}
    start = f'default = "a"\n{table}'
    assert "no search tool is configured" in refused(f"{start}search = true\n", folder)
    assert "knows no web search of this" in refused(f'{start}search = "provider"\n', folder)
    missing = '[tools.search]\nmcp = ["no-such-program-here"]\n'
    assert "is not on the PATH" in refused(f"{start}search = true\n{missing}", folder)


def test_searches_of_the_tool_have_the_price_that_the_file_says(folder, program):  # noqa: F811
    tools = f'[tools.search]\nmcp = {json.dumps(program)}\nprice = 5.0\nenvironment = ["S_KEY"]\n'
    table = '[models.a]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "a"\nsearch = true\n'
    config = read(table + tools, folder, {"S_KEY": "secret-of-the-tool-123"})

    assert config.model("a")
    assert config.usage_cost("tools.search", Usage(searches=2)) == pytest.approx(0.01)
