"""The head of a function in a question: its parameters, and which plain values they can have."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, cast

from mixtura.programs.literals import parse_or_none

_MAX_HEAD_CHARS = 4000
_HEAD_END = re.compile(r"\)\s*+(?:->[^\n]*)?:|\)(?=`)")
_RESULT = re.compile(r"\)\s*+->[ \t]*+([^\n:]+)")
_ALIAS = re.compile(r"^(?:type[ \t]+)?(\w+)[ \t]*(?::[ \t]*\w+[ \t]*)?=(?!=)", re.MULTILINE)
_LISTS, _NUMBERS = (list, tuple, str, set, frozenset, dict), (int, float)
# What a value of an annotation may be, by the annotation's last name; of others nothing is known
# but that no plain value is one: a `ListNode`, say.
_TYPES: dict[str, tuple[type, ...]] = {
    "int": _NUMBERS, "integer": _NUMBERS, "float": _NUMBERS, "number": _NUMBERS, "real": _NUMBERS,
    "complex": (*_NUMBERS, complex), "bool": (bool,), "str": (str,), "string": (str,),
    "text": (str,), "bytes": (bytes,), "list": (list,), "mutablesequence": (list,),
    "tuple": (tuple,), "set": (set,), "abstractset": (set, frozenset), "frozenset": (frozenset,),
    "dict": (dict,), "mapping": (dict,), "mutablemapping": (dict,), "defaultdict": (dict,),
    "ordereddict": (dict,), "counter": (dict,), "array": (list,),
    "sequence": (list, tuple, str), "iterable": _LISTS, "collection": _LISTS, "container": _LISTS,
}  # fmt: skip
_KINDS_OF_TYPES = frozenset({"sequence", "iterable", "collection", "container"})
_ANYTHING = frozenset({"any", "object", "literal", "hashable", "sized", "self"})


class FunctionHead(NamedTuple):
    """What calls give a function by position, without a method's `self`, and what it returns."""

    names: Sequence[str]
    annotations: Sequence[ast.expr | None]
    """Of each of *names*, in order."""
    result: ast.expr | None
    aliases: Collection[str]
    """Names that the question gives to other types, in lines such as ``Grid = list[str]``."""

    @property
    def returns_nothing(self) -> bool:
        """Whether the head says ``-> None``."""
        return isinstance(self.result, ast.Constant) and self.result.value is None

    def takes(self, values: Sequence[Any]) -> bool:
        """Whether the parameters may have these values."""
        return all(map(self._fits, self.annotations, values))

    def may_return(self, value: Any) -> bool:
        """Whether the result may be *value*, of just that type; None may be what is missing."""
        return _last_name(self.result).lower() not in _KINDS_OF_TYPES and self._fits(
            self.result, value
        )

    def _fits(self, annotation: ast.expr | None, value: Any) -> bool:
        try:
            return _value_fits(annotation, value, self.aliases)
        except RecursionError:
            return True


def read_head(question: str, function: str) -> FunctionHead | None:
    """
    The last head of *function* in *question*. None where it cannot be read, or where a call has to
    give more than values by position.
    """
    begin = rf"\bdef[ \t]++{re.escape(function)}[ \t]*+\("
    begins = [match.end() for match in re.finditer(begin, question)]
    for at in reversed(begins[-10:]):
        head = question[at : at + _MAX_HEAD_CHARS]
        if not (end := _HEAD_END.search(head)):
            continue
        parsed = parse_or_none(f"def f({head[: end.start()]}): pass", "exec")
        if not isinstance(parsed, ast.Module) or not isinstance(parsed.body[0], ast.FunctionDef):
            return None
        there = parsed.body[0].args
        if there.vararg or None in there.kw_defaults:  # without a default
            return None
        parameters = [*there.posonlyargs, *there.args]
        if parameters and parameters[0].arg in ("self", "cls"):
            parameters = parameters[1:]
        stated = _RESULT.match(head, end.start())
        result = parse_or_none(stated[1].strip(), "eval") if stated else None
        return FunctionHead(
            [one.arg for one in parameters],
            [one.annotation for one in parameters],
            result.body if isinstance(result, ast.Expression) else None,
            frozenset(_ALIAS.findall(question)),
        )
    return None


def _last_name(annotation: ast.expr | None) -> str:
    """``List`` of ``typing.List[int]``."""
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    return getattr(annotation, "id", "") or getattr(annotation, "attr", "")


def _value_fits(annotation: ast.expr | None, value: Any, aliases: Collection[str]) -> bool:
    if annotation is None or value is None:
        return True
    if isinstance(annotation, ast.BinOp):
        parts = (annotation.left, annotation.right)
        return any(_value_fits(one, value, aliases) for one in parts)
    if isinstance(annotation, ast.Constant):
        if not isinstance(annotation.value, str):
            return False
        parsed = parse_or_none(annotation.value.strip(), "eval")
        return not isinstance(parsed, ast.Expression) or _value_fits(parsed.body, value, aliases)
    inner: list[ast.expr] = []
    if isinstance(annotation, ast.Subscript):
        inside = annotation.slice
        inner = inside.elts if isinstance(inside, ast.Tuple) else [inside]
        annotation = annotation.value
    name = _last_name(annotation)
    if not name or name in aliases or (len(name) == 1 and name.isupper()):
        return True
    name = name.lower()
    if name in _ANYTHING:
        return True
    if name in ("optional", "union", "annotated", "final"):
        parts = inner[:1] if name == "annotated" else inner
        return any(_value_fits(one, value, aliases) for one in parts) or not parts
    if type(value) not in _TYPES.get(name, ()):
        return False
    if len(inner) != 1 or not isinstance(value, (list, set, frozenset)):
        return True
    items = cast("Collection[Any]", value)
    return all(_value_fits(inner[0], one, aliases) for one in items)
