"""What a hosted member is not shown: found, kept from every byte that leaves, and put back."""

from __future__ import annotations

import asyncio
import json
import random
import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura import (
    Completion,
    ImagePart,
    Message,
    Mixture,
    ModelError,
    PrivateItems,
    Pseudonymized,
    Recorder,
    Request,
    TextPart,
    Token,
    ToolCall,
    ToolCallChunk,
    ask,
)
from mixtura.engine.trace import trace_json
from mixtura.models.fake import Scripted, echo
from mixtura.models.openai import OpenAI
from mixtura.privacy.hidden_request import HiddenRequest
from mixtura.privacy.item_finder import MAX_ALTERNATIVES, KnownTexts
from mixtura.privacy.item_kinds import is_card, is_iban
from mixtura.privacy.placeholders import PLACEHOLDER, Placeholders
from tests.support.upstream import Script, running


def _digits(chance, count):
    return "".join(chance.choice(string.digits) for _ in range(count))


def _word(chance, count=8):
    return "".join(chance.choice(string.ascii_lowercase) for _ in range(count))


def _checked(make, holds):
    return next(text for text in iter(make, None) if holds(re.sub(r"\W", "", text)))


def _iban(chance):
    def make():
        plain = f"DE{_digits(chance, 20)}"
        spaced = " ".join(plain[i : i + 4] for i in range(0, 22, 4))
        return chance.choice([plain, spaced])

    return _checked(make, is_iban)


def _card(chance):
    def make():
        plain = f"4{_digits(chance, 15)}"
        return chance.choice(["", " ", "-"]).join(plain[i : i + 4] for i in range(0, 16, 4))

    return _checked(make, is_card)


def _phone(chance):
    return chance.choice([
        f"+49 30 {_digits(chance, 7)}", f"+1 (212) {_digits(chance, 3)}-{_digits(chance, 4)}",
        f"0049 151 {_digits(chance, 8)}", f"(415) {_digits(chance, 3)}-{_digits(chance, 4)}",
        f"030 / {_digits(chance, 7)}", f"+44{_digits(chance, 10)}",
    ])  # fmt: skip


def _address(chance):
    four = ".".join(str(chance.randint(1, 254)) for _ in range(4))
    six = ":".join(f"{chance.randint(4096, 65535):x}" for _ in range(8))
    return chance.choice([four, six, f"2001:db8::{chance.randint(1, 9999)}"])


def _key(chance):
    tail = "".join(chance.choices(string.ascii_letters + string.digits, k=36))
    return chance.choice([
        f"sk-proj-{tail}", f"sk-ant-api03-{tail}", f"ghp_0{tail[:35]}", f"AIza{tail}",
        f"gsk_1{tail}", f"hf_2{tail[:33]}", f"xoxb-123456789012-{tail[:24]}",
        f"AKIA{_digits(chance, 16)}", f"Bearer {tail}", f"password: {tail[:14]}!",
    ])  # fmt: skip


MAKERS = {
    "email": lambda c: f"{_word(c)}.{_word(c, 5)}+{_digits(c, 2)}@{_word(c)}.{_word(c, 3)}",
    "phone": _phone, "iban": _iban, "card": _card, "ip": _address, "key": _key,
    "customer": lambda c: f"CUST-{_digits(c, 6)}",
}  # fmt: skip
FRAMES = (
    "Write to {}.", "{}", "<td>{}</td>", "({})", '"{}"', "x: {}, y", "Kontakt: {}\nDanke", "«{}»",
    "| {} | 3 |", "`{}`", "[{}](about)", "ask={}&b=1",
    "それは{}です。", "\n{}\n", "{}; {{}}", "<{}>", "{}!", "tel:{}", "x={},y", "\u00a0{}\t",
)  # fmt: skip
ITEMS = PrivateItems(patterns={"customer": r"CUST-\d{6}"})


