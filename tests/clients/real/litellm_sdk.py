"""LiteLLM's SDK, after the lines of the docs: each of its ways to us, whole, streamed, tools."""

import sys

PLAIN, CALL = sys.argv[1:]
TOOL = {
    "type": "function",
    "function": {
        "name": "read_note",
        "description": "Reads a note.",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}}},
    },
}
assert answer.choices[0].message.content == PLAIN, answer
root = team["api_base"].removesuffix("/v1")
for model, base in (
    ("openai/default", f"{root}/v1"),
    ("litellm_proxy/default", f"{root}/v1"),
    ("openai/responses/default", f"{root}/v1"),
    ("anthropic/default", root),
):
    how = {"model": model, "api_base": base, "api_key": "none"}
    asked = [{"role": "user", "content": "Why is the sky blue?"}]
    whole = litellm.completion(messages=asked, **how)
    assert whole.choices[0].message.content == PLAIN, model
    assert whole.usage.total_tokens > 0, model
    pieces = litellm.completion(messages=asked, stream=True, **how)
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == PLAIN, model

    messages = [{"role": "user", "content": CALL}]
    first = litellm.completion(messages=messages, tools=[TOOL], **how)
    call = first.choices[0].message.tool_calls[0]
    assert (call.function.name, first.choices[0].finish_reason) == ("read_note", "tool_calls")
    result = {"role": "tool", "tool_call_id": call.id, "content": "the note's text"}
    messages += [first.choices[0].message, result]
    second = litellm.completion(messages=messages, tools=[TOOL], **how)
    assert "the note's text" in second.choices[0].message.content, model
    print(model, "works")

one = litellm.responses(input="Why is the sky blue?", **team)
assert one.output[0].content[0].text == PLAIN
two = litellm.responses(input="And?", previous_response_id=one.id, **team)
assert two.output[0].content[0].text == PLAIN
print("responses works")
