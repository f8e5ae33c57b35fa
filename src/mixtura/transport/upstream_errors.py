"""A provider's refusal as one of our errors: a status, headers and a body; or an error in a 200."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mixtura.core.errors import (
    ContentFilterError,
    ContextOverflowError,
    MalformedError,
    ModelError,
    QuotaError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from mixtura.core.stated_limits import OUTPUT_NAMES, StatedLimits, parse_stated_limits
from mixtura.protocols.errors.bodies import ErrorBody, parse_error_body
from mixtura.protocols.errors.retry_after import parse_retry_after, wait_in_text

_OVERFLOW = re.compile(
    r"(?i)context[ _-]?(?:length|window|size|limit)|exceed_context"
    r"|(?:maximum|max|available) context"
    r"|(?:prompt|input|request|conversation)s?(?: is|'s| are)? (?:too (?:long|large)|exceeds max)"
    r"|too many (?:input |prompt )?tokens|reduce the length|input token count|model token limit"
    r"|maximum (?:prompt|input|model) length|longer than the (?:maximum )?(?:model|context)"
    r"|prompt (?:exceeds|超长)|string_above_max_context|上下文(?:长度|窗口)|超出[^。]{0,8}长度"
)
_FILTERED = re.compile(
    r"(?i)content[ _-]?(?:filter|policy|management)|responsible_ai|moderation|safety"
    r"|data_?inspection_?failed|sensitive (?:content|words)|敏感"
)
_QUOTA_SPENT = re.compile(
    r"(?i)insufficient[ _-](?:\w+[ _-])?(?:quota|balance|credits?|funds)"
    r"|exceeded[ _]your[ _]current[ _]quota|exceeded_current_quota|billing"
    r"|credit balance|payment required"
    r"|(?:out of|no(?:t enough)?|not have (?:enough|any)|n't have (?:enough|any)) credits"
    r"|not enough (?:balance|funds)|spend(?:ing)?[ _]limit|API usage limits"
    r"|budget[ _](?:has been |is |was )?exceeded|exceeded[ _]?budget|over budget|key limit exceeded"
    r"|(?:balance|credits?|quota)(?: is| are| has been)?"
    r" (?:too low|insufficient|exhausted|depleted|used up|empty)"
    r"|(?:negative|zero) balance|arrear|account[ _]?overdue|overdue[ _]payment"
    r"|free[ _]?tier[ _]?only"
    r"|resourcepackexhausted|all available credits|has no credits|usage_limit_reached"
    r"|余额不足|欠费|额度不足|无可用资源包"
)
_TOO_FAST = re.compile(
    r"(?i)rate[ _-]?limit|per[ _-]?min|per[ _-]?second|too many requests|throttl|too fast|slow down"
    r"|\b[TR]PM\b|concurren|overloaded|频率|并发"
)
_PER_DAY = re.compile(
    r"(?i)per[ _-]?day|/ ?(?:day|week|month)\b|\b[TR]PD\b|\bdaily\b|24[ -]?hours?\b|\btomorrow\b"
    r"|\bper[ _-]?(?:week|month)\b"
    r"|weekly|monthly|(?:day|week|month)(?:ly)? (?:limit|quota)|每日|当日|今日"
)
_LIMIT_REACHED = re.compile(
    r"(?is)(?:limit|quota|allowance|requests?|tokens?)\b.{0,80}"
    r"(?:reached|exceed|exhaust|used|per[ _-]?day)|limited to \d"
    r"|(?:reached|exceed|exhaust|used).{0,80}(?:limit|quota|allowance)|上限|限额|用完|超出"
)
_QUOTA_ID = re.compile(rb'quotaId\\*":\s*\\*"(\w*)')
_TOO_LARGE_FOR_A_MINUTE = re.compile(r"request too large", re.IGNORECASE)


_TEMPLATE_ERROR = re.compile(r"jinja exception|raise_exception|chat template", re.IGNORECASE)
"""A model's own template refuses the conversation."""


def error_from_response(status: int, headers: Mapping[str, str], body: bytes) -> ModelError:
    """The error that an HTTP refusal means."""
    found = parse_error_body(body)
    status = _effective_status(status, found)
    what = f"HTTP {status}: {found.message}" if found.message else f"HTTP {status}"
    limits = _stated_limits(found)
    error = _error_class(status, found, body, limits)(what)
    if isinstance(error, RateLimitedError | UnavailableError):
        error.retry_after = parse_retry_after(headers, body)
    if isinstance(error, RejectedError):
        error.parameter = found.parameter
    error.limits = limits
    error.status = status
    return error


def _stated_limits(found: ErrorBody) -> StatedLimits:
    text = " ".join(filter(None, (found.message, found.kind, found.numbers)))
    return parse_stated_limits(text, found.parameter)


def _error_class(
    status: int, found: ErrorBody, body: bytes, limits: StatedLimits
) -> type[ModelError]:
    """The kind of failure."""
    said, kind = found.message, found.kind
    text = f"{said} {kind}"
    if status in (413, 429) and limits.window and _TOO_LARGE_FOR_A_MINUTE.search(text):
        return ContextOverflowError  # it never fits into a minute: waiting does not help
    if (
        status == 402
        or _QUOTA_SPENT.search(kind)
        or (status in _QUOTA_STATUSES and _is_quota_spent(said, kind, body))
    ):
        return QuotaError
    if status == 429:
        return RateLimitedError
    if _is_context_overflow(status, text, limits):
        return ContextOverflowError
    if status >= 500 and _TEMPLATE_ERROR.search(said):
        return RejectedError  # llama.cpp's server says so with a 500: asking again is no use
    if status in (408, 409, 425) or status >= 500:
        return UnavailableError
    if status in (400, 403, 422) and _FILTERED.search(text):
        return ContentFilterError
    return RejectedError if 400 <= status < 500 else MalformedError


