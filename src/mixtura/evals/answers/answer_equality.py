"""Whether two answers of mathematics are the same: numbers exactly, lists and so on by parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from mixtura.evals.answers import exact_value, symbolic_equality
from mixtura.evals.answers.expression_forms import AnswerForm, parse_form, split_at_commas
from mixtura.evals.answers.formula_cleanup import (
    TEXT_COMMAND,
    clean_answer,
    normalize_formula,
)
from mixtura.patterns.words import parse_spelled_number

TextPair = tuple[str, str]
_NAME = (
    r"(?:[a-zA-Z]{1,3}'?(?:_{?\w{1,3}}?)?|\\[a-z]+(?:_{?\w{1,3}}?)?|[a-zA-Z](?:\^{?-1}?)?\(\s*\w\s*\)"
    r"|\(\s*[a-zA-Z](?:\s*,\s*[a-zA-Z]){1,5}\s*\)|m?\\angle\s*[A-Z]{1,3}|\\overline\s*{?[A-Z]{2}}?|\|[A-Z]{2}\||[a-zA-Z]{4,20}(?:\s[a-zA-Z]{2,20}){0,3})"
)
_NAMED = re.compile(rf"^\s*({_NAME})\s*(?:=|\\in(?![a-z])|\\equiv)\s*(?=\S)")


def is_same_answer(one: str, other: str) -> bool:
    """
    Whether the answer *one* is the same number, tuple, set or expression as the target *other*.

    Raises UndecidedError where math-verify takes too long to say.
    """
    first, second = _named_values(one), _named_values(other)
    if first and second and first.keys() == second.keys():
        return all(_same_content(first[name], second[name]) for name in first)
    a, b = _strip_surroundings(one, other)
    return _same_content(a, b)


def _named_values(answer: str) -> dict[str, str]:
    """The values of a list such as ``x = 1, y = 2`` by their names; empty for any other."""
    parts = split_at_commas(clean_answer(answer)) or []
    named = [(_NAMED.match(part), part) for part in parts]
    values = {normalize_formula(m[1]): part[m.end() :] for m, part in named if m}
    return values if 1 < len(values) == len(parts) else {}


def _same_content(a: str, b: str) -> bool:
    # Before anything is parsed: what is written alike is alike, whatever it means.
    if normalize_formula(a) == normalize_formula(b) or _plain_words(a) == _plain_words(b) != "":
        return True
    if (value := _spelled_number(a) or _spelled_number(b)) is not None:
        other = b if _spelled_number(a) else a
        return exact_value.exact_value(normalize_formula(other)) == value
    left, right = parse_form(a), parse_form(b)
    if left.kind == right.kind == "one":
        return _equal_items(*left.items, *right.items)
    if "one" in (left.kind, right.kind) and {left.kind, right.kind} & {"list", "tuple", "set"}:
        return False
    if {left.kind, right.kind} <= {"list", "set"}:  # lists of solutions have no order either
        return _match_unordered(left.items, right.items)
    if left.kind != right.kind:
        return _may_differ_in_notation(left, right) and symbolic_equality.are_equal(a, b)
    if left.kind == "union":
        return _match_unordered(left.items, right.items)
    if len(left.items) != len(right.items):
        return False
    return all(_same_content(x, y) for x, y in zip(left.items, right.items, strict=True))


def _may_differ_in_notation(left: AnswerForm, right: AnswerForm) -> bool:
    """Whether one has parts and the other has not, so that notation alone may differ."""
    return "one" in (left.kind, right.kind)


def _match_unordered(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    if len(ours) != len(theirs):
        return False
    left = list(theirs)
    for item in ours:
        twin = next((other for other in left if _same_content(item, other)), None)
        if twin is None:
            return False
        left.remove(twin)
    return True


def _equal_items(a: str, b: str) -> bool:
    """Two single things: exactly, where both have an exact value, else as math-verify says."""
    x, y = (
        exact_value.exact_value(normalize_formula(a)),
        exact_value.exact_value(normalize_formula(b)),
    )
    if x is not None and y is not None:
        return x == y
    # math-verify takes a base for an index: to it 12_8 is 12_{10}.
    based = r"\d+_\w{1,2}"
    if re.fullmatch(based, normalize_formula(a)) and re.fullmatch(based, normalize_formula(b)):
        return False
    # To math-verify a word is the product of its letters: "even" would be "neve".
    if "..." in a + b or _is_word(a) or _is_word(b):
        return False
    return symbolic_equality.are_equal(a, b)


def _is_word(a: str) -> bool:
    return bool(re.fullmatch(r"\s*[a-zA-Z]{4,}(?:\s+[a-zA-Z]+)*\s*", a))


def _spelled_number(a: str) -> Fraction | None:
    """The number that a text of number words alone spells: ``twenty-one``."""
    words = re.split(r"[\s-]+", a.strip().lower())
    spelled = all(parse_spelled_number(word) is not None for word in words if word != "and")
    return parse_spelled_number(a) if words[0] != "and" and spelled else None


def _plain_words(a: str) -> str:
    """A text in lower case; empty where it is a formula."""
    return " ".join(a.lower().split()) if re.fullmatch(r"[\sa-zA-Z'.-]{2,}", a) else ""


def _strip_surroundings(one: str, other: str) -> TextPair:
    """Both answers without a variable name, base, am or pm that only one of them has."""
    choice = re.fullmatch(r"\(?([A-J])\)?", TEXT_COMMAND.sub(r"\1", other).strip(" $"))
    if choice:
        plain = re.sub(r"\\mathbf\s*{([^{}]*)}", r" \1", TEXT_COMMAND.sub(r" \1", one))
        said = re.match(r"[\s$*(]*([A-J])(?:[).:\s]|$)", plain)
        return (said[1] if said else clean_answer(one)), choice[1]
    a, b = clean_answer(one), clean_answer(other)
    # A target of the clock says nothing of morning or evening, so an answer may.
    if re.fullmatch(r"\d{1,2}:\d{2}", b):
        a = re.sub(r"\s*[ap]\.?\s?m\.?$", "", a, flags=re.IGNORECASE)
    if (based := re.fullmatch(r"(\w+)_{?(\w{1,2})}?", normalize_formula(b))) and normalize_formula(
        a
    ) == based[1]:
        return based[1], based[1]
    first, second = _NAMED.match(a), _NAMED.match(b)
    names = [normalize_formula(found[1]) if found else None for found in (first, second)]
    apart = names[0] != names[1] and "=" in (b if names[0] else a).partition("=")[1]
    lone = b if names[0] else a
    if names[0] == names[1] or (None in names and not (apart and not _is_numeric_equation(lone))):
        a, b = (_strip_name(said) for said in (a, b))
        if _is_numeric_equation(a) and "=" not in b:
            a = a.rpartition("=")[2].strip()
    return a, b


def _strip_name(answer: str) -> str:
    """An answer, or each part of a list, without the leading ``name =``."""
    parts = split_at_commas(answer)
    if parts is not None and len(parts) > 1:
        return ",".join(_NAMED.sub("", part) for part in parts)
    return _NAMED.sub("", answer)


def _is_numeric_equation(answer: str) -> bool:
    return (
        "=" in answer
        and exact_value.exact_value(normalize_formula(answer.partition("=")[0])) is not None
    )
