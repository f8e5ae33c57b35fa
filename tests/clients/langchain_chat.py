"""LangChain's ChatOpenAI: invoke, stream, a tool."""

import sys

from langchain_openai import ChatOpenAI

text = "Light scatters, blue most."
model = ChatOpenAI(model="default", base_url=sys.argv[1], api_key="none", max_retries=0)
assert model.invoke("Why is the sky blue?").content == text
assert "".join(piece.content for piece in model.stream("Why?")) == text
assert model.invoke("Why?").usage_metadata["total_tokens"] > 0


def weather(town: str) -> str:
    """The weather of a town."""
    return "sunny"


agent = ChatOpenAI(model="agent", base_url=sys.argv[1], api_key="none").bind_tools([weather])
assert agent.invoke("Weather in Rome?").tool_calls[0]["args"] == {"town": "Rome"}
