"""What other packages add, by entry points: patterns, tasks, providers, APIs on either side."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from mixtura.core.errors import ConfigError

T = TypeVar("T")


@cache
def find_entry_points(group: str) -> dict[str, EntryPoint]:
    """The entry points of *group* in every installed package, by name; looked for once."""
    return {point.name: point for point in entry_points(group=group)}


def load_entry_point(group: str, name: str, kind: type[T]) -> T | None:
    """
    What a package offers as *name*; None where none does.

    Raises ConfigError, with the package, where it cannot be loaded or is no *kind*.
    """
    point = find_entry_points(group).get(name)
    if point is None:
        return None
    package = point.dist.name if point.dist else point.module
    try:
        value = point.load()
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise ConfigError(f"'{name}' of the package {package} cannot be loaded: {said}") from error
    if not isinstance(value, kind):
        raise ConfigError(
            f"'{name}' of the package {package} is not a {kind.__name__}: {point.value}"
        )
    return value
