"""`mixtura mcp`: its tools as an agent's client sees them, over standard streams and HTTP."""

from __future__ import annotations

import asyncio
import json
import sys
from hashlib import sha256

import httpx2
import pytest
from mcp.client.streamable_http import streamable_http_client

from mcp import Client, StdioServerParameters, stdio_client
from mixtura.core.json_schema import find_mismatches
from mixtura.mcp.tool_schemas import REVIEW
from tests.support import command_line
from tests.support.command_programs import CLAUDE, write_program
from tests.support.loopback import Answer, nobody

desk = command_line.desk
ANSWER = "Because air scatters blue light most."


PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Erk"
    "Jggg=="
)


def use_tools(desk, steps, *options):
    """Run *steps* with a client of `mixtura mcp` as a process, over its standard streams."""

    async def talk():
        program = StdioServerParameters(
            command=sys.executable,
            args=["-m", "mixtura", "mcp", *options],
            env=desk.env,
            cwd=desk.folder,
        )
        with (desk.folder / "log").open("w") as log:
            async with Client(stdio_client(program, errlog=log)) as client:
                return await steps(client)

    return asyncio.run(talk())


def test_an_agent_asks_and_gets_the_answer_its_cost_and_the_run_as_a_resource(desk):
    notices = []

    async def steps(client):
        async def note(progress, total, message):
            notices.append((progress, total, message))

        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        asked = await client.call_tool(
            "ask",
            {
                "question": "Why?",
                "attachments": [
                    {"name": "a.txt", "text": "The sky."},
                    {"name": "a.png", "picture": PIXEL},
                ],
            },
            progress_callback=note,
        )
        seen = list(notices)
        run = asked.structured_content["run"]
        read = await client.read_resource(f"mixtura://runs/{run}")
        listed = await client.list_resources()
        return tools, asked, seen, json.loads(read.contents[0].text), listed.resources

    tools, asked, seen, run, listed = use_tools(desk, steps)

    assert set(tools) == {"ask", "review", "compare", "models"}
    assert asked.content[0].text == asked.structured_content["answer"] == ANSWER
    assert asked.structured_content["cost_usd"] > 0
    assert find_mismatches(tools["ask"].output_schema, asked.structured_content) == []
    assert run["via"] == "mcp"
    assert run["answer"] == ANSWER
    assert [str(one.uri) for one in listed] == [f"mixtura://runs/{run['id']}"]
    said = [message for _, _, message in seen]
    assert {"ann proposed an answer", "ben proposed an answer"} <= set(said)
    assert [number for number, _, _ in seen] == sorted({number for number, _, _ in seen})
    (asked_ann,) = desk.server.asked("ann")
    picture, text = asked_ann["messages"][-1]["content"]
    assert picture["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    assert 'name="a.txt"' in text["text"]


@pytest.mark.parametrize(
    ("tool", "given", "said"),
    [
        ("ask", {}, "'question' is a required property"),
        ("ask", {"question": "  "}, "question"),
        ("ask", {"question": "Why?", "mixture": "nobody"}, "nobody"),
        ("ask", {"question": "Why?", "mixture": "ann"}, "may not be used here"),
        ("ask", {"question": "Why?", "max_cost_usd": 0}, "cost"),
        ("compare", {"question": "Why?", "mixtures": ["team"]}, "mixtures"),
        ("review", {"text": "x", "mixture": "team"}, "pattern"),
        ("asks", {}, "ask"),
        ("ask", {"question": "Why?", "attachments": [{"name": "a"}]}, "attachments"),
        (
            "ask",
            {"question": "Why?", "attachments": [{"name": "a", "picture": "bm8gcGljdHVyZSBhdCBh"}]},
            "a is no PNG",
        ),
    ],
)
def test_wrong_arguments_are_told_in_words_and_nothing_is_asked(desk, tool, given, said):
    text = (desk.folder / "mixtura.toml").read_text()
    desk.write(f'{text}\n[mcp]\nmixtures = ["default", "team"]\n')

    result = use_tools(desk, lambda client: client.call_tool(tool, given))

    assert result.is_error
    assert said in result.content[0].text
    assert "Traceback" not in result.content[0].text
    assert desk.server.requests == []


def test_answers_are_compared_side_by_side_and_one_that_fails_says_so(desk):
    desk.server.answers["ben"] = Answer.refused(400, "no")

    async def steps(client):
        names = {"question": "Why?", "mixtures": ["ann", "ben"]}
        return await client.call_tool("compare", names), await client.call_tool("models", {})

    compared, models = use_tools(desk, steps)

    first, second = compared.structured_content["answers"]
    assert first["answer"] == "Air scatters blue light."
    assert second["answer"] is None
    assert second["error"]
    assert "team" in models.structured_content["mixtures"]
    assert {"ann", "ben", "chief"} <= set(models.structured_content["models"])


def test_a_call_that_its_client_gives_up_ends_every_call_upstream(desk):
    pieces = ("Well. ",) * 600
    desk.server.answers |= {name: Answer(pieces, pace=0.1) for name in ("ann", "ben")}

    async def steps(client):
        task = asyncio.create_task(client.call_tool("ask", {"question": "Why?"}))
        while len(desk.server.requests) < 2:
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
        # Here, while the program still runs: its end would end the calls, too.
        await asyncio.to_thread(desk.server.wait_until_left, ["ann", "ben"], 20)

    use_tools(desk, steps)

    assert desk.server.asked("chief") == []


def test_over_http_the_tools_answer_and_foreign_hosts_and_pages_are_refused(desk):
    process = desk.start("mcp", "--http", "0")
    address = process.stdout.readline().decode().split()[-1].rstrip(".")

    async def talk():
        async with Client(address) as client:
            given = {"question": "Why?", "mixture": None, "attachments": None, "agreement": None}
            answer = await client.call_tool("ask", given)
        async with httpx2.AsyncClient() as plain:
            body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            refused = [
                (await plain.post(address, json=body, headers=headers)).status_code
                for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"})
            ]
        return answer, refused

    answer, refused = asyncio.run(talk())
    process.terminate()

    assert answer.structured_content["answer"] == ANSWER
    assert refused == [421, 403]


def test_over_http_a_key_is_needed_where_there_are_keys_and_says_what_may_be_used(desk):
    digest = sha256(b"mx-secret").hexdigest()
    text = (desk.folder / "mixtura.toml").read_text()
    desk.write(f'{text}\n[serve.keys.ida]\nsha256 = "{digest}"\nmodels = ["ann"]\n')
    process = desk.start("mcp", "--http", "0")
    address = process.stdout.readline().decode().split()[-1].rstrip(".")

    async def talk():
        async with httpx2.AsyncClient() as plain:
            refused = await plain.post(address, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
        key = {"Authorization": "Bearer mx-secret"}
        async with (
            httpx2.AsyncClient(headers=key, timeout=60) as known,
            Client(streamable_http_client(address, http_client=known)) as client,
        ):
            asked = [
                await client.call_tool("ask", {"question": "Why?", "mixture": name})
                for name in ("ann", "team")
            ]
            return refused, asked, await client.call_tool("models", {})

    refused, (answered, forbidden), models = asyncio.run(talk())
    process.terminate()

    assert refused.status_code == 401
    assert answered.structured_content["answer"] == "Air scatters blue light."
    assert forbidden.is_error
    assert "`team` may not be used here; what may: ann" in forbidden.content[0].text
    assert models.structured_content["models"] == ["ann"]
    assert models.structured_content["mixtures"] == []


def test_a_diff_is_reviewed_and_its_findings_match_the_schema_of_the_tool(desk):
    finding = {
        "file": "a.py", "line": 1, "severity": "high", "quote": "total -= amount",
        "problem": "The sign is wrong.", "suggestion": None,
    }  # fmt: skip
    found = Answer.text(json.dumps({"findings": [finding]}))
    desk.server.answers |= {"ann": found, "ben": found}
    text = (desk.folder / "mixtura.toml").read_text()
    desk.write(f'{text}\n[mixtures.review]\npattern = "review"\nlayers = [["ann", "ben"]]\n')

    result = use_tools(desk, lambda client: client.call_tool("review", {"text": "total -= amount"}))

    (one,) = result.structured_content["review"]["findings"]
    assert one["problem"] == "The sign is wrong."
    assert find_mismatches(REVIEW.gives, result.structured_content) == []


def test_over_http_a_key_has_its_tokens_a_minute_and_its_runs_take_turns(desk):
    digest = sha256(b"mx-secret").hexdigest()
    text = (desk.folder / "mixtura.toml").read_text()
    limits = f'[serve]\nat_once = 1\n[serve.keys.ida]\nsha256 = "{digest}"\n'
    desk.write(f"{text}\n{limits}tokens_per_minute = 60\n")
    process = desk.start("mcp", "--http", "0")
    address = process.stdout.readline().decode().split()[-1].rstrip(".")

    async def talk():
        key = {"Authorization": "Bearer mx-secret"}
        async with (
            httpx2.AsyncClient(headers=key, timeout=60) as known,
            Client(streamable_http_client(address, http_client=known)) as client,
        ):
            # Asked for now: a client that knows no schema asks after the call, when all is used.
            await client.list_tools()
            names = {"question": "Why?", "mixtures": ["team", "chief"]}
            compared = await client.call_tool("compare", names)
            body = {"jsonrpc": "2.0", "id": 9, "method": "ping"}
            return compared, await known.post(address, json=body)

    try:
        compared, later = asyncio.run(talk())
    finally:
        process.terminate()

    first, second = compared.structured_content["answers"]
    assert first["answer"] == second["answer"] == ANSWER
    assert desk.server.most_at_once <= 2  # those of one mixture
    assert later.status_code == 429


def test_who_has_only_a_logged_in_tool_is_told_how_it_may_answer_and_then_it_does(desk):
    home = desk.folder / "home"
    (home / ".claude").mkdir(parents=True)
    (home / ".claude" / ".credentials.json").write_text("{}")
    (desk.folder / "bin").mkdir()
    write_program(desk.folder / "bin", "claude", CLAUDE)
    (desk.folder / "mixtura.toml").unlink()
    desk.env |= {
        "HOME": str(home), "PATH": f"{desk.folder / 'bin'}:/usr/bin:/bin", "OLLAMA_HOST": nobody(),
    }  # fmt: skip

    async def steps(client):
        return await client.call_tool("ask", {"question": "Where is the Louvre?"})

    before = use_tools(desk, steps, "--max-cost", "0.10")
    desk.env["MIXTURA_USE_COMMANDS"] = "1"
    after = use_tools(desk, steps)

    assert before.is_error
    assert "Claude Code is installed here, and you are logged in" in before.content[0].text
    assert (
        "set MIXTURA_USE_COMMANDS=1 in the environment of `mixtura mcp`" in before.content[0].text
    )
    assert after.structured_content["answer"] == "Paris it is."
    assert after.structured_content["cost_usd"] is None
