"""The limits that a provider's refusal states in its words: of an answer, of a window, of money."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mixtura.core.quantities import MAX_TOKENS, MIN_OUTPUT_TOKENS, parse_context_window
from mixtura.core.text import compile_patterns

_MAX_REFUSAL_CHARS = 4000
"""Characters of a refusal that are looked through."""


class StatedLimits(NamedTuple):
    """Tokens, each None where the refusal does not state it."""

    output: int | None = None
    """Of the model's longest answer."""
    window: int | None = None
    """Of the model's context, prompt and answer."""
    room: int | None = None
    """Left in the window for an answer to this very request."""
    affordable: int | None = None
    """Of an answer that the account can still pay: of this very request, too."""

    @property
    def request_output_limit(self) -> int | None:
        """The longest answer that this request can still have."""
        return self.affordable if self.room is None else self.room


NO_LIMITS = StatedLimits()

_N = (
    r"[`'\"(~]*(\d{1,3}(?:[,_'’\u00a0\u202f.]\d{3})+(?![\d,.]\d)|\d++(?:\.0+(?!\d))?)"
    r"(?: ?([kKmM])\b)?[`'\")]*"
)
"""A number and its unit, two groups; in quotation marks or brackets."""
_OTHERS = r"[`'\"(~]*\d[\d,_.]*[`'\")]*"


def parse_stated_limits(text: str, parameter: str | None = None) -> StatedLimits:
    """
    What a refusal's *text* states; *parameter*: what it is about, where it names that apart.

    Nothing is read from a number that stands in no sentence about such a limit.
    """
    text = " ".join(text[:_MAX_REFUSAL_CHARS].split()).replace("(2013)", "")  # a code of MiniMax's
    # OpenRouter's refusal for too little credit names max_tokens, too: it is no limit of the model.
    affordable = _first_token_count(_AFFORDABLE, text)
    if affordable is not None:
        return StatedLimits(affordable=affordable if affordable >= MIN_OUTPUT_TOKENS else None)
    if (limits := _parse_window(text)) is not None:
        return limits
    return StatedLimits(output=_parse_output_limit(text, parameter))


def _parse_tokens(number: str, unit: str | None) -> int | None:
    """A count of tokens, with its thousands in any style; None where it is beyond sense."""
    digits = re.sub(r"\.0+$", "", number) if re.fullmatch(r"\d+\.0{1,2}", number) else number
    digits = re.sub(r"\D", "", digits)
    if not digits or len(digits) > 12:
        return None
    value = int(digits) * {"k": 1000, "m": 1_000_000}.get((unit or "").lower(), 1)
    return value if value <= MAX_TOKENS else None


