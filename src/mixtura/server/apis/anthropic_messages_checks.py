"""Rules for a request of Anthropic's Messages API that its types cannot state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixtura.server.apis.anthropic_messages_body import (
    Block,
    Citations,
    DocumentBlock,
    MessagesBody,
    MessagesTurn,
    SearchResultBlock,
    TextBlock,
    ThinkingEnabled,
    ToolResultBlock,
    ToolUseBlock,
)
from mixtura.server.apis.base import ApiError


def check_body(body: MessagesBody) -> None:
    """
    Raises ApiError naming the parameter for a thinking budget that is not less than ``max_tokens``,
    and for turns whose calls and results do not fit each other.
    """
    if (
        isinstance(body.thinking, ThinkingEnabled)
        and body.thinking.budget_tokens >= body.max_tokens
    ):
        message = "`thinking.budget_tokens` must be less than `max_tokens`"
        raise ApiError(400, message, param="thinking.budget_tokens")
    _check_turns(body.messages)


def _check_turns(turns: Sequence[MessagesTurn]) -> None:
    """
    Raises ApiError unless every call has its result in the next turn, and every result its call.
    """
    calls: dict[str, str] = {}
    replied = False
    for number, turn in enumerate(turns):
        if turn.content is None and turn.role != "assistant":
            where = f"messages[{number}].content"
            raise ApiError(400, f"`{where}` is null: it can be text or blocks", param=where)
        if turn.role == "assistant":
            # Several turns of the user may hold the results; the next answer ends the search for
            # them.
            if replied:
                _check_calls_answered(calls)
            replied = False
        elif turn.role == "user":
            replied = True
        for place, block in enumerate(turn.content_blocks):
            _check_block(f"messages[{number}].content[{place}]", turn.role, block, calls)
    _check_calls_answered(calls)


def _check_block(where: str, role: str, block: Block, calls: dict[str, str]) -> None:
    """
    Raises ApiError for a block that does not belong here; *calls*: those that have no result yet,
    with their places.
    """
    match block:
        case ToolUseBlock(id=called):
            if role != "assistant" or called in calls:
                message = "a tool_use belongs to the assistant, with an id of its own"
                raise ApiError(400, f"`{where}`: {message}", param=where)
            calls[called] = where
        case ToolResultBlock(tool_use_id=called, content=content):
            if role != "user" or calls.pop(called, None) is None:
                param = f"{where}.tool_use_id"
                message = "a tool_result answers a tool_use of the turn before it, by its id, once"
                raise ApiError(400, f"`{param}`: {message}", param=param)
            for place, piece in enumerate(content if isinstance(content, list) else ()):
                _check_citations(f"{where}.content[{place}]", piece)
        case TextBlock():
            pass
        case _ if role == "system":
            message = f"`{where}`: a system message is text only"
            raise ApiError(400, message, param=where)
        case _:
            _check_citations(where, block)


def _check_citations(where: str, block: Block) -> None:
    match block:
        case (
            DocumentBlock(citations=Citations(True)) | SearchResultBlock(citations=Citations(True))
        ):
            param = f"{where}.citations"
            message = f"`{param}`: answers have no citations here: leave it out"
            raise ApiError(400, message, param=param, code="unsupported_value")
        case _:
            pass


def _check_calls_answered(calls: Mapping[str, str]) -> None:
    for called, where in calls.items():
        message = f"`{where}`: the tool_use {called!r} has no tool_result in the next turn"
        raise ApiError(400, message, param=where)
