"""Vote: what most proposals say; for open text, the one closest to the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from mixtura.core.agreement import Support
from mixtura.core.arguments import check_choice
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.types import Completion
from mixtura.patterns.answer_groups import AnswerReader, group_by_answer, largest_group
from mixtura.patterns.choosing import (
    CountingChooser,
    Verdict,
    fallback_verdict,
    medoid_position,
)
from mixtura.patterns.final_answer import EXTRACTORS, Extract
from mixtura.patterns.spec import PatternSpec, check_name


@dataclass(frozen=True, slots=True)
class Vote(CountingChooser):
    """
    Self-consistency (Wang et al. 2022, arXiv 2203.11171, section 2): the final answers are
    taken out of the proposals, normalized, and counted; for one model's draws or several's.

    *extract* names the kind of final answer, or is a function from a text to what is counted
    (None: no answer in it). ``text`` counts nothing: the proposal most like the others is taken,
    as in Li et al. 2024 (arXiv 2402.05120, section 3), by TF-IDF in place of BLEU.

    Of equal counts the first proposal's answer wins, and of those who gave it the first is the
    answer. Proposals that were cut off vote only where all were. Raises ValueError for another
    *extract*.
    """

    name = "vote"
    extract: Extract | AnswerReader = "text"

    def __post_init__(self) -> None:
        if isinstance(self.extract, str) or not callable(self.extract):
            check_choice("extract", self.extract, (*EXTRACTORS, "text"))

    def count_answers(self, proposals: Sequence[Completion]) -> Verdict:
        """
        The first proposal with the answer that most give. Raises what a function *extract* raises.
        """
        if self.extract == "text":
            return Verdict(medoid_position(proposals), "the closest to the others")
        groups = group_by_answer(proposals, self.extract)
        wanted = self.extract if isinstance(self.extract, str) else "answer"
        if not groups:
            return fallback_verdict(proposals, f"the vote found no {wanted} in any proposal")
        winner = largest_group(groups)
        silent = len(proposals) - sum(len(group.positions) for group in groups)
        lost = (
            (f"the vote found no {wanted} in {pluralize_count(silent, 'proposal')}",)
            if silent
            else ()
        )
        votes = pluralize_count(len(proposals), "vote")
        why = f"{len(winner.positions)} of {votes} for {to_one_line(winner.answer)[:80]}"
        share = Support("votes", len(winner.positions) / len(proposals))
        return Verdict(winner.positions[0], why, lost, share)


class ExtractSettings(msgspec.Struct, frozen=True):
    """The settings in a file of a pattern that compares final answers. Raises as check_extract."""

    extract: str = "text"

    def __post_init__(self) -> None:
        check_extract(self.extract)


def _describe_final_step(settings: ExtractSettings) -> str:
    chosen = "most like the others" if settings.extract == "text" else "with the most votes"
    return f"the proposal {chosen} is the answer"


def check_extract(extract: str, *more: str) -> None:
    """Raises ConfigError where *extract* names no kind of answer; *more*: a pattern's own kinds."""
    check_name("extract", "kind of answer", extract, (*EXTRACTORS, "text", *more))


PATTERN = PatternSpec(
    name="vote",
    help="the proposal that most agree with",
    chooser=Vote,
    settings=ExtractSettings,
    describe_final_step=_describe_final_step,
    action="votes on the drafts",
)
