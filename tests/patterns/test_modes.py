"""Modes: answers in words and programs that are run, until two agree."""

from __future__ import annotations

import pytest

from mixtura import Layer, Position, Proposer, QuorumNotMetError, Token, UnavailableError
from mixtura.billing.forecast import forecast_calls
from mixtura.config.config import load
from mixtura.core.errors import ConfigError
from mixtura.models.fake import failing_model
from mixtura.patterns.checked import ProgramsNotRunError
from mixtura.patterns.final_answer import extract_marked
from mixtura.patterns.modes import UNCONFIRMED, Modes, make_comparison
from mixtura.programs.sandbox import SandboxError, check_program, ensure_available
from tests.conftest import run
from tests.support.pattern_models import ASK, read, repeats, watched
from tests.support.requirements import leave_out


def program(result):
    return f"Here:\n```python\ndef solve():\n    return {result}\n```"


def evaluates(text, test, function):
    """Runs the tests' own small programs here: they only return a literal."""
    assert function == "solve"
    space = {}
    exec(text, space)
    exec(test, space)
    return space["check"](space["solve"])


def modes(*rows, **more):
    layers = tuple(Layer(tuple(map(Proposer, row))) for row in rows)
    return Modes(layers=layers, run_program=evaluates, **more)


def down(name="down"):
    return failing_model(UnavailableError("away"), name)


def words(text, name="w"):
    return repeats(name, text)


def test_the_answer_in_words_that_a_program_computes_is_the_answer():
    spare = words("Answer: 1")
    model = modes([words("Sum it.\nAnswer: 7"), words(program("3 + 4"), "p")], [spare, spare])

    answer, events = watched(model)

    assert answer.text == "Sum it.\nAnswer: 7"
    assert not spare.asked
    assert not answer.degraded
    assert len(answer.charges) == 2 < model.call_count == len(forecast_calls(model, ASK)) == 4
    last = (Position(model.layer_count, 0, "aggregator"),)
    shown = "".join(e.text for e in events if isinstance(e, Token) and e.at == last)
    assert shown == answer.text
    assert "a program computes the same" in str(events)


def test_every_other_call_is_asked_for_a_program_behind_its_persona():
    a, b = words("Answer: 7"), words(program("7"))
    layer = Layer((Proposer(a, persona="P."), Proposer(b)))

    run(Modes(layers=(layer,), run_program=evaluates).complete(ASK))

    said = [one.asked[0].messages[0].text for one in (a, b)]
    assert said[0].startswith("P.\n\nWork the answer out in words")
    assert "defines a function solve(), without arguments" in said[1]


def test_layers_are_asked_until_any_two_of_them_agree():
    first = [words("Answer: 8"), words(program("9"), "p")]
    second = [words("Answer: 9"), words(program("'x'"), "p")]
    third = [words("Answer: 9"), words(program("1"), "p")]

    answer = run(modes(first, second, third).complete(ASK))

    assert answer.text == "Answer: 9"
    assert len(answer.charges) == 4
    assert not answer.degraded


def test_without_agreement_the_most_frequent_answer_in_words_goes_out_and_that_is_said():
    rows = [[words(f"Answer: {n}"), words(program("0"), "p")] for n in (8, 9, 9)]

    answer = run(modes(*rows).complete(ASK))

    assert (answer.text, answer.degraded) == ("Answer: 9", (UNCONFIRMED,))
    assert len(answer.charges) == 6


def test_open_texts_come_down_to_the_one_closest_to_the_others():
    texts = ("The sky is blue, for air scatters blue light.", "Bananas are yellow. They are fruit.")
    rows = [[words(text), words(program("0"), "p")] for text in (texts[0], texts[1], texts[0])]

    answer = run(modes(*rows).complete(ASK))

    assert (answer.text, answer.degraded) == (texts[0], (UNCONFIRMED,))


@pytest.mark.parametrize(
    ("said", "computed", "same"),
    [
        ("123456789013", "123456789012", False), ("1234567", "1234568.0", False),
        ("123456789012", "123456789012", True), ("0.333333", "1 / 3", True),
        ("2500000.5", "2500001.5", False), ("2026-11-30", "'2026-11-30'", True),
    ],
)  # fmt: skip
def test_numbers_that_differ_do_not_confirm_each_other_however_large_they_are(said, computed, same):
    answer = run(modes([words(f"Answer: {said}"), words(program(computed), "p")]).complete(ASK))

    assert (answer.degraded == ()) == same


