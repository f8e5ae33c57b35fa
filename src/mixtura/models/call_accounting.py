"""What a call to a model reports: notices, pieces of the answer, errors, and what it cost."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager

from mixtura.billing.request_log import REQUEST_LOG
from mixtura.core.call_ledger import open_entry
from mixtura.core.errors import MalformedError, ModelError, set_partial_text
from mixtura.core.events import CallRestarted, Emit, Notice, Token
from mixtura.core.quantities import redacted_excerpt
from mixtura.core.redaction import current_redactor
from mixtura.core.types import Charge, Request
from mixtura.protocols.answer_accumulator import AnswerAccumulator
from mixtura.protocols.answer_text import AnswerDelta

MAX_NAMED_DOUBTS = 5
"""Implausible counts of a usage that a notice names at most."""


def emit_notices(model: str, notices: Iterable[str], emit: Emit | None) -> None:
    """Emit *notices* of what a call to *model* leaves out."""
    for notice in notices:
        if emit is not None:
            emit(Notice(model, notice))


def emit_answer_delta(
    so_far: AnswerAccumulator, fresh: AnswerDelta | None, emit: Emit | None
) -> None:
    """Emit the *fresh* part of an answer; ``so_far.shown`` tells whether any of it was visible."""
    if fresh is None or emit is None:
        return
    if fresh.thought_text:
        emit(Token(fresh.thought_text, reasoning=True, pieces=fresh.pieces))
    if fresh.text:
        so_far.shown = so_far.shown or not fresh.text.isspace()
        emit(Token(fresh.text, pieces=fresh.pieces, refusal=fresh.refusal))
    for piece in fresh.calls:
        so_far.shown = True
        emit(piece)


def emit_reasoning_notice(model: str, request: Request, emit: Emit | None) -> None:
    """Emit that what was taken for the answer so far is reasoning."""
    if emit is None:
        return
    if request.draft:
        emit(CallRestarted(model, None))
    else:
        emit(Notice(model, "the text so far was reasoning, not part of the answer"))


@contextmanager
def account_for_call(
    model: str, request: Request, so_far: AnswerAccumulator, emit: Emit | None = None
) -> Generator[None]:
    """
    Surrounds one request to an upstream: it enters the run's ledger before it is sent, and what it
    cost stands there however it ends. An error that ends it gets the model's name and the partial
    answer, and loses its secrets. The request and its charge are recorded in ``REQUEST_LOG`` too
    where that is set, and implausible usage of the upstream leads to a notice.
    """
    requests = REQUEST_LOG.get()
    call = requests.record_request(model, request) if requests else 0
    entry = open_entry(lambda: _failed_charge(model, request, so_far))
    charge: Charge | None = None
    try:
        yield
        charge = so_far.final_charge or so_far.build_charge(model, request)
    except (RecursionError, ArithmeticError) as error:  # raised while reading what it sent
        odd = MalformedError(f"its answer cannot be read: {redacted_excerpt(str(error), 200)}")
        _annotate_error(odd, model, so_far)
        charge = _failed_charge(model, request, so_far)
        raise odd from error
    except ModelError as error:
        _annotate_error(error, model, so_far)
        charge = _failed_charge(model, request, so_far)
        raise
    except Exception as error:
        current_redactor().redact_error(error)
        charge = _failed_charge(model, request, so_far)
        raise
    except BaseException as error:
        # The request was sent, and the provider may charge for it: count an estimate.
        charge = so_far.build_charge(model, request, failed=True)
        set_partial_text(error, "".join(so_far.answer_parts))
        raise
    finally:
        entry.close(charge)
        if requests:
            requests.record_charges(call, (charge,) if charge else ())
        if so_far.doubts and emit is not None:
            told = ", ".join(dict.fromkeys(so_far.doubts[:MAX_NAMED_DOUBTS]))
            emit(Notice(model, f"it reported implausible usage ({told}), which is ignored"))


def _failed_charge(model: str, request: Request, so_far: AnswerAccumulator) -> Charge | None:
    """What a call without an answer cost: nothing where the upstream had not begun."""
    if so_far.final_charge:
        return so_far.final_charge._replace(outcome="failed")
    return so_far.build_charge(model, request, failed=True) if so_far.has_started else None


def _annotate_error(error: ModelError, model: str, so_far: AnswerAccumulator) -> None:
    current_redactor().redact_error(error)
    error.model = error.model or model
    error.shown = so_far.shown
    set_partial_text(error, "".join(so_far.answer_parts))
    error.answer_began = so_far.has_started or so_far.final_charge is not None
