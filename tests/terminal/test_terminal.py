"""What a person sees at a real terminal, however narrow, and what a pipe gets."""

from __future__ import annotations

import os
import re

import pytest
from rich.cells import cell_len

from tests.support import command_line
from tests.support.command_line import CSI, HOSTILE, last_message, terminal
from tests.support.loopback import Answer

desk = command_line.desk


def test_proposers_write_side_by_side_then_the_answer_then_the_table(desk):
    for name in ("ann", "ben"):
        desk.server.answers[name] = Answer((f"{name} began ", f"{name} ended"), pace=0.5)
    screen = terminal(desk, "ask", "Why?")

    screen.read(until="ann ended")
    while_writing = screen.text.partition("ann ended")[0]
    assert "ann began" in while_writing
    assert "ben began" in while_writing
    assert any("1.1 ann" in line and "1.2 ben" in line for line in while_writing.splitlines())
    assert screen.close() == 0

    end = screen.text[screen.text.rindex("1.1 ann", 0, screen.text.index("Because")) :]
    order = ["ann ended", "chief", "Because air scatters blue light most.", "tokens/s", "total"]
    assert sorted(order, key=end.index) == order
    assert "\x1b[?25l" in screen.raw
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l"), "the cursor is hidden"


def test_three_proposers_fit_side_by_side_in_an_ordinary_terminal(desk):
    """The team that `make ask` shows first, in a window of the usual eighty columns."""
    screen = terminal(desk, "ask", "-p", "ann*3", "-a", "chief", "Why?", width=80, height=24)

    assert screen.close() == 0
    assert any(all(f"1.{n} ann" in line for n in (1, 2, 3)) for line in screen.lines)


@pytest.mark.parametrize(("width", "height"), [(40, 24), (20, 10)])
def test_six_proposers_in_a_narrow_terminal_crash_nothing(width, height, desk):
    desk.server.answers["ann"] = Answer(("many words " * 50,) * 3, pace=0.1)
    desk.server.answers["ben"] = Answer.refused(400, "no " * 60)
    asked = ("ask", "-p", "ann*3", "-p", "ben*2", "-p", "chief", "-a", "chief", "--layers", "3")
    screen = terminal(desk, *asked, "Why?", width=width, height=height)

    assert screen.close() == 0, screen.text
    assert "Traceback" not in screen.text
    assert "2.6 chief" in screen.text
    cards = [line for line in screen.lines if line.startswith(("╭", "│", "╰"))]
    assert cards
    assert max(map(cell_len, cards)) <= width


def test_a_table_in_a_narrow_terminal_still_says_who(desk):
    screen = terminal(desk, "ask", "Why?", width=40)

    assert screen.close() == 0
    table = screen.text.partition("most.")[2]
    for told in ("ann", "ben", "chief", "total"):
        assert told in table


def test_a_terminal_that_can_do_nothing_is_written_to_in_its_own_width(desk):
    screen = terminal(desk, "ask", "Why?", width=50, kind="dumb")

    assert screen.close() == 0
    assert "total" in screen.text
    assert max(len(line.rstrip()) for line in screen.text.splitlines()) <= 50


def test_a_table_with_long_names_keeps_its_numbers(desk):
    """The names that providers give, in a window of the usual eighty columns."""
    name = "together/deepseek-ai/DeepSeek-V4-Pro-0813"
    desk.server.answers[name] = Answer(completion_tokens=1234, prompt_tokens=56789)
    desk.write(desk.model(name, "price = { input = 1.0, output = 10.0 }"))
    ran = desk.run("ask", "-m", name, "Why?", env={"COLUMNS": "80"})

    for told in ("read", "wrote", "cost", "answer", "56,789", "1,234", "$0.0691"):
        assert told in ran.err.partition("[answer]")[2], ran.err
    assert all(cell_len(line) <= 80 for line in ran.err.splitlines())


def test_what_is_said_around_an_answer_fits_the_terminal(desk):
    desk.server.tags = [{"name": f"a-model-with-a-long-name-{n}:8b", "size": n} for n in (1, 2, 3)]
    desk.server.answers["a-model-with-a-long-name-1:8b"] = Answer.refused(400, "no " * 40)
    desk.env["OLLAMA_HOST"] = desk.server.host
    desk.write("")
    screen = terminal(desk, "ask", "Why?", width=80)

    assert screen.close() == 0
    assert "Ollama answers on its port" in " ".join(screen.text.split())
    assert max(map(cell_len, screen.lines)) <= 80


def test_the_answer_is_broken_between_words_however_its_pieces_come(desk):
    words = "physicists call this effect Rayleigh scattering after the baron who explained it"
    desk.server.answers["ann"] = Answer(tuple(words[i : i + 3] for i in range(0, len(words), 3)))
    screen = terminal(desk, "ask", "-m", "ann", "Why?", width=40)

    assert screen.close() == 0
    answer = re.search(r"physicists.*?explained\s+it", screen.text, re.DOTALL)
    assert answer, screen.text
    assert answer[0].split() == words.split()
    assert all(len(line) <= 40 for line in answer[0].splitlines())


@pytest.mark.parametrize("form", [(), ("--quiet",)])
def test_an_answer_in_a_pipe_has_not_a_byte_of_ours(form, desk):
    text = "a  word " * 30 + "\n\n  and\tits end \n"
    desk.server.answers["ann"] = Answer(tuple(text[i : i + 3] for i in range(0, len(text), 3)))

    assert desk.run("ask", *form, "-m", "ann", "Why?", env={"COLUMNS": "40"}).out == text


def test_a_hostile_stream_on_the_screen_stays_text(desk):
    cut = tuple(HOSTILE[i : i + 5] for i in range(0, len(HOSTILE), 5))
    for name in ("ann", "chief"):
        desk.server.answers[name] = Answer(cut, pace=0.02)
    desk.server.answers["ben"] = Answer.refused(400, HOSTILE)
    screen = terminal(desk, "ask", "Why?")

    assert screen.close() == 0, screen.text
    drawn = CSI.sub("", screen.raw)
    assert "\x1b" not in drawn
    assert "\x1b[2J" not in screen.raw
    assert "\x1b[31mred" not in screen.raw
    assert not re.search("[\x07\x08\x9b\u202e]", drawn)
    assert "[bold]b[/bold] [/b]" in drawn


def test_control_c_at_a_terminal_leaves_it_as_it_was(desk):
    desk.server.answers["ann"] = Answer(("ann began ",) * 2, pace=60)
    screen = terminal(desk, "ask", "Why?")
    screen.read(until="ann began")

    os.write(screen.master, b"\x03")

    assert screen.close() == 130
    assert "Interrupted. Spent until now" in screen.text
    assert "Traceback" not in screen.text
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l")


def test_a_person_who_asks_nothing_is_told_how_to_ask(desk):
    screen = terminal(desk, "ask")

    assert screen.close() == 2
    assert 'mixtura ask "Why is the sky blue?"' in screen.text


def test_a_dash_among_the_words_of_a_question_is_a_word(desk):
    screen = terminal(desk, "ask", "-m", "ann", "what", "is", "5", "-", "3", "?")
    os.write(screen.master, b"\x04")  # so that a program that waits for input ends

    assert screen.close() == 0, screen.text
    assert last_message(desk.server.requests[0]) == "what is 5 - 3 ?"
