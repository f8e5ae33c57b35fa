"""What a person reads at the end of a batch."""

from __future__ import annotations

import pytest

from mixtura.batch.outcome import BatchOutcome
from mixtura.terminal.batches import outcome_lines


@pytest.mark.parametrize(
    ("lost", "dollars", "said"),
    [
        (0, 0.0, None),
        (3, 0.02, "Lost when earlier processes were killed: 3 calls, about $0.02"),
        (0, 0.02, "Counted as spent on machines that are gone: about $0.02"),
        (2, None, "Lost when earlier processes were killed: 2 calls, about "),
    ],
)
def test_what_may_have_been_spent_out_of_sight_is_told(lost, dollars, said):
    outcome = BatchOutcome(
        ending="done", rows=2, done=2, failed=0, calls=6, reused=0, lost=lost, tokens=90,
        cost_usd=0.1, lost_cost_usd=dollars, seconds=1.0, output="out.jsonl", errors=None,
        journal="out.jsonl.journal",
    )  # fmt: skip

    told = [line for line, _, _ in outcome_lines(outcome) if line.startswith(("Lost", "Counted"))]

    assert len(told) == (said is not None)
    assert not told or told[0].startswith(said)
