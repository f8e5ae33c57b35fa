"""
The tree of all errors:

    MixturaError
      ConfigError             the mixture cannot be built; found before any call
        NotAvailableHereError   a key, an address or a download is not on this machine
        StoreError            the store cannot be read or written
          StoreBusyError      someone else writes to it: may work in a moment
          StoreDamagedError   part of it cannot be read
      ModelError              one call to one model failed
        RateLimitedError      may work later
          QuotaError          the money or the quota is spent: will not work soon
        UnavailableError      network, 5xx, a stream that broke: may work later
          TimedOutError       one of the timeouts passed
          CircuitOpenError    it failed too often just now: it was not called
        RejectedError         4xx: will not work, never retried
          ContextOverflowError
          ContentFilterError
          CallOverBudgetError  this attempt would pass a cap: not sent
        MalformedError        the upstream broke its own protocol
          EmptyAnswerError    it ended its answer properly, with nothing in it
        QuorumNotMetError     too few of a layer answered
      BudgetExceededError     the run ends: it would pass a cap
        DeadlineExceededError  its time is over
      AnswerMismatchError     the answer is there, and is not of the form that was asked for

A failure is one of these or a Failure event, never text. No error carries money: what a
failed call cost stands in the ledger of its run (``core.call_ledger``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from mixtura.core.credentials import mask_keys
from mixtura.core.redaction import redact_secrets
from mixtura.core.stated_limits import NO_LIMITS


class MixturaError(Exception):
    """Any failure that Mixtura knows by name. No secret stands in its message."""

    def __init__(self, message: str = "") -> None:
        # An upstream's words are quoted in errors, and errors reach logs, answers and kept runs.
        super().__init__(mask_keys(redact_secrets(str(message))))

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross processes, and many are made of more than their message.
        return _restore_error, (type(self), self.args, self.__dict__)


def _restore_error(
    kind: type[MixturaError], args: tuple[Any, ...], state: dict[str, Any]
) -> MixturaError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(MixturaError):
    """
    The mixture cannot be built: says where, what is wrong and what would be right.

    *key* is the setting it is about, from which its line can be found; *line* is its line where
    the message begins with the file and the line. *mistakes* has one error for each line of
    the message where several were found together, else nothing; so many *further_mistakes* were
    found that are not told one by one.
    """

    def __init__(self, message: str, *, key: str | None = None, line: int | None = None) -> None:
        # A key may have been typed in the place of a name, and the message quotes it.
        super().__init__(mask_keys(message, names=True))
        self.key = key
        self.line = line
        self.mistakes: tuple[ConfigError, ...] = ()
        self.further_mistakes = 0

    @property
    def has_location(self) -> bool:
        """Whether the message begins with the file and the line."""
        return self.line is not None

    @classmethod
    def combine(cls, errors: Sequence[ConfigError]) -> ConfigError:
        """One error that says all of *errors* by their lines; the error itself where it is one."""
        found: dict[str, ConfigError] = {}
        for error in errors:
            found |= {str(one): one for one in error.mistakes or (error,)}
        mistakes = sorted(found.values(), key=lambda one: one.line or 0)
        if len(mistakes) == 1:
            return mistakes[0]
        combined = cls("\n".join(map(str, mistakes)), line=mistakes[0].line)
        combined.mistakes = tuple(mistakes)
        return combined


class NotAvailableHereError(ConfigError):
    """
    What a right configuration needs is not on this machine: an API key or an address in the
    environment, a download.
    """


class StoreError(ConfigError):
    """The store cannot be read or written: a wrong path, a full disk, a lock that stays."""


class StoreBusyError(StoreError):
    """Someone else writes to the store: it may work in a moment."""


class StoreDamagedError(StoreError):
    """Part of the store cannot be read; the rest can."""


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
        """True when the upstream had begun to answer, so that it charges for the call."""
        self.shown = False
        """True when a part of the answer had already been reported as tokens."""
        self.partial = ""
        """What the model had written of its answer when it broke off."""
        self.limits = NO_LIMITS
        """The limits that the upstream stated."""


def set_partial_text(error: BaseException, partial: str) -> None:
    """Note on *error* what the call that it ends had written of its answer by then."""
    # Also on CancelledError, which is not ours: what a cancelled draft had written may be used.
    error.partial = partial  # pyright: ignore[reportAttributeAccessIssue]


def partial_text(error: object) -> str:
    """What a call had written when *error* ended it; a cancelled call may have, too."""
    return getattr(error, "partial", "")


class AnswerMismatchError(MixturaError):
    """An answer came that is not of the form that was asked for: it does not match a schema."""


class RateLimitedError(ModelError):
    """The upstream asks to come back; *retry_after* in seconds where it said when."""

    retry_after: float | None = None

    def with_retry_after(self, seconds: float | None) -> RateLimitedError:
        """This error, with the seconds to wait; None where the upstream said none."""
        self.retry_after = seconds
        return self


class QuotaError(RateLimitedError):
    """The account's money or quota, of a day for example, is spent: trying again does not help."""


