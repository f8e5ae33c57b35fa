"""any-llm: a completion and a stream through its openai provider."""

import sys

sys.path.pop(0)  # this file bears the package's name

from any_llm import completion

text = "Light scatters, blue most."
given = {"provider": "openai", "api_base": sys.argv[1], "api_key": "none"}
ask = [{"role": "user", "content": "Why is the sky blue?"}]
assert completion(model="default", messages=ask, **given).choices[0].message.content == text
pieces = completion(model="default", messages=ask, stream=True, **given)
assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices) == text
