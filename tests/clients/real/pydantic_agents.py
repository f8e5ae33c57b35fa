"""pydantic-ai, after the lines of the docs: three APIs, tools, a second turn, streams."""

import asyncio
import sys
from pathlib import Path

from anthropic import AsyncAnthropic
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider

ROOT, PLAIN, CALL = sys.argv[1:]
NOTE = Path("note.txt")
client = AsyncAnthropic(base_url=ROOT, api_key="none")


def read_note(name: str) -> str:
    """Reads a note."""
    return Path(name).read_text()


async def main() -> None:
    for name, one in {
        "chat": model,
        "responses": OpenAIResponsesModel("default", provider=provider),
        "messages": AnthropicModel("default", provider=AnthropicProvider(anthropic_client=client)),
    }.items():
        agent = Agent(one, tools=[read_note])
        first = await agent.run("Why is the sky blue?")
        assert first.output == PLAIN, name
        second = await agent.run("And at night?", message_history=first.all_messages())
        assert second.output == PLAIN, name
        used = await agent.run(CALL)
        assert NOTE.read_text().strip() in used.output, (name, used.output)
        async with agent.run_stream("Why is the sky blue?") as stream:
            pieces = [piece async for piece in stream.stream_text(delta=True)]
        assert "".join(pieces) == PLAIN, name
        print(name, "works")


asyncio.run(main())
