"""pydantic-ai: an agent with a tool, and a stream."""

import asyncio
import sys

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=sys.argv[1], api_key="none")
text = "Light scatters, blue most."
called = []
agent = Agent(OpenAIChatModel("agent-loop", provider=provider))


@agent.tool_plain
def weather(town: str) -> str:
    """The weather of a town."""
    called.append(town)
    return "sunny"


assert agent.run_sync("Weather in Rome?").output == text
assert called == ["Rome"]


async def streamed():
    plain = Agent(OpenAIChatModel("default", provider=provider))
    async with plain.run_stream("Why is the sky blue?") as stream:
        return [piece async for piece in stream.stream_text(delta=True)]


assert "".join(asyncio.run(streamed())) == text
