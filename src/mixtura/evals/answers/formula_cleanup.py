"""A mathematical answer written one way: TeX, Unicode, units and words tidied up."""

from __future__ import annotations

import re
import unicodedata

from mixtura.evals.answers.exact_value import brace_group

_ORDINAL = (
    r"(?<=\d)\s*(?:\^\s*{?\s*(?:\\(?:text|mathrm|textrm|mbox|rm)\s*{?)?"
    r"|\\(?:text|mathrm|textrm|mbox)\s*{)\s*(?:st|nd|rd|th)\s*}{0,2}(?![a-zA-Z])"
)
"""The ending of an ordinal number: ``12^{th}``, ``2^{\\text{nd}}``."""
_OF_DEGREES = re.compile(
    r"\\(sin|cos|tan|cot|sec|csc)\s*([({]?)\s*(\d{1,6})\s*(?:\^\s*{?\s*\\circ\s*}?|\\degree(?![a-z])|°)"
    r"\s*([)}]?)"
)
_MIXED = re.compile(r"(^|[,(\[])(\s*-?\d+)\s+(\d+)/(\d+)(?=\s*(?:$|[,)\]]))")
_ONE_SIGN = r"\\(?:pi|theta|phi|alpha|beta)(?![a-z])|[0-9a-zA-Z]"
"""What may follow TeX's ``\\frac`` without braces."""
_TIDY = (
    (r"\{,\}", ","), (r"(?<=\d)\\[,;:! ](?=\d{3}(?!\d))", ""), (r"\\!", ""),
    (r"\\[dtc]frac", r"\\frac"), (r"\\left(?![a-z])|\\right(?![a-z])|\\[bB]ig+[lr]?(?![a-z])", ""),
    (rf"\\frac\s*({_ONE_SIGN})", r"\\frac{\1}"),
    (rf"(\\frac{{[^{{}}]*}})\s*({_ONE_SIGN})", r"\1{\2}"),
    (r"\\lbrace(?![a-z])", r"\\{"), (r"\\rbrace(?![a-z])", r"\\}"),
    (r"\\(?:display|text|script)style(?![a-z])", ""), (r"\\[()\[\]]|\\?\$", " "),
    (r"(?<!\\)\\[,;:> ]|\\q?quad(?![a-z])|~", " "),
    (_ORDINAL, ""), (r"\^\s*{?\s*\\circ\s*}?|\\degree(?![a-z])|°", ""), (r"\\%|%", ""),
    (r"\\le(?:q|qslant)?(?![a-z])|⩽", "≤"), (r"\\ge(?:q|qslant)?(?![a-z])|⩾", "≥"),
    (r"\\neq?(?![a-z])", "≠"), (r"\\lt(?![a-z])", "<"), (r"\\gt(?![a-z])", ">"),
    (r"(?<![a-zA-Z\\])(?:pi|Pi)(?![a-zA-Z])", r"\\pi "),
    (r"(?<![a-zA-Z\\])(?:infinity|inf|oo)(?![a-zA-Z])", r"\\infty "),
    (r"(?<![a-zA-Z\\])sqrt\s*\(\s*(\w{1,9})\s*\)", r"\\sqrt{\1}"), (r"<=", "≤"), (r">=", "≥"),
    (r"(?<![\w.^_])(\d+(?:\.\d+)?)[eE]([-+]?\d{1,3})(?![\w.])", r"\1\\cdot 10^{\2}"),
    (r"\\overline\s*{\s*([A-Z]{2})\s*}", r"\1"),
    (r"÷", "/"), (r"π", r"\\pi "), (r"∞", r"\\infty "), (r"√", r"\\sqrt "), (r"±", r"\\pm "),
    (r"[×·]", r"\\cdot "), (r"∪", r"\\cup "), (r"∈", r"\\in "),
    (r"∅|\\varnothing", r"\\emptyset "), (r"\\(?:dots|ldots|cdots)(?![a-z])", "..."),
    (r"\\(?:mathbf|boldsymbol|mathit|bm)\s*{([^{}]*)}", r"\1"),
    (r"\\begin{[bpBvV]?matrix}", r"\\begin{pmatrix}"),
    (r"\\end{[bpBvV]?matrix}", r"\\end{pmatrix}"),
)  # fmt: skip
TEXT_COMMAND = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|up|normal)?|mathrm|mbox|operatorname|textrm)\s*{([^{}]*)}"
)
_BOTH = re.compile(
    r"^\s*([a-z])\s*([<>≤≥])\s*([^<>≤≥,]{1,40}?)\s*(?:\\text\s*{\s*and\s*}|\band\b)\s*\1\s*([<>≤≥])"
    r"\s*([^<>≤≥,]{1,40})$"
)
_SET_BUILDER = re.compile(
    r"^\s*\\{\s*[a-z]\s*(?:\\in\s*\\mathbb{?R}?\s*)?(?:\||:|\\mid)\s*([^{}|:]*[<>≤≥][^{}|:]*)\\}\s*$"
)
_JOINED = re.compile(r"^[\s,;]*(?:[a-z]{1,12}\s+)?(?:and|or)[\s,;]*(?:x\s*=)?\s*$", re.IGNORECASE)
_MODULUS = re.compile(
    r"\\text{\s*\(mod\s*}\s*\d+\s*\)|\\text{\s*\(mod \d+\)\s*}|\\p?mod\s*{?\s*\d+\s*}?"
    r"|\(\s*mod\s*\d+\s*\)"
)
_UNITS = re.compile(
    r"(?i)(?<=[\d}) ])(?:degrees?|cents?|dollars?|units?|square\s?\w*|cubic\s?\w*|sq\.?\s?\w+"
    r"|inch(?:es)?|in\.|feet|foot|ft\.?|cm|mm|km|meters?|metres?|miles?|mph|hours?|hrs?|minutes?"
    r"|mins?|seconds?|secs?|days?|weeks?|months?|years?|points?|percent|students?|people|ways|radians?)(?:\s*\^\s*{?\d}?)?\s*$"
)
_NOTHING = re.compile(
    r"(?i)(?:there\s+(?:is|are)\s+)?(?:no(?:ne)?|empty)\s*(?:real|integer)?\s*(?:solutions?|set|roots?)?|\\emptyset|\\{\s*\\}"
)


