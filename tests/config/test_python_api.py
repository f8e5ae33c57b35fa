"""What ``from mixtura import …`` gives to a program: models, configuration, words for wrong use."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys

import pytest

import mixtura
from mixtura import (
    Anthropic,
    ConfigError,
    Message,
    Mixture,
    OpenAI,
    Request,
    answer_sync,
    ask,
    load,
    model,
)
from mixtura.models.fake import Scripted, echo
from tests.support.upstream import Script, running

KEY = "sk-test-0123456789abcdefgh"


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No keys and no configuration of whoever runs the tests."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MIXTURA_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def test_every_public_name_can_be_imported_and_is_documented():
    for name in mixtura.__all__:
        value = getattr(mixtura, name)
        if name not in ("Emit", "Event", "PositionPath"):  # types alone
            assert value.__doc__, name


def test_importing_the_package_loads_no_adapter_and_no_configuration():
    code = (
        "import sys, mixtura; print([m for m in sys.modules if m.startswith(('mixtura.config',"
        " 'mixtura.models', 'mixtura.transport', 'mixtura.storage'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Openai'"):
        mixtura.Openai  # noqa: B018


@pytest.mark.parametrize("kind", [OpenAI, Anthropic])
def test_a_hosted_model_takes_a_plain_key_and_never_shows_it(kind):
    made = kind("some-model", api_key=KEY)

    assert made.name == "some-model"
    assert KEY not in repr(made) + repr(vars(made))


def test_a_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    assert OpenAI("gpt-5.4").name == "gpt-5.4"


@pytest.mark.parametrize(
    ("kind", "variable"), [(OpenAI, "OPENAI_API_KEY"), (Anthropic, "ANTHROPIC_API_KEY")]
)
def test_without_a_key_the_error_says_where_one_belongs(kind, variable):
    with pytest.raises(ConfigError, match=rf"{variable} is not set.*api_key="):
        kind("some-model")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: OpenAI(""), "a model's name is a text"),
        (lambda: OpenAI(None), "a model's name is a text"),
        (lambda: OpenAI("m", api_key=3), "a key is a text, not int"),
        (lambda: OpenAI("m", api_key="  "), "the key is empty"),
        (lambda: OpenAI("m", base_url="localhost:8000"), "must begin with http:// or https://"),
        (lambda: load(3), "a path is a text or a Path, not int"),
        (lambda: load("nowhere.toml"), "there is no file nowhere.toml"),
        (lambda: model(3), "a name is a text, not int"),
        (lambda: model("opnai/x"), "did you mean 'openai/x'"),
        (lambda: Mixture.of(["opnai/x"], echo("c")), "did you mean 'openai/x'"),
    ],
)
def test_wrong_settings_are_told_in_words(wrong, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        wrong()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Mixture.of("openai/x", echo("c")), "proposers is a list of models"),
        (
            lambda: Mixture.of([3], echo("c")),
            "proposers[0] wants a model or a model's name, not int",
        ),
        (lambda: Mixture.of([echo("a")], object()), "aggregator wants a model"),
        (lambda: answer_sync(3, "x"), "answer_sync(model, …) wants a model"),
        (lambda: ask(3), "ask(question): a question is a text, not int"),
    ],
)
def test_what_is_no_model_or_no_question_is_a_type_error_in_words(wrong, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        wrong()


def test_a_key_for_openai_goes_to_no_other_address(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with running(lambda _: Script("Hello.")) as upstream:
        made = OpenAI("m", upstream.base_url("openai"))
        assert answer_sync(made, "Hi").text == "Hello."

        assert KEY not in str(upstream.records[-1].headers)


def test_a_configuration_is_loaded_by_its_path_alone(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(
        '[models.a]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
        '[mixtures.team]\nlayers = [["a", "a"]]\naggregator = "a"\n'
    )

    for path in (file, str(file)):
        team = load(path).model("team")
        assert team.name == "team"
        assert isinstance(team, mixtura.Model)


def test_a_mixture_is_made_of_names(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    team = Mixture.of(["openai/gpt-5.4-mini", echo("b")], "openai/gpt-5.4")

    assert [call.model.name for call in team.planned_calls()] == [
        "openai/gpt-5.4-mini", "b", "openai/gpt-5.4",
    ]  # fmt: skip
    assert model("openai/gpt-5.4") is team.aggregator.model  # one rate limit for both
    assert model("openai/a,openai/b>openai/c").planned_calls()[-1].model.name == "openai/c"


def test_answers_come_without_await_also_inside_a_running_loop():
    team = Mixture.of([echo("a"), echo("b")], Scripted("chief", ["Four.", "Four."]))
    request = Request((Message("user", "2 + 2?"),))

    async def inside():
        return answer_sync(team, request)

    assert answer_sync(team, "2 + 2?").text == "Four."
    assert asyncio.run(inside()).text == "Four."
