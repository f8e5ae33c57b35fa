"""A conversation as a person has it: in a real terminal, or through a pipe."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess

import pytest

from mixtura.core.events import Position
from mixtura.terminal.compact import _card_line
from mixtura.terminal.live import ProposerCard
from tests.support import command_line
from tests.support.command_line import ANSWER, CSI, HOSTILE, terminal
from tests.support.loopback import Answer

desk = command_line.desk
PROMPT = "> "
READY = "Ctrl-D leaves."


def said_to(desk, model, number=-1):
    """The conversation that *model* was shown, without what a mixture adds to its end."""
    messages = desk.server.asked(model)[number]["messages"]
    return [(message["role"], message["content"].partition("\n\n")[0]) for message in messages]


class Talk:
    """A person at a terminal in a conversation."""

    def __init__(self, desk, *words, width=100, height=40):
        self.screen = terminal(desk, "chat", *words, width=width, height=height)
        self.heard = 0
        self.hears(READY)
        self.hears(PROMPT)

    def hears(self, text):
        """Wait until *text* comes, after all that was heard before; what came until then."""
        while text not in self.screen.text[self.heard :]:
            waiting, _, _ = select.select([self.screen.master], [], [], 20)
            assert waiting, f"it never said {text!r}: {self.screen.text!r}"
            self.screen.drawn += os.read(self.screen.master, 65536)
        start = self.heard
        self.heard = self.screen.text.index(text, start) + len(text)
        return self.screen.text[start : self.heard]

    def says(self, text, end="\n"):
        os.write(self.screen.master, (text + end).encode())

    def asks(self, text):
        """A turn; all that is drawn until the next prompt."""
        self.says(text)
        self.hears(text.splitlines()[-1])
        return self.hears("\n" + PROMPT)

    def leaves(self, key="\x04"):
        """Leave, and the exit code. Python's prompt is deaf to a Ctrl-C in its first instant."""
        for _ in range(5):
            self.says(key, end="")
            while select.select([self.screen.master], [], [], 3)[0]:
                try:
                    self.screen.drawn += os.read(self.screen.master, 65536)
                except OSError:  # how a terminal says that its program has left
                    return self.screen.process.wait(20)
        raise AssertionError(f"it does not leave: {self.screen.text!r}")


# ---------------------------------------------------------------- at a terminal


def test_a_turn_draws_a_line_for_each_proposer_then_the_answer_then_what_it_took(desk):
    for name in ("ann", "ben"):
        desk.server.answers[name] = Answer((f"{name} began ", f"{name} ended"), pace=0.4)
    talk = Talk(desk)
    drawn = talk.asks("Why?")

    while_writing = drawn.partition("ann ended")[0]
    assert re.search(r"1\.1 ann +writing +1 token .*ann began", while_writing)
    assert re.search(r"1\.2 ben +writing +1 token .*ben began", while_writing)
    end = drawn[drawn.rindex("1.1 ann") :]
    order = ["ann ended", "1.2 ben", ANSWER.strip(), "run 2", "3 calls", "80 tokens", "$0.0002"]
    assert sorted(order, key=end.index) == order
    assert talk.leaves() == 0
    raw = talk.screen.raw
    assert raw.rindex("\x1b[?25h") > raw.rindex("\x1b[?25l"), "the cursor is hidden"


def test_who_is_waited_for_is_said_until_the_answer_begins(desk):
    desk.server.answers["chief"] = Answer(("Because.",), delay=1.5)
    talk = Talk(desk)
    talk.says("Why?")

    talk.hears("answer chief")
    talk.hears("Because.")
    talk.hears("\n" + PROMPT)
    assert talk.leaves() == 0


def test_what_was_said_before_is_sent_again_and_the_table_is_kept_by_runs(desk):
    talk = Talk(desk, "--system", "Be brief.")
    talk.asks("Why?")
    talk.asks("And then?")
    assert talk.leaves() == 0

    assert said_to(desk, "ann") == [
        ("system", "Be brief."),
        ("user", "Why?"),
        ("assistant", ANSWER.strip()),
        ("user", "And then?"),
    ]
    rows = desk.run("runs", "--json").json["runs"]
    assert [(row["question"], row["via"]) for row in rows] == [
        ("And then?", "chat"),
        ("Why?", "chat"),
    ]
    assert rows[0]["id"] in talk.screen.text


