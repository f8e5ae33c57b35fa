"""Whether two answers of mathematics are the same: numbers exactly, lists and so on by parts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from mixtura.evals import algebra, exact
from mixtura.evals.exact import group

Pair = tuple[str, str]

_ORDINAL = (
    r"(?<=\d)\s*(?:\^\s*{?\s*(?:\\(?:text|mathrm|textrm|mbox|rm)\s*{?)?"
    r"|\\(?:text|mathrm|textrm|mbox)\s*{)\s*(?:st|nd|rd|th)\s*}{0,2}(?![a-zA-Z])"
)
"""The ending of a number that counts places: ``12^{th}``, ``2^{\\text{nd}}``."""
_OF_DEGREES = re.compile(
    r"\\(sin|cos|tan|cot|sec|csc)\s*([({]?)\s*(\d{1,6})\s*(?:\^\s*{?\s*\\circ\s*}?|\\degree(?![a-z])|°)"
    r"\s*([)}]?)"
)
_MIXED = re.compile(r"(^|[,(\[])(\s*-?\d+)\s+(\d+)/(\d+)(?=\s*(?:$|[,)\]]))")
_REALS = re.compile(
    r"\\mathbb\s*{?\s*R\s*}?|\\R|ℝ|(?:\\text{)?\s*all\s+real(?:s|\s+numbers)\s*}?", re.IGNORECASE
)
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
    (r"÷", "/"), (r"π", r"\\pi "), (r"∞", r"\\infty "), (r"√", r"\\sqrt "), (r"±", r"\\pm "),
    (r"[×·]", r"\\cdot "), (r"∪", r"\\cup "), (r"∈", r"\\in "),
    (r"∅|\\varnothing", r"\\emptyset "), (r"\\(?:dots|ldots|cdots)(?![a-z])", "..."),
    (r"\\(?:mathbf|boldsymbol|mathit|bm)\s*{([^{}]*)}", r"\1"),
    (r"\\begin{[bpBvV]?matrix}", r"\\begin{pmatrix}"),
    (r"\\end{[bpBvV]?matrix}", r"\\end{pmatrix}"),
)  # fmt: skip
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|up|normal)?|mathrm|mbox|operatorname|textrm)\s*{([^{}]*)}"
)
_JOINED = re.compile(r"^[\s,;]*(?:and|or)[\s,;]*(?:x\s*=)?\s*$", re.IGNORECASE)
_MODULUS = re.compile(
    r"\\text{\s*\(mod\s*}\s*\d+\s*\)|\\text{\s*\(mod \d+\)\s*}|\\p?mod\s*{?\s*\d+\s*}?"
    r"|\(\s*mod\s*\d+\s*\)"
)
_UNITS = re.compile(
    r"(?<=[\d}) ])(?:degrees?|cents?|dollars?|units?|square\s?\w*|cubic\s?\w*|sq\.?\s?\w+"
    r"|inch(?:es)?|in\.|feet|foot|ft\.?|cm|mm|km|meters?|metres?|miles?|mph|hours?|hrs?|minutes?"
    r"|mins?|seconds?|secs?|days?|weeks?|months?|years?|points?|percent|students?|people|ways|radians?)(?:\s*\^\s*{?\d}?)?\s*$",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"(?:there\s+(?:is|are)\s+)?(?:no(?:ne)?|empty)\s*(?:real|integer)?\s*(?:solutions?|set|roots?)?|\\emptyset|\\{\s*\\}",
    re.IGNORECASE,
)
_NAME = (
    r"(?:[a-zA-Z]{1,3}'?(?:_{?\w{1,3}}?)?|\\[a-z]+(?:_{?\w{1,3}}?)?|[a-zA-Z](?:\^{?-1}?)?\(\s*\w\s*\)"
    r"|m?\\angle\s*[A-Z]{1,3}|\\overline\s*{?[A-Z]{2}}?|\|[A-Z]{2}\||[a-zA-Z]{4,20}(?:\s[a-zA-Z]{2,20}){0,3})"
)
_NAMED = re.compile(rf"^\s*({_NAME})\s*(?:=|\\in(?![a-z])|\\equiv)\s*(?=\S)")
_RELATIONS = "<>≤≥≠"
_VARIABLE = re.compile(r"[a-zA-Z]")


class Form(NamedTuple):
    """An answer's items and how they are held: one thing, a tuple, an interval, a set, a matrix."""

    kind: str
    items: tuple[str, ...]


def same(one: str, other: str) -> bool:
    """
    Whether the answer *one* is the same number, tuple, set or expression as the target *other*.

    Raises UndecidedError where math-verify takes too long to say.
    """
    a, b = _cleared(one, other)
    return _same(a, b)