def _first_token_count(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    return _parse_tokens(match[1], match[2]) if match else None


_AFFORDABLE = re.compile(
    rf"\b(?:can(?:not)?|could)(?: only)? afford(?: only| at most| up to)? {_N}", re.IGNORECASE
)

# ---- a window


def _max_length_pattern(kinds: str) -> str:
    """maximum context length is 8192; maximum model length of; max_seq_len 4096."""
    return (
        rf"(?:maximum|max\.?|max_)[ _]?(?:allowed |supported )?"
        rf"(?:{kinds})[ _]?(?:length|len|window|size|tokens?)"
        rf"(?: limit)?(?: allowed| supported)?"
        rf"(?: (?:for|of) (?:(?:the|this) )?(?:model )?[A-Za-z][\w./:-]*(?: model)?)?"
        rf"(?: is| of|:| =|=)?(?: only)? {_N}"
    )


def _length_pattern(kinds: str) -> str:
    """The context window of this model is 8192, not: context limit: 7000 + 2000 > 8192."""
    return (
        rf"(?:{kinds})[ _](?:length|window|size|limit)(?: of (?:the|this) model)?"
        rf"(?: is| of|:| =|=)?(?: only| limited to| at most)? {_N}"
        rf"(?![`'\")]*(?: ?\+|(?: ?tokens?\)?)? (?:exceed|is (?:longer|larger|greater|more)"
        rf"|should|must|cannot)))"
    )


_WINDOW = (
    rf"sequence length[^.>]{{0,80}}[ (]{_OTHERS} > {_N}",
    rf"(?:should|must|can|may|does|do)(?: ?not|n't) exceed (?:the )?max_num_tokens[ :=]*{_N}",
    _max_length_pattern("context|model|sequence|seq|total"),
    _length_pattern("context"),
    _max_length_pattern(
        "prompt|input"
    ),  # it may be what an answer leaves of a window that is told, too
    _length_pattern("prompt|input"),
    rf"context limit: {_OTHERS} \+ {_OTHERS} > {_N}",
    rf"(?:prompt|input)s?(?: is)? too long[^.]{{0,30}}: {_OTHERS}(?: tokens)? ?> ?{_N}",
    rf"model with {_N} maximum context",
    rf"maximum (?:number of )?(?:input )?tokens (?:allowed|supported)(?: is| of|:)? ?{_N}",
    rf"(?:input token count|prompt)[^.]{{0,60}}only supports up to {_N}",
    rf"tokens? \+ [`'\"]?max_(?:new_)?tokens[`'\"]? must be <= {_N}",
    rf"(?:inputs?|prompt)[`'\"]? must have (?:less|fewer) than {_N} tokens",
    rf"tokens in the prompt cannot exceed {_N}",
    rf"range of (?:the )?input length should be \[ ?\d+ ?, ?{_N} ?\]",
    rf"(?<!hourly )(?<!daily )(?<!weekly )(?<!monthly )(?:token|context) limit(?: is| of|:)? {_N}",
    (
        rf"(?:prompt|input|messages|context)[^.]{{0,60}} exceeds? (?:the |its )?"
        rf"(?:configured |model |maximum |allowed )*"
        rf"(?:limit|length|window|size|context size|context window)(?: of| is|:)? {_N}"
    ),
    (
        rf"(?:exceeds?|longer than) [^.]{{0,40}}(?:context|maximum|allowed|available)[^.]{{0,30}}"
        rf"(?:length|size|window)(?: of)? {_N} ?tokens"
    ),
    rf"current length is {_OTHERS} while limit is {_N}",
    rf"n_ctx[\"']?[:= ]+{_N}",
    rf"request too large .{{0,160}}\blimit:? {_N}, (?:used {_OTHERS}, )?requested",
    rf"prompt tokens? limit exceeded: {_OTHERS} > {_N}",
    (
        rf"context (?:length|window|size)(?: limit)? exceed\w*[^.]{{0,20}}: {_OTHERS}(?: tokens)?"
        rf" ?> ?{_N}"
    ),
    rf"(?:最大|上下文)[^。]{{0,12}}(?:长度|窗口)[^。0-9]{{0,8}}{_N}",
)
_WINDOW_PATTERNS = compile_patterns(*_WINDOW)

_PROMPT = compile_patterns(
    rf"\({_N} in (?:the|your) (?:messages|prompt)",
    rf"{_N} tokens from the input",
    rf"{_N} (?:in|of) (?:the |your )?(?:messages|prompt|text input|input)\b",
    (
        rf"(?:request has|you passed|given:|messages resulted in|contains) (?:about )?{_N}"
        rf"(?: [`'\"]?inputs?[`'\"]?)? (?:input )?tokens"
    ),
    rf"context limit: {_N} \+",
    rf"prompt is too long: {_N}",
    rf"input token count(?: is|:)? {_N}",
    rf"n_prompt_tokens[\"']?[:= ]+{_N}",
)
_COMPLETION = re.compile(
    rf"{_N}(?: tokens)? (?:in|for|of) (?:the |your )?(?:completion|output|answer)", re.IGNORECASE
)
_TOTAL = re.compile(rf"requested (?:a total of |about )?{_N} tokens", re.IGNORECASE)


def _parse_window(text: str) -> StatedLimits | None:
    """The window that a text states, and what it leaves; None where it states none."""
    windows = (_first_token_count(pattern, text) for pattern in _WINDOW_PATTERNS)
    window = next((n for n in map(parse_context_window, windows) if n is not None), None)
    if window is None:
        window = _parse_loose_window(text)
    if window is None:
        return None
    if re.search(r"request too large", text, re.IGNORECASE):  # tokens a minute
        return StatedLimits(window=window)
    prompt = _parse_prompt_tokens(text)
    if prompt is None or prompt >= window:
        return StatedLimits(window=window)
    room = window - prompt
    if "about" in text:  # it is a guess of theirs, too
        room -= prompt // 50
    return StatedLimits(window=window, room=room if room >= MIN_OUTPUT_TOKENS else None)


_TOO_LONG = re.compile(
    r"(?i)(?:prompt|input|context|conversation|messages?|sequence|request|tokens?)(?![A-Za-z]).{0,80}"
    r"(?:too (?:long|large|many|big)|exceed|longer than|over the|does ?n[o']t fit|larger than|but)"
    r"|too many (?:input |prompt )?tokens"
)
_RATE_LIMIT_WORDS = re.compile(
    r"(?i)per[ -]?(?:min|day|hour|second|week|month)|rate[ _-]?limit|\b[TR]P[MD]\b|quota"
    r"|\b(?:hourly|daily|weekly|monthly)\b"
    r"|maximum (?:number|amount) of tokens (?:you |that you )?(?:have )?(?:requested|asked)"
    r"|max(?:imum)?[_ ]?(?:completion|output|new)?[_ ]?tokens|(?:output|completion) tokens?"
)
_LOOSE_WINDOW = re.compile(
    rf"(?i)(?:limit|max(?:imum)?|allowed|supports?|accepts?|takes?|up to|at most|only"
    rf"|window|context)(?: (?:prompt|input|context|length|size|window|of|is|it|are|tokens?|to"
    rf"|about))*[ :=(]+{_N}"
    rf"(?= ?tokens?\b|[\s.,;)]|$)"
)
_LOOSE_WINDOW_BEFORE = re.compile(
    rf"(?i){_N}[ -]?(?:tokens?)?[ -](?:context|window|limit|maximum|max\b|allowed|permitted)"
)


def _parse_loose_window(text: str) -> int | None:
    """
    A window in words that no pattern knows: of what is called a limit of a text that is too
    long the least, as what was sent is more.
    """
    if not _TOO_LONG.search(text) or _RATE_LIMIT_WORDS.search(text):
        return None
    if not re.search(r"token|context", text, re.IGNORECASE):
        return None
    matches = [*_LOOSE_WINDOW.finditer(text), *_LOOSE_WINDOW_BEFORE.finditer(text)]
    counts = (_parse_tokens(one[1], one[2]) for one in matches)
    # Of "you sent 9000, at most 8192 tokens" the smaller one is the limit.
    return min((n for n in map(parse_context_window, counts) if n is not None), default=None)


def _parse_prompt_tokens(text: str) -> int | None:
    """The tokens of the prompt: the total that was requested less the answer, else as stated."""
    total, completion = _first_token_count(_TOTAL, text), _first_token_count(_COMPLETION, text)
    if total is not None and completion is not None and total > completion:
        return total - completion
    counts = (_first_token_count(pattern, text) for pattern in _PROMPT)
    return next((n for n in counts if n is not None), None)


# ---- an answer's length

OUTPUT_NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens")

_ABOUT_OUTPUT = re.compile(
    r"(?i)max(?:imum)?[_ ]?(?:completion|output|new|gen(?:erated)?)?[_ ]?tokens?(?![A-Za-z_])"
    r"|maxOutputTokens|maxTokenCount|max_tokens_to_sample|max_gen_len|num_predict"
    r"|max(?:imum)? (?:number|amount) of tokens (?:you |that you )?(?:have )?(?:requested|asked)"
    rf"|max(?:imum)? (?:output|completion|generation)(?: size)?(?: is| of|:)"
    rf" {_OTHERS}[km]?[ -]tokens"
    r"|(?:completion|output|generated)[ _]tokens?\b|(?:output|completion)[ _](?:length|limit)"
    r"|token output limit"
)
_ABOUT_OTHERS = re.compile(
    r"(?i)temperature|top[_ ]?[pk]\b|logprobs|penalty|\btools?\b|\bstop\b|budget|\bn\b[`'\"]|seed"
    r"|image|message|per (?:min|day|hour|second)|rate limit|bytes|characters|schema(?! violations?)"
    r"|thinking|input tokens|prompt tokens"
)
_UPPER_BOUND = re.compile(
    rf"(?i)(?:at most|no (?:more|greater|larger|higher) than|up to|<=|≤|limited to|capped at"
    rf"|(?:not|n't|cannot) be (?:more|greater|larger|higher|above|over)(?: than)?"
    rf"|(?:less|lower|smaller|fewer)(?: than)? or equal(?: to)?"
    rf"|(?:is|are|was) (?:(?:greater|larger|higher|more|longer) than|above|over)(?: the)?"
    rf"(?: allowed| maximum| max)?"
    rf"|(?:cannot|can't|can not|must not|should not|may not|not|shouldn't|mustn't)(?: be)?"
    rf" exceed(?:ing)?"
    rf"|exceeds?(?: the| its)?(?: model'?s?)?"
    rf"(?: maximum| max| limit| allowed| output| of| value| tokens?)*"
    rf"|(?:max(?:imum)?|limit|upper bound|ceiling)(?: allowed| supported| permitted| possible)?"
    rf"(?: number| value| amount)?(?: of)?(?: max_tokens| (?:output|completion|generated) tokens)?"
    rf"(?: for (?:(?:this|the) )?[^ ]{{1,80}})?(?: is| are| of| to|:| =|=)*(?: only)?"
    rf"|\bmax(?:imum)? (?!tokens)[^.;0-9]{{3,60}}?(?: is| of|:|=| to)"
    rf"|(?:allowed|permitted)(?: is| are|:| =|=)*(?: only| up to)?"
    rf"|supports? only|only supports?(?: up to)?|只?不能超过|不能大于|最大(?:值)?[为是]?|>) ?{_N}"
)
_TRAILING_UPPER_BOUND = re.compile(
    rf"(?i){_N}(?: tokens)?,?(?:(?: which)? is (?:the |its |our )?"
    rf"(?:max|limit|upper|largest|highest|most)| (?:are |is )?(?:allowed|permitted))"
)
_EXCLUSIVE_UPPER_BOUND = re.compile(
    rf"(?i)(?:(?:less|lower|smaller|fewer) than|below|(?<![<>])<(?!=)) ?(?!or equal){_N}"
)
_RANGE = re.compile(
    rf"(?i)(?:[\[(（] ?{_OTHERS} ?[,;，~-] ?{_N} ?[\])）]"
    rf"|between {_OTHERS} and {_N}"
    rf"|(?:from )?\b{_OTHERS}(?: ?\(inclusive\))? ?(?:to|-|–|~|\.\.\.?|and) ?{_N}"
    rf"( ?\(exclusive\))?)"
)
_SENTENCE = re.compile(r"(?<=[^\d])[.;!?。](?=\s|$)|(?<=\d)[.;!?](?=\s|$)|。")


def _parse_output_limit(text: str, parameter: str | None) -> int | None:
    """The largest bound that stands in a sentence about the length of answers."""
    bounds: list[int] = []
    about = parameter in OUTPUT_NAMES
    for sentence in _SENTENCE.split(text):
        named = _ABOUT_OUTPUT.search(sentence)
        other = _ABOUT_OTHERS.search(sentence)
        about = bool(named) or (about and not other)
        if not about or (named and other and other.start() < named.start()):
            continue
        bounds += _output_bounds(sentence)
    # Too large a bound leads to one more refusal, too small a one to answers cut short.
    return max(bounds, default=None)


def _output_bounds(sentence: str) -> Iterator[int]:
    sentence = re.sub(
        rf"(?:current(?: value)?|you (?:requested|provided|asked for)(?: up to)?"
        rf"|whereas you provided|but (?:got|received|was|is)|got|received|requested"
        rf"|is too (?:large|high|big):?"
        rf"|given|provided)[: ]+{_OTHERS}",
        "…",
        sentence,
        flags=re.IGNORECASE,
    )
    # Of "maximum: 900000 > 4096" only the second is a bound.
    sentence = re.sub(rf"{_OTHERS}(?: tokens)?(?= ?> ?\d)", "…", sentence)
    for match in _RANGE.finditer(sentence):
        numbers = [(match[i], match[i + 1]) for i in (1, 3, 5) if match[i]]
        for number, unit in numbers:
            value = _parse_tokens(number, unit)
            if value is not None:
                yield value - 1 if match[7] else value
    for pattern, less in (
        (_UPPER_BOUND, 0),
        (_TRAILING_UPPER_BOUND, 0),
        (_EXCLUSIVE_UPPER_BOUND, 1),
    ):
        for match in pattern.finditer(sentence):
            value = _parse_tokens(match[1], match[2])
            if value is not None:
                yield value - less