def test_control_c_stops_an_answer_and_says_what_it_cost_and_the_talk_goes_on(desk):
    desk.server.answers["chief"] = Answer(("Because ",) * 2, pace=60)
    talk = Talk(desk)
    talk.says("Why?")
    talk.hears("Because")
    talk.says("\x03", end="")
    stopped = talk.hears("\n" + PROMPT)
    desk.server.wait_until_left(["chief"])
    desk.server.answers["chief"] = Answer.text("Fine.")
    assert "Fine." in talk.asks("Well?")
    assert talk.leaves("\x03") == 0

    assert "Stopped. Spent on it" in stopped
    assert "Traceback" not in talk.screen.text
    assert said_to(desk, "ann") == [("user", "Well?")]
    first = desk.run("runs", "--json").json["runs"][-1]
    assert (first["question"], first["state"]) == ("Why?", "stopped")


def test_proposers_that_were_stopped_do_not_go_on_looking_busy(desk):
    desk.server.answers["ann"] = Answer(("ann began ",) * 2, pace=60)
    talk = Talk(desk)
    talk.says("Why?")
    talk.hears("ann began")
    talk.says("\x03", end="")

    assert re.search(r"1\.1 ann +stopped", talk.hears("\n" + PROMPT))
    assert talk.leaves() == 0


def test_an_answer_that_failed_stays_out_of_the_talk_and_can_be_tried_again(desk):
    desk.server.answers["chief"] = Answer(("Half an ",), breaks_off=True)
    talk = Talk(desk)
    failed = talk.asks("Why?")
    desk.server.answers["chief"] = Answer.text("Whole.")
    again = talk.asks("/retry")
    talk.asks("Next?")
    assert talk.leaves() == 0

    assert "No answer" in failed
    assert "cut off" in failed
    assert "Whole." in again
    assert said_to(desk, "ann") == [("user", "Why?"), ("assistant", "Whole."), ("user", "Next?")]


def test_a_retry_takes_the_place_of_the_answer_even_where_answers_are_kept(desk):
    talk = Talk(desk, "--cache")
    talk.asks("Why?")
    desk.server.answers["chief"] = Answer.text("Another answer.")
    again = talk.asks("/retry")
    talk.asks("Next?")
    assert talk.leaves() == 0

    assert "Another answer." in again
    assert said_to(desk, "chief")[1] == ("assistant", "Another answer.")


def test_another_model_answers_from_the_next_turn_on(desk):
    talk = Talk(desk)
    talk.asks("Why?")
    listed = talk.asks("/model")
    wrong = talk.asks("/model chef")
    talk.asks("/model ben")
    answer = talk.asks("And then?")
    told = talk.asks("/model ann,ben>ann")
    talk.asks("And now?")
    assert talk.leaves() == 0

    assert "* team " in listed
    assert "paper " in listed
    assert "ann, ben, chief" in listed
    assert "did you mean 'chief'" in wrong
    assert "It is Rayleigh scattering." in answer
    assert "2 layers, 3 calls a turn" in told
    assert [r["model"] for r in desk.server.requests[3:4]] == ["ben"]
    assert sorted(r["model"] for r in desk.server.requests[4:]) == ["ann", "ann", "ben"]


def test_why_says_what_it_took_and_which_sentence_comes_from_whom(desk):
    desk.server.answers["chief"] = Answer.text(
        "It is Rayleigh scattering. Air scatters blue light. The sea has another reason."
    )
    talk = Talk(desk)
    assert "nothing was asked yet" in talk.asks("/why")
    talk.asks("Why?")
    why = talk.asks("/why")
    assert talk.leaves() == 0

    assert "tokens/s" in why
    assert re.search(r"1\.2 +It is Rayleigh scattering\.", why)
    assert re.search(r"1\.1 +Air scatters blue light\.", why)
    assert re.search(r"own +The sea has another reason\.", why)
    assert "1.1 ann 31%, 1.2 ben 31%, in no proposal 38%" in why


def test_the_talk_is_saved_as_text_as_data_or_to_look_at(desk):
    talk = Talk(desk)
    assert "nothing was said yet" in talk.asks("/save x.md")
    talk.asks("Why is the sky blue?")
    for file in ("my talk.md", "talk.json", "talk.html", ""):
        assert "1 turn saved in" in talk.asks(f"/save {file}")
    talk.asks("And then?")
    assert "2 turns saved in" in talk.asks("/save my talk.md")
    desk.write("mine", "other.md")
    assert "exists already" in talk.asks("/save other.md")
    assert "cannot be written" in talk.asks("/save no/such/folder.md")
    assert talk.leaves() == 0

    text = (desk.folder / "my talk.md").read_text()
    order = ["## You\n\nWhy is the sky blue?", f"## team\n\n{ANSWER}", "And then?"]
    assert sorted(order, key=text.index) == order
    data = json.loads((desk.folder / "talk.json").read_text())
    assert [m["role"] for m in data["messages"]] == ["user", "assistant"]
    assert data["runs"][0]["answer"] == ANSWER.strip()
    assert (desk.folder / "talk.html").read_text().startswith("<!doctype html>")
    assert (desk.folder / "other.md").read_text() == "mine"
    assert len(list(desk.folder.glob("mixtura-chat-2*.md"))) == 1


