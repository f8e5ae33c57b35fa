"""Review: each member reviews a text by itself; the findings are merged and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from mixtura.core.errors import ModelError
from mixtura.core.json_schema import object_schema
from mixtura.core.roles import PlannedCall, plan_layer_calls
from mixtura.core.text import pluralize_count
from mixtura.core.types import Completion, Message
from mixtura.engine.background_work import run_in_thread_if_large
from mixtura.engine.final_step import FinalStep
from mixtura.engine.layer import LayersResult, run_layers
from mixtura.engine.pattern import Pattern
from mixtura.patterns.agreement import member_labels
from mixtura.patterns.review_findings import Finding, merge_findings, parse_findings
from mixtura.patterns.spec import PatternSpec, require_one_layer
from mixtura.prompts.instructions import append_user_text, load_text
from mixtura.prompts.synthesis import Synthesis


@dataclass(frozen=True, slots=True, kw_only=True)
class Review(Pattern):
    """
    Every member reviews the last message by itself; findings that are the same are merged by their
    place and words, without a model, and say how many members found them and with what quote.

    The answer is JSON (`REVIEW_SCHEMA`). A quote that stands nowhere in the message is marked so;
    one that does gives the finding its file and line. A member whose reply is no review is left
    out and not counted. Raises ValueError without a layer.
    """

    name: str = "review"

    def __post_init__(self) -> None:
        Pattern.__post_init__(self)
        if not self.layers:
            raise ValueError("without proposers there is nobody to review")

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:  # noqa: ARG002
        """None: merging calls no model."""
        return ()

    def planned_calls(self) -> Sequence[PlannedCall]:
        # As a persona, so that forecasts count what each member reads beside the message.
        told = load_text("review.md")
        return [
            replace(call, persona=f"{call.persona or ''}{told}")
            for call in plan_layer_calls(self.layers)
        ]

    async def run_proposers(self, step: FinalStep, synthesis: Synthesis) -> LayersResult:
        """Every member's review. Raises QuorumNotMetError when too few of them answer."""
        asked = append_user_text(step.advice_request, load_text("review.md").rstrip("\n"))
        return await run_layers(self.layers, synthesis, asked, step.emit, drafts=step.drafts)

    async def write_answer(self, step: FinalStep) -> Completion:
        """The merged findings as JSON. Raises ModelError where no reply is a review."""
        names = member_labels([proposal.model for proposal in step.proposals])
        found: list[tuple[str, Sequence[Finding]]] = []
        for name, proposal in zip(names, step.proposals, strict=True):
            read = parse_findings(proposal)
            if read is None:
                step.add_notices(f"the reply of {name} is not a review: it is left out")
                continue
            if read.unread:
                many = pluralize_count(read.unread, "finding")
                step.add_notices(f"{many} of {name} cannot be read: left out")
            found.append((name, read.findings))
        if not found:
            raise ModelError("no reply was in the requested form", model=self.name)
        material = next((m.text for m in reversed(step.request.messages) if m.role == "user"), "")
        # Each quote is looked for in every line, and findings are compared in pairs: many short
        # ones take as long as a large text.
        size = sum(len(proposal.text) for proposal in step.proposals) + len(material)
        size += sum(len(findings) for _, findings in found) ** 2
        merged = await run_in_thread_if_large(size, merge_findings, found, material)
        whole = {
            "findings": [one.to_json(len(found)) for one in merged],
            "members": [name for name, _ in found],
        }
        text = msgspec.json.format(msgspec.json.encode(whole), indent=2).decode()
        answer = Completion(Message("assistant", text), self.name)
        return step.answer_without_model(
            answer, f"{pluralize_count(len(merged), 'finding')}, merged"
        )


_TEXT, _MAYBE_TEXT = {"type": "string"}, {"type": ["string", "null"]}


REVIEW_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "A review by Mixtura",
    **object_schema({
        "findings": {"type": "array", "items": object_schema({
            "problem": _TEXT,
            "severity": {"enum": ["high", "medium", "low"]},
            "file": _MAYBE_TEXT,
            "line": {"type": ["integer", "null"]},
            "quote_found": {"type": "boolean"},
            "found_by": {"type": "integer", "minimum": 1},
            "of": {"type": "integer", "minimum": 1},
            "suggestion": _MAYBE_TEXT,
            "evidence": {"type": "array", "items": object_schema({
                "member": _TEXT, "problem": _TEXT, "quote": _TEXT,
            })},
        })},
        "members": {"type": "array", "items": _TEXT},
    }),
}  # fmt: skip
"""What every answer of the pattern matches."""


PATTERN = PatternSpec(
    help="findings about a diff or a text, with how many members found each",
    kind=Review,
    final_step="the findings are merged and counted",
    action="merges the findings",
    check_layers=require_one_layer("of members that each review"),
)
