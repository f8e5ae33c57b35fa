"""The format of an API's answers: what an adapter says of its events, and reading by it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from mixtura.core.errors import MalformedError, UnavailableError
from mixtura.core.events import Emit
from mixtura.core.types import Request
from mixtura.engine.background_work import run_in_thread_if_large
from mixtura.models.call_accounting import emit_answer_delta
from mixtura.protocols.answer_accumulator import AnswerAccumulator
from mixtura.transport.client import UpstreamResponse, error_from_stream

DONE = b"[DONE]"
"""The end of a stream of chat completions; vLLM also sends it after Anthropic's messages."""


class AnswerFormat(ABC):
    """How the answers of one API are read, streamed or whole; an adapter says what differs."""

    last_events: ClassVar[tuple[bytes, ...]] = (DONE,)
    """What the last events of a stream contain: near them, nothing is held back."""
    missing_end: ClassVar[str]
    """What an answer lacks that ends without saying so."""

    @abstractmethod
    def _create_accumulator(self) -> AnswerAccumulator:
        """What puts one answer together."""

    @abstractmethod
    def _decode_event(self, data: bytes) -> Any:
        """One event of a stream. Raises MalformedError."""

    @abstractmethod
    def _is_error(self, event: Any, data: bytes) -> bool:
        """Whether an *event* is an error."""

    @abstractmethod
    def _check_whole_answer(self, event: Any) -> None:
        """Raise MalformedError where an answer that did not stream is none."""

    def _report_thoughts(
        self,
        so_far: AnswerAccumulator,  # noqa: ARG002
        request: Request,  # noqa: ARG002
        emit: Emit | None,  # noqa: ARG002
    ) -> None:
        """Report that the model thinks, where that was not known and is learned from its text."""
        return

    async def _read_answer(
        self,
        reply: UpstreamResponse,
        so_far: AnswerAccumulator,
        request: Request,
        emit: Emit | None,
    ) -> None:
        """Read the answer to its end. Raises UnavailableError when it ends without saying so."""

        def take_events(batch: list[bytes]) -> bool:
            try:
                return self._add_events(batch, so_far, reply)
            finally:  # what came before an error came all the same
                if (fresh := so_far.take_new()) is not None:
                    reply.note_progress()
                    self._report_thoughts(so_far, request, emit)
                    emit_answer_delta(so_far, fresh, emit)

        if body := await reply.read_events(take_events):
            so_far.add_chunk(
                await run_in_thread_if_large(len(body), self._decode_whole_answer, body, reply)
            )
            if so_far.finish_reason is None:
                raise MalformedError(f"the answer has no {self.missing_end}")
            emit_answer_delta(so_far, so_far.take_new(), emit)
        elif so_far.finish_reason is None:
            raise UnavailableError(
                f"the stream ended without a {self.missing_end}: the answer is cut off"
            )

    def _add_events(
        self, batch: list[bytes], so_far: AnswerAccumulator, reply: UpstreamResponse
    ) -> bool:
        """Add a *batch* of events to the answer; true when it is over."""
        decode: Callable[[bytes], Any] = self._decode_event
        for data in batch:
            if len(data) == len(DONE) and data.upper() == DONE:
                so_far.end_stream()
                return True
            try:
                event = decode(data)
            except MalformedError:
                if so_far.finish_reason is None:
                    raise
                continue  # the answer is whole
            if self._is_error(event, data):
                raise error_from_stream(data, reply.headers)
            so_far.add_chunk(event)
        return so_far.ended

    def _decode_whole_answer(self, body: bytes, reply: UpstreamResponse) -> Any:
        event = self._decode_event(body)
        if self._is_error(event, body):
            raise error_from_stream(body, reply.headers)
        self._check_whole_answer(event)
        return event
