"""Models, judges and drafts for the tests of patterns."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from mixtura import (
    Charge,
    Completion,
    Message,
    Usage,
    ask,
)
from mixtura.config.config import load
from mixtura.core.call_ledger import open_ledger
from mixtura.models.fake import Scripted
from tests.conftest import run
from tests.support.config_files import MODELS

ASK = ask("Why is the sky blue?")


TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}


def said(text, model="m", finish="stop", **more):
    return Completion(
        Message("assistant", text, **more), model, finish, (Charge(model, Usage(3, 2)),)
    )


def team(*texts):
    """One model for each text; they answer once."""
    return [Scripted(f"m{i}", [said(text, f"m{i}")]) for i, text in enumerate(texts, 1)]


def drafts_in(request):
    """The proposals as a reader finds them: the JSON between the marks."""
    text = "\n".join(message.text for message in request.messages)
    found = re.search(r"^(=====drafts-\w+=====)\n(\[.*?\])\n\1$", text, re.MULTILINE | re.DOTALL)
    return [row["text"] for row in json.loads(found[2])] if found else []


def picks(text, name="judge"):
    """A ranker that finds *text* wherever it stands and names its slot."""

    def step(request):
        return json.dumps({"best": drafts_in(request).index(text) + 1})

    return Scripted(name, [step])


def scores(marks, name="judge"):
    """A judge with a score for every text."""

    def script():
        while True:
            yield lambda request: f'Well.\n{{"score": {marks[drafts_in(request)[0]]}}}'

    return Scripted(name, script())


def watched(model, request=ASK):
    events = []
    answer = run(model.complete(request, events.append))
    return answer, events


async def charges_when_left(model, last):
    """What the ledger holds of a run that is left while *last* answers."""
    with open_ledger() as ledger:
        task = asyncio.create_task(model.complete(ASK))
    while not last.asked:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return ledger.charges


AGREE = ("The sky scatters blue light.", "Blue light is scattered by the sky.", "Bananas.")


def read(body, folder):
    (folder / "mixtura.toml").write_text(f'default = "t"\n{MODELS}\n[mixtures.t]\n{body}')
    return load(None, environ={}, folder=folder, home=folder / "home")


def written(server, body):
    tables = "\n".join(
        f'[models.{name}]\nbase_url = "{server.base_url}"\nmodel = "{name}"\nretries = 0\n'
        f"price = {{ input = 1.0, output = 2.0 }}\n"
        for name in ("a", "b", "c", "judge")
    )
    return f'default = "t"\n{tables}\n[mixtures.t]\n{body}\n'


def repeats(name, *texts):
    """A model that gives these texts in turn, again and again; it keeps what it was asked."""

    def script():
        while True:
            yield from (said(text, name) for text in texts)

    return Scripted(name, script())


def prefers(text, name="judge"):
    """A judge of pairs that prefers *text* in any place, and slot 1 where it is not there."""

    def script():
        while True:
            yield lambda request: json.dumps(
                {
                    "better": (drafts_in(request).index(text) if text in drafts_in(request) else 0)
                    + 1
                }
            )

    return Scripted(name, script())
