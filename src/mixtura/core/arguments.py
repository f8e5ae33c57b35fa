"""Arguments of a program that uses the library: each is what it must be, or an error names it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from types import UnionType
from typing import Any, NamedTuple, cast

from mixtura.core.credentials import mask_keys
from mixtura.core.quantities import NumberRange


def wrong_kind(name: str, right: str, value: object) -> TypeError:
    """The error for an argument of the wrong kind: its *name*, what is right, and what it is."""
    return TypeError(f"{name}: {right}, not {_describe_kind(value)}")


def _describe_kind(value: object) -> str:
    """What *value* is; not the value itself, which may be a key in the wrong place."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return "None" if value is None else type(value).__name__


def quote_text(value: str) -> str:
    """A text as an error may show it: without what may be a key in the wrong place."""
    return repr(mask_keys(value[:200], names=True))


def check_kind(name: str, value: object, kind: type | tuple[type, ...], right: str) -> None:
    """Raises TypeError where *value* is of another kind; *right* says what it must be."""
    # A class has the attributes of its objects, so it would pass for one of a protocol.
    if isinstance(value, type) or not isinstance(value, kind):
        raise wrong_kind(name, right, value)


def check_optional(name: str, value: object, kind: type | tuple[type, ...], right: str) -> None:
    """The same for an argument that may be None."""
    if value is not None:
        check_kind(name, value, kind, right)


def check_text(name: str, value: object) -> None:
    """Raises TypeError for what is no text."""
    if not isinstance(value, str):
        raise wrong_kind(name, "a text", value)


def check_name(name: str, value: object) -> None:
    """Raises TypeError for what is no text, ValueError for an empty one."""
    check_text(name, value)
    if not value:
        raise ValueError(f"{name}: the text is empty")


def check_flag(name: str, value: object) -> None:
    """Raises TypeError for what is neither True nor False."""
    if not isinstance(value, bool):
        raise wrong_kind(name, "True or False", value)


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raises ValueError for what is none of the *choices*."""
    known = tuple(choices)
    if value not in known:
        shown = quote_text(value) if isinstance(value, str) else _describe_kind(value)
        raise ValueError(f"{name}: one of {', '.join(known)}, not {shown}")


def check_function(name: str, value: object, right: str = "a function") -> None:
    """Raises TypeError for what cannot be called."""
    if not callable(value):
        raise wrong_kind(name, right, value)


def check_mapping(name: str, value: object, right: str = "a dict") -> None:
    """Raises TypeError for what maps nothing."""
    if not isinstance(value, Mapping):
        raise wrong_kind(name, right, value)


def check_number(name: str, value: object, within: NumberRange) -> float:
    """
    *value* as Python's own number. Raises TypeError for what is none, a bool or a text, and
    ValueError for one that is not *within* a range.
    """
    if type(value) is not float and type(value) is not int:
        # A number of another library (NumPy's) is one; True is an int of Python's and is none.
        if isinstance(value, bool) or not isinstance(value, Real):
            raise wrong_kind(name, "a number", value)
        value = int(value) if isinstance(value, Integral) else float(value)
    within.check_value(name, value)
    return value


def check_count(name: str, value: object, within: NumberRange) -> int:
    """The same for a whole number."""
    if type(value) is not int:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise wrong_kind(name, "a whole number", value)
        value = int(value)
    within.check_value(name, value)
    return value


def check_items(name: str, value: object, kind: type | UnionType, right: str) -> tuple[Any, ...]:
    """The items of a list or tuple, each of *kind*. Raises TypeError for anything else."""
    if not isinstance(value, list | tuple):
        raise wrong_kind(name, right, value)
    items = tuple(cast("list[Any]", value))
    for index, item in enumerate(items):
        if not isinstance(item, kind):
            raise TypeError(f"{name}: {right}; item {index} is {_describe_kind(item)}")
    return items


class NumberField(NamedTuple):
    """A field of a value that is a number in a range; *whole*: without a fraction."""

    name: str
    within: NumberRange
    whole: bool = False
    optional: bool = True


def check_number_fields(owner: object, *fields: NumberField) -> None:
    """
    Hold the *fields* of the (frozen) value *owner* to their ranges. Raises TypeError and
    ValueError, which name the field.
    """
    for name, within, whole, optional in fields:
        value = getattr(owner, name)
        if value is None and optional:
            continue
        right = (check_count if whole else check_number)(name, value, within)
        if right is not value:
            object.__setattr__(owner, name, right)
