"""How long a layer waits for stragglers (`patience`), learned from its models' last answers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mixtura.core.arguments import (
    NumberField,
    check_flag,
    check_kind,
    check_number_fields,
    check_optional,
)
from mixtura.core.quantities import POSITIVE_SHARE, POSITIVE_SIZE
from mixtura.core.types import Completion, sum_usage

MIN_OBSERVATIONS = 8
"""Answers of a model that were timed before its calls are judged by them."""
MAX_OBSERVATIONS = 64
"""The last ones that are kept of each model: older ones say little about today."""
NEAREST_OBSERVATIONS = 16
"""Of these, as many as are compared with: those of the most similar length."""
MAX_MODELS = 1000
USUAL_QUANTILE = 0.75
"""A model's usual time is that which three of four of these answers did not exceed."""
PROMPT_WEIGHT = 0.125
"""Reading a token takes about an eighth of the time that writing one takes, or less."""
MIN_SECONDS = 0.25
"""No call is late before that, whatever was learned: fluctuations are no stragglers."""
MIN_QUORUM_MULTIPLE = 1.5
"""Nor before so many times the seconds after which the quorum had answered."""
MAX_COPY_SHARE = 0.05
"""Of the strongest model's calls, at most so many are made a second time."""


class _Observation(NamedTuple):
    size: float
    seconds: float


class ResponseTimes:
    """
    The seconds that each model's last answers took, beside how much there was to write then.

    Kept in this process, by the models' names; any number of threads and loops may use it: rows
    are replaced, never changed, and all that can be lost is one of two that come at once.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[_Observation, ...]] = {}
        self._calls: dict[str, int] = {}
        self._copies: dict[str, int] = {}

    def record(self, model: str, size: float, seconds: float) -> None:
        """An answer took so long, or was not there by then; *size*: see `task_size`."""
        seen = self._seen.pop(model, ())
        # Behind the others: the first one is the one that was not asked for longest.
        self._seen[model] = (*seen[1 - MAX_OBSERVATIONS :], _Observation(size, seconds))
        self._calls[model] = self._calls.get(model, 0) + 1
        if len(self._seen) > MAX_MODELS:
            oldest = list(self._seen)[0]  # noqa: RUF015  (an iterator may meet another thread)
            for table in (self._seen, self._calls, self._copies):
                table.pop(oldest, None)

    def usual_seconds(self, model: str, size: float) -> float | None:
        """What *model* takes for a task of that *size*; None while too few answers were seen."""
        seen = self._seen.get(model, ())
        if len(seen) < MIN_OBSERVATIONS:
            return None
        nearest = sorted(seen, key=lambda one: abs(math.log(one.size / size)))
        times = sorted(
            # For a longer answer than any that was seen, as much longer a time.
            one.seconds * max(1.0, size / one.size)
            for one in nearest[:NEAREST_OBSERVATIONS]
        )
        return times[min(int(USUAL_QUANTILE * len(times)), len(times) - 1)]

    def take_copy(self, model: str) -> bool:
        """Whether one more call of *model* may be made a second time; if so, it is counted."""
        copies = self._copies.get(model, 0) + 1
        if copies > max(MAX_COPY_SHARE * self._calls.get(model, 0), 1.0):
            return False
        self._copies[model] = copies
        return True


@dataclass(frozen=True, slots=True)
class LearnedPatience:
    """
    Once *quorum_share* of a layer's calls have answered, each of the others has *multiple* times
    its model's usual time for such a task, from its beginning on.

    *strongest*: the name of the model whose answer is waited for in any case. Where all of its
    calls are late, one is made a second time, if *asks_again*, and the first to answer counts.
    *times*: what was learned; shared by all layers that call the same models. Raises TypeError and
    ValueError for values that are none.
    """

    times: ResponseTimes = field(default_factory=ResponseTimes, repr=False)
    strongest: str | None = None
    asks_again: bool = True
    multiple: float = 1.8
    quorum_share: float = 2 / 3

    def __post_init__(self) -> None:
        check_kind("times", self.times, ResponseTimes, "a ResponseTimes")
        check_optional("strongest", self.strongest, str, "a model's name, or None")
        check_flag("asks_again", self.asks_again)
        check_number_fields(
            self,
            NumberField("multiple", POSITIVE_SIZE, optional=False),
            NumberField("quorum_share", POSITIVE_SHARE, optional=False),
        )

    def waiting_for(self, model: str) -> LearnedPatience:
        """The same with *model* as the strongest, which may be one that is not asked twice."""
        return replace(
            self, strongest=model, asks_again=self.asks_again and model == self.strongest
        )

    def quorum_of(self, calls: int) -> int:
        """Answers of *calls* from which on the others can be late."""
        return max(math.ceil(calls * self.quorum_share - 1e-9), 1)


def task_size(answers: Iterable[Completion]) -> float | None:
    """
    How much there is to write for the question that these are answers to: tokens, of the median
    answer, with a part of those that were read. None where all are from a cache.
    """
    sizes: list[float] = []
    for answer in answers:
        if answer.charges:  # an answer from a cache took no time that says anything
            usage = sum_usage(answer.charges)
            sizes.append(usage.completion_tokens + PROMPT_WEIGHT * usage.prompt_tokens + 1.0)
    return sorted(sizes)[len(sizes) // 2] if sizes else None
