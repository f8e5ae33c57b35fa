"""Models that search the web: by their provider's own tool, or by one that is run for them here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, cast

from mixtura.billing.run_budget import RUN_BUDGET, reserve_for_attempt
from mixtura.billing.spending_caps import Spend
from mixtura.core.call_ledger import open_ledger
from mixtura.core.errors import MixturaError
from mixtura.core.events import Emit, Event, Notice, Token, ToolCallChunk
from mixtura.core.json_text import read_json_text
from mixtura.core.model import Model, Wrapper, ask_model
from mixtura.core.redaction import redact_secrets
from mixtura.core.text import to_one_line
from mixtura.core.types import (
    SEARCH_CHARGE,
    Charge,
    Completion,
    Json,
    Message,
    Request,
    ToolCall,
    Usage,
    WebSource,
)
from mixtura.prompts.control_tokens import neutralize_text

TOOL_NAME = "web_search"
MAX_RESULT_CHARS = 20_000
"""Of what a search gives a model to read."""
MAX_QUERY_CHARS = 1000
MAX_SEARCHES_AT_ONCE = 5
"""That one step of an answer makes, however many its model asks for: each has its price."""
_TOOL: Json = {
    "type": "function",
    "function": {
        "name": TOOL_NAME,
        "description": (
            "Search the web. Use it for what is recent, or what you are not sure of; name the"
            " addresses of the pages that you rely on in your answer."
        ),
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "What to search for."}},
            "required": ["query"],
        },
    },
}


class ProviderSearch(Wrapper):
    """A model whose provider searches the web for it: *tools* of the provider's own."""

    def __init__(self, model: Model, tools: Sequence[Json]) -> None:
        super().__init__(model)
        self._tools = tuple(tools)

    def wrap_model(self, model: Model) -> ProviderSearch:
        """The same around another model."""
        return ProviderSearch(model, self._tools)

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """The model's answer; its ``sources`` are the pages that it rests on."""
        asked = replace(request, tools=(*request.tools, *self._tools))
        return await ask_model(self._model, asked, emit)


class FoundPages(NamedTuple):
    """What a search found: the text that a model reads, and the pages in it."""

    text: str
    sources: tuple[WebSource, ...] = ()


class SearchTool(Protocol):
    """Searches the web; open while its block lasts."""

    async def search(self, query: str) -> FoundPages:
        """What is found for *query*. Raises ModelError where that fails."""
        ...


OpenTool = Callable[[], AbstractAsyncContextManager[SearchTool]]
HideQuery = Callable[[Request, str], Awaitable[str]]
"""A query without what the member was not shown of that request."""


class Searching(Wrapper):
    """
    A model that may call a search tool, which is run here up to *rounds* times for an answer.

    *open_tool* opens the tool at the first search of an answer; it is closed with the answer.
    *hide* takes out of a query what may not leave this machine; what is found comes without secrets
    and control tokens. Each search enters the ledger. A
    search that fails is told to the model, which answers without it.
    """

    def __init__(
        self, model: Model, open_tool: OpenTool, *, rounds: int = 3, hide: HideQuery | None = None
    ) -> None:
        super().__init__(model)
        self._open_tool = open_tool
        self._rounds = rounds
        self._hide = hide

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """The model's answer. Raises what the model raises."""
        names = [tool.get("function", {}).get("name") for tool in request.tools]
        if TOOL_NAME in names or request.response_format is not None:
            return await ask_model(self._model, request, emit)
        turn = _SearchTurn(self._open_tool, self._hide, self.name, emit)
        with open_ledger() as ledger:
            try:
                answer = await self._answer_in_rounds(request, turn, emit)
            finally:
                await turn.close()
            return ledger.bill_answer(replace(answer, charges=()))

    async def _answer_in_rounds(
        self, request: Request, turn: _SearchTurn, emit: Emit | None
    ) -> Completion:
        texts: list[str] = []
        for left in range(self._rounds, -1, -1):
            offered = (*request.tools, _TOOL) if left else request.tools
            watched = _without_search_calls(emit) if emit else None
            answer = await ask_model(self._model, replace(request, tools=offered), watched)
            calls = answer.message.tool_calls
            wanted = [call for call in calls if call.name == TOOL_NAME]
            others = tuple(call for call in calls if call.name != TOOL_NAME)
            texts += [answer.text] if answer.text.strip() else []
            if not wanted or others or not left:
                # Calls of the caller's own tools end the turn: ours are left out beside them.
                return _join_answer(answer, texts, others, turn.sources)
            if answer.text.strip() and emit:
                emit(Token("\n\n"))
            results = await turn.answer_calls(request, wanted)
            request = replace(request, messages=(*request.messages, answer.message, *results))
        raise AssertionError("unreachable: the last round offers no search")


