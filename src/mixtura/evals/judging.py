"""A judge is asked: what it judges is data, its reply is read strictly, or there is no verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from mixtura.errors import MixturaError, bill
from mixtura.model import Model
from mixtura.prompts import as_data
from mixtura.text import visible
from mixtura.types import Charge, Completion, Json, Request

T = TypeVar("T")

ATTEMPTS = 2
"""How often a judge is asked before its verdict is missing."""


@dataclass(frozen=True, slots=True)
class Said(Generic[T]):
    """What a judge said in the end; *verdict* is None where nothing in it can be read as one."""

    verdict: T | None
    reply: str
    charges: tuple[Charge, ...]


async def verdict(
    judge: Model, request: Request, read: Callable[[Completion], T | None]
) -> Said[T]:
    """
    What *read* finds in the judge's reply; without a verdict it is asked once more.

    What the judge raises is raised, with the charges of both attempts.
    """
    charges: tuple[Charge, ...] = ()
    reply = ""
    for attempt in range(ATTEMPTS):
        try:
            said = await judge.complete(replace(request, draw=request.draw + attempt, draft=True))
        except MixturaError as error:
            bill(error, *charges)
            raise
        charges, reply = (*charges, *said.charges), said.text
        if (found := read(said)) is not None:
            return Said(found, reply, charges)
    return Said(None, reply, charges)


def material(rows: Json) -> str:
    """What a judge is shown, as one JSON object; what is empty is left out."""
    return visible(as_data({name: value for name, value in rows.items() if value}, indent=1))
