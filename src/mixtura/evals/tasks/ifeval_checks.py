"""IFEval's 25 instructions, each with a function that says whether an answer follows it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from mixtura.core.errors import ConfigError
from mixtura.core.json_text import read_json_text
from mixtura.core.missing_packages import missing_package_text

InstructionArguments = Mapping[str, Any]
"""What a row says of one instruction: how many words, which keyword."""
Check = Callable[[str, InstructionArguments], bool]

CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def follows_instruction(instruction: str, given: InstructionArguments, answer: str) -> bool:
    """Whether *answer* does what the instruction called *instruction* asks, to the letter.

    Raises ConfigError for an unknown instruction, and where langdetect is needed and missing.
    """
    if instruction not in CHECKS:
        raise ConfigError(f"IFEval has no instruction called '{instruction}'")
    # An empty answer follows nothing, not even "no comma", as in the published checks.
    return bool(answer.strip()) and CHECKS[instruction](answer, given)


def follows_loosely(instruction: str, given: InstructionArguments, answer: str) -> bool:
    """The same, for the answer or one of its forms without stars, first line or last line.

    Raises ConfigError as `follows_instruction` does.
    """
    return any(follows_instruction(instruction, given, form) for form in loose_variants(answer))


def loose_variants(answer: str) -> list[str]:
    """The answer, without its first line, without its last, without both; each without stars."""
    lines = answer.split("\n")
    cut = [
        answer,
        "\n".join(lines[1:]).strip(),
        "\n".join(lines[:-1]).strip(),
        "\n".join(lines[1:-1]).strip(),
    ]
    return list(dict.fromkeys([*cut, *(form.replace("*", "") for form in cut)]))


def _compare_count(count: int, relation: str, wanted: int) -> bool:
    if relation == "at least":
        return count >= wanted
    if relation == "less than":
        return count < wanted
    raise ConfigError(f"IFEval compares with 'at least' or 'less than', not '{relation}'")


# ---- keywords


def _has_keywords(answer: str, given: InstructionArguments) -> bool:
    return all(_count_occurrences(word, answer) for word in given["keywords"])


def _count_occurrences(word: str, answer: str) -> int:
    return len(re.findall(re.escape(word), answer, re.IGNORECASE))


def _has_keyword_frequency(answer: str, given: InstructionArguments) -> bool:
    return _compare_count(
        _count_occurrences(given["keyword"], answer), given["relation"], given["frequency"]
    )


def _has_no_forbidden_words(answer: str, given: InstructionArguments) -> bool:
    return not any(
        re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer, re.IGNORECASE)
        for word in given["forbidden_words"]
    )


def _has_letter_frequency(answer: str, given: InstructionArguments) -> bool:
    count = answer.lower().count(given["letter"].lower())
    return _compare_count(count, given["let_relation"], given["let_frequency"])


# ---- language and case


def detect_language(text: str) -> str | None:
    """The language of *text* as langdetect names it, always the same; None when it cannot say.

    Raises ConfigError where langdetect is not installed.
    """
    try:
        from langdetect import DetectorFactory, LangDetectException, detect  # pyright: ignore
    except ModuleNotFoundError as error:
        if error.name != "langdetect":
            raise
        raise ConfigError(missing_package_text("IFEval", "langdetect", "eval")) from None
    # langdetect draws at random: with its seed one text has one language.
    DetectorFactory.seed = 0
    try:
        return str(detect(text))  # pyright: ignore
    except LangDetectException:
        return None


def _is_in_language(answer: str, given: InstructionArguments) -> bool:
    # Where no language can be told the instruction counts as followed, as in the published checks.
    return detect_language(answer) in (given["language"], None)


def _is_all_capitals(answer: str, given: InstructionArguments) -> bool:  # noqa: ARG001
    return answer.isupper() and detect_language(answer) in ("en", None)


def _is_all_lowercase(answer: str, given: InstructionArguments) -> bool:  # noqa: ARG001
    return answer.islower() and detect_language(answer) in ("en", None)


_WORD = re.compile(r"[^\W_]+(?:[-'’.&][^\W_]+)*")


def _has_capital_words(answer: str, given: InstructionArguments) -> bool:
    count = sum(word.isupper() for word in _WORD.findall(answer))
    return _compare_count(count, given["capital_relation"], given["capital_frequency"])


# ---- length


def _has_word_count(answer: str, given: InstructionArguments) -> bool:
    return _compare_count(len(re.findall(r"\w+", answer)), given["relation"], given["num_words"])


def _has_sentence_count(answer: str, given: InstructionArguments) -> bool:
    return _compare_count(count_sentences(answer), given["relation"], given["num_sentences"])


# An abbreviation's full stop ends no sentence.
_SHORT = re.compile(
    r"(?i)\b(?:mr|mrs|ms|dr|prof|sr|jr|st|vs|etc|vol|fig|inc|ltd|co|corp|dept|est|approx|gen|rev"
    r"|hon|capt|sgt|col|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|ph\.d|a\.m|p\.m|e\.g"
    r"|i\.e|[a-z]|(?:[a-z]\.)+[a-z])\.(?=\s+\S)|\bno\.(?=\s*\d)"
)
_MARK = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s+", re.MULTILINE)
"""What stands before an item of a list."""
_END = re.compile(r"[.!?…]+[\"'”’)\]*_]*(?=\s|$)|[。！？]+|\n\s*\n")


def count_sentences(text: str) -> int:
    """How many sentences there are: what ends in a mark, or in an empty line, and says a word."""
    whole = _SHORT.sub(lambda found: found[0][:-1], _MARK.sub("", text))
    return sum(bool(re.search(r"\w", part)) for part in _END.split(whole))


def _has_paragraph_count(answer: str, given: InstructionArguments) -> bool:
    """Paragraphs stand between lines of three stars; none but the outermost may be empty."""
    return _count_parts(re.split(r"\s?\*\*\*\s?", answer)) == given["num_paragraphs"]


def _count_parts(parts: list[str]) -> int | None:
    inner = parts[1:-1]
    if not all(part.strip() for part in inner):
        return None
    return sum(bool(part.strip()) for part in parts)


def _has_first_word(answer: str, given: InstructionArguments) -> bool:
    parts = answer.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    place = int(given["nth_paragraph"])
    if count != given["num_paragraphs"] or place > len(parts) or not parts[place - 1].strip():
        return False
    first = parts[place - 1].split()[0].lstrip("'\"")
    return re.split(r"[.,?!'\"]", first)[0].lower() == given["first_word"].lower()


# ---- content and format


def _has_placeholders(answer: str, given: InstructionArguments) -> bool:
    return len(re.findall(r"\[.*?\]", answer)) >= given["num_placeholders"]


def _has_postscript(answer: str, given: InstructionArguments) -> bool:
    """The marker with its points, a space between its letters or none; other markers as is."""
    marker = given["postscript_marker"].strip()
    points = [re.escape(part.strip()) for part in marker.split(".")]
    return bool(re.search(r"\.\s?".join(points), answer, re.IGNORECASE))


def _has_bullet_count(answer: str, given: InstructionArguments) -> bool:
    stars = re.findall(r"^\s*\*[^*].*$", answer, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", answer, re.MULTILINE)
    return len(stars) + len(dashes) == given["num_bullets"]


def _has_given_choice(answer: str, given: InstructionArguments) -> bool:  # noqa: ARG001
    return any(choice in answer for choice in CHOICES)


def _has_highlights(answer: str, given: InstructionArguments) -> bool:
    once = re.findall(r"\*([^\n*]*)\*", answer)
    twice = re.findall(r"\*\*([^\n*]*)\*\*", answer)
    return sum(bool(text.strip()) for text in (*once, *twice)) >= given["num_highlights"]


def _has_sections(answer: str, given: InstructionArguments) -> bool:
    heading = re.escape(given["section_spliter"].strip())
    return len(re.findall(rf"\s?{heading}\s?\d+\s?", answer)) >= given["num_sections"]


def _is_json(answer: str, given: InstructionArguments) -> bool:  # noqa: ARG001
    # JSON in a block of code is JSON, as in the published checks.
    text = re.sub(r"^```(?:json)?|```$", "", answer.strip(), flags=re.IGNORECASE)
    try:
        read_json_text(text)
    except ValueError:
        return False
    return True


def _has_title(answer: str, given: InstructionArguments) -> bool:  # noqa: ARG001
    return any(title.strip("<> ") for title in re.findall(r"<<[^\n]+>>", answer))


def _has_two_responses(answer: str, given: InstructionArguments) -> bool:  # noqa: ARG001
    parts = answer.split("******")
    responses = [part.strip() for part in parts if part.strip()]
    return _count_parts(parts) == 2 and responses[0] != responses[1]


def _repeats_prompt(answer: str, given: InstructionArguments) -> bool:
    return answer.strip().lower().startswith(given["prompt_to_repeat"].strip().lower())


def _ends_with_phrase(answer: str, given: InstructionArguments) -> bool:
    return answer.strip().strip('"').lower().endswith(given["end_phrase"].strip().lower())


def _is_quoted(answer: str, given: InstructionArguments) -> bool:  # noqa: ARG001
    text = answer.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _has_no_comma(answer: str, given: InstructionArguments) -> bool:  # noqa: ARG001
    return "," not in answer


CHECKS: Mapping[str, Check] = {
    "change_case:capital_word_frequency": _has_capital_words,
    "change_case:english_capital": _is_all_capitals,
    "change_case:english_lowercase": _is_all_lowercase,
    "combination:repeat_prompt": _repeats_prompt,
    "combination:two_responses": _has_two_responses,
    "detectable_content:number_placeholders": _has_placeholders,
    "detectable_content:postscript": _has_postscript,
    "detectable_format:constrained_response": _has_given_choice,
    "detectable_format:json_format": _is_json,
    "detectable_format:multiple_sections": _has_sections,
    "detectable_format:number_bullet_lists": _has_bullet_count,
    "detectable_format:number_highlighted_sections": _has_highlights,
    "detectable_format:title": _has_title,
    "keywords:existence": _has_keywords,
    "keywords:forbidden_words": _has_no_forbidden_words,
    "keywords:frequency": _has_keyword_frequency,
    "keywords:letter_frequency": _has_letter_frequency,
    "language:response_language": _is_in_language,
    "length_constraints:nth_paragraph_first_word": _has_first_word,
    "length_constraints:number_paragraphs": _has_paragraph_count,
    "length_constraints:number_sentences": _has_sentence_count,
    "length_constraints:number_words": _has_word_count,
    "punctuation:no_comma": _has_no_comma,
    "startend:end_checker": _ends_with_phrase,
    "startend:quotation": _is_quoted,
}


# ---- what a row must say of each

RELATIONS = ("at least", "less than")
_ArgumentCheck = Callable[[Any], str]
"""What is wrong with a value; nothing where it will do."""


def _text_problem(value: Any) -> str:
    return "" if isinstance(value, str) and value.strip() else "must be a text"


def _text_list_problem(value: Any) -> str:
    given = cast(list[Any], value) if isinstance(value, list) else []
    return "" if given and not any(map(_text_problem, given)) else "must be a list of texts"


def _count_problem(value: Any) -> str:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    right = whole and not isinstance(value, bool) and value >= 0
    return "" if right else "must be a whole number, 0 or more"


def _position_problem(value: Any) -> str:
    return _count_problem(value) or ("" if value else "must be 1 or more")


def _relation_problem(value: Any) -> str:
    return "" if value in RELATIONS else "must be 'at least' or 'less than'"


def _letter_problem(value: Any) -> str:
    return "" if isinstance(value, str) and len(value) == 1 else "must be one letter"


def _language_code_problem(value: Any) -> str:
    right = isinstance(value, str) and re.fullmatch(
        r"[a-z]{2,3}(?:-[a-z]{2,4})?", value, re.IGNORECASE
    )
    return "" if right else "must be the code of a language, such as 'de'"


ARGUMENT_CHECKS: Mapping[str, Mapping[str, _ArgumentCheck]] = {
    "change_case:capital_word_frequency": {
        "capital_frequency": _count_problem, "capital_relation": _relation_problem,
    },
    "combination:repeat_prompt": {"prompt_to_repeat": _text_problem},
    "detectable_content:number_placeholders": {"num_placeholders": _count_problem},
    "detectable_content:postscript": {"postscript_marker": _text_problem},
    "detectable_format:multiple_sections": {
        "section_spliter": _text_problem, "num_sections": _count_problem,
    },
    "detectable_format:number_bullet_lists": {"num_bullets": _count_problem},
    "detectable_format:number_highlighted_sections": {"num_highlights": _count_problem},
    "keywords:existence": {"keywords": _text_list_problem},
    "keywords:forbidden_words": {"forbidden_words": _text_list_problem},
    "keywords:frequency": {
        "keyword": _text_problem, "relation": _relation_problem, "frequency": _count_problem,
    },
    "keywords:letter_frequency": {
        "letter": _letter_problem, "let_relation": _relation_problem,
        "let_frequency": _count_problem,
    },
    "language:response_language": {"language": _language_code_problem},
    "length_constraints:nth_paragraph_first_word": {
        "num_paragraphs": _count_problem, "nth_paragraph": _position_problem,
        "first_word": _text_problem,
    },
    "length_constraints:number_paragraphs": {"num_paragraphs": _count_problem},
    "length_constraints:number_sentences": {
        "num_sentences": _count_problem, "relation": _relation_problem,
    },
    "length_constraints:number_words": {"num_words": _count_problem, "relation": _relation_problem},
    "startend:end_checker": {"end_phrase": _text_problem},
}  # fmt: skip
"""What the rows of each instruction say; the others need nothing."""


def check_arguments(name: str, given: InstructionArguments) -> None:
    """Check a row's arguments of the instruction *name*.

    Raises ValueError for an unknown instruction, and for arguments that are missing, wrong or none
    of its own.
    """
    if name not in CHECKS:
        near = difflib.get_close_matches(name, CHECKS, n=1)
        hint = f": did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"no instruction is called '{name}'{hint}")
    needed = ARGUMENT_CHECKS.get(name, {})
    for key, wrong in needed.items():
        if key not in given:
            raise ValueError(f"`kwargs` of {name}: `{key}` is missing")
        if problem := wrong(given[key]):
            raise ValueError(f"`kwargs` of {name}: `{key}` {problem}, not {given[key]!r}")
    if unknown := [key for key in given if key not in needed]:
        takes = f"; it takes {', '.join(needed)}" if needed else "; it takes none"
        raise ValueError(f"`kwargs` of {name}: `{unknown[0]}` is not one of its fields{takes}")
    place, count = given.get("nth_paragraph"), given.get("num_paragraphs")
    if place is not None and count is not None and place > count:
        raise ValueError(
            f"`kwargs` of {name}: `nth_paragraph` is {place}, but `num_paragraphs` is {count}"
        )
