"""`mixtura show` of a mixture or a pattern: drawn, and what an answer takes."""

from __future__ import annotations

import pytest

from mixtura.catalog.patterns import BUILT_IN
from tests.support import shell

shell, desk = shell.shell, shell.desk

PRICED = """
[models.small]
base_url = "http://127.0.0.1:9/v1"
model = "small"
price = { input = 1.0, output = 2.0 }
[models.big]
base_url = "http://127.0.0.1:9/v1"
model = "big"
"""

NESTED = """layers = [["small", "nested"]]
aggregator = "big"
[mixtures.nested]
layers = [["small*2"]]
aggregator = "small"
"""


def show(shell, body, *words):
    shell.desk.write(f"{PRICED}price = {{ input = 10.0, output = 20.0 }}\n[mixtures.t]\n{body}")
    return shell.run("show", *(words or ("t",)))


def test_a_mixture_is_shown_with_its_tokens_its_critical_path_and_its_price(shell):
    body = 'layers = [["small*3"], ["small*2"]]\naggregator = "big"\n'

    told = show(shell, body, "t", "--json").json["typical"]
    drawn = show(shell, body).out

    # The question is read by three; three drafts and our words by two; two by the last.
    read = 3 * 50 + 2 * (50 + 250 + 3 * 400) + (50 + 250 + 2 * 400)
    small, big = 3 * 50 + 2 * (50 + 250 + 3 * 400), 50 + 250 + 2 * 400
    price = (small + 2 * 5 * 400) / 1e6 + (10 * big + 20 * 400) / 1e6
    assert told == {
        "question_tokens": 50, "answer_tokens": 400, "verdict_tokens": 30, "tokens_read": read,
        "tokens_written": 6 * 400, "calls_in_chain": 3, "chain_tokens": 1200,
        "price_usd": pytest.approx(price), "unknown_prices": [],
    }  # fmt: skip
    assert f"tokens         {read:,} read, 2,400 written" in drawn
    assert "critical path  3 calls one after another, 1,200 tokens written" in drawn
    assert f"price          ${price:.4f}" in drawn


def test_an_unknown_price_is_said_with_the_models_name_and_is_never_zero(shell):
    shell.desk.write(f'{PRICED}[mixtures.t]\nlayers = [["small*3"]]\naggregator = "big"\n')

    told = shell.run("show", "t", "--json").json["typical"]

    assert (told["price_usd"], told["unknown_prices"]) == (None, ["big"])
    assert "price          unknown: no price is known for big" in shell.run("show", "t").out


@pytest.mark.parametrize(
    ("body", "calls", "chain"),
    [
        ('pattern = "vote"\nlayers = [["small*4"]]', 4, 1),
        ('pattern = "rank"\nlayers = [["small*4"]]\njudge = "big"', 5, 2),
        ('pattern = "knockout"\nlayers = [["small*5"]]\njudge = "big"', 13, 4),
        ('pattern = "gate"\nlayers = [["small*3"]]\naggregator = "big"', 8, 4),
        ('pattern = "guard"\nlayers = [["small*3"]]\naggregator = "big"\njudge = "big"', 6, 3),
        ('pattern = "recursive"\nlayers = [["small*6"]]\naggregator = "big"\nsteps = 3', 24, 4),
        ('pattern = "sequential"\nlayers = [["small*16"]]\naggregator = "big"', 19, 4),
        ('pattern = "switch"\nlayers = [["small*3", "big*3"]]', 6, 2),
        ('pattern = "checked"\nlayers = [["small*3"]]\ntester = "big"', 4, 2),
        (NESTED, 5, 3),
    ],
)  # fmt: skip
def test_the_critical_path_is_the_longest_chain_of_calls_that_wait(shell, body, calls, chain):
    told = show(shell, body + "\n", "t", "--json").json

    assert (told["calls"], told["typical"]["calls_in_chain"]) == (calls, chain)


@pytest.mark.parametrize(
    ("body", "reads"),
    [
        ('pattern = "mux"\nlayers = [["small*2", "big*2"]]', False),
        ('pattern = "switch"\nlayers = [["small*2", "big*2"]]', False),
        ('pattern = "vote"\nlayers = [["small*2"]]', False),
        ('pattern = "rank"\nlayers = [["small*2"]]\njudge = "big"', True),
        ('layers = [["small*2"]]\naggregator = "big"', True),
    ],
)
def test_the_drawing_shows_a_model_the_question_only_where_one_reads_it(shell, body, reads):
    drawn = show(shell, body + "\n").out

    assert ("every answer and the question" in drawn) == reads
    assert "│  every answer" in drawn


def test_a_pattern_that_may_stop_early_takes_at_most_so_many_calls(shell):
    drawn = show(shell, 'pattern = "switch"\nlayers = [["small*2", "big*2"]]\n').out

    assert "3 layers, at most 4 calls per answer" in drawn
    assert "critical path  at most 2 calls one after another" in drawn


def test_a_pattern_is_shown_by_the_first_mixture_that_has_it(shell):
    shell.desk.write("")

    drawn, told = shell.run("show", "mixture"), shell.run("show", "mixture", "--json").json

    assert "mixture: a synthesis that the aggregator writes" in drawn.out
    assert "The mixtures of this pattern: paper, " in drawn.out
    assert "3 layers, 13 calls per answer" in drawn.out
    assert (told["name"], told["calls"]) == ("paper", 13)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_pattern_can_be_shown_by_its_name(shell, name):
    shell.desk.write("")

    told = shell.run("show", name, "--json").json

    assert told.get("pattern", "mixture") == name
    assert told["calls"] >= told["typical"]["calls_in_chain"] >= 1


def test_a_run_is_what_a_file_is_written_of_and_a_pattern_is_none(shell):
    shell.desk.write("")

    ran = shell.run("show", "mixture", "--html", "run.html")

    assert ran.code == 2
    assert "--html goes with a run, and mixture is none." in ran.err
