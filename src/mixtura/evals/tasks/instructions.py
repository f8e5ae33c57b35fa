"""IFEval's 25 instructions, each with a function that says whether an answer follows it."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from mixtura.errors import ConfigError

Given = Mapping[str, Any]
"""What a row says of one instruction: how many words, which keyword."""
Check = Callable[[str, Given], bool]

MISSING = 'IFEval needs langdetect: pip install "mixtura[eval]"'
CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def follows(instruction: str, given: Given, answer: str) -> bool:
    """Whether *answer* does what the instruction called *instruction* asks, to the letter."""
    if instruction not in CHECKS:
        raise ConfigError(f"IFEval has no instruction called '{instruction}'")
    return bool(answer.strip()) and CHECKS[instruction](answer, given)


def loosely(instruction: str, given: Given, answer: str) -> bool:
    """The same, for the answer or one of its forms without stars, first line or last line."""
    return any(follows(instruction, given, form) for form in forms(answer))


def forms(answer: str) -> list[str]:
    """The answer, without its first line, without its last, without both; each without stars."""
    lines = answer.split("\n")
    cut = [
        answer,
        "\n".join(lines[1:]).strip(),
        "\n".join(lines[:-1]).strip(),
        "\n".join(lines[1:-1]).strip(),
    ]
    return list(dict.fromkeys([*cut, *(form.replace("*", "") for form in cut)]))


def _compared(count: int, relation: str, wanted: int) -> bool:
    if relation == "at least":
        return count >= wanted
    if relation == "less than":
        return count < wanted
    raise ConfigError(f"IFEval compares with 'at least' or 'less than', not '{relation}'")


# ---- keywords


def _existence(answer: str, given: Given) -> bool:
    return all(_occurs(word, answer) for word in given["keywords"])


def _occurs(word: str, answer: str) -> int:
    return len(re.findall(re.escape(word), answer, re.IGNORECASE))


def _frequency(answer: str, given: Given) -> bool:
    return _compared(_occurs(given["keyword"], answer), given["relation"], given["frequency"])


def _forbidden(answer: str, given: Given) -> bool:
    return not any(
        re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer, re.IGNORECASE)
        for word in given["forbidden_words"]
    )


def _letters(answer: str, given: Given) -> bool:
    count = answer.lower().count(given["letter"].lower())
    return _compared(count, given["let_relation"], given["let_frequency"])


# ---- language and case


def language(text: str) -> str | None:
    """The language of *text* as langdetect names it, always the same; None when it cannot say."""
    try:
        from langdetect import DetectorFactory, LangDetectException, detect  # pyright: ignore
    except ModuleNotFoundError as error:
        if error.name != "langdetect":
            raise
        raise ConfigError(MISSING) from None
    DetectorFactory.seed = 0
    try:
        return str(detect(text))  # pyright: ignore
    except LangDetectException:
        return None


def _in_language(answer: str, given: Given) -> bool:
    return language(answer) in (given["language"], None)


def _in_capitals(answer: str, given: Given) -> bool:  # noqa: ARG001
    return answer.isupper() and language(answer) in ("en", None)


def _in_small_letters(answer: str, given: Given) -> bool:  # noqa: ARG001
    return answer.islower() and language(answer) in ("en", None)


_WORD = re.compile(r"[^\W_]+(?:[-'’.&][^\W_]+)*")


def _capital_words(answer: str, given: Given) -> bool:
    count = sum(word.isupper() for word in _WORD.findall(answer))
    return _compared(count, given["capital_relation"], given["capital_frequency"])


# ---- length


def _words(answer: str, given: Given) -> bool:
    return _compared(len(re.findall(r"\w+", answer)), given["relation"], given["num_words"])


def _sentences(answer: str, given: Given) -> bool:
    return _compared(sentences(answer), given["relation"], given["num_sentences"])


_SHORT = re.compile(
    r"\b(?:mr|mrs|ms|dr|prof|sr|jr|st|vs|etc|vol|fig|inc|ltd|co|corp|dept|est|approx|gen|rev"
    r"|hon|capt|sgt|col|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|ph\.d|a\.m|p\.m|e\.g"
    r"|i\.e|[a-z]|(?:[a-z]\.)+[a-z])\.(?=\s+\S)|\bno\.(?=\s*\d)",
    re.IGNORECASE,
)
_MARK = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s+", re.MULTILINE)
"""What stands before an item of a list."""
_END = re.compile(r"[.!?…]+[\"'”’)\]*_]*(?=\s|$)|[。！？]+|\n\s*\n")


def sentences(text: str) -> int:
    """How many sentences there are: what ends in a mark, or in an empty line, and says a word."""
    whole = _SHORT.sub(lambda found: found[0][:-1], _MARK.sub("", text))
    return sum(bool(re.search(r"\w", part)) for part in _END.split(whole))


def _paragraphs(answer: str, given: Given) -> bool:
    """Paragraphs stand between lines of three stars; none but the outermost may be empty."""
    return _pieces(re.split(r"\s?\*\*\*\s?", answer)) == given["num_paragraphs"]


def _pieces(parts: list[str]) -> int | None:
    inner = parts[1:-1]
    if not all(part.strip() for part in inner):
        return None
    return sum(bool(part.strip()) for part in parts)


def _first_word(answer: str, given: Given) -> bool:
    parts = answer.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    place = int(given["nth_paragraph"])
    if count != given["num_paragraphs"] or place > len(parts) or not parts[place - 1].strip():
        return False
    first = parts[place - 1].split()[0].lstrip("'\"")
    return re.split(r"[.,?!'\"]", first)[0].lower() == given["first_word"].lower()


# ---- content and format


def _placeholders(answer: str, given: Given) -> bool:
    return len(re.findall(r"\[.*?\]", answer)) >= given["num_placeholders"]


def _postscript(answer: str, given: Given) -> bool:
    """The marker with its points, a space between its letters or none; other markers as is."""
    marker = given["postscript_marker"].strip()
    points = [re.escape(part.strip()) for part in marker.split(".")]
    return bool(re.search(r"\.\s?".join(points), answer, re.IGNORECASE))


def _bullets(answer: str, given: Given) -> bool:
    stars = re.findall(r"^\s*\*[^*].*$", answer, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", answer, re.MULTILINE)
    return len(stars) + len(dashes) == given["num_bullets"]


def _one_of(answer: str, given: Given) -> bool:  # noqa: ARG001
    return any(choice in answer for choice in CHOICES)


def _highlights(answer: str, given: Given) -> bool:
    once = re.findall(r"\*([^\n*]*)\*", answer)
    twice = re.findall(r"\*\*([^\n*]*)\*\*", answer)
    return sum(bool(text.strip()) for text in (*once, *twice)) >= given["num_highlights"]


def _sections(answer: str, given: Given) -> bool:
    heading = re.escape(given["section_spliter"].strip())
    return len(re.findall(rf"\s?{heading}\s?\d+\s?", answer)) >= given["num_sections"]


def _json(answer: str, given: Given) -> bool:  # noqa: ARG001
    text = re.sub(r"^```(?:json)?|```$", "", answer.strip(), flags=re.IGNORECASE)
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _title(answer: str, given: Given) -> bool:  # noqa: ARG001
    return any(title.strip("<> ") for title in re.findall(r"<<[^\n]+>>", answer))


def _two_responses(answer: str, given: Given) -> bool:  # noqa: ARG001
    parts = answer.split("******")
    said = [part.strip() for part in parts if part.strip()]
    return _pieces(parts) == 2 and said[0] != said[1]


def _repeats(answer: str, given: Given) -> bool:
    return answer.strip().lower().startswith(given["prompt_to_repeat"].strip().lower())


def _ends(answer: str, given: Given) -> bool:
    return answer.strip().strip('"').lower().endswith(given["end_phrase"].strip().lower())


def _quoted(answer: str, given: Given) -> bool:  # noqa: ARG001
    text = answer.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _no_comma(answer: str, given: Given) -> bool:  # noqa: ARG001
    return "," not in answer


CHECKS: Mapping[str, Check] = {
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _in_capitals,
    "change_case:english_lowercase": _in_small_letters,
    "combination:repeat_prompt": _repeats,
    "combination:two_responses": _two_responses,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:constrained_response": _one_of,
    "detectable_format:json_format": _json,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:title": _title,
    "keywords:existence": _existence,
    "keywords:forbidden_words": _forbidden,
    "keywords:frequency": _frequency,
    "keywords:letter_frequency": _letters,
    "language:response_language": _in_language,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_words": _words,
    "punctuation:no_comma": _no_comma,
    "startend:end_checker": _ends,
    "startend:quotation": _quoted,
}


# ---- what a row must say of each

RELATIONS = ("at least", "less than")
_Need = Callable[[Any], str]
"""What is wrong with a value; nothing where it will do."""


def _text(value: Any) -> str:
    return "" if isinstance(value, str) and value.strip() else "must be a text"


def _texts(value: Any) -> str:
    given = cast(list[Any], value) if isinstance(value, list) else []
    return "" if given and not any(map(_text, given)) else "must be a list of texts"


def _count(value: Any) -> str:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    right = whole and not isinstance(value, bool) and value >= 0
    return "" if right else "must be a whole number from 0"


def _place(value: Any) -> str:
    return _count(value) or ("" if value else "counts from 1")


def _relation(value: Any) -> str:
    return "" if value in RELATIONS else "must be 'at least' or 'less than'"


def _letter(value: Any) -> str:
    return "" if isinstance(value, str) and len(value) == 1 else "must be one letter"


def _code(value: Any) -> str:
    right = isinstance(value, str) and re.fullmatch(
        r"[a-z]{2,3}(?:-[a-z]{2,4})?", value, re.IGNORECASE
    )
    return "" if right else "must be the code of a language, as in 'de'"


NEEDS: Mapping[str, Mapping[str, _Need]] = {
    "change_case:capital_word_frequency": {
        "capital_frequency": _count, "capital_relation": _relation,
    },
    "combination:repeat_prompt": {"prompt_to_repeat": _text},
    "detectable_content:number_placeholders": {"num_placeholders": _count},
    "detectable_content:postscript": {"postscript_marker": _text},
    "detectable_format:multiple_sections": {"section_spliter": _text, "num_sections": _count},
    "detectable_format:number_bullet_lists": {"num_bullets": _count},
    "detectable_format:number_highlighted_sections": {"num_highlights": _count},
    "keywords:existence": {"keywords": _texts},
    "keywords:forbidden_words": {"forbidden_words": _texts},
    "keywords:frequency": {"keyword": _text, "relation": _relation, "frequency": _count},
    "keywords:letter_frequency": {
        "letter": _letter, "let_relation": _relation, "let_frequency": _count,
    },
    "language:response_language": {"language": _code},
    "length_constraints:nth_paragraph_first_word": {
        "num_paragraphs": _count, "nth_paragraph": _place, "first_word": _text,
    },
    "length_constraints:number_paragraphs": {"num_paragraphs": _count},
    "length_constraints:number_sentences": {"num_sentences": _count, "relation": _relation},
    "length_constraints:number_words": {"num_words": _count, "relation": _relation},
    "startend:end_checker": {"end_phrase": _text},
}  # fmt: skip
"""What the rows of each instruction say; the others need nothing."""


def check_given(name: str, given: Given) -> None:
    """Raises ValueError for an instruction that is unknown, or that *given* does not make whole."""
    if name not in CHECKS:
        near = difflib.get_close_matches(name, CHECKS, n=1)
        hint = f": did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"no instruction is called '{name}'{hint}")
    needed = NEEDS.get(name, {})
    for key, wrong in needed.items():
        if key not in given:
            raise ValueError(f"`kwargs` of {name}: `{key}` is missing")
        if said := wrong(given[key]):
            raise ValueError(f"`kwargs` of {name}: `{key}` {said}, and is {given[key]!r}")
    if unknown := [key for key in given if key not in needed]:
        takes = f"; it takes {', '.join(needed)}" if needed else "; it takes none"
        raise ValueError(f"`kwargs` of {name}: `{unknown[0]}` is none of its words{takes}")
    place, count = given.get("nth_paragraph"), given.get("num_paragraphs")
    if place is not None and count is not None and place > count:
        raise ValueError(f"`kwargs` of {name}: `nth_paragraph` is {place}, of {count} paragraphs")
