"""The recorded refusals of tests/cases/refusals, read."""

from __future__ import annotations

import json

from tests.support import paths

CASES = paths.CASES / "refusals"


def cases(name):
    return [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text("utf-8").splitlines()]


def error(message, **more):
    return {"error": {"message": message, "type": "invalid_request_error", **more}}
