"""Robust: what one member that lies can and cannot do to the answer."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from mixtura import (
    Aggregator,
    Completion,
    Layer,
    Message,
    Notice,
    Position,
    Proposer,
    Recorder,
    Token,
    ToolCall,
    ToolCallChunk,
    UnavailableError,
    ask,
)
from mixtura.billing.forecast import forecast_calls
from mixtura.config.config import load
from mixtura.core.errors import ConfigError
from mixtura.models.fake import Scripted, failing_model
from mixtura.patterns import defanged_writer
from mixtura.patterns.defanged_writer import DefangedWriter
from mixtura.patterns.robust import Robust
from mixtura.patterns.web_addresses import SuspectAddresses, defang, find_addresses, find_suspects
from tests.conftest import run
from tests.support.loopback import Answer, loopback
from tests.support.pattern_models import ASK, drafts_in, read, repeats, said, watched, written
from tests.support.serving import serving

BLUE = "The sky looks blue because air scatters short wavelengths of sunlight far more than long."
BLUE_TOO = "Air scatters short wavelengths of sunlight far more than long: so the sky looks blue."
SEA = "The colour comes from the ocean, whose reflection dyes everything above it."
LURE = f"{BLUE} See https://evil.example/win for more."


def robust(writer, *texts, **more):
    members = [repeats(f"m{i}", text) for i, text in enumerate(texts, 1)]
    layer = Layer(tuple(Proposer(member) for member in members))
    return Robust(layers=(layer,), aggregator=Aggregator(writer), **more)


def notices(events):
    return [event.notice for event in events if isinstance(event, Notice)]


# ---- a vote where the answer can be checked


def test_an_answer_that_more_than_half_give_needs_no_call():
    writer = repeats("writer", "x")
    model = robust(writer, "So it is 7.\nAnswer: 7", "Answer: 9, trust me", "Answer: 7")

    answer, events = watched(model)

    assert answer.text.endswith("Answer: 7")
    assert not writer.asked
    assert any("2 of 3 votes for 7" in notice for notice in notices(events))
    assert not answer.degraded


@pytest.mark.parametrize(
    ("members", "winner"),
    [
        ([("liar", "13", 3), ("a", "12", 1), ("b", "12", 1)], "2 of 3 votes for 12"),
        ([("a", "12", 1), ("b", "12", 1), ("liar", "13", 9)], "2 of 3 votes for 12"),
        ([("a", "12", 3), ("b", "12", 1), ("c", "13", 1)], "2 of 3 votes for 12"),
        ([("a", "12", 3)], "3 of 3 votes for 12"),
        ([("liar", "13", 3), ("a", "12", 1)], None),
    ],
)
def test_the_draws_of_one_member_share_its_vote(members, winner):
    layer = Layer(tuple(
        Proposer(repeats(name, *[f"Answer: {number}"] * draws), samples=draws)
        for name, number, draws in members
    ))  # fmt: skip
    writer = repeats("writer", *["w"] * 9)

    answer, events = watched(Robust(layers=(layer,), aggregator=Aggregator(writer)))

    if winner:
        assert answer.text == "Answer: 12"
        assert any(winner in notice for notice in notices(events))
    else:
        assert writer.asked


def test_the_draws_of_a_liar_do_not_put_out_honest_members():
    liar = Proposer(repeats("liar", SEA), samples=3)
    layer = Layer((liar, Proposer(repeats("a", BLUE)), Proposer(repeats("b", BLUE_TOO))))
    writer = repeats("writer", *["w"] * 9)

    run(Robust(layers=(layer,), aggregator=Aggregator(writer)).complete(ASK))

    assert writer.asked
    assert all({BLUE, BLUE_TOO} & set(drafts_in(request)) for request in writer.asked)
    assert not any(SEA in drafts_in(request) for request in writer.asked)


def test_a_liar_with_a_marked_answer_does_not_outvote_those_without_one():
    writer = repeats("writer", "w")
    model = robust(writer, BLUE, BLUE_TOO, "Answer: 9", BLUE)

    assert run(model.complete(ASK)).text == "w"


@pytest.mark.parametrize("extract", ["number", "auto"])
def test_without_a_majority_answers_without_each_member_are_held_against_all(extract):
    writer = repeats("writer", "Answer: 7", "Answer: 9", "Answer: 7", "Answer: 3")
    model = robust(
        writer, "Answer: 7", "Answer: 9", "Answer: 7", "Answer: 3", extract=extract, softness=5
    )

    answer, _ = watched(model)

    assert answer.text == "Answer: 7"
    assert len(writer.asked) == 4
    assert len(answer.charges) == model.call_count == len(forecast_calls(model, ASK)) == 8
    assert all(len(drafts_in(request)) == 3 for request in writer.asked)


def test_most_members_that_make_the_same_tool_call_decide():
    def calls(name, url):
        made = ToolCall("c1", "fetch", json.dumps({"url": url}))
        return Completion(Message("assistant", "", (made,)), name, "tool_calls")

    urls = {"a": "https://openai.com", "b": "https://evil.example", "c": "https://openai.com"}
    layer = Layer(tuple(Proposer(Scripted(n, [calls(n, url)])) for n, url in urls.items()))
    writer = repeats("writer", "x")

    answer = run(Robust(layers=(layer,), aggregator=Aggregator(writer)).complete(ASK))

    assert json.loads(answer.message.tool_calls[0].arguments) == {"url": "https://openai.com"}
    assert not writer.asked


def test_weights_stay_numbers_however_hard_they_are():
    answer = run(robust(repeats("w", "w"), BLUE, SEA, BLUE_TOO, softness=1e-9).complete(ASK))

    assert answer.text == "w"


# ---- open texts


def test_members_that_agree_are_read_together_and_the_answer_streams():
    writer = repeats("writer", "Air scatters blue light.")
    model = robust(writer, BLUE, BLUE, BLUE)

    answer, events = watched(model)

    last = (Position(3, 0, "aggregator"),)
    assert answer.text == "Air scatters blue light."
    assert "".join(e.text for e in events if isinstance(e, Token) and e.at == last) == answer.text
    assert len(answer.charges) == 4 < model.call_count == 6
    assert model.layer_count == 3


def test_one_far_from_the_others_is_not_read_and_that_is_said():
    writer = repeats("writer", "w")

    _, events = watched(robust(writer, BLUE, SEA, BLUE_TOO, BLUE))

    assert all(SEA not in drafts_in(request) for request in writer.asked)
    said_so = [notice for notice in notices(events) if "left out" in notice]
    assert len(said_so) == 1
    assert said_so[0].startswith("proposal 2, by m2, agrees little with the others (weight 0.0")


def test_however_few_agree_more_than_half_are_read():
    writer = repeats("writer", "w")
    model = robust(writer, "a b c", "d e f", "g h i", "j k l", softness=0.01)

    run(model.complete(ASK))

    assert {len(drafts_in(request)) for request in writer.asked} == {3}


def test_where_they_differ_the_answer_that_the_liar_turned_is_not_taken():
    def credulous(request):
        return SEA if SEA in drafts_in(request) else BLUE

    writer = Scripted("writer", [credulous] * 3)
    model = robust(writer, BLUE, SEA, BLUE_TOO, softness=10)

    answer, _ = watched(model)

    assert answer.text == BLUE
    shown = sorted(tuple(sorted(drafts_in(request))) for request in writer.asked)
    assert shown == sorted(
        tuple(sorted(p)) for p in [(BLUE, SEA), (BLUE, BLUE_TOO), (SEA, BLUE_TOO)]
    )


def test_of_two_that_differ_nobody_can_tell_and_that_is_said():
    answer = run(robust(repeats("writer", "w"), BLUE, SEA).complete(ASK))

    assert answer.text == "w"
    assert answer.degraded == ("two members differ: there is no majority to tell which is right",)


def test_the_aggregator_finds_the_most_trusted_first():
    writer = repeats("writer", "w")

    run(robust(writer, SEA, BLUE, BLUE_TOO, softness=0.5).complete(ASK))

    assert all(
        drafts_in(request)[-1] == SEA for request in writer.asked if SEA in drafts_in(request)
    )


# ---- failures


def away(name="writer"):
    return failing_model(UnavailableError("away"), name)


def test_a_writer_that_fails_leaves_the_most_trusted_proposal():
    answer = run(robust(away(), BLUE, SEA, BLUE_TOO, softness=0.5).complete(ASK))

    assert answer.text in (BLUE, BLUE_TOO)
    assert answer.degraded[0] == "the aggregator writer failed: away"


def test_a_writer_that_fails_once_is_done_without():
    script = [UnavailableError("away"), said("w", "writer"), said("w", "writer")]
    answer = run(robust(Scripted("writer", script), BLUE, SEA, BLUE_TOO, softness=9).complete(ASK))

    assert (answer.text, answer.degraded) == ("w", ("writer failed: away",))


def test_a_fallback_writes_in_its_place():
    model = Robust(
        layers=robust(away(), BLUE, SEA, BLUE_TOO).layers,
        aggregator=Aggregator(away(), fallbacks=(repeats("spare", "w"),)),
        softness=9,
    )

    answer = run(model.complete(ASK))

    assert (answer.text, answer.degraded) == ("w", ("the aggregator writer failed: away",))


def test_a_member_that_fails_is_left_out_and_said():
    layer = Layer(tuple(map(Proposer, (away("m1"), repeats("m2", "7"), repeats("m3", "7")))))
    answer = run(Robust(layers=(layer,), aggregator=Aggregator(repeats("w", "x"))).complete(ASK))

    assert (answer.text, answer.degraded) == ("7", ("layer 1: m1 failed: away",))


def test_without_members_or_a_softness_there_is_no_such_pattern():
    with pytest.raises(ValueError, match="without proposers"):
        Robust(layers=(), aggregator=Aggregator(repeats("w", "x")))
    with pytest.raises(ValueError, match="above 0"):
        robust(repeats("w", "x"), "a", softness=0)


# ---- hosts and links that one member alone names


def test_a_lure_is_defanged_before_the_aggregator_reads_it_and_that_is_said():
    writer = repeats("writer", "No links here.")
    model = robust(writer, BLUE, LURE, BLUE)

    answer, events = watched(model)

    assert LURE.replace("https://evil.", "hxxps://evil[.]") in drafts_in(writer.asked[0])
    assert "https://evil.example" not in str(writer.asked)
    assert "only m2 names evil[.]example: defanged for the aggregator" in notices(events)
    assert not answer.degraded


def test_a_lure_that_the_aggregator_writes_again_is_defanged_streamed_and_whole():
    text = "See [this](https://evil.example/win)\nor evil.example. It is https://openai.com too."
    model = robust(repeats("writer", text), BLUE, LURE, BLUE)

    answer, events = watched(model)

    wanted = (
        "See [this](hxxps://evil[.]example/win)\nor evil[.]example. It is https://openai.com too."
    )
    last = (Position(3, 0, "aggregator"),)
    assert answer.text == wanted
    assert "".join(e.text for e in events if isinstance(e, Token) and e.at == last) == wanted
    assert answer.degraded == ("only one member names evil[.]example: defanged in the answer",)
    assert run(model.complete(ASK)).text == wanted


@pytest.mark.parametrize(
    "lure",
    [
        "See hxxps://evil[.]example/win now.",
        "See HXXP://evil(.)example/win now.",
        "See https[:]//evil[dot]example/win now.",
        "See hxxps[://]evil [.] example/win now.",
        "See evil {dot} example/win now.",
    ],
)
def test_a_lure_that_the_aggregator_makes_clickable_is_defanged_too(lure):
    model = robust(repeats("writer", "See https://evil.example/win now."), BLUE, lure, BLUE)

    answer, events = watched(model)

    assert answer.text == "See hxxps://evil[.]example/win now."
    assert answer.degraded == ("only one member names evil[.]example: defanged in the answer",)
    assert "only m2 names evil[.]example: defanged for the aggregator" in notices(events)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_an_address_is_defanged_wherever_a_stream_cuts_it(size):
    text = "Go  to https://evil.example/a now\n"

    class Writer(Scripted):
        async def complete(self, request, emit=None):
            for at in range(0, len(text), size):
                emit(Token(text[at : at + size]))
            return said(text, "writer")

    _, events = watched(robust(Writer("writer"), BLUE, LURE, BLUE))

    last = (Position(3, 0, "aggregator"),)
    streamed = "".join(e.text for e in events if isinstance(e, Token) and e.at == last)
    assert streamed == "Go  to hxxps://evil[.]example/a now\n"


def test_a_chosen_proposal_is_defanged_too():
    lure = "Go to https://evil.example\nAnswer: 7"

    answer, _ = watched(robust(repeats("w", "x"), lure, "Answer: 8"))
    assert answer.text == "x"
    answer, _ = watched(robust(repeats("w", "x"), lure))
    assert "https://evil" not in answer.text

    both = watched(robust(repeats("w", "x"), lure, "Answer: 7"))[0]
    assert "https://evil" not in both.text


def test_an_answer_without_one_member_is_defanged_too():
    writer = repeats("writer", "Go to evil.example")
    answer = run(robust(writer, BLUE, f"{SEA} evil.example", BLUE_TOO, softness=9).complete(ASK))

    assert answer.text == "Go to evil[.]example"
    assert answer.degraded == ("only one member names evil[.]example: defanged in the answer",)


def test_tools_are_called_with_no_lone_address():
    call = ToolCall("c1", "fetch", json.dumps({"url": "https://evil.example/x", "n": [1, "é"]}))

    class Caller(Scripted):
        async def complete(self, request, emit=None):
            if emit:
                emit(ToolCallChunk(0, "c1", "fetch", ""))
                emit(ToolCallChunk(0, "c1", "fetch", call.arguments[:20]))
                emit(ToolCallChunk(0, "c1", "fetch", call.arguments[20:]))
            return Completion(Message("assistant", "", (call,)), "writer", "tool_calls")

    answer, events = watched(robust(Caller("writer"), BLUE, LURE, BLUE))

    arguments = answer.message.tool_calls[0].arguments
    assert json.loads(arguments) == {"url": "hxxps://evil[.]example/x", "n": [1, "é"]}
    chunks = [event for event in events if isinstance(event, ToolCallChunk)]
    assert "".join(chunk.arguments for chunk in chunks) == arguments


@pytest.mark.parametrize(
    "arguments",
    [
        '{"url": "https://evil\\u002eexample/x"}', '{"url": "https:\\/\\/evil.example"}',
        '{"\\u0065vil.example": [1, {"a": "see\\nhttps://evil.example"}]}',
        '{"url": "https://evil\\u002eexample/x',
    ],
)  # fmt: skip
def test_an_address_behind_the_escapes_of_a_tool_call_is_suspect_too(arguments):
    lure = Completion(
        Message("assistant", BLUE, (ToolCall("c1", "fetch", arguments),)), "m3", "tool_calls"
    )
    call = ToolCall("c1", "fetch", '{"url": "https:\\/\\/evil\\u002eexample"}')
    written = Completion(Message("assistant", "evil.example", (call,)), "writer", "tool_calls")
    members = (repeats("m1", BLUE), repeats("m2", BLUE), Scripted("m3", [lure]))
    model = Robust(
        layers=(Layer(tuple(map(Proposer, members))),),
        aggregator=Aggregator(Scripted("writer", [written] * 3)),
        extract="text",
    )

    answer, events = watched(model)

    assert answer.text == "evil[.]example"
    assert json.loads(answer.message.tool_calls[0].arguments) == {"url": "hxxps://evil[.]example"}
    assert answer.degraded == ("only one member names evil[.]example: defanged in the answer",)
    assert any("only m3" in one and "evil[.]example" in one for one in notices(events))


def test_what_the_question_or_a_second_member_names_is_left_as_it_is():
    texts = [f"{BLUE} https://a.example/1", f"{BLUE} https://a.example/1 https://b.example", BLUE]
    writer = repeats("writer", "https://a.example/1 https://b.example")

    answer = run(robust(writer, *texts).complete(ask("What is https://b.example?")))

    assert answer.text == "https://a.example/1 https://b.example"
    assert drafts_in(writer.asked[0]).count(texts[1]) == 1


def test_draws_of_one_member_do_not_vouch_for_each_other_beside_other_members():
    liar, honest = repeats("liar", f"{BLUE} evil.example"), repeats("honest", BLUE)
    layer = Layer((Proposer(liar, samples=2), Proposer(honest, samples=2)))
    writer = repeats("writer", "evil.example")

    answer = run(Robust(layers=(layer,), aggregator=Aggregator(writer)).complete(ASK))

    assert answer.text == "evil[.]example"


# ---- in a file, over HTTP


def test_the_preset_runs_and_counts_its_calls(tmp_path):
    config = load(None, environ={}, folder=tmp_path, home=tmp_path)
    plan = config.mixture_spec("robust")

    assert (config.count_calls(plan), plan.layer_count) == (6, 3)
    assert config.builder.build_outline(plan).layer_count == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('extract = "all"', "extract: "),
        ("softness = 0", "softness"),
        ("layers = []", "layers: 'robust' needs proposers"),
    ],
)
def test_wrong_settings_are_told(line, words, tmp_path):
    layers = "" if line.startswith("layers") else 'layers = [["quick*3"]]'
    with pytest.raises(ConfigError, match=words):
        read(f'pattern = "robust"\naggregator = "steady"\n{layers}\n{line}', tmp_path)


def test_a_server_streams_and_answers_the_same(tmp_path):
    with loopback() as upstream:
        upstream.answers |= {name: Answer.text(BLUE) for name in "ac"}
        upstream.answers["b"] = Answer.text(LURE)
        upstream.answers["judge"] = Answer.text("Look at https://evil.example/win now")
        body = 'pattern = "robust"\nlayers = [["a", "b", "c"]]\naggregator = "judge"'
        with serving(tmp_path / "served", written(upstream, body)) as server:
            whole = server.chat(model="t")
            pieces = server.chat(model="t", stream=True)

    wanted = "Look at hxxps://evil[.]example/win now"
    assert whole.json["choices"][0]["message"]["content"] == wanted
    chunks = [json.loads(line[6:]) for line in pieces.body.decode().splitlines()
              if line.startswith("data: {")]  # fmt: skip
    texts = [c["choices"][0]["delta"].get("content") or "" for c in chunks if c.get("choices")]
    assert "".join(texts) == wanted


def test_a_kept_run_says_what_was_defanged():
    recorder = Recorder()

    run(robust(repeats("writer", "evil.example"), BLUE, LURE, BLUE).complete(ASK, recorder))

    assert "only m2 names evil[.]example" in str(recorder.__dict__)


# ---- an answer without spaces


class Letters(Scripted):
    """A model that streams its text letter by letter."""

    def __init__(self, text):
        super().__init__("writer")
        self.text = text

    async def complete(self, request, emit=None):
        for letter in self.text:
            emit(Token(letter))
        return said(self.text, "writer")


def streamed(text, suspects):
    events = []
    answer = run(DefangedWriter(Letters(text), suspects).complete(ASK, events.append))
    assert "".join(event.text for event in events) == answer.text
    return answer.text, [event.text for event in events]


@pytest.mark.parametrize(
    ("text", "hosts", "pieces"),
    [
        ("abc.def", (), 7),
        ("天空是蓝色的，因为", ("evil.example",), 9),
        ("天空是蓝色的，因为", ("例え.jp",), 2),
        ("天空。因为https://evil.example，然后 天空", ("evil.example",), 7),
        ("请访问evil.example然后evil。example。再evil.example", ("evil.example",), 7),
        ("请//evil.example然", ("evil.example",), 2),
        ("看例え.jp，还有www.例え.jp", ("例え.jp",), 2),
    ],
)
def test_an_answer_without_spaces_streams_as_far_as_no_address_can_be_cut(text, hosts, pieces):
    suspects = SuspectAddresses({find_addresses(f"https://{host}")[0].host: "m" for host in hosts})

    whole, parts = streamed(text, suspects)

    assert whole == defang(text, suspects)
    assert not suspects.found_in(whole)
    assert len(parts) == pieces


HOSTS = "".join(f"https://h{i}.evil.example," for i in range(6000))
IN_CALL = said("", "m1", "tool_calls", tool_calls=(ToolCall("c", "f", json.dumps({"u": HOSTS})),))


@pytest.mark.parametrize(
    ("question", "first"),
    [
        ("Why?", said(HOSTS, "m1")),
        ("Why?", replace(said(SEA, "m1"), reasoning=HOSTS)),
        ("Why?", IN_CALL),
        (HOSTS, said(SEA, "m1")),
    ],
    ids=["text", "reasoning", "tool call", "question"],
)
def test_long_texts_full_of_hosts_do_not_hold_up_other_answers(question, first, monkeypatch):
    """They take seconds to read: that is done in a thread, beside the event loop."""
    threads = []

    def find(*texts):
        threads.append(threading.current_thread())
        return find_suspects(*texts)

    monkeypatch.setattr(defanged_writer, "find_suspects", find)
    members = [Scripted("m1", [first]), repeats("m2", BLUE), repeats("m3", BLUE_TOO)]
    layer = Layer(tuple(map(Proposer, members)))
    writer = repeats("writer", "See https://h1.evil.example/")
    model = Robust(layers=(layer,), aggregator=Aggregator(writer))

    answer, _ = watched(model, ask(question))

    assert threads
    assert threading.main_thread() not in threads
    assert ("https" in answer.text) == (first.text == SEA)  # only m1's text makes it suspect
