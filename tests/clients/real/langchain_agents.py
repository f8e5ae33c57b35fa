"""LangChain, after the lines of the docs: three APIs, whole, streamed, tools and their results."""

import sys

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage

PLAIN, CALL = sys.argv[1:]
root = address["base_url"].removesuffix("/v1")


def read_note(name: str) -> str:
    """Reads a note."""
    return "the note's text"


for name, chat in {
    "chat": model,
    "responses": ChatOpenAI(model="default", use_responses_api=True, **address),
    "linked responses": ChatOpenAI(
        model="default", use_responses_api=True, use_previous_response_id=True, **address
    ),
    "messages": ChatAnthropic(model="default", base_url=root, api_key="none"),
}.items():
    first = chat.invoke("Why is the sky blue?")
    assert first.text == PLAIN, (name, first)
    assert "".join(piece.text for piece in chat.stream("Why is the sky blue?")) == PLAIN, name
    more = [HumanMessage("Why is the sky blue?"), first, HumanMessage("And at night?")]
    assert chat.invoke(more).text == PLAIN, name
    bound = chat.bind_tools([read_note])
    messages = [HumanMessage(CALL)]
    messages.append(bound.invoke(messages))
    (call,) = messages[-1].tool_calls
    assert call["args"] == {"name": "note.txt"}, name
    messages.append(ToolMessage("the note's text", tool_call_id=call["id"]))
    assert "the note's text" in bound.invoke(messages).text, name
    print(name, "works")