def normalize_formula(answer: str) -> str:
    """A formula without spaces and braces that do not change its meaning."""
    answer = re.sub(r"\s+", "", answer.replace(r"\cdot", "*").replace(r"\times", "*"))
    answer = (
        re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", answer) if has_thousands_commas(answer) else answer
    )
    answer = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", answer)
    answer = re.sub(r"\\frac(\d)(?={)", r"\\frac{\1}", answer)
    answer = re.sub(r"(\\frac{[^{}]*})(\d)", r"\1{\2}", answer)
    answer = re.sub(r"\\sqrt(\w)", r"\\sqrt{\1}", answer)
    answer = re.sub(r"\\binom(\d)(\d)", r"\\binom{\1}{\2}", answer)
    answer = re.sub(r"([_^]){(\w)}", r"\1\2", answer)
    return re.sub(r"^{([^{}]*)}$", r"\1", answer).lstrip("+")


def has_thousands_commas(answer: str) -> bool:
    """Whether commas only group digits: `1,000` is one number, `(1,000)` and `1,2` are not."""
    return bool(re.fullmatch(r"[^(){}\[\]]*?-?\d{1,3}(,\d{3})+(\.\d+)?\D*", answer))


def clean_answer(answer: str) -> str:
    """An answer as a plain formula: no box, fonts, spaces of TeX, degrees, units."""
    answer = re.sub(r"(?<!\\)\\$", "", _ascii_signs(answer).strip())  # a space of TeX
    answer = re.sub(r"^([*`]{1,3})([^*`]+)\1$", r"\2", answer)  # Markdown's
    if box := re.fullmatch(r"\$*\s*\\f?box(?:ed)?\s*({.*})\s*\$*", answer, re.DOTALL):
        inside = brace_group(box[1], 0)
        answer = box[1][1:-1] if inside is not None and len(inside) + 2 == len(box[1]) else answer
    if _NOTHING.fullmatch(TEXT_COMMAND.sub(r"\1", answer).strip(" .$")):
        return r"\emptyset"
    # Before the signs of degrees go: sin 30° is not sin 30.
    answer = _OF_DEGREES.sub(_degrees_to_radians, answer)
    for pattern, instead in _TIDY:
        answer = re.sub(pattern, instead, answer)
    answer = _SET_BUILDER.sub(r"\1", _BOTH.sub(_join_inequalities, answer))
    answer = re.sub(r"(?<=[)\]])\s*U\s*(?=[(\[])", r"\\cup ", answer)
    answer = _MODULUS.sub("", answer)
    answer = re.sub(r"(?<=\d)\.0+(?!\d)", "", answer)
    answer = re.sub(r"(?<![\d.\w])1\s*(?=[a-z](?![a-z]))", "", answer)
    answer = re.sub(r"(?<!\d)(\d*)\.(\d*)\\overline\s*{(\d+)}", _repeating_to_fraction, answer)
    answer = _strip_text_commands(answer)
    answer = re.sub(r"^\s*\\approx\s*", "", answer).strip().rstrip(".,;").strip()
    answer = re.sub(r"^(\d+)\s+to\s+(\d+)$", r"\1:\2", answer)  # a ratio
    answer = _UNITS.sub("", answer).strip() or answer  # a unit alone is the answer
    return _MIXED.sub(_mixed_to_fraction, answer)


