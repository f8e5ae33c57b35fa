"""Agreement and Support: what is known of how well an answer is backed by those behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

SupportSource = Literal["votes", "weights", "agreement"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """
    Where the proposals behind an answer agree and differ, for people: *report* names the models.

    *number*: the share of the claims that several speak of on which all of them agree, 0 to 1;
    None where no claim is spoken of by several, or there is no report. *reason* says which.
    """

    number: float | None
    report: dict[str, Any] | None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As the documented JSON."""
        return {"number": self.number, "report": self.report, "reason": self.reason}


class Support(NamedTuple):
    """
    How much of what a pattern counted stands behind its answer, 0 to 1.

    It is no probability of being right before it is calibrated. *source*: a share of the votes,
    a share of the weights, or the agreement number.
    """

    source: SupportSource
    value: float

    def to_json(self) -> dict[str, Any]:
        """As the documented JSON."""
        return {"source": self.source, "value": self.value}
