"""The OpenAI Agents SDK: a run, a second turn in each way, a tool, a stream, a handoff."""

import asyncio
import sys
from pathlib import Path

import agents
from agents import Agent, Runner, SQLiteSession, function_tool

PLAIN, CALL, HAND_OVER = sys.argv[1:]
NOTE = Path("note.txt")


@function_tool
def read_note(name: str) -> str:
    """Reads a note."""
    return Path(name).read_text()


async def run_over(api: str) -> None:
    agents.set_default_openai_api(api)
    plain = Agent(name="plain", instructions="Be brief.")
    first = await Runner.run(plain, "Why is the sky blue?")
    assert first.final_output == PLAIN, first.final_output
    whole = [*first.to_input_list(), {"role": "user", "content": "And at night?"}]
    assert (await Runner.run(plain, whole)).final_output == PLAIN
    session = SQLiteSession(api)
    for question in ("Why is the sky blue?", "And at night?"):
        kept = await Runner.run(plain, question, session=session)
        assert kept.final_output == PLAIN
    if api == "responses":
        before = first.last_response_id
        linked = await Runner.run(plain, "And at night?", previous_response_id=before)
        assert linked.final_output == PLAIN

    reader = Agent(name="reader", tools=[read_note])
    used = await Runner.run(reader, CALL)
    assert NOTE.read_text().strip() in used.final_output, used.final_output
    live = Runner.run_streamed(reader, CALL)
    async for _ in live.stream_events():
        pass
    assert NOTE.read_text().strip() in live.final_output, live.final_output

    helper = Agent(name="helper", instructions="Help.", handoff_description="Helps.")
    handed = await Runner.run(Agent(name="front", handoffs=[helper]), HAND_OVER)
    assert handed.last_agent.name == "helper", handed.last_agent
    print(api, "works")


async def main() -> None:
    for api in ("responses", "chat_completions"):
        await run_over(api)


asyncio.run(main())
