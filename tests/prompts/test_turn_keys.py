"""A turn keeps its proposals through all that a front end tells; instructions go where they may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura import Message, Mixture, Notice, RejectedError, Request, TextPart, ToolCall, ask
from mixtura.engine.proposal_cache import ProposalCache
from mixtura.models.fake import Scripted, echo
from mixtura.models.openai import OpenAI
from mixtura.prompts.conversation_turns import strip_volatile_words, turn_key
from mixtura.prompts.synthesis import envelope, paper
from tests.conftest import run
from tests.support.served_team import Team, team, texts
from tests.support.upstream import Script, Wire, honest, running

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SHAPE = [["a"], ["b"]]
QUESTION = Message("user", "Mend the test.")
SYSTEM = Message("system", "You are a coding agent.")
CALLED = Message("assistant", "", (ToolCall("c1", "look", "{}"),))
RESULT = Message("tool", "It failed.", tool_call_id="c1")
REMINDER = "<system-reminder>Token usage: {}/200000</system-reminder>"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("turns")) as one:
        yield one


# ---- the proposers are asked once a turn


CLAUDE_TOOL = {"name": "look", "input_schema": {"type": "object"}}
USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look",
                                         "input": {}}]}  # fmt: skip


def claude(question: str, step: int, where: str) -> dict[str, Any]:
    """A step of Claude Code's loop, with what it tells the model at *where* at every step."""
    told = REMINDER.format(1000 + 37 * step)
    header = f"x-anthropic-billing-header: cc_version=2.1.{step}; cch={'abcdef'[step]}bcde;"
    asked: list[dict[str, Any]] = [{"type": "text", "text": question}]
    if where == "in the question":
        asked.insert(0, {"type": "text", "text": told})
    body: dict[str, Any] = {
        "tools": [CLAUDE_TOOL],
        "system": [
            {"type": "text", "text": header if where == "in the instructions" else "x"},
            {"type": "text", "text": f"You are Claude Code. It is 10:0{step}, Sat Nov 28 2026."
             if where == "in the instructions" else "You are Claude Code."},
        ],
        "messages": [{"role": "user", "content": asked}],
    }  # fmt: skip
    if where == "a system message after it":
        body["messages"].append({"role": "system", "content": told})
    for number in range(step):
        use = [b | {"id": f"t{number}"} for b in USE["content"]]
        result: list[dict[str, Any]] = [
            {"type": "tool_result", "tool_use_id": f"t{number}", "content": "ok"}
        ]
        if where == "beside the results":
            result.append({"type": "text", "text": told})
        body["messages"] += [{"role": "assistant", "content": use},
                             {"role": "user", "content": result}]  # fmt: skip
        if where == "a system message after it":
            body["messages"].append({"role": "system", "content": told})
    asked[-1]["cache_control"] = {"type": "ephemeral"} if step % 2 else None
    return body


WHERE = [
    "nowhere", "in the question", "in the instructions", "a system message after it",
    "beside the results",
]  # fmt: skip


@pytest.mark.parametrize("member", ["o", "c"])
@pytest.mark.parametrize("where", WHERE)
def test_claude_code_has_its_proposers_asked_once_a_turn(served: Team, where: str, member: str):
    asked = 0
    for step in range(4):
        answer = served.ask(
            "messages", claude(f"Mend it ({where}, {member}).", step, where), f"team-{member}"
        )
        assert answer.status == 200, answer.body
        asked += len(served.sent("a"))
        (body,) = served.sent(member)
        assert "draft answers by other models" in texts(body["messages"])

    assert asked == 1


def test_a_chat_client_with_system_messages_in_the_middle_has_its_proposers_asked_once(
    served: Team,
):
    said: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Mend it, chat."},
        {"role": "system", "content": "The time is 10:00:01."},
    ]
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    asked = 0
    for step in range(3):
        body = {"messages": said, "tools": [TOOL], "max_tokens": 100 + step}
        assert served.ask("chat", body, "team-o").status == 200
        asked += len(served.sent("a"))
        said = [
            *said,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "ok"},
            {"role": "system", "content": f"The time is 10:00:0{step + 2}."},
        ]

    assert asked == 1


def steps(system: str, told: Message | None) -> tuple[Request, Request]:
    """The first two calls of a turn."""
    beside = (told,) if told else ()
    first = Request((Message("system", system), QUESTION, *beside), tools=(TOOL,))
    since = (CALLED, RESULT, *beside)
    return first, replace(first, messages=(*first.messages, *since))


