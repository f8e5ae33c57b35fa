"""The official openai client: the Responses API, streamed, tools, JSON schema, pictures."""

import sys

import openai
from openai import OpenAI
from pydantic import BaseModel

client = OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
text = "Light scatters, blue most."

answer = client.responses.create(
    model="default", input="Why is the sky blue?", instructions="Be brief."
)
assert answer.output_text == text, answer
assert answer.status == "completed"
assert answer.usage.total_tokens > 0

events = list(client.responses.create(model="default", input="Why?", stream=True))
assert events[0].type == "response.created"
assert events[-1].type == "response.completed"
assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == text

with client.responses.stream(model="default", input="Why?") as stream:
    assert stream.get_final_response().output_text == text

tool = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a town",
    "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
    "strict": False,
}
first = client.responses.create(model="agent", input="Weather in Rome?", tools=[tool])
call = first.output[0]
assert (call.type, call.name, call.arguments) == ("function_call", "weather", '{"town": "Rome"}')
turn = [
    {"role": "user", "content": "Weather in Rome?"},
    call.model_dump(exclude_none=True),
    {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
]
assert client.responses.create(model="default", input=turn, tools=[tool]).output_text == text


class Town(BaseModel):
    name: str


parsed = client.responses.parse(model="json", input="Which town?", text_format=Town)
assert parsed.output_parsed == Town(name="Rome")

picture = {
    "type": "input_image",
    "image_url": "data:image/png;base64,iVBORw0KGgo=",
    "detail": "auto",
}
seen = [{"role": "user", "content": [{"type": "input_text", "text": "What is it?"}, picture]}]
assert client.responses.create(model="default", input=seen).output_text == text

later = client.responses.create(
    model="default", input="And at dusk?", previous_response_id=answer.id
)
assert (later.store, later.previous_response_id) == (True, answer.id)
assert client.responses.retrieve(later.id).output_text == text
items = list(client.responses.input_items.list(later.id, order="asc"))
assert [item.type for item in items] == ["message"] * 3
referring = [
    {"type": "item_reference", "id": answer.output[0].id},
    {"role": "user", "content": "?"},
]
assert client.responses.create(model="default", input=referring).output_text == text
assert client.responses.input_tokens.count(model="default", input="Why?").input_tokens > 0
client.responses.delete(answer.id)
try:
    client.responses.retrieve(answer.id)
except openai.NotFoundError:
    pass
else:
    raise AssertionError("it was deleted and is still there")
try:
    client.responses.create(model="default", input="x", previous_response_id="resp_1")
except openai.BadRequestError as error:
    assert error.code == "previous_response_not_found", error
else:
    raise AssertionError("there is no such response and it answered")
