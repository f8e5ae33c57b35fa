"""
Mixtura: several language models together answer better than the best of them alone.

    from mixtura import Mixture, answer_sync

    team = Mixture.of(["openai/gpt-5.4-mini", "groq/llama-3.3-70b-versatile"], "openai/gpt-5.4")
    print(answer_sync(team, "Why is the sky blue?").text)

What is here is all that a program needs; ``import mixtura`` loads only what is used of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixtura.billing.answer_cost import answer_cost
from mixtura.billing.price import Price
from mixtura.billing.spending_caps import RunCap
from mixtura.core.call_ledger import CallLedger, open_ledger, record_charge
from mixtura.core.errors import (
    BudgetExceededError,
    CallOverBudgetError,
    CircuitOpenError,
    ConfigError,
    ContentFilterError,
    ContextOverflowError,
    DeadlineExceededError,
    EmptyAnswerError,
    MalformedError,
    MixturaError,
    ModelError,
    QuorumNotMetError,
    QuotaError,
    RateLimitedError,
    RejectedError,
    StoreError,
    TimedOutError,
    UnavailableError,
)
from mixtura.core.events import (
    Aggregation,
    CacheHit,
    CallRestarted,
    CallStarted,
    Emit,
    Event,
    Failure,
    ItemsReplaced,
    LayerFinished,
    Notice,
    Position,
    PositionPath,
    Proposal,
    RunCompleted,
    RunStarted,
    Token,
    ToolCallChunk,
)
from mixtura.core.lazy_names import load_when_used
from mixtura.core.model import Model, Wrapper, get_model_info
from mixtura.core.model_info import ModelInfo
from mixtura.core.roles import Aggregator, Composite, Layer, PlannedCall, Proposer
from mixtura.core.straggler_patience import LearnedPatience
from mixtura.core.types import (
    Charge,
    Completion,
    ImagePart,
    Message,
    OtherPart,
    ReplacedItem,
    Request,
    Sampling,
    TextPart,
    ToolCall,
    Usage,
    WebSource,
    ask,
)
from mixtura.engine.final_step import FinalStep
from mixtura.engine.kept_drafts import KeptDrafts, reuse_drafts
from mixtura.engine.mixture import Mixture, set_model_resolver
from mixtura.engine.pattern import Pattern
from mixtura.engine.run_control import ControlError, RunControl, control_run
from mixtura.engine.streaming import Recorder, Run, streamed
from mixtura.engine.trace import Trace

if TYPE_CHECKING:
    from mixtura.config.provider_models import Anthropic, OpenAI
    from mixtura.config.python_api import Configuration, answer_sync, load, model
    from mixtura.models.llama_cpp import Local
    from mixtura.models.pydantic_ai import PydanticAI
    from mixtura.models.replay import Replay
    from mixtura.models.wrappers.budget_per_attempt import BudgetedPerAttempt
    from mixtura.models.wrappers.budget_per_run import BudgetedPerRun
    from mixtura.models.wrappers.cache import Cached
    from mixtura.models.wrappers.deadline import Deadlined
    from mixtura.models.wrappers.hedge import Hedged
    from mixtura.models.wrappers.private_items import Pseudonymized
    from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
    from mixtura.models.wrappers.retry import Retrying
    from mixtura.patterns.best_of import BestOf
    from mixtura.patterns.choosing import Chosen
    from mixtura.patterns.ranker import Ranker
    from mixtura.patterns.self_moa import self_moa
    from mixtura.patterns.sequential import Sequential
    from mixtura.patterns.spec import FinalModel, PatternParts, PatternSpec
    from mixtura.patterns.vote import Vote
    from mixtura.privacy.item_finder import PrivateItems
    from mixtura.transport.aiohttp_transport import AiohttpTransport
    from mixtura.transport.base import Transport, TransportResponse
    from mixtura.transport.pool import Http1Transport
    from mixtura.transport.timeouts import CallTimeouts

_LOADED_WHEN_USED = {
    "AiohttpTransport": "transport.aiohttp_transport",
    "Anthropic": "config.provider_models",
    "BestOf": "patterns.best_of",
    "BudgetedPerAttempt": "models.wrappers.budget_per_attempt",
    "BudgetedPerRun": "models.wrappers.budget_per_run",
    "Cached": "models.wrappers.cache",
    "CallTimeouts": "transport.timeouts",
    "Chosen": "patterns.choosing",
    "Configuration": "config.python_api",
    "Deadlined": "models.wrappers.deadline",
    "FinalModel": "patterns.spec",
    "Hedged": "models.wrappers.hedge",
    "Http1Transport": "transport.pool",
    "Limited": "models.wrappers.rate_limit",
    "Local": "models.llama_cpp",
    "OpenAI": "config.provider_models",
    "PatternParts": "patterns.spec",
    "PatternSpec": "patterns.spec",
    "PrivateItems": "privacy.item_finder",
    "Pseudonymized": "models.wrappers.private_items",
    "PydanticAI": "models.pydantic_ai",
    "Ranker": "patterns.ranker",
    "RateLimiter": "models.wrappers.rate_limit",
    "RateLimits": "models.wrappers.rate_limit",
    "Replay": "models.replay",
    "Retrying": "models.wrappers.retry",
    "Sequential": "patterns.sequential",
    "Transport": "transport.base",
    "TransportResponse": "transport.base",
    "Vote": "patterns.vote",
    "answer_sync": "config.python_api",
    "load": "config.python_api",
    "model": "config.python_api",
    "self_moa": "patterns.self_moa",
}
"""Public names whose modules bring more than the words: each is imported when it is first used."""

__all__ = [
    "Aggregation",
    "Aggregator",
    "AiohttpTransport",
    "Anthropic",
    "BestOf",
    "BudgetExceededError",
    "BudgetedPerAttempt",
    "BudgetedPerRun",
    "CacheHit",
    "Cached",
    "CallLedger",
    "CallOverBudgetError",
    "CallRestarted",
    "CallStarted",
    "CallTimeouts",
    "Charge",
    "Chosen",
    "CircuitOpenError",
    "Completion",
    "Composite",
    "ConfigError",
    "Configuration",
    "ContentFilterError",
    "ContextOverflowError",
    "ControlError",
    "DeadlineExceededError",
    "Deadlined",
    "Emit",
    "EmptyAnswerError",
    "Event",
    "Failure",
    "FinalModel",
    "FinalStep",
    "Hedged",
    "Http1Transport",
    "ImagePart",
    "ItemsReplaced",
    "KeptDrafts",
    "Layer",
    "LayerFinished",
    "LearnedPatience",
    "Limited",
    "Local",
    "MalformedError",
    "Message",
    "MixturaError",
    "Mixture",
    "Model",
    "ModelError",
    "ModelInfo",
    "Notice",
    "OpenAI",
    "OtherPart",
    "Pattern",
    "PatternParts",
    "PatternSpec",
    "PlannedCall",
    "Position",
    "PositionPath",
    "Price",
    "PrivateItems",
    "Proposal",
    "Proposer",
    "Pseudonymized",
    "PydanticAI",
    "QuorumNotMetError",
    "QuotaError",
    "Ranker",
    "RateLimitedError",
    "RateLimiter",
    "RateLimits",
    "Recorder",
    "RejectedError",
    "ReplacedItem",
    "Replay",
    "Request",
    "Retrying",
    "Run",
    "RunCap",
    "RunCompleted",
    "RunControl",
    "RunStarted",
    "Sampling",
    "Sequential",
    "StoreError",
    "TextPart",
    "TimedOutError",
    "Token",
    "ToolCall",
    "ToolCallChunk",
    "Trace",
    "Transport",
    "TransportResponse",
    "UnavailableError",
    "Usage",
    "Vote",
    "WebSource",
    "Wrapper",
    "answer_cost",
    "answer_sync",
    "ask",
    "control_run",
    "get_model_info",
    "load",
    "model",
    "open_ledger",
    "record_charge",
    "reuse_drafts",
    "self_moa",
    "streamed",
]


__getattr__ = load_when_used("mixtura", _LOADED_WHEN_USED)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _resolve_model(value: Model | str, place: str) -> Model:
    """A model's name to a model, by the configuration; loaded only when a name is given."""
    from mixtura.config.python_api import resolve_model

    return resolve_model(value, place)


set_model_resolver(_resolve_model)
