"""How a batch is going, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from mixtura.core.types import JsonObject

Ending = Literal["done", "capped", "interrupted"]


class EndpointProgress(NamedTuple):
    """How busy one endpoint is; *allowed*: calls it takes at once, None for any number."""

    name: str
    in_flight: int
    waiting: int
    allowed: int | None
    rate_limited: int


@dataclass(slots=True)
class BatchProgress:
    """
    Rows and money by now. *earlier*: rows that an earlier process had done; *dollars* includes
    its calls. *unpriced*: calls without a known price, which count with no dollars.
    """

    total: int
    earlier: int = 0
    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    tokens: int = 0
    dollars: float = 0.0
    dollars_now: float = 0.0
    """What this process has spent."""
    unpriced: int = 0
    draining: bool = False
    endpoints: tuple[EndpointProgress, ...] = ()
    provider_batches: int = 0
    """Batches that are at their providers."""
    batched_calls: int = 0
    """Calls in them that are waited for."""

    @property
    def fresh(self) -> int:
        """Rows that this process has done."""
        return self.done + self.failed - self.earlier

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.fresh / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Until all is done, at this rate; None where none is known."""
        left = self.total - self.done - self.failed
        return left / self.rate if self.rate > 0 else None

    @property
    def dollars_expected(self) -> float | None:
        """What all of it will have cost, if the rest costs as much; None where nothing says so."""
        left = self.total - self.done - self.failed
        if not left:
            return self.dollars
        return self.dollars + self.dollars_now / self.fresh * left if self.fresh else None

    def to_json(self) -> JsonObject:
        left, expected = self.seconds_left, self.dollars_expected
        return {
            "event": "progress",
            "rows": self.total,
            "done": self.done,
            "failed": self.failed,
            "rows_per_second": round(self.rate, 3),
            "seconds_left": None if left is None else round(left, 1),
            "tokens": self.tokens,
            "cost_usd": None if self.unpriced else round(self.dollars, 6),
            "expected_cost_usd": (
                None if self.unpriced or expected is None else round(expected, 6)
            ),
            "provider_batches": self.provider_batches,
            "batched_calls": self.batched_calls,
            "endpoints": [one._asdict() for one in self.endpoints],
        }


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """How a batch ended: rows of the whole input, calls and money of the whole journal."""

    ending: Ending
    rows: int
    done: int
    failed: int
    calls: int
    """Calls that this process has made, those without an answer too."""
    reused: int
    """Calls that were answered from the journal."""
    lost: int
    """Calls that were under way when earlier processes were killed."""
    tokens: int
    cost_usd: float | None
    """None where a price is unknown."""
    lost_cost_usd: float | None
    seconds: float
    output: str | None
    """None where it went to standard output, and neither it nor *journal* is kept."""
    errors: str | None
    journal: str | None
    reason: str | None = None
    """Why it stopped before its end."""
    failure: str | None = None
    """What most of the rows that failed failed of."""
    notes: tuple[str, ...] = field(default=())
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unanswered: int = 0
    """Those of *calls* that brought no answer."""
    all_calls: int = 0
    """The calls of all processes, those that were lost too."""

    def to_json(self) -> JsonObject:
        return {
            "event": "finished",
            "ending": self.ending,
            "rows": self.rows,
            "done": self.done,
            "failed": self.failed,
            "calls": self.calls,
            "unanswered_calls": self.unanswered,
            "all_calls": self.all_calls,
            "reused_calls": self.reused,
            "lost_calls": self.lost,
            "tokens": self.tokens,
            "cost_usd": self.cost_usd,
            "lost_cost_usd": self.lost_cost_usd,
            "seconds": round(self.seconds, 3),
            "output": self.output,
            "errors": self.errors,
            "journal": self.journal,
            "reason": self.reason,
            "failure": self.failure,
        }