class UnavailableError(ModelError):
    """Network, 5xx, a stream that broke: may work later."""

    retry_after: float | None = None


class TimedOutError(UnavailableError):
    """A timeout passed: connect, first token, progress, total, or a layer's deadline."""


class CircuitOpenError(UnavailableError):
    """The model failed several times in a row: for a while others answer without it."""


class RejectedError(ModelError):
    """The upstream will not answer this request; *parameter*: which part of it, if it says."""

    parameter: str | None = None


class ContextOverflowError(RejectedError):
    """The conversation is longer than the model's window."""


class ContentFilterError(RejectedError):
    """The upstream's filter refused the request or the answer."""


class CallOverBudgetError(RejectedError):
    """
    One attempt at a call would pass a cap and was not sent; the run may go on without it.

    Where every call of a layer ends so, or the aggregator's, the run raises BudgetExceededError.
    """


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
        reasons = _join_causes(causes)
        asked = answered + len(causes)
        if asked == 1:
            said = f"the only proposer of layer {layer} did not answer"
        else:
            some = f"only {answered}" if answered else "none"
            said = f"{some} of the {asked} proposers of layer {layer} answered"
        self.summary = f"{said} (at least {quorum} {'is' if quorum == 1 else 'are'} needed)"
        """What happened, without the causes."""
        super().__init__(f"{self.summary}: {reasons or 'no cause'}")
        self.layer = layer
        self.quorum = quorum
        self.answered = answered
        self.causes = tuple(causes)
        self.late = late


_MAX_NAMED = 3
"""Models that are named as failed for one reason; more are counted."""


def _join_causes(causes: Sequence[ModelError]) -> str:
    """Each reason once, behind the models that failed for it: ``2 × a, b: no connection``."""
    models: dict[str, Counter[str]] = {}
    for cause in causes:
        models.setdefault(str(cause), Counter())[cause.model or "a model"] += 1
    reasons: list[str] = []
    for reason, counts in models.items():
        names = [f"{n} × {model}" if n > 1 else model for model, n in counts.items()]
        more = len(names) - _MAX_NAMED
        shown = f"{', '.join(names[:_MAX_NAMED])} and {more} more" if more > 0 else ", ".join(names)
        reasons.append(f"{shown}: {reason}")
    return "; ".join(reasons)


class BudgetExceededError(MixturaError):
    """
    A run was refused or ended, before more was spent than its caps allow.

    Of a single call within a run: CallOverBudgetError.
    """

    forecast: str | None = None
    """Of a run that was refused before its first call: what it could take, and which cap that
    passes."""

    def describe_for(self, run: str) -> str:
        """What it says of *run*, where other runs were made beside the one that was refused."""
        return f"{run} {self.forecast}" if self.forecast else str(self)


class DeadlineExceededError(BudgetExceededError):
    """Stopped when the time it had was over."""
