"""Why an answer ended, in the words of every API, as one of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from mixtura.core.types import FinishReason

Ending = FinishReason | Literal["failed"]
"""``failed``: the upstream gave up, and what came is no answer."""

_WORDS: Mapping[Ending, str] = {
    "stop": "stop stop_sequence stop_token end end_turn end_of_turn eos eos_token complete"
    " completed done finished finish normal natural success stop_sequence_reached end_of_text"
    " endoftext end_of_sequence end_of_sequence_token eos_found eot im_end eot_id stop_str"
    " stop_string stop_string_found stop_criteria_met word return endofturn </s> stop_on_eos"
    " eos_token_id end_of_message eom_id <end_of_turn>",
    "length": "length max_tokens max_length max_output_tokens max_completion_tokens"
    " max_new_tokens max_tokens_reached model_length model_max_length token_limit"
    " model_context_window_exceeded context_window_exceeded context_length_exceeded"
    " incomplete pause_turn",
    "tool_calls": "tool_calls tool_call tool_use function_call function_calls tool_calls_requested",
    "content_filter": "content_filter content_filtered content_policy_violation safety"
    " image_safety recitation language blocklist prohibited_content spii refusal"
    " guardrail_intervened sensitive error_toxic content_policy image_prohibited_content"
    " image_recitation model_armor moderation content_moderation safety_filter blocked flagged",
    "failed": "error errored abort aborted cancelled canceled timeout network_error"
    " insufficient_system_resource malformed_function_call malformed_tool_call"
    " malformed_model_output unexpected_tool_call too_many_tool_calls error_limit"
    " malformed_tool_use malformed_response missing_thought_signature failed failure"
    " user_cancel user_cancelled user_canceled user_stopped model_unloaded internal_error"
    " server_error",
}
_ENDINGS: Mapping[str, Ending] = {
    word: ending for ending, words in _WORDS.items() for word in words.split()
}
_PREFIXES = ("finish_reason_", "finish_reason.", "finishreason.", "stop_reason_", "reason_")
_UNFINISHED_WORDS = ("", "null", "none", "unspecified", "not_finished", "reason_invalid")
"""What some servers write while an answer goes on."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def read_finish_reason(value: object) -> str | None:
    """
    A finish reason in one spelling; None where *value* says that the answer goes on.

    What is no text is a reason that no one knows; an object (SGLang) may have a text in it.
    """
    if isinstance(value, dict):
        row = cast("dict[str, Any]", value)
        value = next((row[k] for k in ("type", "reason") if isinstance(row.get(k), str)), row)
    if value is None:
        return None
    if not isinstance(value, str):
        return type(value).__name__
    word = _CAMEL.sub("_", value.strip()).lower().replace("-", "_").replace(" ", "_")
    word = word.removeprefix("<|").removesuffix("|>")
    if word in _UNFINISHED_WORDS:
        return None
    for prefix in _PREFIXES:
        word = word.removeprefix(prefix)
    return None if word in _UNFINISHED_WORDS else word


def is_cut_off(reason: str | None) -> bool:
    """Whether a finish reason is known to say that the answer is not all there is."""
    return _ENDINGS.get(reason or "", "stop") in ("length", "content_filter", "failed")


def classify_finish_reason(reason: str | None) -> Ending:
    """What a finish reason means. An unknown one does not say that the answer is whole."""
    # "length" keeps an answer that may be cut off from passing for a whole one.
    return _ENDINGS.get(reason or "", "length")
