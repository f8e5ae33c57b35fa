"""A judge is asked: what it judges is data, its reply is read strictly, or there is no verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from mixtura.control_tokens import inert_json
from mixtura.errors import MixturaError, bill
from mixtura.model import Model
from mixtura.types import Charge, Completion, Json, Message, Request

T = TypeVar("T")

REMINDER = """Your verdict is missing, or not in the form that was asked for. Write it now, in that
form, and nothing else."""
SILENCE = "(nothing)"


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
    What *read* finds in the judge's reply; without a verdict the judge is reminded, once.

    What the judge raises is raised, with the charges of both attempts.
    """
    request = replace(request, draft=True)
    said = await judge.complete(request)
    if (found := read(said)) is not None:
        return Said(found, said.text, said.charges)
    spoken = (Message("assistant", said.text or SILENCE), Message("user", REMINDER))
    try:
        again = await judge.complete(replace(request, messages=(*request.messages, *spoken)))
    except MixturaError as error:
        bill(error, *said.charges)
        raise
    return Said(read(again), again.text or said.text, (*said.charges, *again.charges))


def material(rows: Json) -> str:
    """What a judge is shown, as one JSON object; what is empty is left out."""
    return inert_json({name: value for name, value in rows.items() if value}, indent=1)
