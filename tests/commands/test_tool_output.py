"""What known tools write, line by line: half an answer is never taken for a whole one."""

from __future__ import annotations

import json
import os
import shlex

import pytest

from mixtura import MalformedError, UnavailableError, ask
from mixtura.catalog.command_tools import command_tools
from mixtura.models.command import CommandModel
from tests.conftest import run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="these programs are shell scripts")


def answered(tool, *lines):
    written = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    script = f"cat > /dev/null; printf %s {shlex.quote(written)}"
    known = command_tools()[tool]
    model = CommandModel(["sh", "-c", script], tool=known, environ={"PATH": os.environ["PATH"]})
    return run(model.complete(ask("Where?")))


def delta(text):
    event = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}
    return {"type": "stream_event", "event": event}


def stopped(reason):
    event = {"type": "message_delta", "delta": {"stop_reason": reason}}
    return {"type": "stream_event", "event": event}


PARIS = {"type": "result", "subtype": "success", "is_error": False, "result": "Paris."}
SAID = {"type": "item.completed", "item": {"type": "agent_message", "text": "Paris."}}


@pytest.mark.parametrize(
    ("said", "means"),
    [("end_turn", "stop"), ("max_tokens", "length"), ("pause_turn", "length"), ("odd", "length")],
)
def test_the_reason_that_a_tool_gives_for_its_end_counts(said, means):
    completion = answered("claude-code", delta("Paris."), stopped(said), PARIS)
    assert (completion.text, completion.finish_reason) == ("Paris.", means)

    step = {"type": "step_finish", "part": {"reason": {"end_turn": "stop"}.get(said, said)}}
    text = {"type": "text", "part": {"text": "Paris."}}
    assert answered("opencode", text, step).finish_reason == means


@pytest.mark.parametrize(
    "end",
    [
        {"type": "result", "subtype": "success", "is_error": True, "result": "API Error: 500"},
        {"type": "result", "subtype": "error_max_turns", "is_error": False},
        {"type": "result", "subtype": "error_during_execution", "is_error": False},
    ],
)
def test_an_error_behind_some_text_is_that_error(end):
    with pytest.raises(UnavailableError, match=r"API Error|error_"):
        answered("claude-code", delta("Par"), end)


def test_an_error_before_the_answer_was_none_for_good():
    again = {"type": "error", "message": "Reconnecting... 1/5"}

    assert answered("codex", again, SAID, {"type": "turn.completed"}).text == "Paris."
    with pytest.raises(UnavailableError, match="out of luck"):
        answered("codex", SAID, {"type": "turn.failed", "error": {"message": "out of luck"}})


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("\ufeff" + json.dumps(PARIS), "Paris."),
        (json.dumps(PARIS).replace("Paris", r"\ud83d"), "\ufffd."),
        (json.dumps(PARIS).replace("Paris", r"\ud83d\ude00"), "😀."),
        (json.dumps(PARIS).replace("Paris", "a\tb"), "a\tb."),
        (json.dumps(PARIS | {"usage": None, "x": [None]}), "Paris."),
    ],
)
def test_a_line_that_is_no_clean_json_is_read_all_the_same(sent, read):
    assert answered("claude-code", sent).text == read


def test_what_a_tool_says_in_braces_before_its_object_is_passed_over():
    told = {"response": "Paris.", "stats": None}

    assert answered("gemini-cli", "Loaded {3 extensions}.", told, "Bye {}").text == "Paris."
    with pytest.raises(MalformedError):
        answered("gemini-cli", "Loaded {3 extensions}.", '{"response": "Par')
