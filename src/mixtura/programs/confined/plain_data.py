"""Python values as JSON and back: how calls cross the line between a test and an untrusted program.

Numbers, texts, bytes and the containers of the language keep their exact types; a subclass
crosses as the type it is made of. Objects that occur twice, or hold themselves, stay one object.
A message never runs code: what it does not describe exactly is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, cast

Message = dict[str, Any]
Row = list[Any]
MAX_ITERATOR_ITEMS = 1_000_000
"""Items of an iterator that are taken; one with more, such as one without end, is refused."""
_SMALL = 2**62
_PENDING = object()


class PlainDataError(ValueError):
    """A value that is not plain data, or a message that does not describe plain data."""


def _build_keys_view(items: list[Any]) -> object:
    return dict.fromkeys(items).keys()


def _build_values_view(items: list[Any]) -> object:
    return dict(enumerate(items)).values()


def _build_items_view(items: list[Any]) -> object:
    return dict(items).items()


_MUTABLE: dict[str, type] = {"list": list, "dict": dict, "set": set, "bytearray": bytearray}
_BUILT: dict[str, Callable[[list[Any]], object]] = {
    # made at once of parts that are there already
    "tuple": tuple, "frozenset": frozenset, "deque": deque, "iterator": iter,
    "keys": _build_keys_view, "values": _build_values_view, "items": _build_items_view,
}  # fmt: skip
_EMPTY: dict[object, object] = {}
_VIEWS: dict[str, type] = {
    "keys": type(_EMPTY.keys()), "values": type(_EMPTY.values()), "items": type(_EMPTY.items()),
}  # fmt: skip


def encode(roots: Sequence[object], known: Sequence[object] = ()) -> tuple[Message, list[object]]:
    """
    A message with *roots*, and the containers in it, in order.

    *known* are the containers of an earlier message: they are referred to, and what they hold
    now is sent again. Raises PlainDataError for what is not plain data.
    """
    encoder = _Encoder(known)
    message = encoder.encode_message(roots)
    return message, encoder.objects


def decode(
    message: object, known: Sequence[object] = (), sent: Sequence[Row | None] = ()
) -> tuple[list[Any], list[object]]:
    """
    The roots of a *message*, and its containers in order; the inverse of `encode`.

    *known* containers take over what the message says they hold now, where that is not what
    was *sent*. Raises PlainDataError and changes nothing for a message that cannot be read.
    """
    try:
        return _Decoder(message, known).decode_roots(sent)
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, RecursionError) as error:
        raise PlainDataError("the message does not describe plain data") from error


class _Encoder:
    def __init__(self, known: Sequence[object]) -> None:
        self.objects = list(known)  # held, so that no id is used twice
        self._known = len(self.objects)
        self._place = {id(one): place for place, one in enumerate(self.objects)}
        self._rows: list[Row | None] = []
        self._waiting: deque[int] = deque()

    def encode_message(self, roots: Sequence[object]) -> Message:
        references = [self._encode_reference(root) for root in roots]
        again = [self._mutable_row(one) for one in self.objects[: self._known]]
        while self._waiting:
            place = self._waiting.popleft()
            self._rows[place - self._known] = self._mutable_row(self.objects[place])
        return {"roots": references, "rows": self._rows, "again": again}

    def _encode_reference(self, value: object) -> Any:
        """What stands for a value in a row: itself, a marked scalar, or the place of its row."""
        if value is None or type(value) in (bool, str, float):
            return value
        if isinstance(value, int):
            number = int(value)
            # In hexadecimal: Python writes no whole number of more than 4,300 digits in decimals.
            return number if -_SMALL < number < _SMALL else ["int", f"{number:x}"]
        if isinstance(value, (str, float, complex, bytes, range)):
            return _encode_scalar(value)
        place = self._place.get(id(value))
        return ["at", self._add_container(value) if place is None else place]

    def _add_container(self, value: object) -> int:
        if isinstance(value, tuple(_MUTABLE.values())):
            # Its row is filled later: it may hold itself, and then has to have a place first.
            self._rows.append(None)
            self._waiting.append(self._known + len(self._rows) - 1)
        else:
            tag, items = _container_parts(value)
            if not tag:
                return self._add_number(value)
            row = [tag, [self._encode_reference(item) for item in items]]
            self._rows.append(row)
        place = self._known + len(self._rows) - 1
        self.objects.append(value)
        self._place[id(value)] = place
        return place

    def _add_number(self, value: object) -> int:
        """Decimals and fractions, which only a program that imported their modules has."""
        kind: Any = type(value)
        number: Any = value
        if (kind.__module__, kind.__name__) == ("decimal", "Decimal"):
            self._rows.append(["Decimal", [str(number)]])
        elif (kind.__module__, kind.__name__) == ("fractions", "Fraction"):
            self._rows.append(["Fraction", [f"{number.numerator:x}", f"{number.denominator:x}"]])
        else:
            raise PlainDataError("this is no plain data")
        self.objects.append(value)
        place = self._place[id(value)] = self._known + len(self._rows) - 1
        return place

    def _mutable_row(self, value: object) -> Row | None:
        """The row of a container that can change; None for others."""
        if isinstance(value, bytearray):
            return ["bytearray", [bytes(value).hex()]]
        if isinstance(value, dict):
            pairs = cast("dict[object, object]", value)
            flat = [part for pair in list(pairs.items()) for part in pair]
            return ["dict", [self._encode_reference(part) for part in flat]]
        for tag in ("list", "set"):
            if isinstance(value, _MUTABLE[tag]):
                items = cast("Iterable[object]", value)
                return [tag, [self._encode_reference(item) for item in list(items)]]
        return None


def _encode_scalar(value: str | float | complex | bytes | range) -> Any:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, range):
        return ["range", *(f"{part:x}" for part in (value.start, value.stop, value.step))]
    if isinstance(value, bytes):
        return ["bytes", bytes(value).hex()]
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    return float(value)


def _container_parts(value: object) -> tuple[str, list[object]]:
    """The tag and the items of a container that is made at once; no tag for anything else."""
    for kind in (tuple, frozenset, deque):
        if isinstance(value, kind):
            return kind.__name__, list(cast("Iterable[object]", value))
    for tag, view in _VIEWS.items():
        if isinstance(value, view):
            return tag, list(cast("Iterable[object]", value))
    if isinstance(value, Iterator):
        taken = list(islice(cast("Iterator[object]", value), MAX_ITERATOR_ITEMS + 1))
        if len(taken) > MAX_ITERATOR_ITEMS:
            raise PlainDataError("this iterator is too long")
        return "iterator", taken
    return "", []


class _Decoder:
    def __init__(self, message: object, known: Sequence[object]) -> None:
        if not isinstance(message, dict):
            raise PlainDataError("this is no message")
        parts = cast("dict[str, list[Any]]", message)
        self._references = _require_list(parts["roots"])
        self._rows = [_require_row(row) for row in _require_list(parts["rows"])]
        self._again = _require_list(parts["again"])
        self._known = len(known)
        self._objects: list[object] = [*known, *(_PENDING for _ in self._rows)]

    def decode_roots(self, sent: Sequence[Row | None]) -> tuple[list[Any], list[object]]:
        # The mutable ones first, and empty: whatever refers to one finds it, even itself.
        for place, (tag, _) in enumerate(self._rows, self._known):
            if tag in _MUTABLE:
                self._objects[place] = _MUTABLE[tag]()
        for place, (tag, items) in enumerate(self._rows, self._known):
            if tag not in _MUTABLE:
                self._objects[place] = self._build_immutable(tag, items)
        filled = [
            (place, *row) for place, row in enumerate(self._rows, self._known) if row[0] in _MUTABLE
        ]
        filled += self._changed_containers(sent)
        # All is read before anything is changed.
        contents = [(place, self._decode_content(tag, items)) for place, tag, items in filled]
        roots = [self._decode_value(one) for one in self._references]
        for place, content in contents:
            _fill_container(self._objects[place], content)
        return roots, self._objects

    def _changed_containers(self, sent: Sequence[Row | None]) -> list[tuple[int, str, list[Any]]]:
        """The known containers that hold something else now."""
        if len(self._again) != self._known:
            raise PlainDataError("it speaks of other containers")
        changed: list[tuple[int, str, list[Any]]] = []
        for place, row in enumerate(self._again):
            # By their texts: to Python 1, 1.0 and True are equal, and a test may tell them apart.
            if row is None or (place < len(sent) and repr(row) == repr(sent[place])):
                continue
            tag, items = _require_row(row)
            if tag not in _MUTABLE or not isinstance(self._objects[place], _MUTABLE[tag]):
                raise PlainDataError("a container does not change its type")
            changed.append((place, tag, items))
        return changed

    def _build_immutable(self, tag: str, items: list[Any]) -> object:
        if tag in _BUILT:
            return _BUILT[tag]([self._decode_value(item) for item in items])
        if tag == "Decimal":
            from decimal import Decimal

            (text,) = items
            return Decimal(text)
        if tag == "Fraction":
            from fractions import Fraction

            above, below = (int(item, 16) for item in items)
            return Fraction(above, below)
        raise PlainDataError("this is no container")

    def _decode_content(self, tag: str, items: list[Any]) -> Any:
        if tag == "bytearray":
            (text,) = items
            return bytes.fromhex(text)
        values = [self._decode_value(item) for item in items]
        if tag == "dict":
            return dict(zip(values[::2], values[1::2], strict=True))
        return set(values) if tag == "set" else values

    def _decode_value(self, reference: Any) -> Any:
        if reference is None or type(reference) in (bool, int, float, str):
            return reference
        tag, *parts = _require_list(reference)
        if tag == "at":
            (place,) = parts
            if type(place) is not int or place < 0 or self._objects[place] is _PENDING:
                raise PlainDataError("it refers to nothing")
            return self._objects[place]
        if tag == "complex":
            return complex(*(float(part) for part in parts))
        if tag == "bytes":
            return bytes.fromhex(*parts)
        if tag == "range":
            return range(*(int(part, 16) for part in parts))
        if tag == "int":
            (digits,) = parts
            return int(digits, 16)
        raise PlainDataError("this is no value")


def _require_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise PlainDataError("this is no list")
    return cast("list[Any]", value)


def _require_row(row: Any) -> tuple[str, list[Any]]:
    tag, items = _require_list(row)
    if not isinstance(tag, str):
        raise PlainDataError("this is no row")
    return tag, _require_list(items)


def _fill_container(container: Any, content: Any) -> None:
    if isinstance(container, (list, bytearray)):
        container[:] = content
    else:
        container.clear()
        container.update(content)
