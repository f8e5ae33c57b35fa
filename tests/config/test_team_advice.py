"""Teams that the rules of thumb advise against are told by `show` and `doctor`, others are not."""

from __future__ import annotations

import pytest

from mixtura.config.config import load
from tests.support.config_files import model_tables, read

STRONG, WEAK = "openai/gpt-5.4", "openai/gpt-4.1-mini"
TEAMS = {
    "weak-writer": f'[["{STRONG}", "openai/gpt-5.4-mini"]]\naggregator = "{WEAK}"',
    "smallest-writer": '[["openai/gpt-5.4-mini*2"]]\naggregator = "openai/gpt-5.4-nano"',
    "far-apart": '[["openai/gpt-5.4", "openai/gpt-4.1-mini"]]\naggregator = "openai/gpt-5.4"',
    "near": '[["openai/gpt-5.4", "openai/gpt-5.4-mini"]]\naggregator = "openai/gpt-5.4"',
    "unknown": '[["mine", "openai/gpt-4.1-mini"]]\naggregator = "mine"',
    "mixed-kinds": '[["openai/gpt-5.4"]]\naggregator = "smollm2-1.7b"',
    "small": '[["qwen2.5-1.5b", "smollm2-1.7b"]]\naggregator = "smollm2-1.7b"',
    "renamed": '[["strong", "openai/gpt-4.1-mini"]]\naggregator = "openai/gpt-4.1-mini"',
    "gated": '[["openai/gpt-4.1-mini"]]\naggregator = "openai/gpt-5.4"\npattern = "gate"',
    "counted": '[["qwen2.5-1.5b", "smollm2-1.7b"]]\npattern = "vote"',
}
MODELS = model_tables(mine="our-own", strong="gpt-5.4")


@pytest.fixture
def problems(tmp_path):
    tables = "".join(f"[mixtures.{name}]\nlayers = {text}\n" for name, text in TEAMS.items())
    config = read(MODELS + tables, tmp_path, {"XDG_STATE_HOME": str(tmp_path)})

    def of(name):
        return " | ".join(config.team_problems(config.registry.mixtures[name]))

    return of


def test_an_aggregator_that_is_not_the_strongest_member_is_told_with_who_is(problems):
    assert "Let openai/gpt-5.4 aggregate" in problems("weak-writer")
    assert "Let openai/gpt-5.4-mini aggregate" in problems("smallest-writer")
    # By the name of the model behind it, whoever serves it.
    assert "Let strong aggregate" in problems("renamed")


def test_proposers_that_are_far_weaker_than_the_aggregator_are_better_scouts(problems):
    assert "openai/gpt-4.1-mini: likely more than ten points weaker" in problems("far-apart")
    assert 'pattern = "gate"' in problems("far-apart")
    assert problems("gated") == ""


def test_small_models_are_advised_to_count_and_choose_unless_they_do(problems):
    assert "small models" in problems("small")
    assert problems("counted") == ""


@pytest.mark.parametrize("name", ["near", "unknown", "mixed-kinds"])
def test_nothing_is_said_where_strengths_are_near_or_unknown(problems, name):
    assert problems(name) == ""


@pytest.mark.parametrize("others", [(), ("GROQ_API_KEY",), ("OPENAI_API_KEY", "MISTRAL_API_KEY")])
@pytest.mark.parametrize("key", ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MISTRAL_API_KEY"])
def test_the_team_that_is_made_of_keys_is_not_advised_against(key, others, tmp_path):
    own = dict.fromkeys((key, *others), "k") | {"XDG_STATE_HOME": str(tmp_path)}
    config = load(None, environ=own, folder=tmp_path, home=tmp_path)

    assert config.team_problems(config.mixture_spec("default")) == []


def test_no_preset_of_hosted_models_is_advised_against(tmp_path):
    own = {"XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    config = load(None, environ=own, folder=tmp_path, home=tmp_path)

    plans = config.registry.mixtures.values()

    assert [problem for plan in plans for problem in config.team_problems(plan)] == []
