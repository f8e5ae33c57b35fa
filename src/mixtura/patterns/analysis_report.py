"""The report of where answers agree and differ: read from a model's JSON, and its one number."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mixtura.core.types import Completion

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


_decoder = msgspec.json.Decoder(AnalysisReport)


def parse_analysis(reply: Completion, answers: int) -> AnalysisReport | None:
    """
    The report in *reply* on so many *answers*; None where there is none, or it names others.

    A JSON object in a fence or between sentences is found, too.
    """
    text = reply.text
    begin, end = text.find("{"), text.rfind("}")
    if begin < 0 or end < begin or reply.finish_reason != "stop":
        return None
    try:
        report = _decoder.decode(text[begin : end + 1])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return report if report.slots() <= set(range(1, answers + 1)) else None
