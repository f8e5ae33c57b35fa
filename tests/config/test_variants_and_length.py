"""Variants of one prompt for the draws of a seat, and how long a synthesis may be."""

from __future__ import annotations

import pytest

from mixtura import Recorder
from mixtura.config.config import load
from mixtura.core.errors import ConfigError
from mixtura.prompts.instructions import prompt_variants
from mixtura.prompts.synthesis import envelope, limit_length, paper
from tests.conftest import run
from tests.support.loopback import Answer, loopback
from tests.support.pattern_models import ASK, read, said, written


def built(body, folder):
    config = read(body, folder)
    return config.build_mixture(config.mixture_spec("t"))


def calls(mixture):
    return [call.persona for call in mixture.layers[0].proposer_calls]


def test_draws_take_the_variants_in_turn_behind_their_persona(tmp_path):
    body = (
        'layers = [[{ model = "quick", samples = 3, persona = "P.", variants = ["A.", "B."] },'
        ' "steady*2"]]\naggregator = "quick"'
    )

    assert calls(built(body, tmp_path)) == ["P.\n\nA.", "P.\n\nB.", "P.\n\nA.", None, None]


def test_variants_of_ours_are_all_different(tmp_path):
    body = 'layers = [[{ model = "quick", samples = 6, variants = true }]]\naggregator = "quick"'

    assert calls(built(body, tmp_path)) == list(prompt_variants())
    assert len(set(prompt_variants())) == 6


def test_draws_with_variants_have_numbers_and_seeds_of_their_own(tmp_path):
    body = (
        'layers = [[{ model = "a", samples = 2, variants = ["A.", "B."] }]]\naggregator = "judge"'
    )
    with loopback() as server:
        server.answers |= {name: Answer.text("x") for name in ("a", "judge")}
        (tmp_path / "mixtura.toml").write_text(
            written(server, f"{body}\nsampling = {{ seed = 5 }}")
        )
        config = load(None, environ={}, folder=tmp_path, home=tmp_path)
        run(config.build_mixture(config.mixture_spec("t")).complete(ASK, Recorder()))
        asked = server.asked("a")

    found = sorted((body["messages"][0]["content"], body["seed"]) for body in asked)
    assert found == [("A.", 5), ("B.", 6)]


def test_the_preset_has_six_ways(tmp_path):
    config = load(None, environ={}, folder=tmp_path, home=tmp_path)
    plan = config.mixture_spec("varied")

    assert config.count_calls(plan) == 7
    seats = calls(config.builder.build_outline(plan))
    assert [text.rpartition("\n\n")[2] for text in seats] == list(prompt_variants())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('layers = [[{ model = "auto-team", variants = true }]]', "stands for several"),
        ('layers = [[{ model = "quick", variants = [" "] }]]', "a variant is a text"),
        ('layers = [[{ model = "quick", variants = "x" }]]', "variants"),
        ('layers = [["quick"]]\nlength = "short"', "length"),
        ('layers = [["quick"]]\nlength = 0', "length"),
    ],
)
def test_wrong_ones_are_told(line, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        built(f'{line}\naggregator = "quick"', tmp_path)


def test_a_pattern_that_writes_nothing_has_no_length(tmp_path):
    with pytest.raises(ConfigError, match="'vote' writes nothing from proposals"):
        built('pattern = "vote"\nlayers = [["quick"]]\nlength = 9', tmp_path)


# ---- length


@pytest.mark.parametrize("layout", [envelope, paper])
def test_a_synthesis_is_asked_for_no_more_words_than_the_longest_proposal_has(layout):
    drafts = [said("one two three"), said("one two three, four five!")]

    shown = limit_length(layout)(ASK, drafts)

    assert "Write at most 5 words" in shown.messages[-1].text
    assert "Write at most 200 words" in limit_length(layout, 200)(ASK, drafts).messages[-1].text
    assert shown.messages[-1].role == "user"


def test_without_proposals_or_words_nothing_is_asked():
    assert limit_length(envelope, 9)(ASK, []) == ASK
    assert "Write at most" not in str(limit_length(envelope)(ASK, [said("")]))


def test_a_file_says_how_long(tmp_path):
    mixture = built('layers = [["quick"]]\naggregator = "quick"\nlength = "longest"', tmp_path)

    assert "Write at most 2 words" in str(mixture.synthesis(ASK, [said("two words")]))