_DASHES = re.compile("[−﹣－‐‑‒–]")
_RAISED = re.compile("[⁺⁻⁰¹²³⁴-⁹ⁿ]+")
_LOWERED = re.compile("[₊₋₀-₉]+")


def _ascii_signs(answer: str) -> str:
    """Powers, indices, fractions, digits and minus signs of Unicode as TeX has them."""
    if answer.isascii():
        return answer
    for pattern, mark in ((_RAISED, "^"), (_LOWERED, "_")):
        answer = pattern.sub(lambda run, mark=mark: f"{mark}{{{_plain_letters(run[0])}}}", answer)
    return _DASHES.sub("-", "".join(map(_ascii_sign, answer)))


def _plain_letters(run: str) -> str:
    return _DASHES.sub("-", unicodedata.normalize("NFKC", run))


def _ascii_sign(one: str) -> str:
    if one.isdecimal():
        return str(unicodedata.decimal(one))
    if not unicodedata.decomposition(one).startswith("<fraction>"):
        return one
    top, _, bottom = unicodedata.normalize("NFKC", one).partition("⁄")
    return rf"\frac{{{top}}}{{{bottom}}}" if bottom else one


def _join_inequalities(match: re.Match[str]) -> str:
    """Two bounds of one letter as one: ``x > 2 and x < 5`` as ``2 < x < 5``."""
    name, first, low, second, high = match.groups()
    if first in ">≥" and second in "<≤":
        return f"{low} {'<' if first == '>' else '≤'} {name} {second} {high}"
    if first in "<≤" and second in ">≥":
        return f"{high} {'<' if second == '>' else '≤'} {name} {first} {low}"
    return match[0]


def _degrees_to_radians(match: re.Match[str]) -> str:
    """An angle in degrees inside a trigonometric function, in radians."""
    if {"(": ")", "{": "}", "": ""}[match[2]] != match[4]:
        return match[0]
    return rf"\{match[1]}{{\frac{{{match[3]}\pi}}{{180}}}}"


def _mixed_to_fraction(match: re.Match[str]) -> str:
    """A mixed number such as ``1 1/2`` as TeX."""
    # 1 7/2 is no mixed number, and what else it may be is not for us to say.
    if int(match[3]) >= int(match[4]):
        return match[0]
    return rf"{match[1]}{match[2]}\frac{{{match[3]}}}{{{match[4]}}}"


def _repeating_to_fraction(match: re.Match[str]) -> str:
    # A period of k digits behind n others: x·10ⁿ·(10ᵏ - 1) is whole.
    whole, first, again = match[1] or "0", match[2], match[3]
    bottom = int("9" * len(again) + "0" * len(first))
    top = int(first + again) - int(first or "0")
    return rf"\frac{{{int(whole) * bottom + top}}}{{{bottom}}}"


def _strip_text_commands(answer: str) -> str:
    """Replace text commands: conjunctions by commas, units by nothing; pure text stays."""

    def replace_text(match: re.Match[str]) -> str:
        inside = match[1]
        before, after = answer[: match.start()].strip(), answer[match.end() :].strip()
        if _JOINED.match(inside):
            return " , "
        if re.match(r"\s*(?:[=≤≥<>]|\\in\b)", after) or not (before or after):
            return f" {inside.strip()} "
        if before and re.search(r"[\d})\w]$", before) and re.match(r"[\s\w./()^%-]*$", inside):
            return "" if len(inside.strip()) > 1 or inside != inside.strip() else inside
        if not before and re.match(r"[-+\\\d(]", after) and not re.match(r"\s*\(?[A-J]\)?", inside):
            return ""
        return f" {inside.strip()} "

    replaced = re.sub(
        r"(?<=[\s}\d])(?:or|and)(?=[\s\\])", " , ", TEXT_COMMAND.sub(replace_text, answer)
    )
    replaced = re.sub(r",(?:\s*,)+", ",", replaced)  # "1, 2, and 3"
    return re.sub(
        r"^\s*\^\s*{?\d}?|(?<=[\w})])\s*\^\s*{?\d}?\s*$", _power_replacer(answer), replaced
    )


def _power_replacer(answer: str):
    """A replacement for a power at the end: dropped where it belongs to a unit."""
    unit = re.search(r"\\(?:text|mathrm|mbox)\s*{[^{}]*[a-z]}\s*\^\s*{?\d}?\s*$", answer)

    def replace_power(match: re.Match[str]) -> str:
        return "" if unit else match[0]

    return replace_power
