"""Which mixtures learn how long to wait for stragglers, and for whom they wait in any case."""

from __future__ import annotations

import pytest

from mixtura.config.config import load
from tests.support import config_files
from tests.support.config_files import built, read, refused, team

folder = config_files.folder

TEAM = 'layers = [["quick", "steady"]]\naggregator = "steady"\n'


def layer_of(text, folder):
    (layer,) = built(team(TEAM + text), folder).layers
    return layer


def test_a_mixture_that_says_nothing_learns_its_patience(folder):
    layer = layer_of("", folder)

    assert layer.learned is not None
    assert (layer.quorum, layer.patience) == (1, None)


@pytest.mark.parametrize("said", ["quorum = 1", "patience = 5", 'patience = "unlimited"'])
def test_who_says_how_long_to_wait_is_obeyed(said, folder):
    assert layer_of(said, folder).learned is None


def test_a_quorum_and_learned_patience_go_together(folder):
    layer = layer_of('quorum = 2\npatience = "learned"', folder)

    assert layer.learned is not None
    assert (layer.quorum, layer.patience) == (2, None)


def test_a_word_that_is_no_patience_is_told_what_is_one(folder):
    said = refused(team(TEAM + 'patience = "long"'), folder)

    assert "patience: expected a number or 'learned' or 'unlimited', got 'long'" in said


@pytest.mark.parametrize("name", ["paper", "paper-gpt-4o", "lite", "paper-today"])
def test_the_papers_mixtures_wait_for_all(name, folder):
    plan = load(None, environ={}, folder=folder, home=folder).mixture_spec(name)

    assert not plan.learns_patience
    assert plan.patience is None


@pytest.mark.parametrize("name", ["default", "self", "guard", "vote"])
def test_other_mixtures_that_come_along_learn(name, folder):
    config = load(None, environ=KEYS, folder=folder, home=folder)

    assert config.mixture_spec(name).learns_patience is None
    assert config.builder.build_mixture(config.mixture_spec(name)).layers[0].learned is not None


def test_work_over_many_prompts_waits_for_all_unless_a_table_says_otherwise(folder):
    (folder / "mixtura.toml").write_text(
        '[mixtures.own]\npattern = "vote"\nlayers = [["auto*3"]]\npatience = "learned"\n'
    )
    config = load(None, environ=KEYS, folder=folder, home=folder, waits_for_all=True)

    def learned(name):
        return config.builder.build_mixture(config.mixture_spec(name)).layers[0].learned

    assert learned("self") is None
    assert learned("own") is not None


KEYS = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
HOSTED = """
[models.small]
provider = "openai"
model = "gpt-5.4-mini"

[models.large]
provider = "anthropic"
model = "claude-opus-5-5"

[models.own]
base_url = "http://127.0.0.1:9/v1"
model = "our-own"
"""


@pytest.mark.parametrize(
    ("name", "strongest"),
    [
        ("openai/gpt-5.4,anthropic/claude-opus-5-5>openai/gpt-5.4", "anthropic/claude-opus-5-5"),
        ("large,openai/gpt-5.4>own", "large"),
        ("large,own>own", "own"),  # no one knows how strong it is: whoever writes the answer is
        ("large,own>small", "large"),  # who writes proposes nothing: the strongest that is known
        ("own,own*2>small", None),
    ],
)
def test_the_strongest_member_is_by_the_table_else_the_aggregators_own_model(
    name, strongest, folder
):
    config = read(HOSTED, folder, KEYS)

    (layer,) = config.build_mixture(config.mixture_spec(name)).layers

    assert layer.learned.strongest == strongest
    assert layer.learned.asks_again is (strongest is not None)


def test_a_model_on_this_machine_is_not_asked_a_second_time(folder):
    (folder / "here.gguf").write_bytes(b"GGUF")
    config = read(f'[models.here]\nmodel = "{folder / "here.gguf"}"', folder)

    (layer,) = config.build_mixture(config.mixture_spec("here*3>here")).layers

    assert layer.learned.strongest == "here"
    assert not layer.learned.asks_again


def test_the_mixtures_of_a_configuration_share_what_they_learn(folder):
    config = read(HOSTED, folder, KEYS)
    names = ("small,large>large", "large,small>small")

    layers = [config.build_mixture(config.mixture_spec(name)).layers[0] for name in names]

    assert layers[0].learned.times is layers[1].learned.times


@pytest.mark.parametrize(("said", "kept"), [("", "small"), ('member = "own"\n', "own")])
def test_a_guard_waits_for_the_member_that_guards(said, kept, folder):
    table = f'[mixtures.mine]\npattern = "guard"\nlayers = [["small", "large", "own"]]\n{said}'
    config = read(f'{HOSTED}\n{table}aggregator = "large"\njudge = "large"', folder, KEYS)

    (layer,) = config.build_mixture(config.mixture_spec("mine")).layers

    assert layer.learned.strongest == kept
    assert not layer.learned.asks_again
