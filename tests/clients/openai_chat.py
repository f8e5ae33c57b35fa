"""The official openai client: chat completions, streamed, tools, JSON schema, pictures, errors."""

import sys

import openai
from openai import OpenAI
from pydantic import BaseModel

client = OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
ask = [{"role": "user", "content": "Why is the sky blue?"}]

assert "default" in [model.id for model in client.models.list()]
assert client.models.retrieve("team").owned_by == "mixtura"

answer = client.chat.completions.create(model="default", messages=ask)
assert answer.choices[0].message.content == "Light scatters, blue most.", answer
assert answer.choices[0].finish_reason == "stop"
assert answer.usage.total_tokens > 0
assert answer.mixtura["degraded"] is False  # extra fields reach whoever looks for them

stream = client.chat.completions.create(
    model="default", messages=ask, stream=True, stream_options={"include_usage": True}
)
chunks = list(stream)
text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
assert text == "Light scatters, blue most."
assert chunks[-1].usage.completion_tokens > 0

# code in the wild looks at choices[0] of every chunk when it did not ask for usage
stream = client.chat.completions.create(model="default", messages=ask, stream=True)
assert "".join(c.choices[0].delta.content or "" for c in stream) == text

with client.chat.completions.stream(model="default", messages=ask) as events:
    final = events.get_final_completion()
assert final.choices[0].message.content == text

weather = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
    },
}
messages = [{"role": "user", "content": "Weather in Rome?"}]
for stream in (False, True):
    turn = list(messages)
    if stream:
        with client.chat.completions.stream(
            model="agent", messages=turn, tools=[weather]
        ) as events:
            first = events.get_final_completion().choices[0]
    else:
        first = client.chat.completions.create(model="agent", messages=turn, tools=[weather])
        first = first.choices[0]
    assert first.finish_reason == "tool_calls", first
    call = first.message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("weather", '{"town": "Rome"}')
    turn.append(first.message.model_dump(exclude_none=True, include={"role", "tool_calls"}))
    turn.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    last = client.chat.completions.create(model="default", messages=turn, tools=[weather])
    assert last.choices[0].message.content == text


class Town(BaseModel):
    name: str


parsed = client.chat.completions.parse(model="json", messages=ask, response_format=Town)
assert parsed.choices[0].message.parsed == Town(name="Rome")

picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
seen = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]
assert client.chat.completions.create(model="default", messages=seen).choices[0].message.content

for model, wrong in (("nope", openai.NotFoundError), ("broken", openai.InternalServerError)):
    try:
        client.chat.completions.create(model=model, messages=ask)
    except wrong as error:
        assert error.body["message"], error
    else:
        raise AssertionError(f"{model} answered")

frames = client.chat.completions.create(
    model="default", messages=ask, stream=True, extra_body={"mixtura": {"proposals": True}}
)
kinds = [c.mixtura["event"] for c in frames if getattr(c, "mixtura", None) and not c.choices]
assert "proposal" in kinds, kinds
