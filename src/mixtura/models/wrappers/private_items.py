"""Pseudonymized: a Model that never sees private items; placeholders stand for them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mixtura.core.arguments import check_flag, check_optional
from mixtura.core.events import (
    CallRestarted,
    Emit,
    Event,
    ItemsReplaced,
    Notice,
    Token,
    ToolCallChunk,
)
from mixtura.core.model import Model, Wrapper, ask_model
from mixtura.core.text import pluralize_count
from mixtura.core.types import Completion, Message, Part, ReplacedItem, Request, TextPart
from mixtura.engine.background_work import (
    LARGE_BYTES,
    estimate_request_bytes,
    run_in_thread_if_large,
)
from mixtura.privacy.hidden_request import HiddenRequest
from mixtura.privacy.item_finder import PrivateItems
from mixtura.privacy.placeholders import RestoringStream
from mixtura.protocols.content_parts import replace_unsupported_parts


class Pseudonymized(Wrapper):
    """
    Replaces what *items* finds by placeholders before *model* is asked, and puts it back into the
    answer: text, thoughts and tool calls, also while they stream.

    Pictures, sounds and files cannot be searched: with *pictures* they are sent as they are, else
    a line of text stands in for each. Where a recognizer fails, nothing is sent: ModelError. Raises
    TypeError for arguments that are none.
    """

    def __init__(
        self, model: Model, items: PrivateItems | None = None, *, pictures: bool = False
    ) -> None:
        super().__init__(model)
        check_optional("items", items, PrivateItems, "a PrivateItems, or None")
        check_flag("pictures", pictures)
        self.items = items or PrivateItems()
        self.sends_pictures = pictures

    def wrap_model(self, model: Model) -> Pseudonymized:
        """The same protection around another model."""
        return Pseudonymized(model, self.items, pictures=self.sends_pictures)

    async def hide_query(self, request: Request, query: str) -> str:
        """
        *query*, which the model wrote about *request*, with placeholders for what it was not shown
        of that. Raises ModelError where a recognizer fails.
        """
        # With the request before it: an item may be found there alone, and is known here, too.
        whole = replace(request, messages=(*request.messages, Message("user", query)))
        hidden = await self._hide_items(whole, explain=False)
        return hidden.request.messages[-1].text

    async def _hide_items(self, request: Request, *, explain: bool = True) -> HiddenRequest:
        # A recognizer may be a model of its own: it never holds up the loop.
        size = LARGE_BYTES if self.items.recognizers else estimate_request_bytes(request)
        return await run_in_thread_if_large(
            size, HiddenRequest, request, self.items, explain=explain
        )

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """The model's answer with the items in it. Raises ModelError, also for a recognizer."""
        if not self.sends_pictures:
            request, notices = replace_unsupported_parts(request, _is_text)
            for said in notices if emit else ():
                assert emit is not None
                emit(Notice(self.name, f"with `redact`, it {said}"))
        hidden = await self._hide_items(request)
        if not hidden.replaced_items:
            return await ask_model(self._model, hidden.request, emit)
        if emit is None:
            return hidden.restore_answer(await ask_model(self._model, hidden.request))
        emit(ItemsReplaced(self.name, hidden.replaced_items))
        emit(Notice(self.name, _describe_items(hidden.replaced_items)))
        restoring = _RestoringEmit(hidden, emit)
        try:
            answer = await ask_model(self._model, hidden.request, restoring.report)
        finally:
            restoring.finish()
        return hidden.restore_answer(answer)


def _is_text(part: Part) -> bool:
    return isinstance(part, TextPart)


def _describe_items(items: tuple[ReplacedItem, ...]) -> str:
    counts = Counter(item.kind for item in items)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    return f"{pluralize_count(len(items), 'private item')} replaced before the request ({kinds})"


class _RestoringEmit:
    """Passes events on with the items in them; holds back what may be half a placeholder."""

    def __init__(self, hidden: HiddenRequest, emit: Emit) -> None:
        self._hidden = hidden
        self._emit = emit
        self._texts: dict[bool, tuple[RestoringStream, Token]] = {}
        """By whether it is thought: the stream, and the last piece of it."""
        self._call: tuple[RestoringStream, ToolCallChunk] | None = None

    def report(self, event: Event) -> None:
        if type(event) is Token:
            self._report_token(event)
        elif isinstance(event, ToolCallChunk):
            self._report_call(event)
        else:
            if isinstance(event, CallRestarted):  # what came is void
                self._texts.clear()
                self._call = None
            self._emit(event)

    def finish(self) -> None:
        """Pass on what is held back, at the answer's end."""
        self._finish_texts()
        self._finish_call()

    def _report_token(self, token: Token) -> None:
        stream, _ = self._texts.get(token.reasoning) or (self._create_stream(token), token)
        self._texts[token.reasoning] = stream, token
        if text := stream.feed_text(token.text):
            self._emit(Token(text, token.at, token.reasoning, token.pieces, token.refusal))

    def _create_stream(self, token: Token) -> RestoringStream:
        as_json = self._hidden.answers_json and not token.reasoning
        return self._hidden.placeholders.create_stream(within_json=as_json)

    def _report_call(self, chunk: ToolCallChunk) -> None:
        self._finish_texts()
        if self._call is not None and self._call[1].index != chunk.index:
            self._finish_call()
        if self._call is None:
            stream = self._hidden.placeholders.create_stream(within_json=True)
        else:
            stream = self._call[0]
        self._call = stream, chunk
        arguments = stream.feed_text(chunk.arguments)
        if arguments or not chunk.arguments:
            self._emit(_with_arguments(chunk, arguments))

    def _finish_texts(self) -> None:
        for stream, last in self._texts.values():
            if rest := stream.finish():
                self._emit(Token(rest, last.at, last.reasoning, 1, last.refusal))

    def _finish_call(self) -> None:
        if self._call is not None:
            stream, last = self._call
            if rest := stream.finish():
                self._emit(_with_arguments(last, rest))
            self._call = None


def _with_arguments(chunk: ToolCallChunk, arguments: str) -> ToolCallChunk:
    return ToolCallChunk(chunk.index, chunk.id, chunk.name, arguments, chunk.at)
