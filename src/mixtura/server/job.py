"""Job: one client's call under way, from its request to its answer, with all of its runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from mixtura.core.errors import MixturaError
from mixtura.core.model import Model
from mixtura.core.redaction import Redactor, current_redactor
from mixtura.engine.streaming import Recorder
from mixtura.engine.trace import Trace
from mixtura.server.access import ApiClient
from mixtura.server.apis.base import ApiCall, ApiError, ResponseMeta
from mixtura.server.model_choice import MixtureChoice
from mixtura.storage.turns import TurnPlace

JOB_KEY = "mixtura.job"
"""Where the scope of a request has its job, once there is one."""
PLACE_KEY = "mixtura.place"
"""Where the scope of a run that was begun on the page says which turn it is."""


@dataclass(slots=True)
class Job:
    """A call under way: the model that answers it, and its runs so far."""

    call: ApiCall
    client: ApiClient
    choice: MixtureChoice
    model: Model
    deadline: float | None
    """Seconds that the whole call may take; None for no limit."""
    new_id: Callable[[], str]
    size: int = 0
    """Bytes of the body of its HTTP request."""
    reserved: int = 0
    """Tokens that were charged beforehand to the client's limit for this minute."""
    redactor: Redactor = field(default_factory=current_redactor)
    """Removes the secrets that its client may not see, and the client's own key."""
    started: float = field(default_factory=time.time)
    """Seconds since the epoch."""
    recorders: dict[int, Recorder] = field(default_factory=dict[int, Recorder])
    """Those of the runs that have begun, by the number of the answer."""
    over: list[tuple[str, Trace]] | None = None
    """The ids and traces of its runs, once all of them have ended."""
    failed: MixturaError | ApiError | None = None
    """The error that it ended with, if it did."""
    left_out: list[str] = field(default_factory=list[str])
    """Notes to its client on what was left out, beside those of the models."""
    place: TurnPlace = field(default_factory=TurnPlace)
    """Where its run stands in a conversation."""
    _run_ids: list[str] = field(default_factory=list[str])

    @property
    def run_ids(self) -> list[str]:
        """
        The ids of its runs, in the order of the answers; made on first use, so that no call waits.
        """
        if not self._run_ids:
            self._run_ids = [self.new_id() for _ in range(self.call.n)]
        return self._run_ids

    def take_place(self, place: TurnPlace) -> None:
        """Say where its run stands; one that is asked again there gets another answer."""
        self.place = place
        if place.draw:
            request = replace(self.call.request, draw=place.draw)
            self.call = replace(self.call, request=request)

    def reserve_tokens(self, tokens: int) -> None:
        """Charge its client beforehand; *tokens*: of the longest prompt."""
        # Every member reads the prompt, for every answer.
        self.reserved = tokens * self.choice.calls * self.call.n
        self.client.record_token_usage(self.reserved)

    def recorded_fields(self) -> dict[str, Any]:
        """What is recorded of how its client asked: the place, and the names and options."""
        asked = msgspec.to_builtins(self.call.options)
        asked.pop("proposals", None)
        fields: dict[str, Any] = {"asked": {"model": self.call.model, "mixtura": asked}}
        place = self.place
        if place.conversation:
            fields |= {
                name: getattr(place, name) for name in ("conversation", "previous", "beside")
            }
        if place.blind:
            fields["blind"] = place.blind
        return fields

    def run_traces(self) -> list[tuple[str, Trace]]:
        """The runs that have begun: the id and the trace of each."""
        if self.over is not None:
            return self.over
        # Built anew: a run that is not over still grows.
        return [(self.run_ids[i], self.recorders[i].build_trace()) for i in sorted(self.recorders)]

    @property
    def response_meta(self) -> ResponseMeta:
        """The number and the time that its answer states."""
        return ResponseMeta(self.run_ids[0].replace("-", ""), int(self.started))