def test_no_key_is_in_a_talk_that_was_saved(desk):
    desk.env |= {"OPENAI_API_KEY": "sk-not-for-you-0123"}
    desk.server.answers["ann"] = Answer(("Is it sk-not-", "for-you-0123?",))  # fmt: skip
    desk.run("chat", "-m", "ann", stdin=b"What is it?\n/save t.json\n/save t.html\n")

    for file in ("t.json", "t.html"):
        text = (desk.folder / file).read_text()
        assert "Is it ***?" in text
        assert "sk-not-" not in text


def test_a_talk_can_begin_anew(desk):
    talk = Talk(desk)
    talk.asks("Why?")
    assert "A new conversation" in talk.asks("/clear")
    assert "nothing was asked yet" in talk.asks("/retry")
    talk.asks("Whence?")
    assert talk.leaves() == 0

    assert said_to(desk, "ann") == [("user", "Whence?")]


def test_a_turn_may_have_several_lines(desk):
    talk = Talk(desk, "-m", "ann")
    talk.says("first \\")
    talk.hears("… ")
    talk.asks("second")
    talk.says("\x1b[200~pasted\n\n  /why not\x1b[201~", end="")
    talk.hears("/why not")
    talk.says("")
    talk.hears("\n" + PROMPT)
    assert talk.leaves() == 0

    texts = [request["messages"][-1]["content"] for request in desk.server.requests]
    assert texts == ["first \nsecond", "pasted\n\n  /why not"]


def test_what_begins_with_a_slash_is_a_command_unless_a_space_is_before_it(desk):
    talk = Talk(desk, "-m", "ann")
    wrong = talk.asks("/wy")
    talk.asks(" /usr/bin is what?")
    talk.says("")
    talk.hears("\n" + PROMPT)
    shown = talk.asks("/help")

    assert talk.leaves("/quit\n") == 0
    assert "did you mean /why?" in wrong
    assert [r["messages"][-1]["content"] for r in desk.server.requests] == ["/usr/bin is what?"]
    for command in ("/model", "/why", "/retry", "/save", "/clear", "/help", "/quit"):
        assert command in shown or command == "/help"


def test_the_arrow_brings_back_what_was_asked_also_in_another_talk(desk):
    first = Talk(desk, "-m", "ann")
    first.asks("Why is the sky blue?")
    assert first.leaves() == 0
    talk = Talk(desk, "-m", "ann")
    talk.says("\x1b[A", end="")
    talk.hears("Why is the sky blue?")
    talk.says("")
    talk.hears("\n" + PROMPT)
    assert talk.leaves() == 0

    assert len(desk.server.requests) == 2


def test_tab_completes_commands_and_names(desk):
    talk = Talk(desk)
    talk.says("/mo\tchi\t")
    told = talk.hears("\n" + PROMPT)

    assert "chief answers alone" in told
    assert talk.leaves() == 0


def test_keys_pressed_during_an_answer_do_not_show_in_it(desk):
    desk.server.answers["chief"] = Answer(("Because ", "air ", "scatters."), pace=0.4)
    talk = Talk(desk)
    talk.says("Why?")
    talk.hears("Because")
    talk.says("zebra", end="")
    answer = talk.hears("scatters.")

    assert "zebra" not in answer
    talk.hears("zebra")
    assert talk.leaves("\x03") == 0


def test_what_models_say_cannot_steer_the_terminal(desk):
    cut = tuple(HOSTILE[i : i + 5] for i in range(0, len(HOSTILE), 5))
    for name in ("ann", "chief"):
        desk.server.answers[name] = Answer(cut, pace=0.02)
    desk.server.answers["ben"] = Answer.refused(400, HOSTILE)
    talk = Talk(desk)
    talk.asks("Why?")
    talk.asks("/why")
    assert talk.leaves() == 0

    drawn = CSI.sub("", talk.screen.raw)
    assert "\x1b" not in drawn
    assert "\x1b[2J" not in talk.screen.raw
    assert "\x1b[31mred" not in talk.screen.raw
    assert not re.search("[\x08\x9b\u202e]", drawn)


