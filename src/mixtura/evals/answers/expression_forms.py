"""The form of a mathematical answer: one thing, a list, a tuple, a set, an interval, a matrix."""

from __future__ import annotations

import re
from typing import NamedTuple

from mixtura.evals.answers.formula_cleanup import (
    has_thousands_commas,
    normalize_formula,
)

_REALS = re.compile(
    r"\\mathbb\s*{?\s*R\s*}?|\\R|ℝ|(?:\\text{)?\s*all\s+real(?:s|\s+numbers)\s*}?", re.IGNORECASE
)
_RELATIONS = "<>≤≥≠"
_VARIABLE = re.compile(r"[a-zA-Z]")


class AnswerForm(NamedTuple):
    """An answer's items and its kind: one, list, tuple, set, matrix, union, or brackets."""

    kind: str
    items: tuple[str, ...]


# ---- parts


def parse_form(answer: str) -> AnswerForm:
    """The parts of a tuple, an interval, a set, a list, a matrix, a union; else one thing."""
    bare = answer.strip()
    if _REALS.fullmatch(bare):
        # The real numbers and (-∞, ∞) are one answer in two ways of writing.
        return AnswerForm("tuple", (r"-\infty", r"\infty"))
    if matrix := re.fullmatch(r"\\begin{pmatrix}(.*)\\end{pmatrix}", bare, re.DOTALL):
        rows = [row for row in matrix[1].split(r"\\") if row.strip()]
        return AnswerForm("matrix", tuple(f"({','.join(row.split('&'))})" for row in rows))
    # So are x > 5 and (5, ∞).
    if (reach := _parse_inequality(bare)) is not None:
        return reach
    if r"\cup" in bare:
        parts = [parse_form(part) for part in bare.split(r"\cup")]
        if all(p.kind in ("tuple", "[]", "[)", "(]") and len(p.items) == 2 for p in parts):
            return AnswerForm("union", tuple(part.strip() for part in bare.split(r"\cup")))
    if bare.startswith(r"\{") and bare.endswith(r"\}"):
        parts = split_at_commas(bare[2:-2]) or []
        return AnswerForm(
            "set", tuple(signed for part in parts for signed in _expand_plus_minus(part))
        )
    if len(bare) > 1 and bare[0] in "([" and bare[-1] in ")]":
        inner = split_at_commas(bare[1:-1])
        if inner is not None and len(inner) > 1:
            return AnswerForm(
                "tuple" if bare[0] + bare[-1] == "()" else bare[0] + bare[-1], tuple(inner)
            )
    # Before commas part anything: 1,000 is one number, 1,2 are two.
    whole = normalize_formula(bare) if has_thousands_commas(re.sub(r"\s+", "", bare)) else bare
    parts = split_at_commas(whole)
    signed = [one for part in parts or [whole] for one in _expand_plus_minus(part)]
    if len(signed) > 1:
        joined = [_parse_inequality(one) for one in signed]
        if all(joined):
            return AnswerForm("union", tuple(signed))
        return AnswerForm("list", tuple(signed))
    return AnswerForm("one", (whole,))


def _expand_plus_minus(part: str) -> tuple[str, ...]:
    r"""Both values of what has a ``\pm`` in it."""
    if r"\pm" not in part and r"\mp" not in part:
        return (part,)
    plus = part.replace(r"\pm", "+").replace(r"\mp", "-")
    minus = part.replace(r"\pm", "-").replace(r"\mp", "+")
    return (plus.strip().removeprefix("+").strip(), minus)


def _parse_inequality(answer: str) -> AnswerForm | None:
    r"""An inequality of one letter as an interval: ``-2 ≤ x < 7``, ``x > 5``, ``≤ 5``."""
    if not any(one in answer for one in _RELATIONS) or "=" in answer:
        return None
    parts = [part.strip() for part in re.split(f"([{_RELATIONS}])", answer)]
    if len(parts) == 5 and _VARIABLE.fullmatch(parts[2]):
        low, first, _, second, high = parts
        if first in ">≥" and second in ">≥":
            low, first, second, high = high, _flip_relation(second), _flip_relation(first), low
        if first in "<≤" and second in "<≤":
            return AnswerForm(_interval_kind(first == "≤", second == "≤"), (low, high))
        return None
    if len(parts) != 3 or "≠" in parts[1]:
        return None
    left, relation, right = parts
    if _VARIABLE.fullmatch(right):
        left, relation, right = right, _flip_relation(relation), left
    if not right or (left and not _VARIABLE.fullmatch(left)):
        return None
    if relation in "<≤":
        return AnswerForm(_interval_kind(False, relation == "≤"), (r"-\infty", right))
    return AnswerForm(_interval_kind(relation == "≥", False), (right, r"\infty"))


def _interval_kind(low: bool, high: bool) -> str:
    """The kind of an interval by its closed ends; an open one is written as a tuple is."""
    kind = ("[" if low else "(") + ("]" if high else ")")
    return "tuple" if kind == "()" else kind


def _flip_relation(relation: str) -> str:
    return {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}.get(relation, relation)


def split_at_commas(text: str) -> list[str] | None:
    """Split at the commas outside of brackets; None where brackets do not match."""
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
