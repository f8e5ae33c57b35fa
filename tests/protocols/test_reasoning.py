"""What a model thinks aloud is kept apart from what it answers, wherever the network cuts it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura import CallRestarted, EmptyAnswerError, Notice, RejectedError, Token, Usage, ask
from mixtura.models.openai import OpenAI
from mixtura.protocols.openai.chunks import decode_chunk
from mixtura.protocols.openai.stream import ChatStreamAccumulator
from mixtura.protocols.thoughts.parser import ThinkTagParser
from tests.conftest import run
from tests.support.upstream import Script, running

ASK = ask("Why?")

ANALYSIS, FINAL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
JSON = "<|constrain|>json<|message|>"
FINAL_JSON = f"<|channel|>final {JSON}"
CALL = f"<|channel|>commentary to=functions.x {JSON}"
THOUGHT_FIRST = [
    ("<think>hm, yes</think>Because.", "hm, yes", "Because."),
    ("\n <think>\nhm\n</think>\n\nBecause.", "\nhm\n", "Because."),
    ("<think></think>Because.", "", "Because."),
    ("<think>a < b </thin </think >no</think>x < y", "a < b </thin </think >no", "x < y"),
    ("hm, yes\n</think>\n\nBecause.", "hm, yes", "Because."),
    ("</think>\n\nBecause.", "", "Because."),
    ("<think>one</think>Because <think>two</think>", "one", "Because <think>two</think>"),
    ("<thinking>hm</thinking>\nBecause.", "hm", "Because."),
    ("<thought>hm</thought>Because.", "hm", "Because."),
    ("<Think>hm</THINK>Because.", "hm", "Because."),
    ("[THINK]hm[/THINK]Because.", "hm", "Because."),
    ("◁think▷hm◁/think▷Because.", "hm", "Because."),
    ("<unused94>thought\nhm<unused95>Because.", "\nhm", "Because."),
    ("<antThinking>hm</antThinking>Because.", "hm", "Because."),
    ("<seed:think>hm</seed:think>Because.", "hm", "Because."),
    (f"{ANALYSIS}hm<|end|><|start|>assistant{FINAL}Four.", "hm", "Four."),
    (f"{ANALYSIS}a<|end|><|channel|>commentary<|message|>b<|end|>{FINAL}Four.", "ab", "Four."),
    (f"{ANALYSIS}hm<|end|>{FINAL}Four.<|return|>", "hm", "Four."),
    (f"{FINAL}Four.", "", "Four."),
    ("340 + 68 = 408</think>408", "340 + 68 = 408", "408"),
    ("hm, `</think>` ends it.</think>Four.", "hm, `</think>` ends it.", "Four."),
    (f"hm<|end|><|start|>assistant{FINAL}Four.", "hm<|end|>", "Four."),
    ("<think>one</think>Four.<think>two</think> Yes.", "onetwo", "Four. Yes."),
    ("<think>one</think>Four.\n\n<think>two</think>\n\nYes.", "onetwo", "Four.\n\nYes."),
    ("<think>one</think><think>two</think>\nYes.", "onetwo", "Yes."),
    (
        "<think>a</think>Use:\n```\n<think>\nb\n</think>\n```",
        "a",
        "Use:\n```\n<think>\nb\n</think>\n```",
    ),
    ("<think>a</think>Look: 2. <think>b</think>Four.", "ab", "Look: 2. Four."),
    ("<think>a</think>Yes. <think> is a mark.", "a", "Yes. <think> is a mark."),
    ("<think>a</think>Yes, `b. <think>c</think>`", "a", "Yes, `b. <think>c</think>`"),
    ("plan\n</think>\nmore\n</think>\nFour.", "planmore", "Four."),
    ("plan\n</think>\nFour.\n</think>", "plan", "Four."),
    ("<think>a</think>The end is\n</think>\nthere", "a", "The end is\n</think>\nthere"),
    ("<think>a<think>c</think>d</think>b", "a<think>c</think>d", "b"),
    ("<think>a\n<think>\nc</think>b", "a\n<think>\nc</think>", "b"),
    ("<think>say <think> first</think>b", "say <think> first", "b"),
    ("<think>a <thought>b</thought> c</think>d", "a <thought>b</thought> c", "d"),
    ("<think>not </thinking> yet</think>d", "not </thinking> yet", "d"),
    ("<thinking>plan</think>Four.", "plan", "Four."),
    ("<think>plan</thinking>Four.", "plan", "Four."),
    (f"{ANALYSIS}a<|end|><|start|>assistant{FINAL_JSON}{{}}<|return|>", "a", "{}"),
    (f"{CALL}{{}}<|call|>", "{}", ""),
    (f"<|start|>assistant to=functions.x<|channel|>commentary {JSON}{{}}<|call|>", "{}", ""),
    (f"{FINAL}Four.<|end|><|start|>assistant{CALL}{{}}<|call|>", "{}", "Four."),
    ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>", "a", "b"),
    ("<|START_RESPONSE|>b<|END_RESPONSE|>", "", "b"),
    (
        "<|begin_of_thought|>a <|end_of_thought|>\n<|begin_of_solution|>b<|end_of_solution|>",
        "a ",
        "b",
    ),
    ("<｜begin▁of▁thinking｜>a<｜end▁of▁thinking｜>b", "a", "b"),
    ("<|think|>a<|/think|>b", "a", "b"),
    ("<|think_start|>a<|think_end|>b", "a", "b"),
    ("<|channel>thought\na<channel|>b", "\na", "b"),
    ("<thoughts>a</thoughts>b", "a", "b"),
    ("<reflection>a</reflection>b", "a", "b"),
    ("<mm:think>a</mm:think>b", "a", "b"),
    ("a</mm:think>b", "a", "b"),
    ("<longcat_think>a</longcat_think>b", "a", "b"),
    ("<internal-reasoning>a</internal-reasoning>b", "a", "b"),
    ("<think type=\"x\" n='1'>a</think>b", "a", "b"),
    ("[THOUGHT]a[/THOUGHT]b", "a", "b"),
    ("analysisHm. Yes.assistantfinalb", "Hm. Yes.", "b"),
    ("analysis1 < 2, assistantfinal", "1 < 2, ", ""),
    ("analysisHm <think>, assistant.assistantfinal<think>", "Hm <think>, assistant.", ""),
    ("<SCRATCHPAD>a</SCRATCHPAD>b", "a", "b"),
    ("<inner_monologue>a</inner_monologue>b", "a", "b"),
    ("<|inner_prefix|>a<|inner_suffix|>b", "a", "b"),
    ("<ctrl94>thought\na<ctrl95>b", "\na", "b"),
]
MARKS = [
    "<think>", "</think>", "<think>", "</think>", "[THINK]", "<|end|>", ANALYSIS, FINAL,
    FINAL_JSON, CALL, "<|start|>assistant", "</thinking>", "<mm:think>", '<think a="b">',
    "<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|channel>thought",
    "<channel|>", "</mm:think>", "[/THINK]",
    "analysis", "assistantfinal", "analysisIt",
]  # fmt: skip
WORDS = [
    "<", ">", "/", "\n", " ", "think", "a", "`", "```", "<|", "~~", ".", "to=x", "|>", ' a="',
    "[/", "<|channel|>", "<|constrain|>", "<|message|>", "thought", "_",
    "assistant", "final",
]  # fmt: skip
NO_THOUGHT = [
    "Because.",
    "<thin ice",
    "<",
    "Write `<think>` and then `</think>` around it.",
    "The tag is </think> in HTML.",
    "An example:\n<think>\nhm\n</think>\nand so on",
    "<b>\n</b>\n</thinking",
    "[THIN]k ◁ [TH",
    "A thought ends with </thinking> or [/THINK], I think.",
    "```\nhm</think>\n```",
    "`hm</think>` is it",
    "ends <|end|> here <|return|>",
    "[thought](x) and [Reflections]",
    "<thoughtful>a</thoughtful>, <rethink>, <think about=it>",
    "It is done. <think>a</think> and so on",
    "I call.<|start|>assistant<|channel|>commentary",
    "The end is <|END_THINKING|> there, or <channel|>, and <|START_RESPONSE|>",
    "<no_think>a</no_think>",
    "<think and so on",
    "analysis",
    "analysis of it: analysisHm. assistantfinal",
    "An analysisHm.assistantfinal b",
    "Because.assistantfinal b",
    "anal",
]


def split(pieces, *, inside=False, stopped=True):
    splitter = ThinkTagParser(inside=inside)
    for piece in pieces:
        splitter.feed(piece)
    splitter.finish_parsing(stopped=stopped)
    return "".join(splitter.thought_parts), "".join(splitter.answer_parts)


def cuts(text):
    yield [text]
    yield list(text)
    for i in range(len(text) + 1):
        yield [text[:i], text[i:]]
        for j in range(i, len(text) + 1):
            yield [text[:i], text[i:j], text[j:]]


@pytest.mark.parametrize(("text", "thought", "answer"), THOUGHT_FIRST)
def test_a_thought_is_no_part_of_the_answer_wherever_it_is_cut(text, thought, answer):
    for pieces in cuts(text):
        assert split(pieces) == (thought, answer), pieces


@pytest.mark.parametrize("text", NO_THOUGHT)
def test_tags_that_are_talked_about_stay_in_the_answer_wherever_it_is_cut(text):
    for pieces in cuts(text):
        assert split(pieces) == ("", text), pieces


@given(
    st.lists(st.sampled_from([*MARKS, *WORDS])),
    st.data(),
)
def test_the_cuts_never_matter(words, data):
    text = "".join(words)
    places = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    edges = [0, *places, len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    for inside in (False, True):
        for stopped in (False, True):
            whole = split([text], inside=inside, stopped=stopped)
            assert split(pieces, inside=inside, stopped=stopped) == whole


@given(st.text(), st.data())
def test_what_comes_live_is_what_is_kept_unless_it_turned(text, data):
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, len(text))))), len(text)]
    splitter, live = ThinkTagParser(), ["", ""]
    for a, b in pairwise(edges):
        thought, answer = splitter.feed(text[a:b])
        live = [live[0] + thought, live[1] + answer]
    thought, answer = splitter.finish_parsing(stopped=True)
    kept = ["".join(splitter.thought_parts), "".join(splitter.answer_parts)]
    assert [live[0] + thought, live[1] + answer] == kept or splitter.reversals


@pytest.mark.parametrize(
    "text",
    [
        "<think>a</think>b." * 5_000,
        "<think>" * 8_000,
        "<think>" + "a</thinking >" * 8_000,
        "<think>" + "a<think>b</think>" * 8_000,
        "a\n</think>\n" * 8_000,
        "<think>a</think>" + "b <think> c </think> " * 8_000,
        "<think>" + "<" * 50_000,
        "<|channel|>" * 8_000,
        f"{ANALYSIS}a<|end|>{FINAL}b" + "<|end|>" * 8_000,
    ],
)
def test_much_text_takes_little_time_however_it_comes(text):
    begun = time.process_time()
    assert split([text]) == split([text[i : i + 5] for i in range(0, len(text), 5)])
    assert time.process_time() - begun < 10


def test_a_model_whose_template_opens_the_thought_is_believed_until_its_end():
    assert split(["hm", " yes</think> Be", "cause."], inside=True) == ("hm yes", "Because.")
    assert split(["Because."], inside=True, stopped=True) == ("", "Because.")
    assert split(["hm, ye"], inside=True, stopped=False) == ("hm, ye", "")


def test_an_upstream_that_tells_them_apart_itself_is_believed_too():
    so_far = ChatStreamAccumulator(inside=True)
    for delta in ({"reasoning_content": "hm"}, {"content": "a\n</think> b"}):
        so_far.add_chunk(decode_chunk(json.dumps({"choices": [{"delta": delta}]}).encode()))
    so_far.finish_reason = "stop"
    answer = so_far.build_completion("m", ASK)

    assert (answer.reasoning, answer.text) == ("hm", "a\n</think> b")


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("</think>\n\nFour.", "", "Four."),
        ("<think>again</think>Four.", "again", "Four."),
        ("<think> is a mark.", "", "<think> is a mark."),
        ("<think>all</think>", "", "<think>all</think>"),
        ("It is 4</think>5.", "", "It is 4</think>5."),
        (f"{CALL}{{}}<|call|>", "{}", ""),
    ],
)
def test_marks_at_the_start_of_what_an_upstream_calls_answer_are_no_answer(text, thought, answer):
    for pieces in cuts(text):
        splitter = ThinkTagParser()
        splitter.limit_to_leading_marks()
        for piece in pieces:
            splitter.feed(piece)
        splitter.finish_parsing(stopped=True)
        assert ("".join(splitter.thought_parts), "".join(splitter.answer_parts)) == (
            thought,
            answer,
        ), pieces


def test_pieces_that_come_together_are_one_token_that_knows_how_many_they_were():
    so_far = ChatStreamAccumulator()
    for delta in ({"reasoning_content": "hm"}, {"content": "Be"}, {"content": "cause."}):
        so_far.add_chunk(decode_chunk(json.dumps({"choices": [{"delta": delta}]}).encode()))
    told = so_far.take_new()

    assert (told.thought_text, told.text, told.pieces) == ("hm", "Because.", 3)
    assert so_far.take_new() is None
    assert so_far.build_charge("m", ASK).usage.completion_tokens == 3, "each of them is a token"


def streamed(text, request=ASK, model="m", model_of=None, **script):
    events = []
    with running() as upstream:
        upstream.scripts[model] = Script(text, **script)
        asked = model_of or OpenAI(model, upstream.base_url())
        answer = run(asked.complete(request, events.append))
    return answer, events


def test_thoughts_in_the_text_are_reported_as_reasoning_and_never_as_the_answer():
    answer, events = streamed("<think>hm, well </think>Because of the light.")

    assert (answer.reasoning, answer.text) == ("hm, well ", "Because of the light.")
    tokens = [e for e in events if isinstance(e, Token)]
    assert "".join(t.text for t in tokens if not t.reasoning) == "Because of the light."
    assert "".join(t.text for t in tokens if t.reasoning) == "hm, well "


def test_a_closing_alone_turns_what_was_shown_and_is_foreseen_the_next_time():
    draft = replace(ASK, draft=True)
    with running() as upstream:
        upstream.scripts["m"] = Script("hm, well\n</think>\n\nBecause.")
        model = OpenAI("m", upstream.base_url())

        async def twice():
            seen = [], [], []
            requests = (draft, ASK, ASK)
            answers = [
                await model.complete(request, events.append)
                for request, events in zip(requests, seen, strict=True)
            ]
            return answers, seen

        answers, (first, second, _) = run(twice())
    assert [(a.reasoning, a.text) for a in answers[:1]] == [("hm, well", "Because.")]
    assert answers[1].text == answers[2].text == "Because."
    assert any(isinstance(e, CallRestarted) for e in first)  # tokens of a draft become void
    shown = "".join(e.text for e in second if isinstance(e, Token) and not e.reasoning)
    assert shown == "Because."


def test_a_person_who_watches_is_told_that_it_was_reasoning():
    _, events = streamed("hm, well\n</think>\n\nBecause.")

    assert [e for e in events if isinstance(e, Notice)]
    assert not [e for e in events if isinstance(e, CallRestarted)]


def test_a_model_known_by_name_is_foreseen_the_first_time():
    _, events = streamed("hm, well\n</think>\n\nBecause.", model="deepseek-r1-distill-qwen-7b")

    shown = "".join(e.text for e in events if isinstance(e, Token) and not e.reasoning)
    assert shown == "Because."


def test_whoever_watches_is_told_of_each_time_that_it_was_reasoning():
    with running() as upstream:
        upstream.scripts["m"] = Script("hm\n</think>\nso, well\n</think>\nBecause.", pace=0.15)
        model = OpenAI("m", upstream.base_url())

        async def twice():
            seen = [], []
            answers = [await model.complete(replace(ASK, draft=True), e.append) for e in seen]
            return answers, seen

        answers, seen = run(twice())
    assert [answer.text for answer in answers] == ["Because."] * 2
    for events in seen:
        last = max(i for i, e in enumerate(events) if isinstance(e, CallRestarted))
        shown = [e.text for e in events[last:] if isinstance(e, Token) and not e.reasoning]
        assert "".join(shown) == "Because."


def test_a_call_in_raw_form_is_no_answer():
    with pytest.raises(EmptyAnswerError):
        streamed(f"{CALL}{{}}<|call|>")


def test_thoughts_and_no_answer_are_no_answer():
    with pytest.raises(EmptyAnswerError):
        streamed("<think>hm</think>")
    with pytest.raises(RejectedError, match="allow more"):
        streamed("<think>hm, we", finish="length")


def test_reasoning_that_stands_only_in_the_total_is_counted():
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}
    so_far = ChatStreamAccumulator()
    so_far.add_chunk(decode_chunk(json.dumps({"choices": [], "usage": usage}).encode()))

    assert so_far.usage == Usage(10, 105, reasoning_tokens=100)
