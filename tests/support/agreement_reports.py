"""A model's report on where three proposals agree, as JSON, and models that give it."""

from __future__ import annotations

import json

from tests.support.loopback import Answer

REPORT = {
    "agreed": [
        {"claim": "Air scatters light.", "slots": [1, 2]},
        {"claim": "Said by one.", "slots": [2]},
    ],
    "disputed": [
        {"topic": "colour", "stances": [
            {"claim": "blue", "slots": [1]}, {"claim": "red", "slots": [2]},
        ]}
    ],
    "only_one": [], "not_covered": ["sunset"],
}  # fmt: skip
"""Its second agreed claim is one that a single proposal makes."""


def is_report_request(request) -> bool:
    """Whether a request of chat completions asks for a report."""
    return "only_one" in request["messages"][-1]["content"]


def reports_when_asked(answer, report=REPORT):
    """A model on loopback that gives *report* where one is asked for, else *answer*."""

    def reply(request):
        text = report if isinstance(report, str) else json.dumps(report)
        if is_report_request(request):
            return Answer.text(text, prompt_tokens=30)
        return Answer.text(answer, prompt_tokens=50)

    return reply
