"""Telephone numbers as people of a country write them, found by Google's rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module

from mixtura.privacy.item_finder import Recognizer


def create_phone_recognizer(regions: Sequence[str]) -> Recognizer:
    """
    Finds numbers of *regions* (``DE``, ``US``), written with or without the country's code.

    Raises ValueError for a region that there is not, ModuleNotFoundError without `phonenumbers`.
    """
    library = import_module("phonenumbers")
    wanted = [region.upper() for region in regions]
    for region in wanted:
        if region not in library.SUPPORTED_REGIONS:
            raise ValueError(f"{region[:20]!r} is no region: write its two letters, such as DE")

    def find_phones(text: str) -> Iterator[tuple[int, int, str]]:
        for region in wanted:
            matches: Iterable[object] = library.PhoneNumberMatcher(text, region)
            for match in matches:
                yield match.start, match.end, "phone"  # type: ignore[attr-defined]

    return find_phones
