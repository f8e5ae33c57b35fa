"""Our answers, with their tokens and dollars, as outputs of Inspect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    Content,
    ContentReasoning,
    ContentText,
    Logprob,
    Logprobs,
    ModelOutput,
    ModelUsage,
    StopReason,
)
from inspect_ai.tool import ToolCall, ToolInfo

from mixtura.billing.price import Pricer, total_cost
from mixtura.core.json_text import read_json_text
from mixtura.core.types import (
    Charge,
    Completion,
    FinishReason,
    sum_usage,
)
from mixtura.core.types import ToolCall as MixturaToolCall

_STOPPED: Mapping[FinishReason, StopReason] = {
    "stop": "stop",
    "length": "max_tokens",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}


def build_output(
    answers: Sequence[Completion], tools: list[ToolInfo], pricer: Pricer
) -> ModelOutput:
    """One output of Inspect with a choice for each of *answers*; the metadata has the costs."""
    charges = [charge for answer in answers for charge in answer.charges]
    first = answers[0]
    return ModelOutput(
        model=first.model,
        choices=[_build_choice(answer, tools) for answer in answers],
        usage=_build_usage(charges, pricer),
        metadata=charge_summary(charges, pricer)
        | {"left_out": list(first.degraded)}
        | ({"agreement": first.agreement.number} if first.agreement else {}),
    )


def _build_choice(answer: Completion, tools: Sequence[ToolInfo]) -> ChatCompletionChoice:
    content: str | list[Content] = answer.text
    if answer.reasoning:
        content = [ContentReasoning(reasoning=answer.reasoning), ContentText(text=answer.text)]
    known = {tool.name for tool in tools}
    message = ChatMessageAssistant(
        content=content,
        tool_calls=[_parse_tool_call(call, known) for call in answer.message.tool_calls] or None,
        model=answer.model,
        source="generate",
    )
    tokens = [Logprob.model_validate(dict(row)) for row in answer.logprobs]
    return ChatCompletionChoice(
        message=message,
        stop_reason=_STOPPED[answer.finish_reason],
        logprobs=Logprobs(content=tokens) if tokens else None,
    )


def _parse_tool_call(call: MixturaToolCall, known: set[str]) -> ToolCall:
    """A tool call; what is wrong with it becomes its parse error, as Inspect does."""
    arguments: Any = {}
    problem = None if call.name in known else f"there is no tool called {call.name}"
    try:
        arguments = read_json_text(call.arguments or "{}")
    except ValueError as error:
        problem = f"the arguments are not JSON: {error}"
    if not isinstance(arguments, dict):
        arguments, problem = {}, "the arguments are not a JSON object"
    return ToolCall(call.id, call.name, arguments, parse_error=problem)  # pyright: ignore[reportUnknownArgumentType]


def _build_usage(charges: Sequence[Charge], pricer: Pricer) -> ModelUsage:
    """The whole run's tokens and dollars; Inspect counts cached tokens separately."""
    whole = sum_usage(charges)
    apart = whole.cached_tokens + whole.cache_write_tokens
    return ModelUsage(
        input_tokens=max(whole.prompt_tokens - apart, 0),
        output_tokens=whole.completion_tokens,
        total_tokens=whole.total_tokens,
        input_tokens_cache_read=whole.cached_tokens,
        input_tokens_cache_write=whole.cache_write_tokens,
        reasoning_tokens=whole.reasoning_tokens,
        total_cost=total_cost(charges, pricer),
    )


def charge_summary(charges: Sequence[Charge], pricer: Pricer) -> dict[str, Any]:
    """A run's calls, tokens and dollars, in all and by model; an unknown price is null."""
    rows: dict[str, list[Charge]] = {}
    for charge in charges:
        rows.setdefault(charge.model, []).append(charge)
    return _charge_totals(charges, pricer) | {
        "by_model": {model: _charge_totals(lines, pricer) for model, lines in rows.items()}
    }


def _charge_totals(charges: Sequence[Charge], pricer: Pricer) -> dict[str, Any]:
    used = sum_usage(charges)
    return {
        "calls": len(charges),
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "cost_usd": total_cost(charges, pricer),
    }
