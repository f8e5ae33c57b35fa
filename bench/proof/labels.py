"""What the page calls each arm, and what it compares: words, and no figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

BASE = "large"
"""The best member alone: every row is compared with it."""
_MIXED, _FOUR = "1.5B×2 + 0.5B×2", "1.5B×4"


class Comparison(NamedTuple):
    """Two arms side by side, and what they have in common."""

    at: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLabels:
    """The words for one set."""

    main: str | None
    """The arm whose difference to the best member is the set's main result; None for a probe."""
    planned: int = 0
    """Answers of that arm that are planned: looks before that are paid for."""
    arms: Mapping[str, str]
    members: tuple[str, ...] = ("large", "small")
    oracles: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    comparisons: Sequence[Comparison] = ()
    confidences: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict[str, Mapping[str, str]]
    )


_ALONE = {"large": "1.5B alone", "small": "0.5B alone"}
_ORACLES = {_MIXED: {"large": 2, "small": 2}, _FOUR: {"large": 4}}
_COUNTED = {
    **_ALONE,
    "vote-2+2": f"`vote`, {_MIXED}",
    "vote-4": f"`vote`, {_FOUR}",
    "mux-2+2": f"`mux`, {_MIXED}",
    "rank-4": f"`rank`, {_FOUR}",
    "synthesis-2+2": f"the paper's synthesis, {_MIXED}",
    "self-4": f"`self`, {_FOUR}",
    "modes-4": "`modes`, 1.5B: 2 or 4 answers, half of them programs",
}

SETS: Mapping[str, SetLabels] = {
    "humaneval": SetLabels(
        main="checked-2+2",
        planned=240,
        arms={
            **_ALONE,
            "checked-2+2": f"`checked`, {_MIXED}",
            "checked-4": f"`checked`, {_FOUR}",
            "checked-3": "`checked`, 1.5B×3",
            "checked-2": "`checked`, 1.5B×2",
            "checked-small-4": "`checked`, 0.5B×4",
            "checked-1+1": "`checked`, 1.5B×1 + 0.5B×1",
            "checked-1+2": "`checked`, 1.5B×1 + 0.5B×2",
            "tested-2+2": f"`checked` with tests of the 1.5B, {_MIXED}",
            "vote-2+2": f"`vote`, {_MIXED}",
            "vote-4": f"`vote`, {_FOUR}",
            "mux-2+2": f"`mux`, {_MIXED}",
            "rank-2+2": f"`rank`, {_MIXED}",
            "rank-4": f"`rank`, {_FOUR}",
            "synthesis-2+2": f"the paper's synthesis, {_MIXED}",
            "self-4": f"`self`, {_FOUR}",
        },
        oracles=_ORACLES,
        comparisons=(
            Comparison("Equal draws", "checked-2+2", "checked-4"),
            Comparison("Less work", "checked-2+2", "checked-3"),
            Comparison("More work", "checked-2+2", "checked-2"),
            Comparison("Less work, equal draws", "checked-1+1", "checked-2"),
            Comparison("Choosing against writing", "checked-2+2", "synthesis-2+2"),
            Comparison("Choosing against writing", "checked-4", "self-4"),
            Comparison("Checks against a judge", "checked-2+2", "rank-2+2"),
            Comparison("Checks against a judge", "checked-4", "rank-4"),
            Comparison("With written tests, too", "tested-2+2", "checked-2+2"),
        ),
        confidences={
            arm: {
                "passed": "the share of the prompt's examples that it passes",
                "agreeing": "the share of the drafts that do the same on these examples",
                "alike": "how alike the words of the drafts are",
            }
            for arm in ("checked-2+2", "checked-4")
        },
    ),
    "gsm8k": SetLabels(
        main="vote-2+2",
        planned=600,
        arms=_COUNTED,
        oracles=_ORACLES,
        comparisons=(
            Comparison("Equal draws", "vote-2+2", "vote-4"),
            Comparison("Counting against writing", "vote-2+2", "synthesis-2+2"),
            Comparison("Counting against writing", "vote-4", "self-4"),
            Comparison("Counting against a judge", "vote-4", "rank-4"),
            Comparison("Two modes against counting", "modes-4", "vote-4"),
        ),
        confidences={
            arm: {
                "agreeing": "the share of the drafts that come to the same number",
                "alike": "how alike the words of the drafts are",
            }
            for arm in ("vote-4", "vote-2+2")
        },
    ),
    "gsm8k-programs": SetLabels(main=None, arms={BASE: _ALONE[BASE]}),
    "ifeval": SetLabels(
        main="synthesis-2+2",
        planned=100,
        arms={
            **_ALONE,
            "synthesis-2+2": f"the paper's synthesis, {_MIXED}",
            "self-4": f"`self`, {_FOUR}",
            "rank-4": f"`rank`, {_FOUR}",
            "judged-4": f"`best-of` by a model that reads only the prompt and one answer, {_FOUR}",
        },
        oracles={f"{_FOUR}, by the official checker,": {"large": 4}},
    ),
    "deception": SetLabels(
        main="robust",
        planned=100,
        arms={
            "large": "1.5B alone",
            "liar": "the member that is told to mislead, alone",
            "honest": "the paper's synthesis without it, 1.5B×3",
            "plain": "the paper's synthesis, one of four misleads",
            "vote": "`vote`, one of four misleads",
            "mux": "`mux`, one of four misleads",
            "robust": "`robust`, one of four misleads",
        },
        members=("large", "liar"),
        comparisons=(
            Comparison("One liar among four", "robust", "plain"),
            Comparison("One liar among four", "mux", "plain"),
        ),
    ),
}
