"""Text is text whatever stands beside it; what a model cannot take is said: each way in and out."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from mixtura import (
    ImagePart,
    Message,
    Mixture,
    ModelInfo,
    Notice,
    OtherPart,
    Request,
    TextPart,
    ToolCall,
)
from mixtura.billing.forecast import forecast_calls
from mixtura.billing.spending_caps import RunCap
from mixtura.core.errors import BudgetExceededError
from mixtura.models.fake import echo
from mixtura.models.wrappers.budget_per_run import BudgetedPerRun
from mixtura.prompts.proposer_view import for_proposer
from mixtura.protocols.openai.messages import message_from_json
from mixtura.protocols.usage_estimates import estimate_usage
from tests.conftest import run
from tests.support.served_team import Team, team, texts
from tests.support.upstream import Script, Wire, honest

WORD = "Brontosaurus"
MARK = {"cache_control": {"type": "ephemeral"}}
PDF = base64.b64encode(b"%PDF-1.4 nothing").decode()
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
FILE = {
    "type": "file",
    "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
}
NUMBERS = count()
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("parts")) as one:
        yield one


# ---- texts with further fields

CHAT_TEXTS: list[dict[str, Any]] = [
    {"type": "text", "text": WORD},
    {"type": "text", "text": WORD, **MARK},
    {"type": "text", "text": WORD, "annotations": [], "some_day": {"a": 1}},
    {"type": "input_text", "text": WORD},
    {"type": "output_text", "text": WORD, "annotations": [], "logprobs": []},
    {"type": "refusal", "refusal": WORD},
]


def conversation(role: str, part: dict[str, Any]) -> dict[str, Any]:
    """A chat in which a message of *role* has *part*."""
    ask = {"role": "user", "content": f"Look at number {next(NUMBERS)}."}  # a turn of its own
    said = {"role": role, "content": [part]}
    match role:
        case "tool":
            called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
            return {"messages": [ask, called, said | {"tool_call_id": "c1"}], "tools": [TOOL]}
        case "assistant":
            return {"messages": [ask, said, ask]}
        case "user":
            return {"messages": [said]}
        case _:
            return {"messages": [said, ask]}


@pytest.mark.parametrize("member", ["o", "c"])
@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
@pytest.mark.parametrize("part", CHAT_TEXTS, ids=lambda part: "-".join(part))
def test_a_text_with_further_fields_reaches_drafts_and_answers_of_both_apis(
    served: Team, part: dict[str, Any], role: str, member: str
):
    answer = served.ask("chat", conversation(role, part), f"team-{member}")

    assert answer.status == 200, answer.body
    for model in ("a", member):
        (body,) = served.sent(model)
        assert WORD in texts(body), body


@pytest.mark.parametrize("member", ["o", "c"])
def test_texts_of_responses_and_messages_reach_both_apis(served: Team, member: str):
    part = {"type": "input_text", "text": WORD, **MARK}
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "Old.", **MARK}]}
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": [part]}
    for items in ([{"role": "user", "content": [part]}], [{"role": "user", "content": "?"}, said,
                  {"role": "system", "content": [part]}, {"role": "user", "content": "!"}],
                  [{"role": "user", "content": "?"}, call, output]):  # fmt: skip
        assert served.ask("responses", {"input": items}, f"team-{member}").status == 200
        assert WORD in texts(served.sent(member))
        assert WORD in texts(served.sent("a"))

    block = {"type": "text", "text": WORD, **MARK}
    use = {"type": "tool_use", "id": "c1", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": [block]}
    ask = {"role": "user", "content": "?"}
    for body in (
        {"messages": [ask], "system": [block]},
        {"messages": [{"role": "user", "content": [block]}]},
        {"messages": [ask, {"role": "assistant", "content": [block]}, ask]},
        {"messages": [ask, {"role": "system", "content": [block]}]},
        {"messages": [ask, {"role": "assistant", "content": [use]},
                      {"role": "user", "content": [result]}]},
    ):  # fmt: skip
        assert served.ask("messages", body, f"team-{member}").status == 200
        assert WORD in texts(served.sent(member))
        assert WORD in texts(served.sent("a"))


def test_a_mark_for_a_cache_is_kept_for_anthropic_and_at_most_four(served: Team):
    parts = [{"type": "text", "text": f"Part {i}. ", **MARK} for i in range(6)]
    served.ask("chat", {"messages": [{"role": "system", "content": parts},
                                     {"role": "user", "content": "Why?"}]}, "c")  # fmt: skip

    (body,) = served.sent("c")
    assert [MARK["cache_control"] == b.get("cache_control") for b in body["system"]] == [
        False, False, True, True, True, True,
    ]  # fmt: skip


def test_an_upstream_that_refuses_marks_for_a_cache_gets_the_text_without(served: Team):
    async def play(wire: Wire) -> None:
        if "cache_control" in str(wire.voice.body["messages"]):
            said = "property 'messages.0.content.0.cache_control' is unsupported"
            await wire.reply(400, {"error": {"message": said}})
        else:
            await honest(wire)

    served.script("o", Script(ever=play))
    answer = served.ask("chat", conversation("user", {"type": "text", "text": WORD, **MARK}))

    served.script("o", Script())
    assert answer.status == 200, answer.body
    assert WORD in texts(served.sent()[-1])
    assert answer.json["mixtura"]["notices"] == [
        "o: does not accept cache marks: they were left out"
    ]


# ---- pictures, files, sound


@pytest.mark.parametrize("role", ["system", "user", "tool"])
def test_a_picture_with_further_fields_is_a_picture(served: Team, role: str):
    url = "data:image/png;base64,AAAA"
    part = {"type": "image_url", "image_url": {"url": url}, **MARK}
    for member in "oc":
        assert served.ask("chat", conversation(role, part), member).status == 200
        (body,) = served.sent(member)
        rows = [
            row for m in body["messages"] for row in m["content"] or () if isinstance(row, dict)
        ]
        inner = [r for row in rows for r in row.get("content", ()) if isinstance(r, dict)]
        kinds = {row["type"] for row in (*rows, *inner)}
        assert kinds & {"image_url", "image"}, body


@pytest.mark.parametrize("role", ["user", "tool"])
def test_a_file_reaches_openai_as_a_file_and_anthropic_as_a_document(served: Team, role: str):
    for member, kind in (("o", "'type': 'file'"), ("c", "'type': 'document'")):
        assert served.ask("chat", conversation(role, FILE), member).status == 200
        (body,) = served.sent(member)
        assert kind in str(body["messages"])
        assert PDF in str(body["messages"])


def test_a_document_of_messages_reaches_openai_as_a_file_with_its_name(served: Team):
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    block = {"type": "document", "source": source, "title": "a.pdf"}
    served.ask("messages", {"messages": [{"role": "user", "content": [block]}]}, "o")

    (body,) = served.sent()
    assert body["messages"][0]["content"] == [FILE]


@pytest.mark.parametrize("role", ["user", "tool"])
def test_what_an_api_has_no_form_for_is_told_to_the_model_and_to_the_client(
    served: Team, role: str
):
    answer = served.ask("chat", conversation(role, SOUND), "c")

    assert answer.status == 200, answer.body
    (body,) = served.sent("c")
    assert "A sound recording is here that you cannot read" in texts(body["messages"])
    assert answer.json["mixtura"]["notices"] == [
        "c: cannot take a sound recording: it is replaced by a line of text"
    ]


def test_sound_and_files_that_a_tool_returned_follow_in_a_users_message(served: Team):
    served.ask("chat", conversation("tool", SOUND))

    (body,) = served.sent()
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "tool", "user"]
    assert body["messages"][-1]["content"] == [SOUND]


def test_what_a_tool_returned_beside_text_stays_for_drafts():
    parts = (TextPart("here", MARK), ImagePart("data:,"), OtherPart(FILE))
    asked = Request((
        Message("user", "?"), Message("assistant", "", (ToolCall("c1", "look", "{}"),)),
        Message("tool", parts, tool_call_id="c1"),
    ))  # fmt: skip

    last = for_proposer(asked).messages[-1]
    assert last.text == "[look returned]\nhere"
    assert last.content[1:] == parts[1:]


def test_what_an_upstream_answers_beside_text_is_named_as_left_out(served: Team):
    async def play(wire: Wire) -> None:
        picture = [{"type": "image_url", "image_url": {"url": "data:,"}}]
        message = {"role": "assistant", "content": "Here it is.", "images": picture}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        await wire.reply(200, {"object": "chat.completion", "choices": [choice]})

    served.script("o", Script(ever=play))
    answer = served.ask("chat", {"messages": [{"role": "user", "content": "Draw."}]})

    served.script("o", Script())
    assert answer.json["choices"][0]["message"]["content"] == "Here it is."
    assert answer.json["mixtura"]["left_out"] == ["a part of the type image"]


# ---- in the library, and in what is counted


@pytest.mark.parametrize("part", CHAT_TEXTS, ids=lambda part: "-".join(part))
def test_every_text_is_in_a_messages_text(part: dict[str, Any]):
    message = message_from_json({"role": "user", "content": [part]})
    answer = run(Mixture.of([echo("a")], echo("b")).complete(Request((message,))))

    assert message.text == WORD
    assert WORD in answer.text


LONG = "word 7 " * 58_000
ASK = Message("user", "Why?")
LARGE = {
    "a text": Request((Message("user", LONG),)),
    "a text with a mark": Request((Message("user", (TextPart(LONG, MARK),)),)),
    "a part that is no text": Request((Message("user", (OtherPart({"type": "x", "y": LONG}),)),)),
    "a text file": Request((Message("user", (OtherPart({"type": "file", "file": {
        "file_data": "data:text/plain;base64," + base64.b64encode(LONG.encode()).decode()}}),)),)),
    "a call": Request((ASK, Message("assistant", "", (ToolCall("1", "look", LONG),)))),
    "a tool": Request((ASK,), tools=({"type": "function", "function": {
        "name": "look", "description": LONG}},)),
    "a schema": Request((ASK,), response_format={"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"description": LONG}}}),
}  # fmt: skip


@pytest.mark.parametrize("where", LARGE)
def test_no_cap_is_passed_by_what_is_large_anywhere_in_a_request(where: str):
    request = LARGE[where]
    assert estimate_usage(request, "").prompt_tokens > 20_000

    team_ = Mixture.of([echo("a")], echo("b"))
    capped = BudgetedPerRun(team_, lambda: [RunCap("this run", tokens=40_000)], lambda *_: 0.0)
    assert all(row.usage.prompt_tokens > 20_000 for row in forecast_calls(team_, request))
    with pytest.raises(BudgetExceededError):
        run(capped.complete(request))


def test_a_stand_in_is_said_once_for_each_kind_and_thoughts_of_others_leave():
    from mixtura.protocols.content_parts import replace_unsupported_parts

    thought = OtherPart({"type": "thinking", "thinking": "hm"})
    parts = (OtherPart(FILE), OtherPart(FILE), OtherPart(SOUND), thought, TextPart("x"))
    request, notices = replace_unsupported_parts(
        Request((Message("user", parts),)), lambda part: isinstance(part, TextPart)
    )

    assert request.messages[0].text.count('[A file called "a.pdf" is here') == 2
    assert "hm" not in request.messages[0].text
    assert [said.split(":")[0] for said in notices] == [
        "cannot take a file", "cannot take a sound recording",
    ]  # fmt: skip


def test_the_person_is_told_of_a_picture_that_a_known_model_cannot_see():
    blind = echo("blind", info=ModelInfo("blind", supports_images=False))
    events: list[Any] = []
    picture = Message("user", (TextPart("What is this?"), ImagePart("data:,")))
    run(Mixture.of([blind], blind).complete(Request((picture,)), events.append))

    said = [event.notice for event in events if isinstance(event, Notice)]
    assert set(said) == {"sees no pictures: each is replaced by a line of text"}
