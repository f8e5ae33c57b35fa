"""The report of where answers agree and differ: read from a model's JSON, and its one number."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mixtura.core.types import Completion
from mixtura.patterns.closing_object import read_closing_object

Slot = Annotated[int, msgspec.Meta(ge=1)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class Claim(msgspec.Struct, frozen=True):
    """What some of the answers say."""

    claim: Text
    slots: Annotated[tuple[Slot, ...], msgspec.Meta(min_length=1)]
    """Which answers say it, counted from 1."""


class Dispute(msgspec.Struct, frozen=True):
    """A point on which answers contradict each other."""

    topic: Text
    stances: Annotated[tuple[Claim, ...], msgspec.Meta(min_length=2)]


class AnalysisReport(msgspec.Struct, frozen=True):
    """Where several answers agree, where they differ, and what is missing."""

    agreed: tuple[Claim, ...]
    disputed: tuple[Dispute, ...]
    only_one: tuple[Claim, ...] = ()
    not_covered: tuple[Text, ...] = ()

    @property
    def agreement(self) -> float | None:
        """
        The share of points that all who speak of them agree on, of those that several speak of:
        0 to 1; None where no point is spoken of by several.
        """
        points = len(self.agreed) + len(self.disputed)
        return len(self.agreed) / points if points else None

    def slots(self) -> set[int]:
        """Every answer that it names."""
        claims = [*self.agreed, *self.only_one, *(s for d in self.disputed for s in d.stances)]
        return {slot for claim in claims for slot in claim.slots}


def parse_analysis(reply: Completion, answers: int) -> AnalysisReport | None:
    """
    The report that *reply* ends with, on so many *answers*; None where there is none, or it names
    others.
    """
    report = read_closing_object(reply, AnalysisReport)
    if report is None or not report.slots() <= set(range(1, answers + 1)):
        return None
    return _sort_claims(report)


def _sort_claims(report: AnalysisReport) -> AnalysisReport:
    """Each claim where its slots say that it belongs: what one alone says is not agreed on."""
    undisputed = (*report.agreed, *report.only_one)
    return msgspec.structs.replace(
        report,
        agreed=tuple(claim for claim in undisputed if len(set(claim.slots)) > 1),
        only_one=tuple(claim for claim in undisputed if len(set(claim.slots)) == 1),
    )
