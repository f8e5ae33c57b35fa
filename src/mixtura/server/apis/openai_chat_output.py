"""The JSON of an answer of OpenAI's Chat Completions API: its choices, usage and errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixtura.core.types import Completion
from mixtura.protocols.provider_data.messages import client_chat_fields
from mixtura.server.apis.base import (
    ApiCall,
    ApiError,
)
from mixtura.server.apis.openai_chat_tools import (
    chat_finish_reason,
    write_calls,
)
from mixtura.server.apis.validation import (
    calls_with_ids,
    total_usage,
)


def openai_error_body(refused: ApiError) -> dict[str, Any]:
    """An error as OpenAI's APIs write it."""
    return {
        "error": {
            "message": refused.message,
            "type": refused.kind,
            "param": refused.param,
            "code": refused.code,
        }
    }


def choice_json(index: int, answer: Completion, call: ApiCall) -> dict[str, Any]:
    """One answer as a choice of a chat completion."""
    called = write_calls(list(calls_with_ids(answer, "call_")), call)
    message: dict[str, Any] = {
        "role": "assistant",
        # The API has null beside calls, and an empty text where there is nothing at all.
        "content": None if answer.refusal else answer.text or (None if called else ""),
        "refusal": answer.text if answer.refusal else None,
        **called,
    }
    message |= client_chat_fields(answer.message)
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs_json(answer),
        "finish_reason": chat_finish_reason(answer, call),
    }


def logprobs_json(answer: Completion) -> dict[str, Any] | None:
    """The ``logprobs`` of a choice; None where there are none."""
    return {"content": list(answer.logprobs), "refusal": None} if answer.logprobs else None


def chat_usage_json(answers: Sequence[Completion]) -> dict[str, Any]:
    """The usage of all answers, with every call that they took."""
    whole = total_usage(answers)
    return {
        "prompt_tokens": whole.prompt_tokens,
        "completion_tokens": whole.completion_tokens,
        "total_tokens": whole.total_tokens,
        "prompt_tokens_details": {"cached_tokens": whole.cached_tokens},
        # Part of completion_tokens, as in OpenAI's own answers.
        "completion_tokens_details": {"reasoning_tokens": whole.reasoning_tokens},
    }
