"""instructor, after the lines of the docs: an answer in a form, by a tool and by a schema."""

import sys

from pydantic import BaseModel


class Town(BaseModel):
    name: str


call, json = sys.argv[1:]
town = client.create(response_model=Town, messages=[{"role": "user", "content": call}])
assert town.name == "Rome", town
strict = instructor.from_provider("openai/default", mode=instructor.Mode.JSON_SCHEMA, **address)
town = strict.create(response_model=Town, messages=[{"role": "user", "content": json}])
assert town.name == "Rome", town
print("works")