def planted(count=1000, seed=17):
    """Items of every kind, and each in a sentence."""
    chance = random.Random(seed)
    items = [MAKERS[kind](chance) for kind in list(MAKERS) * (count // len(MAKERS) + 1)][:count]
    return items, [chance.choice(FRAMES).format(item) for item in items]


def conversation(texts):
    """A conversation that has the texts in every place that a request has for them."""
    rows = iter(texts)

    def take(count):
        return "\n\n".join(next(rows) for _ in range(count))

    arguments = json.dumps({"query": take(100), "deep": [{"more": take(50)}]})
    call = ToolCall("call_1", "look_up", arguments)
    split = take(100)
    parts = tuple(TextPart(split[i : i + 7]) for i in range(0, len(split), 7))
    tool = {"type": "function", "function": {"name": "look_up", "description": take(50)}}
    messages = (
        Message("system", take(150)),
        Message("user", take(100)),
        Message("assistant", take(100), (call,)),
        Message("tool", json.dumps({"rows": take(100).split("\n")}), tool_call_id="call_1"),
        Message("user", parts),
        Message("user", take(200)),
    )
    return Request(messages, tools=(tool,), extra={"metadata": {"note": take(50)}})


@pytest.mark.parametrize("levels", [150, 600, 5000])
def test_an_item_deep_inside_the_arguments_of_a_call_is_hidden_too(levels):
    arguments = "[" * levels + '"ada@example.org"' + "]" * levels
    call = ToolCall("call_1", "look_up", arguments)
    given = Message("tool", "none", tool_call_id="call_1")
    request = Request((Message("user", "Again."), Message("assistant", "", (call,)), given))
    with running(lambda record: Script(text=record.prompt)) as upstream:
        hosted = OpenAI("hosted", upstream.base_url())
        answer = asyncio.run(Pseudonymized(hosted, ITEMS).complete(request))
        (sent,) = upstream.records

    assert "ada@example.org" not in json.dumps(sent.body)
    assert "ada@example.org" in answer.text


def test_of_1000_planted_items_none_leaves_and_all_come_back():
    items, sentences = planted()
    request = conversation(sentences)
    # The upstream says all that it was shown: in pieces of a few letters.
    with running(lambda record: Script(text=record.prompt)) as upstream:
        hosted = OpenAI("hosted", upstream.base_url())
        events = []
        answer = asyncio.run(Pseudonymized(hosted, ITEMS).complete(request, events.append))
        sent = [json.dumps(record.body, ensure_ascii=False) for record in upstream.records]
        heads = [json.dumps(dict(record.headers)) for record in upstream.records]

    assert len(sent) == 1
    assert [item for item in items if item in sent[0] + heads[0]] == []
    streamed = "".join(e.text for e in events if isinstance(e, Token))
    assert streamed == answer.text
    said = [
        item
        for item, text in zip(items, sentences, strict=True)
        if text in request.messages[-1].text
    ]
    assert len(said) == 200
    assert [item for item in said if item not in answer.text] == []


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_placeholder_that_is_cut_anywhere_is_put_back_in_text_thoughts_and_tool_calls(size):
    said = "Write [EMAIL_1] or \\[EMAIL\\_2\\], not [EMAIL_3] nor [EMAIL_] \\"
    arguments = '{"to": "[EMAIL_1]", "from": "[WORD_1]"}'

    class Piecewise(Scripted):
        async def complete(self, request, emit=None):
            for i in range(0, len(said), size):
                emit(Token(said[i : i + size], reasoning=True))
                emit(Token(said[i : i + size]))
            emit(ToolCallChunk(0, "call", "send", ""))
            for i in range(0, len(arguments), size):
                emit(ToolCallChunk(0, "call", "send", arguments[i : i + size]))
            call = ToolCall("call", "send", arguments)
            return Completion(Message("assistant", said, (call,)), "hosted", reasoning=said)

    events = []
    model = Pseudonymized(Piecewise("hosted"), PrivateItems(words=['O"Neil']))
    question = ask('a@example.com b@example.com O"Neil')
    answer = asyncio.run(model.complete(question, events.append))

    whole = "Write a@example.com or b@example.com, not [EMAIL_3] nor [EMAIL_] \\"
    assert answer.text == answer.reasoning == whole
    for thought in (True, False):
        pieces = [e.text for e in events if isinstance(e, Token) and e.reasoning is thought]
        assert "".join(pieces) == whole
    streamed = "".join(e.arguments for e in events if isinstance(e, ToolCallChunk))
    assert streamed == answer.message.tool_calls[0].arguments
    assert json.loads(streamed) == {"to": "a@example.com", "from": 'O"Neil'}


def test_what_looks_like_a_placeholder_already_stays_what_it_is():
    asked = "What is [EMAIL_1]? And who is anna@example.com, [EMAIL_2]?"
    inside = echo("hosted")
    seen = []

    class Kept(Scripted):
        async def complete(self, request, emit=None):
            seen.append(request)
            return await inside.complete(request, emit)

    answer = asyncio.run(Pseudonymized(Kept("hosted")).complete(ask(asked)))

    assert seen[0].messages[-1].text == "What is [EMAIL_1]? And who is [EMAIL_3], [EMAIL_2]?"
    assert asked in answer.text


def test_an_item_has_one_placeholder_wherever_it_stands_and_another_item_another():
    seen = Scripted("hosted", ["fine"])
    request = Request((
        Message("system", "You serve anna@example.com."),
        Message("user", "I am anna@example.com, he is bob@example.com"),
        Message("assistant", "Hello anna@example.com"),
        Message("user", "and bob@example.com?"),
    ))  # fmt: skip

    asyncio.run(Pseudonymized(seen).complete(request))

    texts = [message.text for message in seen.asked[0].messages]
    assert texts[0].startswith("You serve [EMAIL_1].")
    assert "[EMAIL_1]" in texts[0].partition("\n\n")[2]  # it is told what that is
    assert texts[1:] == [
        "I am [EMAIL_1], he is [EMAIL_2]", "Hello [EMAIL_1]", "and [EMAIL_2]?",
    ]  # fmt: skip


def test_a_request_without_private_items_is_sent_as_it_is():
    seen = Scripted("hosted", ["fine"])
    request = ask("On 03-11-2024 at 09:45, 3.14159 of 12 345 files; std::vector, v1.2.3")

    asyncio.run(Pseudonymized(seen).complete(request))

    assert seen.asked[0] is request


def test_one_member_is_shown_all_and_the_hosted_one_is_not():
    local, hosted = Scripted("local", ["Ask anna@example.com."]), Scripted("hosted", ["Yes."])
    last = Scripted("last", ["It is [EMAIL_1]."])
    team = Mixture.of([local, Pseudonymized(hosted)], Pseudonymized(last))
    recorder = Recorder()

    answer = asyncio.run(team.complete(ask("Who is anna@example.com?"), recorder))

    assert local.asked[0].messages[-1].text == "Who is anna@example.com?"
    assert hosted.asked[0].messages[-1].text == "Who is [EMAIL_1]?"
    # The local member's draft holds it, too.
    assert "anna@example.com" not in "".join(m.text for m in last.asked[0].messages)
    assert answer.text == "It is anna@example.com."
    record = trace_json(recorder.build_trace(), lambda _model, _usage: 0.0)
    shown = [call.get("replaced") for call in record["calls"]]
    item = {"placeholder": "[EMAIL_1]", "kind": "EMAIL", "text": "anna@example.com"}
    assert shown == [None, [item], [item]]


def test_a_recognizer_finds_names_and_where_it_fails_nothing_is_sent():
    def find_names(text):
        return [(*m.span(), "name") for m in re.finditer(r"Anna Schmidt|Weg 5", text)]

    def broken(text):
        raise RuntimeError(text)

    seen = Scripted("hosted", ["[NAME_1] lives at [NAME_2]"])
    model = Pseudonymized(seen, PrivateItems(recognizers=[find_names]))
    answer = asyncio.run(model.complete(ask("Anna Schmidt, Weg 5")))
    never = Scripted("hosted", ["no"])
    failing = Pseudonymized(never, PrivateItems(recognizers=[broken]))
    with pytest.raises(ModelError) as caught:
        asyncio.run(failing.complete(ask("Anna Schmidt")))

    assert seen.asked[0].messages[-1].text == "[NAME_1], [NAME_2]"
    assert answer.text == "Anna Schmidt lives at Weg 5"
    assert not never.asked
    assert str(caught.value) == "nothing was sent: the recognizer broken failed with RuntimeError"


def test_pictures_are_not_sent_unless_that_is_said():
    picture = ImagePart("data:image/png;base64,AAAA")
    request = Request((Message("user", (TextPart("What is it?"), picture)),))
    careful, open_ = Scripted("a", ["?"]), Scripted("b", ["?"])

    asyncio.run(Pseudonymized(careful).complete(request))
    asyncio.run(Pseudonymized(open_, pictures=True).complete(request))

    assert not any(isinstance(part, ImagePart) for part in careful.asked[0].messages[-1].content)
    assert picture in open_.asked[0].messages[-1].content


def test_numbers_and_escapes_in_a_tool_call_hide_nothing():
    call = ToolCall("1", "pay", '{"card": 4111111111111111, "to": "anna\\u0040example.com"}')
    seen = Scripted("hosted", ["paid"])

    request = Request((Message("user", "pay"), Message("assistant", "", (call,))))
    asyncio.run(Pseudonymized(seen).complete(request))

    sent = json.loads(seen.asked[0].messages[-1].tool_calls[0].arguments)
    assert sent == {"card": "[CARD_1]", "to": "[EMAIL_1]"}


def test_an_answer_that_is_json_stays_json():
    model = Pseudonymized(
        Scripted("hosted", ['{"said": "[WORD_1]"}']), PrivateItems(words=['the "Falcon"'])
    )
    request = Request(
        (Message("user", 'Is it the "Falcon"?'),), response_format={"type": "json_object"}
    )

    answer = asyncio.run(model.complete(request))

    assert json.loads(answer.text) == {"said": 'the "Falcon"'}


def test_any_text_comes_back_whatever_it_holds():
    chance = random.Random(5)
    known = Placeholders()
    for number in range(12):
        known.stand_in(f"item-{number}", "EMAIL")
    signs = ["[", "]", "\\", "_", "EMAIL", "1", "12", " ", "[EMAIL_3]", "\\[EMAIL\\_4\\]", "[E"]
    for _ in range(2000):
        text = "".join(chance.choices(signs, k=chance.randint(1, 20)))
        stream, out, at = known.create_stream(), "", 0
        while at < len(text):
            step = chance.randint(1, 5)
            out, at = out + stream.feed_text(text[at : at + step]), at + step
        assert out + stream.finish() == known.restore(text), text
    assert PLACEHOLDER.sub("", known.restore("[EMAIL_1][EMAIL_12]")) == "item-0item-11"


@pytest.mark.parametrize(
    "unit",
    ["\\", "gsk_", "hf_", "glpat-", "eyJa-", "-----BEGIN PRIVATE KEY-----", "a@b.", "DE12 ", "::"],
)
def test_a_text_that_nearly_holds_items_everywhere_is_read_once(unit):
    # Twice as much took four times as long: with this it would be an hour.
    text = unit * (600_000 // len(unit))

    hidden = HiddenRequest(ask(text), PrivateItems(kinds=("email", "ip", "key")))

    assert len(hidden.request.messages) <= 2


def test_thousands_of_items_in_thousands_of_messages_are_replaced_and_come_back():
    texts = [f"user{n}@example{n}.com wrote to user{n + 1}@example{n + 1}.com" for n in range(4000)]
    parts = tuple(TextPart(f"{one} ") for one in texts)
    request = Request((*(Message("user", one) for one in texts), Message("user", parts)))

    hidden = HiddenRequest(request, PrivateItems(), explain=False)

    assert len(hidden.replaced_items) == 4001
    assert "@" not in str(hidden.request)
    back = [hidden.placeholders.restore(one.text) for one in hidden.request.messages]
    assert back[:-1] == texts


@settings(deadline=None)
@given(
    st.lists(st.text("ab1 _ü", min_size=4, max_size=7), min_size=1, max_size=5),
    st.text("ab1 _ü", max_size=60),
)
def test_many_known_texts_are_found_where_few_are(texts, whole):
    few = list(KnownTexts(texts).find(whole))
    more = [f"zz{n}zz" for n in range(MAX_ALTERNATIVES)]

    assert list(KnownTexts([*texts, *more]).find(whole)) == few
