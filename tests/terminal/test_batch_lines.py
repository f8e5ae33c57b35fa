"""What a person reads at the end of a batch."""

from __future__ import annotations

import pytest

from mixtura.batch.outcome import BatchOutcome, BatchProgress
from mixtura.terminal.batches import money_text, outcome_lines
from mixtura.terminal.phrases import format_most_dollars


@pytest.mark.parametrize(
    ("lost", "dollars", "said"),
    [
        (0, 0.0, None),
        (3, 0.02, "Lost when earlier processes were killed: 3 calls, about $0.02"),
        (0, 0.02, "Counted as spent on machines that are gone: about $0.02"),
        (2, None, "Lost when earlier processes were killed: 2 calls, cost unknown."),
        (1, 1e-6, "Lost when earlier processes were killed: 1 call, <$0.0001."),
        (0, 1e-6, "Counted as spent on machines that are gone: <$0.0001."),
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


@pytest.mark.parametrize(
    ("dollars", "said"),
    [(1e-6, "<$0.0001 of <$0.0001"), (0.01, "$0.0100 of about $0.0200"), (0.0, "$0 of $0")],
)
def test_what_a_batch_will_cost_is_an_estimate_only_where_a_number_stands(dollars, said):
    half = BatchProgress(2, done=1, dollars=dollars, dollars_now=dollars)

    assert money_text(half) == said


@pytest.mark.parametrize(
    ("dollars", "said"),
    [
        (None, "price unknown"),
        (0.0, "at most $0"),
        (1e-6, "at most $0.0001"),
        (0.25, "at most $0.2500"),
    ],
)
def test_the_most_that_something_costs_is_a_number_or_unknown(dollars, said):
    assert format_most_dollars(dollars) == said
