"""Hedged: a Model that asks a second time when a call is late: its first token, or a draft."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mixtura.core.arguments import check_number
from mixtura.core.call_ledger import open_ledger
from mixtura.core.events import Emit, Notice
from mixtura.core.model import Model, Wrapper, check_model
from mixtura.core.quantities import OPEN_SHARE, POSITIVE_SHARE, SECONDS
from mixtura.core.types import Completion, Request
from mixtura.engine.copy_race import Attempt, CopyRace

MIN_OBSERVATIONS = 20
"""Calls seen before a quantile of them is trusted."""
MAX_OBSERVATIONS = 200
MIN_PART_BEHIND = 0.25
"""Of the time that a draft usually takes to write: no draft is late that is less behind."""
SHORTEST_LOOK = 0.01
"""Seconds between two looks at how far a draft is."""


class Hedged(Wrapper):
    """
    Asks *elsewhere* (or *model* again) when the first token has not come in time.

    In time is the *quantile* of the first tokens seen, but never less than *after* seconds;
    while there are too few, *after* alone counts (None: no copy yet). The first copy to
    speak is the answer; the other is cancelled and stays on the bill. At most a *share* of
    the calls gets a copy. Of an answer that a person reads it looks at the first token, not the
    whole: a second copy mends a queue, not a long answer (Dean and Barroso 2013, "The tail at
    scale"). A draft is watched to its end: it is also copied when it falls further behind its
    model's usual pace than others do, and the first copy that is whole is the answer. Each of
    the two clocks then has half of the calls above the *quantile*, and half of the *share* is
    kept for drafts that are twice as late. Raises TypeError and ValueError for arguments that are
    none.
    """

    def __init__(
        self,
        model: Model,
        *,
        elsewhere: Model | None = None,
        share: float = 0.05,
        quantile: float = 0.95,
        after: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(model)
        if elsewhere is not None:
            check_model("elsewhere", elsewhere)
        self._elsewhere = elsewhere or model
        self._share = check_number("share", share, POSITIVE_SHARE)
        self._quantile = check_number("quantile", quantile, OPEN_SHARE)
        self._after = None if after is None else check_number("after", after, SECONDS)
        self._clock = clock
        self._seen: deque[float] = deque(maxlen=MAX_OBSERVATIONS)
        self._paces: deque[float] = deque(maxlen=MAX_OBSERVATIONS)
        """Seconds a letter, from the first token to the end."""
        self._delays: deque[float] = deque(maxlen=MAX_OBSERVATIONS)
        """The most seconds that each draft was behind the usual pace."""
        self._writing: deque[float] = deque(maxlen=MAX_OBSERVATIONS)
        """Seconds from the first token to the end."""
        self.calls = 0
        self.copies = 0

    @property
    def fallback_models(self) -> tuple[Model, ...]:
        return () if self._elsewhere is self._model else (self._elsewhere,)

    def hedge_delay(self, quantile: float | None = None) -> float | None:
        """Seconds after which a first token is late; None when no one can say."""
        return self._late_after(self._seen, quantile or self._quantile)

    def _draft_delay(self, quantile: float) -> float | None:
        """Seconds behind its model's pace from which on a draft is late; None: no one can say."""
        late = self._late_after(self._delays, quantile)
        if late is None or len(self._writing) < MIN_OBSERVATIONS:
            return late
        return max(late, MIN_PART_BEHIND * statistics.median(self._writing))

    def _late_after(self, seen: Sequence[float], quantile: float) -> float | None:
        if len(seen) < MIN_OBSERVATIONS:
            return self._after
        ranked = sorted(seen)
        learned = ranked[min(int(quantile * len(ranked)), len(ranked) - 1)]
        return max(learned, self._after or 0.0)

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        with open_ledger() as ledger:
            return ledger.bill_answer(await self._race_copies(request, emit))

    async def _race_copies(self, request: Request, emit: Emit | None) -> Completion:
        self.calls += 1
        quantile = (1 + self._quantile) / 2 if request.draft else self._quantile
        late = self.hedge_delay(quantile)
        behind = self._draft_delay(quantile) if request.draft else None
        race = CopyRace(emit, self._clock, to_the_end=request.draft)
        first = race.start_attempt(self._model, request)
        if len(self._paces) >= MIN_OBSERVATIONS:
            first.usual_pace = statistics.median(self._paces)
        try:
            if request.draft:
                await self._watch_draft(race, first, request, emit, _Limits(late, behind))
            elif late is not None:
                await race.wait_for_change(late)
                if first.spoke is None and not race.has_winner:
                    said = f"no first token within {late:.2f} s"
                    self._send_copy(race, first, request, emit, said, self._share)
            answer = await race.wait_for_answer()
        except asyncio.CancelledError as left:
            await race.leave(left)
            raise
        finally:
            await race.cancel_attempts()
        self._learn_first_token(first, late if race.has_copy else None)
        self._learn_pace(first, behind if race.has_copy else None, is_whole=not race.has_copy)
        return answer

    async def _watch_draft(
        self, race: CopyRace, first: Attempt, request: Request, emit: Emit | None, limits: _Limits
    ) -> None:
        """Have a late draft copied: at once with half of the share, else when it is later."""
        times = 1
        while times <= 2 and not first.task.done() and not race.has_copy:
            left, said = limits.seconds_left(first, times, self._clock())
            if left is None or left > 0:
                await race.wait_for_change(left and max(left, SHORTEST_LOOK))
                continue
            share = self._share / 2 if times == 1 else self._share
            self._send_copy(race, first, request, emit, said, share)
            times *= 2

    def _send_copy(
        self,
        race: CopyRace,
        first: Attempt,
        request: Request,
        emit: Emit | None,
        said: str,
        share: float,
    ) -> None:
        if first.task.done() or self.copies + 1 > max(share * self.calls, 1.0):
            return
        self.copies += 1
        if emit:
            emit(Notice(self.name, f"{said}: the request is sent a second time"))
        race.start_attempt(self._elsewhere, request)

    def _learn_first_token(self, first: Attempt, waited: float | None) -> None:
        """Keep when the first token came; of one that never did, how long it was *waited* for."""
        if (seconds := waited if first.spoke is None else first.spoke) is not None:
            self._seen.append(seconds)

    def _learn_pace(self, first: Attempt, waited: float | None, *, is_whole: bool) -> None:
        """
        Keep how fast the draft came and how far it was behind; of one that was copied, no more
        than it was *waited* for, or what is late would become what is usual.
        """
        if first.spoke is None:
            return
        if is_whole and first.letters:
            seconds = first.last_piece - first.started - first.spoke
            self._writing.append(seconds)
            self._paces.append(seconds / first.letters)
        if first.usual_pace is not None and (is_whole or waited is not None):
            most = first.most_behind if waited is None else min(first.most_behind, waited)
            self._delays.append(most)


class _Limits(NamedTuple):
    """The seconds after which a first token, or a draft behind its pace, is late; None: never."""

    first_token: float | None
    behind: float | None

    def seconds_left(self, attempt: Attempt, times: int, now: float) -> tuple[float | None, str]:
        """Until *attempt* is *times* as late, if it says nothing till then; what to say of it."""
        if attempt.spoke is None:
            limit, by_now = self.first_token, now - attempt.started
            said = f"no first token within {by_now:.2f} s"
        else:
            limit, by_now = self.behind, attempt.seconds_behind(now)
            said = f"{by_now:.2f} s behind its usual pace"
        return (None if limit is None else limit * times - by_now), said
