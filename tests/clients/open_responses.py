"""Answers, one JSON value a line, against the types of openresponses-types: what does not fit."""

from __future__ import annotations

import json
import sys

import openresponses_types.types as theirs
from pydantic import ValidationError

EVENTS = {
    next(iter(kind.model_fields["type"].annotation)).value: kind
    for name, kind in vars(theirs).items()
    if name.endswith("StreamingEvent")
}

bad = read = 0
for line in sys.stdin:
    value = json.loads(line)
    read += 1
    kind = theirs.ResponseResource if value.get("object") == "response" else EVENTS[value["type"]]
    try:
        kind.model_validate_json(line, strict=True)
    except ValidationError as error:
        bad += 1
        print(value.get("type") or "response", error)
print(f"{read} read, {bad} do not fit")
sys.exit(bad > 0)
