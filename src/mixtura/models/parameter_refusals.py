"""Which of a request's parameters a model's refusal is about."""

from __future__ import annotations

import re
from functools import cache

from mixtura.core.errors import RejectedError
from mixtura.core.types import JsonObject
from mixtura.protocols.sampling_options import OPTIONAL_PARAMETERS

_DROPPABLE_PARAMETERS = (
    "temperature", "top_p", "stop", "stop_sequences", "seed", "stream_options", "stream",
    "max_tokens", "max_completion_tokens", "reasoning_effort", "top_k", "verbosity",
    *sorted(
        OPTIONAL_PARAMETERS - {"reasoning_effort", "top_k", "verbosity", "parallel_tool_calls"}
    ),
)  # fmt: skip
"""Parameters that a request can do without; the first are worth the most. Tools and response
formats are not among them."""
_NOT_SUPPORTED = re.compile(
    r"(?i)not (?:\w+ )?(?:support(?:ed)?|allow(?:ed)?|permit(?:ted)?|recogni[sz]ed?|accept(?:ed)?"
    r"|available|enabled)\b"
    r"|unsupported|unrecogni[sz]ed|unknown|unexpected|deprecated|extra (?:inputs?|fields?)"
    r"|cannot both|only the default|n't (?:support|accept|allow)"
    r"|invalid (?:parameter|argument|field)"
    r"|不支持"
)
_OUT_OF_RANGE = re.compile(
    r"(?i)above (?:the )?maximum|below (?:the )?minimum|[<>]=?\s*\d|(?:less|greater) than or equal"
    r"|\brange\b|between \d"
)
_STATED_MAXIMUM = re.compile(
    r"(?:> |at most |<= ?|less than or equal to |maximum (?:value )?(?:of |is )?)([0-9]+)"
)
_NO_STREAM = re.compile(r"stream(?:ing|ed)?\b.{0,40}\bnot\b|verified to stream", re.IGNORECASE)


def refused_parameter(error: RejectedError, sent: JsonObject) -> str | None:
    """The parameter of the body *sent* that *error* refuses, else None."""
    said = str(error)
    if error.parameter in _DROPPABLE_PARAMETERS and error.parameter in sent:
        return error.parameter
    if "stream" in sent and _NO_STREAM.search(said):
        return "stream"
    named = [
        name
        for name in _DROPPABLE_PARAMETERS
        if name in sent and _spelling_pattern(name).search(said)
    ]
    if not named or not (_NOT_SUPPORTED.search(said) or _STATED_MAXIMUM.search(said)):
        return None
    if "both" in said:  # «a and b cannot both be given»: keep the one that is worth more
        return named[-1]
    return min(named, key=lambda name: _spelling_pattern(name).search(said).start())  # pyright: ignore


def is_out_of_range(error: RejectedError) -> bool:
    """Whether *error* is about a parameter's value, not the parameter itself."""
    return _OUT_OF_RANGE.search(str(error)) is not None


@cache
def _spelling_pattern(name: str) -> re.Pattern[str]:
    """A parameter's *name* as refusals write it: top_k, also topK and "top k"."""
    if "_" not in name:
        return re.compile(rf"\b{name}\b", re.ASCII)
    return re.compile(rf"\b{name.replace('_', '[_ ]?')}\b", re.ASCII | re.IGNORECASE)