_QUOTA_STATUSES = (400, 403, 412, 429)
"""Statuses with which providers say that money or a quota is used up, beside 402."""


def _is_context_overflow(status: int, text: str, limits: StatedLimits) -> bool:
    """Whether a conversation is longer than the window; some say so with a 500."""
    if limits.output is not None or status not in (400, 413, 422, 500):
        return False
    return limits.window is not None or bool(_OVERFLOW.search(text))


def _is_quota_spent(said: str, kind: str, body: bytes) -> bool:
    """
    Whether money or a quota is used up, rather than that calls came too fast.

    Its code decides where it has one: some providers speak of billing and of a quota
    whenever they slow someone down.
    """
    quotas = _QUOTA_ID.findall(body)
    if quotas:  # Google says the same of a minute and of a day
        return any(b"PerDay" in quota for quota in quotas)
    if _PER_DAY.search(f"{said} {kind}") and _LIMIT_REACHED.search(f"{said} {kind}"):
        return True
    slowed = wait_in_text(body) or _TOO_FAST.search(f"{said} {kind}")
    return not slowed and bool(_QUOTA_SPENT.search(said))


def error_from_stream(body: bytes, headers: Mapping[str, str]) -> ModelError:
    """An error object inside a 200: the status it names, else what its words mean, decides."""
    found = parse_error_body(body)
    return error_from_response(
        _status_from_codes(found) or _status_from_words(found), headers, body
    )


def _effective_status(status: int, found: ErrorBody) -> int:
    """The status, or the one that a code means where the status is only a general one."""
    if status not in (200, 400, 403, 500):
        return status
    told = _status_from_codes(found)
    return told if told in (402, 429) else status


def _status_from_codes(found: ErrorBody) -> int | None:
    """The status that an error's codes mean."""
    for code in found.codes:
        if isinstance(code, bool):
            continue
        text = str(code).strip()
        if text.isdigit() and len(text) < 7:
            number = int(text)
            if 400 <= number < 600:
                return number
            if number in _STATUS_BY_NUMBER:
                return _STATUS_BY_NUMBER[number]
    for code in found.codes:
        name = str(code).lower()
        known = _STATUS_BY_NAME.get(name) or _STATUS_BY_NAME.get(name.partition(".")[0])
        if known:
            return known
    return None


def _status_from_words(found: ErrorBody) -> int:
    text = f"{found.message} {found.kind}"
    limits = _stated_limits(found)
    if _TOO_FAST.search(text):
        return 429
    if _QUOTA_SPENT.search(text):
        return 402
    return 400 if limits != StatedLimits() or _OVERFLOW.search(text) else 500


_STATUS_BY_NAME: Mapping[str, int] = {
    # OpenAI's and Anthropic's
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "rate_limit_reached_error": 429,
    "too_many_requests": 429,
    "tokens": 429,
    "requests": 429,
    "insufficient_quota": 429,
    "insufficient_balance": 402,
    "billing_hard_limit_reached": 402,
    "billing_not_active": 402,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "exceed_context_size_error": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    # Moonshot's
    "exceeded_current_quota_error": 402,
    "engine_overloaded_error": 429,
    # Google's
    "resource_exhausted": 429,
    "unavailable": 503,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "permission_denied": 403,
    "unauthenticated": 401,
    "not_found": 404,
    "deadline_exceeded": 504,
    "internal": 500,
    # Amazon's
    "throttlingexception": 429,
    "toomanyrequestsexception": 429,
    "servicequotaexceededexception": 429,
    "validationexception": 400,
    "accessdeniedexception": 403,
    "resourcenotfoundexception": 404,
    "modeltimeoutexception": 504,
    "modelstreamerrorexception": 500,
    "internalserverexception": 500,
    "serviceunavailableexception": 503,
    # Alibaba's and Volcengine's
    "arrearage": 402,
    "throttling": 429,
    "allocationquota": 402,
    "accountoverdueerror": 402,
    "ratelimitexceeded": 429,
    "quotaexceeded": 429,
    "serveroverloaded": 429,
    "invalidapikey": 401,
    "data_inspection_failed": 400,
    "datainspectionfailed": 400,
}
"""Codes and types by name, in lower case, up to a full stop."""

_STATUS_BY_NUMBER: Mapping[int, int] = {
    # Zhipu
    1110: 402, 1111: 402, 1112: 402, 1113: 402, 1211: 404, 1213: 400, 1214: 400, 1261: 400,
    1301: 400, 1302: 429, 1303: 429, 1304: 402, 1305: 429, 1308: 402, 1309: 402,
    # MiniMax
    1000: 500, 1001: 504, 1002: 429, 1004: 401, 1008: 402, 1026: 400, 1027: 400, 1039: 429,
    2013: 400, 2056: 402,
    # SiliconFlow
    30001: 402, 50603: 503, 50604: 503,
    # Baidu
    17: 402, 18: 429, 19: 402, 336501: 429, 336502: 429,
    # iFlytek
    11200: 402, 11201: 402, 11202: 429, 11203: 429, 10907: 400,
}  # fmt: skip
"""Codes of providers that are no statuses: of an empty balance, of calls that come too fast."""

__all__ = ["OUTPUT_NAMES", "error_from_response", "error_from_stream"]
