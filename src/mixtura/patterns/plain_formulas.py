"""TeX formulas as a person types them: 3/4 for a fraction, words without fonts."""

from __future__ import annotations

import re

_WRAPPING = re.compile(
    r"\\(?:text|mathrm|textbf|mathbf|mathit|operatorname|mbox|boldsymbol)\s*\{([^{}]*)\}"
)
_FRACTION = re.compile(
    r"\\[dtc]?frac\s*(?:\{\s*(-?[0-9.]+)\s*\}|(-?[0-9]))\s*(?:\{\s*([0-9.]+)\s*\}|([0-9]))"
)
_ROOT = re.compile(
    r"(?P<times>(?<=[0-9)])\s*)?(?:\\sqrt|√|\bsqrt(?=\())\s*(?:\[(?P<index>[2-9])\]\s*)?"
    r"(?:\{\s*(?P<a>[0-9]{1,15})\s*\}|\(\s*(?P<b>[0-9]{1,15})\s*\)|(?P<c>[0-9]{1,15})(?![.,]?[0-9]))"
)
_POWER_OPERATOR = re.compile(r"(?<=[0-9)])(?:\*\*| \*\* )(?=-?[0-9(])(?!-?[0-9.,]+ ?\*\*)")
_EXPONENT = re.compile(r"\^\s*\{\s*(-?[0-9]+)\s*\}")


def simplify_formula(text: str, *, as_text: bool = False) -> str:
    """
    A formula as a person types it: 3/4 for a fraction, words without their fonts.

    *as_text*: what stays of it is compared letter by letter, so that roots keep what they are of,
    and names and numbers their indices; else neither is taken for a number.
    """
    text = _WRAPPING.sub(r"\1", text)
    text = _FRACTION.sub(lambda m: f" {m[1] or m[2]}/{m[3] or m[4]} ", text)
    text = _EXPONENT.sub(r"^\1", text)
    text = _ROOT.sub(_write_root if as_text else _evaluate_root, text)
    text = re.sub(r"\\(?:times|cdot|ast)(?![a-z])", "*", text)
    text = re.sub(r"\\(?:approx|implies|Rightarrow|to|rightarrow)(?![a-z])", "=", text)
    text = re.sub(r"\\div(?![a-z])", "/", text).replace(r"\pounds", " ")
    text = re.sub(r"(?<=[0-9])(?:\{,\}|\\,|\\:|\\;|\\ |~|\\!,?|,\\!)(?=[0-9]{3})", "\u202f", text)
    text = re.sub(r"\\[()\[\],;:! ]|\\left|\\right|\\displaystyle", " ", text)
    text = _POWER_OPERATOR.sub("^", text.replace(r"\%", "%").replace(r"\$", " "))
    # Bold in Markdown, unless two numbers stand beside it: then it multiplies.
    text = text.replace("**", "*" if re.search(r"\d\*\*\d", text) else " ")
    text = re.sub(
        r"[$€£¥₹₽₩]|\bUS\s*(?=[$0-9])|\b(?:USD|EUR|GBP|INR|Rs\.?|CHF)(?=\s*-?[0-9])", " ", text
    )
    if as_text:
        return re.sub(r"\\[dtc]frac(?![a-z])", r"\\frac", text.replace("`", " "))
    return text.replace("`", " ").replace("_", "" if re.search(r"\d_\d{3}", text) else " ")


def _write_root(match: re.Match[str]) -> str:
    """An integer root as `_evaluate_root` writes it; of any other what it is of as well: ``√3``."""
    value = _evaluate_root(match)
    if "√" not in value:
        return value
    index = f"[{match['index']}]" if match["index"] not in (None, "2") else ""
    return f"√{index}{match['a'] or match['b'] or match['c']} "


def _evaluate_root(match: re.Match[str]) -> str:
    """The value of an integer root; any other root as ``√``, which is no number."""
    index, of = int(match["index"] or 2), int(match["a"] or match["b"] or match["c"])
    # A float may be off by one at most here: the exact power below decides.
    root = round(of ** (1 / index))
    times = "*" if match["times"] is not None else ""
    return f"{times}{root} " if root**index == of else " √ "
