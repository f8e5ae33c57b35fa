"""Ranker: a model reads all proposals and names the best one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from mixtura.core.arguments import check_kind
from mixtura.core.events import Emit
from mixtura.core.roles import PlannedCall
from mixtura.core.types import Completion, Request, Sampling
from mixtura.patterns.choosing import (
    JudgingChooser,
    Verdict,
    fallback_verdict,
    with_tool_calls_as_text,
)
from mixtura.patterns.spec import FinalModel, PatternSpec
from mixtura.patterns.verdict_calls import Judge, ask_judges
from mixtura.patterns.verdict_parsing import parse_named_number
from mixtura.prompts.synthesis import ranking_prompt

GREEDY_SAMPLING = Sampling(temperature=0.0)
"""The sampling of choices by default: the likeliest token."""


@dataclass(frozen=True, slots=True)
class Ranker(JudgingChooser):
    """
    The LLM-ranker that Wang et al. 2024 (arXiv 2406.04692, section 3.3 and figure 4a) compare
    with: it reads every proposal, and its choice is the answer, to the letter.

    It is shown the proposals without names, in an order that differs from run to run: judges
    favour positions (Zheng et al. 2023, arXiv 2306.05685, section 3.3). A verdict that cannot be
    read is asked for again, once. Without one, or when the ranker fails, the proposal closest to
    the others is taken, and the answer is marked as degraded. Raises TypeError for arguments that
    are none.
    """

    sampling: Sampling = field(default=GREEDY_SAMPLING)

    def __post_init__(self) -> None:
        JudgingChooser.__post_init__(self)
        check_kind("sampling", self.sampling, Sampling, "a Sampling")

    def planned_calls(self, proposals: int) -> Sequence[PlannedCall]:
        """One call, which reads every proposal."""
        return [PlannedCall(self.model, self.sampling, reads=tuple(range(proposals)))]

    async def choose(
        self, request: Request, proposals: Sequence[Completion], emit: Emit | None
    ) -> Verdict:
        """The proposal that the model names, or the one closest to the others."""
        order = shuffled_positions(request, proposals)
        shown = [with_tool_calls_as_text(proposals[i]) for i in order]
        judge = Judge(self.model, lambda reply: _parse_slot(reply, len(order)), shown)
        error = await ask_judges([judge], ranking_prompt, request, self.sampling, emit)
        if error is not None:
            return fallback_verdict(proposals, f"the ranker {self.name} failed: {error}")
        slot = judge.reply.verdict if judge.reply else None
        if slot is None:
            problem = f"the ranker {self.name} named none of the {len(order)} proposals"
            return fallback_verdict(proposals, problem)
        return Verdict(order[slot - 1], f"the best for {self.name}")


def _parse_slot(reply: Completion, proposals: int) -> int | None:
    """The number of the proposal that is named."""
    slot = parse_named_number(reply, "best")
    return int(slot) if slot is not None and slot in range(1, proposals + 1) else None


def shuffled_positions(request: Request, proposals: Sequence[Completion]) -> list[int]:
    """
    The positions of the proposals in an order that none of them can predict.

    It is a hash of the conversation, its seed and all the proposals, so the same run shows the
    same order: caches and replays hold.
    """
    conversation = [f"{m.role}: {m.text}" for m in request.messages]
    # The proposals are hashed, too: one that knew the rest could choose its place.
    run = repr((request.sampling.seed, request.draw, conversation, [p.text for p in proposals]))
    key = blake2b(run.encode("utf-8", "replace"), digest_size=32).digest()
    digests = [blake2b(b"%d" % i, key=key).digest() for i in range(len(proposals))]
    return sorted(range(len(proposals)), key=digests.__getitem__)


PATTERN = PatternSpec(
    name="rank",
    help="the proposal that a model names as the best",
    chooser=Ranker,
    final_model=FinalModel("judge", "the model that names the best proposal", GREEDY_SAMPLING),
    final_step="names the best proposal: that is the answer",
    action="picks the answer",
)
