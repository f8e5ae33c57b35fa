"""What a call to a model reports: notices, pieces of the answer, and errors with their charges."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

from mixtura.billing.request_log import REQUEST_LOG
from mixtura.core.errors import MalformedError, ModelError, add_charges, set_partial_text
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
    if fresh.thought:
        emit(Token(fresh.thought, reasoning=True, pieces=fresh.pieces))
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
        emit(Notice(model, "what came so far was reasoning, not yet the answer"))


@contextmanager
def attribute_errors(
    model: str, request: Request, so_far: AnswerAccumulator, emit: Emit | None = None
) -> Generator[None]:
    """
    Surrounds one request to an upstream. An error that ends it gets the model's name, the partial
    answer and the charges, and loses its secrets. The request and its charges are recorded in
    ``REQUEST_LOG`` where that is set, and implausible usage of the upstream leads to a notice.
    """
    requests = REQUEST_LOG.get()
    call = requests.record_request(model, request) if requests else ""
    charges: Sequence[Charge] = ()
    try:
        yield
        charges = (so_far.build_charge(model, request),) if requests else ()
    except (RecursionError, ArithmeticError) as error:  # raised while reading what it sent
        odd = MalformedError(f"its answer cannot be read: {redacted_excerpt(str(error), 200)}")
        charges = _annotate_error(odd, model, request, so_far).charges
        raise odd from error
    except ModelError as error:
        charges = _annotate_error(error, model, request, so_far).charges
        raise
    except asyncio.CancelledError as error:
        # The request was sent, and the provider may charge for it: count an estimate.
        charges = (so_far.build_charge(model, request, failed=True),)
        add_charges(error, *charges)
        set_partial_text(error, "".join(so_far.answer_parts))
        raise
    except Exception as error:
        current_redactor().redact_error(error)
        raise
    finally:
        if requests:
            requests.record_charges(call, charges)
        if so_far.doubts and emit is not None:
            told = ", ".join(dict.fromkeys(so_far.doubts[:MAX_NAMED_DOUBTS]))
            emit(Notice(model, f"its usage makes no sense ({told}): that is not taken over"))


def _annotate_error(
    error: ModelError, model: str, request: Request, so_far: AnswerAccumulator
) -> ModelError:
    current_redactor().redact_error(error)
    error.model = error.model or model
    error.shown = so_far.shown
    set_partial_text(error, "".join(so_far.answer_parts))
    if so_far.has_started and not error.charges:
        error.with_charges(so_far.build_charge(model, request, failed=True))
    return error
