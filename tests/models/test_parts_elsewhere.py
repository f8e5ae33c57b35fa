"""Parts of messages through the bridge and to a local model: none vanishes, the rest is said."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import Any

import pytest

from mixtura import ImagePart, Message, Notice, OtherPart, Request, Sampling, TextPart, ToolCall
from mixtura.models.llama_cpp import Local
from mixtura.transport.client import Secret
from tests.conftest import run as run_alone
from tests.support.served_team import texts
from tests.support.upstream import Script, running

run = asyncio.run  # the bridge's stream closes itself in a task of its own

MARK = {"cache_control": {"type": "ephemeral"}}
FILE = OtherPart({"type": "file", "file": {"filename": "a.pdf", "file_data": "JVBERi0="}})
SOUND = OtherPart({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})
PICTURE = ImagePart("data:image/png;base64,AAAA")
CALL = ToolCall("1", "look", "{}")


def talk(*parts: Any) -> tuple[Message, ...]:
    """A conversation in which everyone says *parts*."""
    return (
        Message("system", parts), Message("user", parts), Message("assistant", parts, (CALL,)),
        Message("tool", parts, tool_call_id="1"), Message("user", "Well?"),
    )  # fmt: skip


@pytest.mark.skipif(
    not (find_spec("pydantic_ai") and find_spec("openai")),
    reason='the extra "providers" is not installed',
)
def test_texts_and_pictures_go_through_the_bridge_and_the_rest_is_said():
    from mixtura.models.pydantic_ai import PydanticAI

    events: list[Any] = []
    with running() as upstream:
        upstream.scripts["m"] = Script("Because.")
        model = PydanticAI(
            "openai-chat", "m", base_url=upstream.base_url(), api_key=Secret("a-key")
        )
        asked = Request(
            talk(TextPart("Word.", MARK), PICTURE, FILE, SOUND), extra={"min_p": 0.1, "top_k": 1}
        )
        run(model.complete(asked, events.append))
        (body,) = [record.body for record in upstream.records]

    said = texts(body["messages"])
    assert said.count("Word.") == 4
    assert said.count('[A file called "a.pdf" is here') == 4
    assert str(body).count(PICTURE.url) == 3
    assert [e.notice for e in events if isinstance(e, Notice)] == [
        "cannot take a file: it is replaced by a line of text",
        "cannot take a sound recording: it is replaced by a line of text",
        "does not accept min_p: it was left out",
    ]


def test_a_local_model_reads_every_text_and_is_told_of_the_rest(embedded: Any):
    events: list[Any] = []
    model = Local(embedded, context=2048)
    parts = (TextPart("The word is plum.", MARK), FILE, SOUND, PICTURE)
    asked = Request(
        (Message("system", parts[:1]), Message("user", parts)),
        Sampling(max_tokens=1),
        extra={"repetition_penalty": 1.0, "top_a": 0.1, "thinking": {"type": "disabled"}},
    )
    answer = run_alone(model.complete(asked, events.append))
    model.close()

    assert answer.usage.prompt_tokens > 60
    assert [e.notice for e in events if isinstance(e, Notice)] == [
        "cannot take a file: it is replaced by a line of text",
        "cannot take a sound recording: it is replaced by a line of text",
        "cannot take a picture: it is replaced by a line of text",
        "does not accept top_a: it was left out",
    ]