@pytest.mark.parametrize(
    "told",
    [
        None,
        Message("system", "Three files changed."),
        Message("developer", "Three files changed."),
        Message("user", REMINDER.format(7)),
        Message("user", (TextPart(REMINDER.format(7), {"cache_control": {}}),)),
        Message("user", "<environment_details>12:01</environment_details>"),
    ],
)
def test_both_calls_of_a_turn_have_one_key_and_the_prompts_beginning_stays(told: Message | None):
    first, second = steps("Be brief.", told)
    chief = Scripted("b", ["look", "done"])
    draft = Scripted("a", ["look at it"])
    mixture = replace(Mixture.of([draft], chief), turns=ProposalCache())
    run(mixture.complete(first))
    run(mixture.complete(second))

    assert turn_key(first, SHAPE) == turn_key(second, SHAPE)
    assert len(draft.asked) == 1
    before, after = (call.messages for call in chief.asked)
    assert after[: len(before)] == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("It is 2026-11-28T08:00:00Z.", "It is 2026-11-28T08:01:13Z."),
        ("Today is Saturday, November 28.", "Today is Sunday, November 29."),
        ("Tokens left: 199,000", "Tokens left: 45"),
        ("x-anthropic-billing-header: cch=abcde;", "x-anthropic-billing-header: cch=fghij;"),
        ("session_id: qwert", "session_id: zuiop"),
        ("Request id=aaa-bbb", "Request id=ccc-ddd"),
        ("nonce: 7f3a", "nonce: 91cc"),
        ("[kqzxwvbnrt]", "[pljhgfdsqw]"),
        ("<system-reminder>a</system-reminder>", "<system-reminder>other words</system-reminder>"),
        ("Run 7c0e9f3a-1b2c-4d5e-8f90-aabbccddeeff", "Run 00000000-1111-4222-8333-444444444444"),
        ("5 minutes ago", "1 hour, 12 minutes ago"),
    ],
)
def test_a_changing_mark_in_the_instructions_is_no_other_turn(before: str, after: str):
    if before.startswith("5"):  # another unit is another word: only the number may change
        after = "12 minutes ago"
    keys = {turn_key(steps(f"You are an agent.\n{m}\nBe brief.", None)[i], SHAPE)
            for i, m in enumerate((before, after))}  # fmt: skip
    assert len(keys) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(steps("Be brief.", None)[0], messages=(SYSTEM, QUESTION)),
        Request((Message("system", "Be brief."), Message("user", "Mend 2 tests.")), tools=(TOOL,)),
        Request((Message("system", "Be brief."), Message("user", "Mend 3 tests.")), tools=(TOOL,)),
        Request((QUESTION, Message("assistant", "Done."), QUESTION), tools=(TOOL,)),
    ],
)
def test_other_instructions_questions_and_histories_are_other_turns(other: Request):
    keys = {turn_key(other, SHAPE), turn_key(steps("Be brief.", None)[0], SHAPE)}
    assert len(keys) == 2
    assert turn_key(other, SHAPE) != turn_key(other, [["a"], ["c"]])


def test_no_client_gets_the_proposals_of_another():
    turns = ProposalCache()
    turns.for_owner("one").put("k", ())
    assert turns.for_owner("one").get("k") == ()
    assert turns.for_owner("two").get("k") is None


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet="ab <>/system-reminder1é\n", max_size=300))
def test_any_instructions_are_reduced_once_and_for_all(text: str):
    once = strip_volatile_words(text)
    assert strip_volatile_words(once) == once


def test_many_reminders_that_are_never_closed_take_no_long_time():
    assert "x" in strip_volatile_words("<system-reminder> x " * 100_000)
    assert strip_volatile_words("a" * 1_000_000) == "a" * 1_000_000


# ---- where a model takes instructions

REFUSALS = [
    "System message must be at the beginning.",
    "Chat template error: System message must be at the beginning.",
    "Only one system message is allowed",
    "Multiple system messages are not supported by this model",
    "messages[2]: role 'system' is only valid for the first message",
    "Unexpected role 'system' after role 'assistant'",
    "Expected last role User or Tool (or Assistant with prefix True) for serving but got system",
    "After the optional system message, conversation roles must alternate user/assistant",
    "a system prompt cannot appear mid-conversation",
    "The instructions have to precede every other message",
    "invalid message order: system at index 3",
]
TALK = (
    Message("system", "Be brief."), Message("user", "One?"), Message("system", "Now in rhyme."),
    Message("assistant", "Two."), Message("system", "And kind."), Message("assistant", "So."),
    Message("user", "Three?"), Message("system", "Sing."),
)  # fmt: skip


def strict(message: str, taken: Any, status: int = 400) -> Script:
    async def play(wire: Wire) -> None:
        roles = [m["role"] for m in wire.voice.body["messages"]]
        if taken(roles):
            await honest(wire)
        else:
            await wire.reply(status, {"error": {"message": message}})

    return Script("Because.", ever=play)


def asked_of(script: Script, messages: tuple[Message, ...] = TALK, times: int = 2) -> Any:
    events: list[Any] = []
    with running() as upstream:
        upstream.scripts["m"] = script
        model = OpenAI("m", upstream.base_url("openai"))

        async def ask_it() -> None:
            for _ in range(times):
                await model.complete(Request(messages), events.append)

        run(ask_it())
        bodies = [record.body["messages"] for record in upstream.records]
    return bodies, [event.notice for event in events if isinstance(event, Notice)]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("said", REFUSALS)
