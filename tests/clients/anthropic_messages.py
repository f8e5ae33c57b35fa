"""The official anthropic client: messages, streamed, tools, pictures, errors."""

import sys

import anthropic
from anthropic import Anthropic

client = Anthropic(base_url=sys.argv[1].removesuffix("/v1"), api_key="none", max_retries=0)
ask = [{"role": "user", "content": "Why is the sky blue?"}]
text = "Light scatters, blue most."

answer = client.messages.create(model="default", max_tokens=100, messages=ask, system="Be brief.")
assert answer.content[0].text == text, answer
assert answer.stop_reason == "end_turn"
assert answer.usage.output_tokens > 0

with client.messages.stream(model="default", max_tokens=100, messages=ask) as stream:
    assert "".join(stream.text_stream) == text
    assert stream.get_final_message().stop_reason == "end_turn"

tool = {
    "name": "weather",
    "description": "The weather of a town",
    "input_schema": {"type": "object", "properties": {"town": {"type": "string"}}},
}
turn = [{"role": "user", "content": "Weather in Rome?"}]
for streamed in (False, True):
    if streamed:
        with client.messages.stream(
            model="agent", max_tokens=100, messages=turn, tools=[tool]
        ) as stream:
            first = stream.get_final_message()
    else:
        first = client.messages.create(model="agent", max_tokens=100, messages=turn, tools=[tool])
    assert first.stop_reason == "tool_use", first
    use = next(block for block in first.content if block.type == "tool_use")
    assert (use.name, use.input) == ("weather", {"town": "Rome"})
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    more = [
        *turn,
        {"role": "assistant", "content": [use.model_dump(include={"type", "id", "name", "input"})]},
        {"role": "user", "content": [result]},
    ]
    last = client.messages.create(model="default", max_tokens=100, messages=more, tools=[tool])
    assert last.content[0].text == text

source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
seen = [{"role": "user", "content": [{"type": "image", "source": source},
                                     {"type": "text", "text": "What is it?"}]}]  # fmt: skip
assert client.messages.create(model="default", max_tokens=9, messages=seen).content[0].text == text

for model, wrong in (("nope", anthropic.NotFoundError), ("broken", anthropic.InternalServerError)):
    try:
        client.messages.create(model=model, max_tokens=9, messages=ask)
    except wrong as error:
        assert error.body["error"]["message"], error
    else:
        raise AssertionError(f"{model} answered")

assert "default" in [model.id for model in client.models.list()]