@pytest.mark.parametrize("width", [20, 40, 80])
def test_lines_fit_the_terminal(width, desk):
    name = "together/deepseek-ai/DeepSeek-V4-Pro-0813"
    desk.server.answers[name] = Answer(("many words " * 30,) * 3, pace=0.05)
    desk.write(desk.model(name) + desk.model("ben"))
    talk = Talk.__new__(Talk)
    talk.screen = terminal(
        desk, "chat", "-p", name, "-p", "ben", "-a", "ben", width=width, height=30
    )
    talk.heard = 0
    talk.hears("\n" + PROMPT)
    drawn = talk.asks("Why?")

    lines = [line for line in drawn.splitlines() if line.startswith(("1.1", "1.2"))]
    assert lines
    assert all(len(line) < width for line in lines)
    assert talk.leaves() == 0


def test_no_number_is_cut_in_a_narrow_terminal():
    card = ProposerCard(Position(1, 0, "proposer"), "ben", 0.0, state="done")
    card.begun, card.elapsed, card.tokens, card.text = 0.1, 3.0, 44, "many words " * 9
    drawn = [_card_line(card, 8, width).plain for width in range(36, 80)]
    assert [line for line in drawn if re.search(r"\d…$", line)] == []
    assert drawn[-1].count("15/s") == 1


def test_caps_are_for_each_turn_and_the_talk_goes_on(desk):
    talk = Talk(desk, "--max-cost", "0.000001")
    told = talk.asks("Why?")
    assert "No answer" in told
    assert "No answer" in talk.asks("Why now?")
    assert talk.leaves() == 0
    assert desk.server.requests == []


def test_a_talk_that_is_not_to_be_kept_is_not(desk):
    talk = Talk(desk, "--no-keep")
    talk.asks("Why?")
    talk.asks("/save talk.md")
    assert talk.leaves() == 0

    assert desk.run("runs", "--json").json["runs"] == []
    assert ANSWER.strip() in (desk.folder / "talk.md").read_text()


# ---------------------------------------------------------------- in a pipe


def test_in_a_pipe_every_line_is_a_turn_and_the_answers_are_the_output(desk):
    ran = desk.run("chat", stdin="Why?\n\nUnd Größe?\r\n".encode())

    assert (ran.code, ran.out, ran.err) == (0, ANSWER * 2, "")
    assert said_to(desk, "ben") == [
        ("user", "Why?"),
        ("assistant", ANSWER.strip()),
        ("user", "Und Größe?"),
    ]


def test_in_a_pipe_commands_work_and_a_backslash_goes_on(desk):
    ran = desk.run("chat", stdin=b"/model ann\nWhy\\\nso?\n/why\n/save t.md\n/quit\nNever?\n")

    assert (ran.code, ran.out) == (0, "Air scatters blue light.\n")
    assert "1 turn saved in t.md" in ran.err
    assert [r["messages"][-1]["content"] for r in desk.server.requests] == ["Why\nso?"]


@pytest.mark.parametrize(
    ("answer", "words", "code"),
    [
        (Answer.refused(401, "the key is wrong"), (), 3),
        (Answer.text("fine"), ("--max-cost", "0"), 4),
    ],
)
def test_in_a_pipe_the_exit_code_says_that_a_turn_had_no_answer(answer, words, code, desk):
    desk.server.answers["ann"] = answer
    ran = desk.run("chat", "-m", "ann", *words, stdin=b"Why?\nHow?\n")

    assert (ran.code, ran.out) == (code, "")
    assert ran.err.count("No answer") == 2


def test_an_interrupt_in_a_pipe_ends_it(desk):
    desk.server.answers["ann"] = Answer(("slow ",) * 9, pace=30)
    process = desk.start("chat", "-m", "ann", stdin=subprocess.PIPE)
    process.stdin.write(b"Why?\n")
    process.stdin.flush()
    assert process.stdout.read(5) == b"slow "
    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 130
    assert b"Stopped" in process.stderr.read()


def test_what_is_no_text_is_passed_over(desk):
    ran = desk.run("chat", "-m", "ann", stdin=b"caf\xe9?\nWhy?\n")

    assert ran.out == "Air scatters blue light.\n"
    assert "not text" in ran.err


def test_a_reader_who_leaves_ends_the_talk(desk):
    reading, writing = os.pipe()
    os.close(reading)
    process = desk.start("chat", "-m", "ann", stdin=subprocess.PIPE, stdout=writing)
    os.close(writing)
    _, err = process.communicate(b"Why?\nHow?\n", timeout=20)

    assert (process.returncode, err) == (0, b"")
    assert len(desk.server.requests) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-m", "temm"), "'team'"),
        (("-m", "team", "-p", "ann"), "one or the other"),
        (("Why?",), "Why?"),
    ],
)
def test_wrong_use_is_refused_before_the_first_turn(words, said, desk):
    assert said in desk.run("chat", *words, stdin=b"Why?\n").complaint