def test_a_refusal_of_later_instructions_is_learned_from_in_any_words(said: str, status: int):
    only_first = strict(said, lambda roles: "system" not in roles[1:], status)
    bodies, notices = asked_of(only_first)

    assert len(bodies) == 3, "learned once"
    assert bodies[1] == bodies[2] == [
        {"role": "system", "content": "Be brief.\n\nAnd kind."},
        {"role": "user", "content": "One?\n\nNow in rhyme."},
        {"role": "assistant", "content": "Two."},
        {"role": "assistant", "content": "So."},
        {"role": "user", "content": "Three?\n\nSing."},
    ]  # fmt: skip
    assert notices == ["accepts instructions only in the first message: later ones are moved"]


def test_a_template_that_refuses_later_instructions_with_a_500_is_learned_from_too():
    said = "Error: Jinja Exception: System message must be at the beginning."  # llama.cpp
    bodies, _ = asked_of(strict(said, lambda roles: "system" not in roles[1:], 500))

    assert len(bodies) == 3, "learned once"
    assert [m["role"] for m in bodies[-1]].count("system") == 1


def asked_of_one_without(role: str, said: str):
    """What a model is sent that refuses *role* in the words *said*, and what is told of it."""
    never = strict(said, lambda roles: role not in roles)
    return asked_of(never, (Message(role, "Be brief."), Message("user", "One?")))


@pytest.mark.parametrize(
    "said",
    [
        "Only user, assistant and tool roles are supported!",
        "Unknown role: system",
        "Unexpected message role: system",
        "Conversation must start with a user message",
        "roles must be user or assistant, got system",
        "role must be one of user, assistant",
        "System messages are unsupported",
        "the model does not accept a system prompt",
    ],
)
def test_a_refusal_of_any_instructions_is_learned_from_in_any_words(said: str):
    bodies, _ = asked_of_one_without("system", said)

    assert bodies[1:] == [[{"role": "user", "content": "Be brief.\n\nOne?"}]] * 2


@pytest.mark.parametrize(
    "said",
    [
        "developer is not one of ['system', 'assistant', 'user', 'tool'] - 'messages.0.role'",
        "messages[0].role: unknown variant `developer`, expected one of `system`, `user`",
        "Unexpected message role.",
        "Input should be 'system', 'user', 'assistant' or 'tool'",
        "Role must be in [user, assistant, system]",
        "Invalid value: 'developer'. Supported values are: 'system', 'assistant', 'user'.",
    ],
)
def test_a_refusal_of_the_role_developer_is_learned_from_in_any_words(said: str):
    bodies, notices = asked_of_one_without("developer", said)

    assert [body[0] for body in bodies[1:]] == [{"role": "system", "content": "Be brief."}] * 2
    assert notices == ["does not accept a developer message: it is sent as a system message"]


def test_words_about_the_role_of_another_message_do_not_move_the_instructions():
    said = "Invalid value: 'tool'. Supported values are: 'system', 'assistant', and 'user'."
    with pytest.raises(RejectedError, match="Supported values"):
        asked_of(strict(said, lambda _: False), (Message("system", "Hm."), Message("user", "One?")))


def test_a_model_that_takes_no_instructions_at_all_gets_them_with_the_question():
    never = strict("System role not supported", lambda roles: "system" not in roles)
    bodies, _ = asked_of(never, times=1)

    assert bodies[-1][0] == {
        "role": "user", "content": "Be brief.\n\nNow in rhyme.\n\nAnd kind.\n\nSing.\n\nOne?",
    }  # fmt: skip


def test_what_another_refusal_seemed_to_say_is_forgotten():
    with pytest.raises(RejectedError, match="role of the key"):
        asked_of(strict("the role of the key allows no such model", lambda _: False), times=1)

    picky = strict("the role of the key allows no such model", lambda roles: len(roles) == 2)
    with running() as upstream:
        upstream.scripts["m"] = picky
        model = OpenAI("m", upstream.base_url("openai"))
        with pytest.raises(RejectedError):
            run(model.complete(Request(TALK)))
        upstream.scripts["m"] = Script("Because.")
        run(model.complete(Request(TALK)))
        roles = [m["role"] for m in upstream.records[-1].body["messages"]]
    assert roles == [m.role for m in TALK]


# ---- what is said beside tools


@pytest.mark.parametrize("layout", [envelope, paper])
def test_beside_tools_a_call_may_be_the_best_reply(layout: Any):
    proposals = [run(echo("a").complete(ask("Use look.")))]
    plain = layout(ask("Why?"), proposals)
    beside = layout(replace(ask("Why?"), tools=(TOOL,)), proposals)
    closed = layout(replace(ask("Why?"), tools=(TOOL,), tool_choice="none"), proposals)

    assert closed.messages == plain.messages
    said = "\n".join(message.text for message in beside.messages)
    assert "complete answer" not in said
    assert "a call, without" in said
    assert "a call, without" not in "\n".join(message.text for message in plain.messages)
