"""Mistakes in a configuration, collected so that a person is told all of them at once."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from mixtura.core.errors import ConfigError


class Mistakes:
    """The ConfigErrors that were found while something was read."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def __len__(self) -> int:
        return len(self._found)

    @contextmanager
    def collect(self) -> Generator[None]:
        """Note a ConfigError that ends this block, and go on behind it."""
        try:
            yield
        except ConfigError as error:
            self.add(error)

    def add(self, error: ConfigError) -> None:
        self._found.append(error)

    def raise_if_any(self) -> None:
        """Raise one ConfigError with all of them by their lines; none where none was found."""
        if self._found:
            raise ConfigError.combine(self._found)