def _same(a: str, b: str) -> bool:
    if squeezed(a) == squeezed(b) or _words(a) == _words(b) != "":
        return True
    left, right = formed(a), formed(b)
    if left.kind == right.kind == "one":
        return _equal(*left.items, *right.items)
    if "one" in (left.kind, right.kind) and {left.kind, right.kind} & {"list", "tuple", "set"}:
        return False
    if {left.kind, right.kind} <= {"list", "set"}:  # lists of solutions have no order either
        return _matched(left.items, right.items)
    if left.kind != right.kind:
        return _written_alike(left, right) and algebra.equal(a, b)
    if left.kind == "union":
        return _matched(left.items, right.items)
    if len(left.items) != len(right.items):
        return False
    return all(_same(x, y) for x, y in zip(left.items, right.items, strict=True))


def _written_alike(left: Form, right: Form) -> bool:
    """Whether it is only the writing that may differ: what is one thing, and what has parts."""
    return "one" in (left.kind, right.kind)


def _matched(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    if len(ours) != len(theirs):
        return False
    left = list(theirs)
    for item in ours:
        twin = next((other for other in left if _same(item, other)), None)
        if twin is None:
            return False
        left.remove(twin)
    return True


def _equal(a: str, b: str) -> bool:
    """Two single things: exactly, where both have an exact value, else as math-verify says."""
    x, y = exact.value(squeezed(a)), exact.value(squeezed(b))
    if x is not None and y is not None:
        return x == y
    based = r"\d+_\w{1,2}"
    if re.fullmatch(based, squeezed(a)) and re.fullmatch(based, squeezed(b)):
        return False
    if "..." in a + b or _is_word(a) or _is_word(b):
        return False
    return algebra.equal(a, b)


def _is_word(a: str) -> bool:
    return bool(re.fullmatch(r"\s*[a-zA-Z]{4,}(?:\s+[a-zA-Z]+)*\s*", a))


def _words(a: str) -> str:
    """A text in small letters; nothing where it is a formula."""
    return " ".join(a.lower().split()) if re.fullmatch(r"[\sa-zA-Z'.-]{2,}", a) else ""


# ---- one way to write it


def squeezed(answer: str) -> str:
    """A formula without what changes only its looks, spaces included."""
    answer = re.sub(r"\s+", "", answer.replace(r"\cdot", "*").replace(r"\times", "*"))
    answer = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", answer) if _thousands(answer) else answer
    answer = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", answer)
    answer = re.sub(r"\\frac(\d)(?={)", r"\\frac{\1}", answer)
    answer = re.sub(r"(\\frac{[^{}]*})(\d)", r"\1{\2}", answer)
    answer = re.sub(r"\\sqrt(\w)", r"\\sqrt{\1}", answer)
    answer = re.sub(r"\\binom(\d)(\d)", r"\\binom{\1}{\2}", answer)
    answer = re.sub(r"([_^]){(\w)}", r"\1\2", answer)
    return re.sub(r"^{([^{}]*)}$", r"\1", answer).lstrip("+")


def _thousands(answer: str) -> bool:
    """Whether commas only group digits: `1,000` is one number, `(1,000)` and `1,2` are not."""
    return bool(re.fullmatch(r"[^(){}\[\]]*?-?\d{1,3}(,\d{3})+(\.\d+)?\D*", answer))


def tidy(answer: str) -> str:
    """An answer as a plain formula: no box, fonts, spaces of TeX, degrees, units."""
    answer = _ascii_signs(answer).strip()
    if found := re.fullmatch(r"\$*\s*\\f?box(?:ed)?\s*({.*})\s*\$*", answer, re.DOTALL):
        inside = group(found[1], 0)
        answer = (
            found[1][1:-1] if inside is not None and len(inside) + 2 == len(found[1]) else answer
        )
    if _NOTHING.fullmatch(_TEXT.sub(r"\1", answer).strip(" .$")):
        return r"\emptyset"
    answer = _OF_DEGREES.sub(_in_radians, answer)
    for pattern, instead in _TIDY:
        answer = re.sub(pattern, instead, answer)
    answer = _MODULUS.sub("", answer)
    answer = re.sub(r"(?<=\d)\.0+(?!\d)", "", answer)
    answer = re.sub(r"(?<![\d.\w])1\s*(?=[a-z](?![a-z]))", "", answer)
    answer = re.sub(r"(\d*)\.(\d*)\\overline\s*{(\d+)}", _repeating, answer)
    answer = _without_texts(answer)
    answer = re.sub(r"^\s*\\approx\s*", "", answer).strip().rstrip(".").strip()
    answer = _UNITS.sub("", answer).strip() or answer
    return _MIXED.sub(_mixed, answer)


_DASHES = re.compile("[−﹣－‐‑‒–]")
_RAISED = re.compile("[⁺⁻⁰¹²³⁴-⁹ⁿ]+")
_LOWERED = re.compile("[₊₋₀-₉]+")


def _ascii_signs(answer: str) -> str:
    """Powers, indices, fractions, digits and minus signs of Unicode as TeX has them."""
    if answer.isascii():
        return answer
    for pattern, mark in ((_RAISED, "^"), (_LOWERED, "_")):
        answer = pattern.sub(lambda run, mark=mark: f"{mark}{{{_plain(run[0])}}}", answer)
    return _DASHES.sub("-", "".join(map(_ascii_sign, answer)))


def _plain(run: str) -> str:
    return _DASHES.sub("-", unicodedata.normalize("NFKC", run))


def _ascii_sign(one: str) -> str:
    if one.isdecimal():
        return str(unicodedata.decimal(one))
    if not unicodedata.decomposition(one).startswith("<fraction>"):
        return one
    top, _, bottom = unicodedata.normalize("NFKC", one).partition("⁄")
    return rf"\frac{{{top}}}{{{bottom}}}" if bottom else one


def _in_radians(found: re.Match[str]) -> str:
    """An angle in degrees inside of a function, where the sign of a degree counts."""
    if {"(": ")", "{": "}", "": ""}[found[2]] != found[4]:
        return found[0]
    return rf"\{found[1]}{{\frac{{{found[3]}\pi}}{{180}}}}"


def _mixed(found: re.Match[str]) -> str:
    """``1 1/2``, which is not 11/2."""
    if int(found[3]) >= int(found[4]):
        return found[0]
    return rf"{found[1]}{found[2]}\frac{{{found[3]}}}{{{found[4]}}}"


def _repeating(found: re.Match[str]) -> str:
    whole, first, again = found[1] or "0", found[2], found[3]
    bottom = int("9" * len(again) + "0" * len(first))
    top = int(first + again) - int(first or "0")
    return rf"\frac{{{int(whole) * bottom + top}}}{{{bottom}}}"


def _without_texts(answer: str) -> str:
    """Words between formulas: joints are commas, units go, what is all words stays."""

    def plain(found: re.Match[str]) -> str:
        inside = found[1]
        before, after = answer[: found.start()].strip(), answer[found.end() :].strip()
        if _JOINED.match(inside):
            return " , "
        if re.match(r"\s*(?:[=≤≥<>]|\\in\b)", after) or not (before or after):
            return f" {inside.strip()} "
        if before and re.search(r"[\d})\w]$", before) and re.match(r"[\s\w./()^%-]*$", inside):
            return "" if len(inside.strip()) > 1 or inside != inside.strip() else inside
        if not before and re.match(r"[-+\\\d(]", after) and not re.match(r"\s*\(?[A-J]\)?", inside):
            return ""
        return f" {inside.strip()} "

    found = re.sub(r"(?<=[\s}\d])(?:or|and)(?=[\s\\])", " , ", _TEXT.sub(plain, answer))
    found = re.sub(r",(?:\s*,)+", ",", found)  # "1, 2, and 3"
    return re.sub(r"^\s*\^\s*{?\d}?|(?<=[\w})])\s*\^\s*{?\d}?\s*$", _raised(answer), found)


def _raised(answer: str):
    """What a power at the end is: a unit's goes with it."""
    unit = re.search(r"\\(?:text|mathrm|mbox)\s*{[^{}]*[a-z]}\s*\^\s*{?\d}?\s*$", answer)

    def kept(found: re.Match[str]) -> str:
        return "" if unit else found[0]

    return kept


# ---- what is said around the answer


def _cleared(one: str, other: str) -> Pair:
    """Both, without what only one of them says: a name before, a base, a time of day, a choice."""
    choice = re.fullmatch(r"\(?([A-J])\)?", _TEXT.sub(r"\1", other).strip(" $"))
    if choice:
        said = re.match(r"[\s$*(]*([A-J])(?:[).:\s]|$)", _TEXT.sub(r" \1", one))
        return (said[1] if said else tidy(one)), choice[1]
    a, b = tidy(one), tidy(other)
    if re.fullmatch(r"\d{1,2}:\d{2}", b):
        a = re.sub(r"\s*[ap]\.?\s?m\.?$", "", a, flags=re.IGNORECASE)
    if (based := re.fullmatch(r"(\w+)_{?(\w{1,2})}?", squeezed(b))) and squeezed(a) == based[1]:
        return based[1], based[1]
    first, second = _NAMED.match(a), _NAMED.match(b)
    names = [squeezed(found[1]) if found else None for found in (first, second)]
    apart = names[0] != names[1] and "=" in (b if names[0] else a).partition("=")[1]
    lone = b if names[0] else a
    if names[0] == names[1] or (None in names and not (apart and not _numeric_equation(lone))):
        a, b = (_unnamed(said) for said in (a, b))
        if _numeric_equation(a) and "=" not in b:
            a = a.rpartition("=")[2].strip()
    return a, b


def _unnamed(said: str) -> str:
    """Without the name that it is the value of, in every part of a list."""
    parts = split(said)
    if parts is not None and len(parts) > 1:
        return ",".join(_NAMED.sub("", part) for part in parts)
    return _NAMED.sub("", said)


def _numeric_equation(said: str) -> bool:
    return "=" in said and exact.value(squeezed(said.partition("=")[0])) is not None


# ---- parts


def formed(answer: str) -> Form:
    """The parts of a tuple, an interval, a set, a list, a matrix, a union; else one thing."""
    bare = answer.strip()
    if _REALS.fullmatch(bare):
        return Form("tuple", (r"-\infty", r"\infty"))
    if found := re.fullmatch(r"\\begin{pmatrix}(.*)\\end{pmatrix}", bare, re.DOTALL):
        rows = [row for row in found[1].split(r"\\") if row.strip()]
        return Form("matrix", tuple(f"({','.join(row.split('&'))})" for row in rows))
    if (reach := _interval(bare)) is not None:
        return reach
    if r"\cup" in bare:
        parts = [formed(part) for part in bare.split(r"\cup")]
        if all(p.kind in ("tuple", "[]", "[)", "(]") and len(p.items) == 2 for p in parts):
            return Form("union", tuple(part.strip() for part in bare.split(r"\cup")))
    if bare.startswith(r"\{") and bare.endswith(r"\}"):
        parts = split(bare[2:-2]) or []
        return Form("set", tuple(signed for part in parts for signed in _signs(part)))
    if len(bare) > 1 and bare[0] in "([" and bare[-1] in ")]":
        inner = split(bare[1:-1])
        if inner is not None and len(inner) > 1:
            return Form("tuple" if bare[0] + bare[-1] == "()" else bare[0] + bare[-1], tuple(inner))
    whole = squeezed(bare) if _thousands(re.sub(r"\s+", "", bare)) else bare
    parts = split(whole)
    signed = [one for part in parts or [whole] for one in _signs(part)]
    if len(signed) > 1:
        joined = [_interval(one) for one in signed]
        if all(joined):
            return Form("union", tuple(signed))
        return Form("list", tuple(signed))
    return Form("one", (whole,))


def _signs(part: str) -> tuple[str, ...]:
    r"""Both values of what has a ``\pm`` in it."""
    if r"\pm" not in part and r"\mp" not in part:
        return (part,)
    plus = part.replace(r"\pm", "+").replace(r"\mp", "-")
    minus = part.replace(r"\pm", "-").replace(r"\mp", "+")
    return (plus.strip().removeprefix("+").strip(), minus)


def _interval(said: str) -> Form | None:
    r"""An inequality of one letter as an interval: ``-2 ≤ x < 7``, ``x > 5``, ``≤ 5``."""
    if not any(one in said for one in _RELATIONS) or "=" in said:
        return None
    parts = [part.strip() for part in re.split(f"([{_RELATIONS}])", said)]
    if len(parts) == 5 and _VARIABLE.fullmatch(parts[2]):
        low, first, _, second, high = parts
        if first in ">≥" and second in ">≥":
            low, first, second, high = high, _turned(second), _turned(first), low
        if first in "<≤" and second in "<≤":
            return Form(_brackets(first == "≤", second == "≤"), (low, high))
        return None
    if len(parts) != 3 or "≠" in parts[1]:
        return None
    left, relation, right = parts
    if _VARIABLE.fullmatch(right):
        left, relation, right = right, _turned(relation), left
    if not right or (left and not _VARIABLE.fullmatch(left)):
        return None
    if relation in "<≤":
        return Form(_brackets(False, relation == "≤"), (r"-\infty", right))
    return Form(_brackets(relation == "≥", False), (right, r"\infty"))


def _brackets(low: bool, high: bool) -> str:
    """How an interval is held; an open one is written as a tuple is."""
    kind = ("[" if low else "(") + ("]" if high else ")")
    return "tuple" if kind == "()" else kind


def _turned(relation: str) -> str:
    return {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}.get(relation, relation)


def split(text: str) -> list[str] | None:
    """At the commas outside of all brackets; None where brackets do not close."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if depth < 0:
            return None
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return None if depth or not all(part.strip() for part in parts) else parts
