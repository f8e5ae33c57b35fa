"""
Everything that can go wrong, drawn once:

    MixturaError
      ConfigError             the mixture cannot be built; found before any call
        StoreError            the store cannot be read or written
          StoreBusyError      someone else writes to it: may work in a moment
      ModelError              one call to one model failed
        RateLimitedError      may work later
          QuotaError          the money or the quota is spent: will not work soon
        UnavailableError      network, 5xx, a stream that broke: may work later
          TimedOutError       one of the clocks ran out
          CircuitOpenError    it failed too often just now: it was not asked
        RejectedError         4xx: will not work, never retried
          ContextOverflowError
          ContentFilterError
          BudgetExhaustedError  the run's budget has nothing left for this attempt
        MalformedError        the upstream broke its own protocol
          EmptyAnswerError    it said it was done and had said nothing
        QuorumNotMetError     too few of a layer answered
      BudgetExceededError     stopped on purpose
        DeadlineExceededError  its time is over

A failure is one of these or a Failure event, never text. No error carries money: what a
failed call cost stands in the ledger of its run (``core.call_ledger``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mixtura.core.credentials import mask_keys
from mixtura.core.redaction import redact_secrets
from mixtura.core.stated_limits import NO_LIMITS


class MixturaError(Exception):
    """Any failure that Mixtura knows by name. No secret stands in its message."""

    def __init__(self, message: str = "") -> None:
        super().__init__(mask_keys(redact_secrets(str(message))))


class ConfigError(MixturaError):
    """
    The mixture cannot be built: says where, what is wrong and what would be right.

    *key* is the setting it is about, for whoever knows where that stands; *located* is
    true when the message begins with the file and the line.
    """

    def __init__(self, message: str, *, key: str | None = None, located: bool = False) -> None:
        super().__init__(mask_keys(message, names=True))
        self.key = key
        self.located = located


class StoreError(ConfigError):
    """The store cannot be read or written: a wrong path, a full disk, a lock that stays."""


class StoreBusyError(StoreError):
    """Someone else writes to the store: it may work in a moment."""


class ModelError(MixturaError):
    """One call to one model failed."""

    def __init__(
        self,
        message: str,
        *,
        model: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.model = model
        self.status = status
        self.answer_began = False
        """True when the upstream had begun to answer: the call is charged for."""
        self.shown = False
        """True when a part of the answer had already been reported as tokens."""
        self.partial = ""
        """What the model had written of its answer when it broke off."""
        self.limits = NO_LIMITS
        """The limits that the upstream stated."""


def set_partial_text(error: BaseException, partial: str) -> None:
    """Note on *error* what the call that it ends had written of its answer by then."""
    error.partial = partial  # pyright: ignore[reportAttributeAccessIssue]


def partial_text(error: object) -> str:
    """What a call had written when *error* ended it; a cancelled call may have, too."""
    return getattr(error, "partial", "")


class RateLimitedError(ModelError):
    """The upstream asks to come back; *retry_after* in seconds where it said when."""

    retry_after: float | None = None

    def with_retry_after(self, seconds: float | None) -> RateLimitedError:
        self.retry_after = seconds
        return self


class QuotaError(RateLimitedError):
    """The account's money or quota, of a day for example, is spent: trying again does not help."""


class UnavailableError(ModelError):
    """Network, 5xx, a stream that broke: may work later."""

    retry_after: float | None = None


class TimedOutError(UnavailableError):
    """A clock ran out: connect, first token, progress, total, or a layer's deadline."""


class CircuitOpenError(UnavailableError):
    """The model failed several times in a row: for a while others answer without it."""


class RejectedError(ModelError):
    """The upstream will not answer this request; *parameter*: which part of it, if it says."""

    parameter: str | None = None


class ContextOverflowError(RejectedError):
    """The conversation is longer than the model's window."""


class ContentFilterError(RejectedError):
    """The upstream's filter refused the request or the answer."""


class BudgetExhaustedError(RejectedError):
    """The run's budget has nothing left for this attempt: it was not sent."""


class MalformedError(ModelError):
    """The upstream broke its own protocol."""


class EmptyAnswerError(MalformedError):
    """The upstream ended an answer properly, with nothing in it."""


class QuorumNotMetError(ModelError):
    """
    Too few of a layer answered; *causes* has the error of every one that did not.

    *late* is true when some might still have: the layer's time was over.
    """

    def __init__(
        self,
        layer: int,
        quorum: int,
        answered: int,
        causes: Sequence[ModelError],
        *,
        late: bool = False,
    ) -> None:
        said = Counter(f"{cause.model or 'a model'}: {cause}" for cause in causes)
        reasons = "; ".join(f"{n} × {why}" if n > 1 else why for why, n in said.items())
        super().__init__(
            f"layer {layer}: {answered} answered, the quorum is {quorum} ({reasons or 'no cause'})"
        )
        self.layer = layer
        self.quorum = quorum
        self.answered = answered
        self.causes = tuple(causes)
        self.late = late


class BudgetExceededError(MixturaError):
    """Stopped on purpose, before more was spent than allowed."""


class DeadlineExceededError(BudgetExceededError):
    """Stopped when the time it had was over."""
