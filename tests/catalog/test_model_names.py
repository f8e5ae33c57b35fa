"""Names that everyone knows: understood where they mean one model, else told how to be written."""

from __future__ import annotations

import pytest

from mixtura import ConfigError
from mixtura.catalog.providers import split_model_name
from mixtura.config.config import load
from tests.support import config_files
from tests.support.config_files import built, team

folder = config_files.folder


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gpt-5.4", "openai/gpt-5.4"),
        ("GPT-5.4", "openai/gpt-5.4"),
        ("openai:gpt-5.4", "openai/gpt-5.4"),
        ("OpenAI/GPT-5.4", "openai/gpt-5.4"),
        ("o3-mini", "openai/o3-mini"),
        ("claude-haiku-5-5", "anthropic/claude-haiku-5-5"),
        ("claude-haiku-5.5", "anthropic/claude-haiku-5-5"),
        ("anthropic:claude-opus-5-5", "anthropic/claude-opus-5-5"),
        ("gemini-3.8-flash", "google/gemini-3.8-flash"),
        ("models/gemini-3.8-flash", "google/gemini-3.8-flash"),
        ("gemini/gemini-3.8-flash", "google/gemini-3.8-flash"),
        ("grok-4.7", "xai/grok-4.7"),
        ("ollama:llama3.2", "ollama/llama3.2"),
        ("ollama:llama3.2:3b", "ollama/llama3.2:3b"),
        ("together_ai/Qwen/Qwen3.8-Flash", "together/Qwen/Qwen3.8-Flash"),
        ("groq/openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
    ],
)
def test_a_name_of_one_model_is_understood(name, meant):
    assert "/".join(split_model_name(name) or ()) == meant


@pytest.mark.parametrize(
    "name", ["llama3.2", "gpt-oss-120b", "gpt-4.gguf", "nosuch:model", "models/x", "team", ""]
)
def test_a_name_that_means_no_one_model_is_not_guessed(name):
    assert split_model_name(name) is None


def test_bare_names_answer_in_a_team_as_the_whole_ones_would(folder):
    environ = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
    body = 'layers = [["gpt-5.4", "claude-haiku-5-5*2"]]\naggregator = "openai:gpt-5.4"'

    mixture = built(team(body), folder, environ)

    urls = {p.model.name for p in mixture.layers[0].proposers}
    assert urls == {"gpt-5.4", "claude-haiku-5-5"}


def test_a_model_of_ones_own_counts_before_a_bare_name(folder):
    text = '[models."gpt-5.4"]\nbase_url = "http://127.0.0.1:9"\nmodel = "mine"\n'

    assert built(f'default = "gpt-5.4"\n{text}', folder).call_count == 1  # no key is needed


def test_a_name_that_several_serve_is_answered_with_its_spellings(folder):
    config = load(None, environ={}, folder=folder, home=folder)

    with pytest.raises(ConfigError) as caught:
        config.mixture_spec("gpt-oss-120b")

    assert "'groq/openai/gpt-oss-120b' or 'cerebras/gpt-oss-120b'" in str(caught.value)
