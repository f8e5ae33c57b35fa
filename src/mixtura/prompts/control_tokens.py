"""Text that is pasted into a prompt: nothing in it is invisible, or read as a control token."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from mixtura.core.text import strip_invisible
from mixtura.core.types import Json, Message, Request, TextPart

_BARS = "|¦‖∣│┃❘ǀ￨︱"
"""What is drawn like a bar. U+FF5C, the bar of DeepSeek, becomes ``|`` by compatibility."""

# Names that stand alone in angle brackets. With an underscore, or a number, every name counts.
_ALONE = (
    "s|(?-i:n)|[be]o[a-z]|so[pmtd]|pad|unk|mask|cls|sep|sys|think|thinking|thought|tools?|tool-?call"
    "|answer|image|img|audio|video|speech|multimodal|patch|b?box|ref|quad|point|role|observation"
    "|system|user|assistant|human|bot|inst|prefix|suffix|middle|filename|reponame|userprompt"
    "|(?:begin|start|end)of[a-z]{2,20}"
)
_NUMBERED = (
    f"{_ALONE}|unused|reserved|extra|special|token|control|ctrl|placeholder|dummy|sentinel|loc|seg"
)
_PARTS = f"{_ALONE}|fim|begin|start|end|call|global|local|text|turn"
_CAPITALS = (
    "IMG|IMAGE|AUDIO|VIDEO|THINK|ARGS|CALL|TOOLS?|PREFIX|SUFFIX|MIDDLE|[gse]?MASK|CLS|SEP|PAD|UNK"
    "|BOS|EO[STDM]|NL|TRANSCRIBE|SYSTEM|USER|ASSISTANT|HUMAN|BOT|PLHD[0-9]+"
)
# The first character of what looks like a special token of some tokenizer: what follows it is
# only looked at. The rule is about form, so that models that nobody knows yet are held to it.
_TOKEN_OPENING = re.compile(
    r"(?i)<(?=\|"  # <|im_start|>, <｜User｜>, <|turn>
    r"|[\w ]{1,40}\|>"  # <turn|>
    rf"|/?(?:{_ALONE})>"
    rf"|/?(?:{_NUMBERED})[0-9]{{1,6}}>"
    r"|/?[a-z]{1,20}[0-9]{3,6}>"  # <loc0001>, <dummy00001>
    r"|/?(?=[\w:▁-]{0,60}[_▁])(?![\w:]{0,60}_t>)[\w:▁-]{2,64}>"  # <start_of_turn>; not <size_t>
    rf"|/?\w{{1,30}}:(?:{_ALONE}|[0-9]{{1,4}})>"  # <seed:bos>, <mask:0>
    rf"|/?(?:{_PARTS})(?:-(?:{_PARTS})){{1,4}}>"  # <fim-prefix>
    r"|(?-i:PRE|SUF|MID)>"  # <pre> is HTML
    r"|0x[0-9a-f]{2}>|2[a-z]{2,4}>"  # a byte; a language
    r"|\[[\w▁ :-]{1,40}\]>"  # <[end▁of▁sentence]>
    r"|<[/\\]?[a-z_]{2,20}>>)"  # <<SYS>>
    r"|\[(?=/?INST\]"
    r"|/?(?-i:(?=[A-Z0-9]{1,40}_)[A-Z][A-Z0-9_]{2,60})\]"  # [TOOL_CALLS]
    r"|/(?-i:[A-Z][A-Z0-9_]{1,60})\]"
    rf"|/?(?-i:{_CAPITALS})\]"  # only as written there: x[mask] is code
    r"|(?:unused|control|reserved|extra_id|special|placeholder)_?[0-9]{1,6}\]|multimodal\]"
    r"|@\w{1,20}@\]"
    r"|\|[^|\[\]\n]{1,40}\|\]"  # [|assistant|]
    r"|[a-z]{1,3}~[\[\]])"  # [e~[
    r"|\](?=[~!]{1,2}[a-z]{0,12}[~!]?[\[\]]|<\][^\[\]\n]{1,60}\[>\[)"  # ]~b], ]<]image[>[
    r"|\|(?=\|\|[A-Z_]{3,40}\|\|\||endoftext\|)"  # |||EMAIL_ADDRESS|||
    r"|>(?=>[A-Z]{3,20}<<)"  # >>ANSWER<<
    r"|/(?=no_?think)"
)
_OPENING_CHARACTER = re.compile(r"[<\[\]|>/]")
"""What such an opening begins with: found twenty times faster than the openings themselves."""
_NON_ASCII = re.compile(r"[^\x00-\x7f]")


def neutralize_text(text: str) -> str:
    """
    *text* as it may be pasted between other text: what no one sees is taken out first, then a
    space is put behind the first character of whatever looks like a control token. What is
    inserted is all that is added, and taking it out gives the visible text back.
    """
    text = strip_invisible(text)
    return _insert_spaces(text, (second for _, second in _find_control_tokens(text)))


def neutralized_json(value: Json | Sequence[Any] | str, *, indent: int | None = None) -> str:
    """
    JSON for a model to read: what no one sees is taken out of every text in *value* first, then
    the first character of whatever looks like a control token is written as ``\\uXXXX``. JSON
    decodes it back: nothing that is visible is lost.
    """
    text = json.dumps(_strip_invisible_nested(value), ensure_ascii=False, indent=indent)
    pieces: list[str] = []
    done = 0
    for first, _ in _find_control_tokens(text):
        units = text[first].encode("utf-16-be").hex()
        pieces += (text[done:first], *(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)))
        done = first + 1
    return "".join((*pieces, text[done:]))


def _strip_invisible_nested(value: Any) -> Any:
    if isinstance(value, str):
        return strip_invisible(value)
    if isinstance(value, Mapping):
        return {
            _strip_invisible_nested(key): _strip_invisible_nested(one)
            for key, one in cast("Mapping[Any, Any]", value).items()
        }
    if isinstance(value, list | tuple):
        return [_strip_invisible_nested(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _find_control_tokens(text: str) -> list[tuple[int, int]]:
    """
    Where something begins that looks like a control token, and where its second character is.

    Looked for as the most forgiving tokenizer would read: wide and stylized letters are plain
    ones, accents and joiners are not there.
    """
    read, places = _fold_text(text)
    firsts = (match.start() for match in _OPENING_CHARACTER.finditer(read))
    tokens = [(at, at + 1) for at in firsts if _TOKEN_OPENING.match(read, at)]
    return tokens if places is None else [(places[a], places[b]) for a, b in tokens]


def _fold_text(text: str) -> tuple[str, list[int] | None]:
    """The text as it is looked through; where each character stood, unless nothing moved."""
    if text.isascii():
        return text, None
    folds = {c: fold for c in set(_NON_ASCII.findall(text)) if (fold := _fold_character(c)) != c}
    read = text.translate({ord(c): fold for c, fold in folds.items()})
    if not folds or not _TOKEN_OPENING.search(read):
        return read, None if not folds else []
    places = [at for at, c in enumerate(text) for _ in folds.get(c, c)]
    return read, places


def _fold_character(character: str) -> str:
    """What a normalizing tokenizer may make of it, where that is plain ASCII or nothing."""
    if character in _BARS:
        return "|"
    plain = "".join(
        c
        for c in unicodedata.normalize("NFKD", character)
        if unicodedata.category(c) not in ("Mn", "Me", "Cf")
    )
    return plain if plain.isascii() else character


def _insert_spaces(text: str, places: Iterable[int]) -> str:
    pieces: list[str] = []
    done = 0
    for place in places:
        pieces.append(text[done:place])
        done = place
    return " ".join((*pieces, text[done:]))


# ---- the tokens of one model


@dataclass(frozen=True, slots=True)
class ControlVocabulary:
    """The control tokens of one model, as its tokenizer finds them in text."""

    tokens: frozenset[str]
    lengths: tuple[int, ...]
    begins: re.Pattern[str] | None

    @classmethod
    def from_tokens(cls, tokens: Iterable[str]) -> ControlVocabulary:
        """A token of one character is left out: nothing can be put into it."""
        known = frozenset(token for token in tokens if len(token) > 1)
        first = "".join(sorted({re.escape(token[0]) for token in known}))
        begins = re.compile(f"[{first}]") if known else None
        return cls(known, tuple(sorted({len(token) for token in known})), begins)

    def neutralize_text(self, text: str) -> str:
        """*text* with a space behind the first character of every control token in it."""
        if self.begins is None:
            return text
        starts = (match.start() for match in self.begins.finditer(text))
        return _insert_spaces(text, [at + 1 for at in starts if self._has_token_at(text, at)])

    def _has_token_at(self, text: str, at: int) -> bool:
        return any(text[at : at + length] in self.tokens for length in self.lengths)


def neutralize_request(request: Request, vocabulary: ControlVocabulary) -> Request:
    """The request with the same conversation and tools, and no control token in any text of it."""
    if vocabulary.begins is None:
        return request
    clean = vocabulary.neutralize_text
    return replace(
        request,
        messages=tuple(_neutralize_message(message, clean) for message in request.messages),
        tools=_map_strings(request.tools, clean),
    )


def _neutralize_message(message: Message, clean: Callable[[str], str]) -> Message:
    content = message.content
    if isinstance(content, str):
        content = clean(content)
    else:
        content = tuple(
            TextPart(clean(part.text)) if isinstance(part, TextPart) else part for part in content
        )
    calls = tuple(
        replace(call, name=clean(call.name), arguments=clean(call.arguments))
        for call in message.tool_calls
    )
    return replace(message, content=content, tool_calls=calls)


def _map_strings(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {_map_strings(k, clean): _map_strings(v, clean) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        made = [_map_strings(one, clean) for one in value]  # pyright: ignore[reportUnknownVariableType]
        return tuple(made) if isinstance(value, tuple) else made
    return value