def test_a_program_that_breaks_off_computes_nothing():
    def breaks(text, test, function):
        return ()

    layers = (Layer(tuple(map(Proposer, (words("Answer: 7"), words("no program"))))),)

    answer = run(Modes(layers=layers, run_program=breaks).complete(ASK))

    assert (answer.text, answer.degraded) == ("Answer: 7", (UNCONFIRMED,))


def test_where_programs_cannot_be_run_no_further_layer_is_asked_and_that_is_said():
    def refuses(text, test, function):
        raise ProgramsNotRunError("this machine confines no programs")

    spare = words("Answer: 1")
    row = (words("Answer: 7"), words(program("7")))
    layers = tuple(Layer(tuple(map(Proposer, one))) for one in (row, (spare, spare)))

    answer = run(Modes(layers=layers, run_program=refuses).complete(ASK))

    assert not spare.asked
    assert answer.degraded == ("this machine confines no programs", UNCONFIRMED)


def test_a_seat_that_fails_is_left_out_and_said():
    rows = [[words("Answer: 7"), down()], [down("other"), words(program("7"), "p")]]

    answer = run(modes(*rows).complete(ASK))

    assert answer.text == "Answer: 7"
    assert answer.degraded == ("layer 1: down failed: away", "layer 2: other failed: away")


def test_without_any_answer_in_words_there_is_none():
    with pytest.raises(QuorumNotMetError):
        run(modes([down(), words(program("7"), "p")]).complete(ASK))
    with pytest.raises(QuorumNotMetError):
        run(modes([down(), down()]).complete(ASK))


@pytest.mark.parametrize(
    ("answer", "result", "same"),
    [
        ("7", "7", True), ("7", "7.0", True), ("0.5", "1 / 2", True), ("1/3", "0.33333334", True),
        ("7", "'7'", True), ("1200", "'1,200'", True), ("7", "True", False), ("7", "8", False),
        ("paris", "'Paris'", True), ("paris", "7", False), ("7", "[7]", False), ("B", "'b'", True),
        ("7", "None", False),
    ],
)  # fmt: skip
def test_what_a_program_returns_is_compared_as_a_number_or_as_words(answer, result, same):
    text = f"def solve():\n    return {result}"

    assert evaluates(text, make_comparison(["nothing", answer]), "solve") == [False, same]


def test_the_comparison_runs_in_the_sandbox():
    try:
        ensure_available()
    except SandboxError as error:
        leave_out("sandbox", str(error))
    test = make_comparison(["42", "paris"])

    assert check_program("def solve():\n    return 6 * 7", test, "solve").results == (True, False)
    assert not check_program("import os\ndef solve(): os.listdir('/')", test, "solve").results


def test_the_preset_can_be_drawn_and_counted(tmp_path):
    config = load(None, environ={}, folder=tmp_path, home=tmp_path)
    plan = config.mixture_spec("modes")

    assert (config.count_calls(plan), plan.layer_count) == (6, 4)
    assert config.builder.build_outline(plan).layer_count == 4


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            'layers = [["quick"]]',
            "each layer needs two calls or more: one in words and one for a program",
        ),
        ('layers = [["quick*2"]]\nextract = "text"', "'text' has none"),
        ('layers = [["quick*2"]]\nextract = "x"', "extract"),
        ("layers = []", "'modes' needs proposers"),
    ],
)
def test_wrong_settings_are_told(body, said, tmp_path):
    def build():
        config = read(f'pattern = "modes"\n{body}', tmp_path)
        config.build_mixture(config.mixture_spec("t"))

    with pytest.raises(ConfigError, match=said):
        build()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So \boxed{42}", "42"), ("#### 1,200", "1200"), ("The answer is 7.", "7"), ("42", "42"),
        ("Answer: B", "B"), ("(b)", "B"), ("Answer: **Paris**.", "paris"), ("Paris", "paris"),
        (r"\boxed{\frac{1}{2}}", "1/2"), ("Bananas are yellow. They are fruit.", None),
        ("There are 12 of them in the first box and more in the others.", None),
        ("Answer: 2026-11-30", "2026-11-30"), ("Answer: March 5", "march 5"), ("18:00", "18:00"),
        ("1. Paris", "paris"), ("- “Paris”", "paris"), ("答案：巴黎。", "巴黎"),
        (r"\boxed{2\sqrt{3}}", "2√3"), ("Answer: 3π", "3π"), ("Answer: 5x + 2", "5x + 2"),
        ("The answer is that we should weigh many different options before we decide.", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_marked_answer_is_read_and_a_number_on_the_way_is_none(text, answer):
    assert extract_marked(text) == answer