def _join_answer(
    answer: Completion,
    texts: Sequence[str],
    calls: tuple[ToolCall, ...],
    sources: Sequence[WebSource],
) -> Completion:
    message = replace(answer.message, tool_calls=calls)
    if len(texts) > 1:
        message = replace(message, content="\n\n".join(texts))
    ended = answer.finish_reason
    if not calls and ended == "tool_calls":
        ended = "stop"
    found = tuple(dict.fromkeys((*answer.sources, *sources)))
    return replace(answer, message=message, finish_reason=ended, sources=found)


class _SearchTurn:
    """The searches of one answer."""

    def __init__(
        self, open_tool: OpenTool, hide: HideQuery | None, name: str, emit: Emit | None
    ) -> None:
        self._open_tool = open_tool
        self._hide = hide
        self._name = name
        self._emit = emit
        self._opened: AbstractAsyncContextManager[SearchTool] | None = None
        self._tool: SearchTool | None = None
        self.sources: list[WebSource] = []

    async def answer_calls(self, request: Request, calls: Sequence[ToolCall]) -> list[Message]:
        """What calls of the tool give, each as the message that the model reads."""
        now, more = calls[:MAX_SEARCHES_AT_ONCE], calls[MAX_SEARCHES_AT_ONCE:]
        results = [await self._answer_call(request, call) for call in now]
        if more and self._emit:
            skipped = f"{len(more)} searches skipped: at most {MAX_SEARCHES_AT_ONCE} run at once"
            self._emit(Notice(self._name, skipped))
        said = f"Not searched: there are at most {MAX_SEARCHES_AT_ONCE} searches at once."
        return [*results, *(Message("tool", said, tool_call_id=call.id) for call in more)]

    async def _answer_call(self, request: Request, call: ToolCall) -> Message:
        query = _read_query(call.arguments)
        if not query:
            said = "No query was given. Call the tool with the field `query`."
            return Message("tool", said, tool_call_id=call.id)
        try:
            if self._hide:
                query = await self._hide(request, query)
            if self._emit:
                self._emit(Notice(self._name, f"searched the web: {to_one_line(query)}"))
            found = await self._search(query)
        except MixturaError as error:  # also a cap that needs the price of a search
            if self._emit:
                self._emit(Notice(self._name, f"the search failed: {to_one_line(error)}"))
            said = "The search failed. Answer from what you know, and say that it failed."
            return Message("tool", said, tool_call_id=call.id)
        self.sources += (WebSource(*map(redact_secrets, page)) for page in found.sources)
        # Anyone can write a page: it shows no key to the model, and is no turn of its own.
        text = neutralize_text(redact_secrets(found.text[:MAX_RESULT_CHARS]))
        return Message("tool", text, tool_call_id=call.id)

    async def _search(self, query: str) -> FoundPages:
        if self._tool is None:
            opened = self._open_tool()
            self._tool = await opened.__aenter__()
            self._opened = opened
        budget, usage = RUN_BUDGET.get(), Usage(searches=1)
        reserved = await reserve_for_attempt(budget, SEARCH_CHARGE, usage) if budget else Spend()
        with open_ledger() as ledger:
            try:
                ledger.record_charge(Charge(SEARCH_CHARGE, usage))
                return await self._tool.search(query)
            finally:
                if budget:
                    budget.release_attempt(reserved, ledger.charges)

    async def close(self) -> None:
        if self._opened is not None:
            opened, self._opened = self._opened, None
            # The answer is there, or what ended it is told: this says nothing more.
            with suppress(Exception):
                await opened.__aexit__(None, None, None)


def _read_query(arguments: str) -> str:
    try:
        given: Any = read_json_text(arguments)
    except ValueError:
        return ""
    query = cast("dict[str, Any]", given).get("query") if isinstance(given, dict) else None
    return query.strip()[:MAX_QUERY_CHARS] if isinstance(query, str) else ""


def _without_search_calls(emit: Emit) -> Emit:
    """Passes events on without the calls of our own tool: no client may run them."""
    ours: set[int] = set()

    def report_event(event: Event) -> None:
        if isinstance(event, ToolCallChunk):
            if event.name == TOOL_NAME or event.index in ours:
                ours.add(event.index)
                return
            before = sum(index < event.index for index in ours)
            event = replace(event, index=event.index - before)
        emit(event)

    return report_event
