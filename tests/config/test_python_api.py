"""What ``from mixtura import …`` gives to a program: models, configuration, words for wrong use."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mixtura
from mixtura import (
    Anthropic,
    BudgetExceededError,
    CallTimeouts,
    ConfigError,
    Http1Transport,
    Message,
    Mixture,
    OpenAI,
    Request,
    answer_sync,
    ask,
    load,
    model,
    open_ledger,
)
from mixtura.models.fake import Scripted, echo
from tests.support.loopback import Answer, loopback
from tests.support.upstream import Script, running

KEY = "sk-test-0123456789abcdefgh"
URL = "http://127.0.0.1:9/v1"


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
        (lambda: OpenAI("m", base_url=3), "base_url: an address as a text, or None, not int"),
        (lambda: OpenAI("m", "http://[::1"), "base_url: this is not the address of a server"),
        (lambda: OpenAI("m", api_key="a\nb"), "a key has letters, digits and signs"),
        (lambda: OpenAI("m", api_key="schlüssel"), "a key has letters, digits and signs"),
        (lambda: OpenAI("m", URL, timeouts=30), "timeouts: a CallTimeouts"),
        (lambda: OpenAI("m", URL, headers={"a": 3}), "headers['a']: a text, not int"),
        (lambda: OpenAI("m", URL, headers={"a b": "c"}), "'a b' is not the name of a header"),
        (lambda: OpenAI("m", URL, extra={"a": object()}), "extra: this cannot be written as JSON"),
        (lambda: OpenAI("m", URL, extra={"stream": 1}), "extra: 'stream' is set by Mixtura"),
        (lambda: OpenAI("m", URL, key_header=""), "is not the name of a header"),
        (lambda: OpenAI("m", URL, largest=-1), "largest: -1 is out of range"),
        (lambda: OpenAI("m", URL, largest=True), "largest: a whole number, not bool"),
        (lambda: OpenAI("m", URL, name=3), "name: a text, not int"),
        (lambda: OpenAI("m", URL, price=3), "price: a Price"),
        (lambda: OpenAI("m", URL, context_window="8k"), "context_window: a whole number of tokens"),
        (lambda: OpenAI("m", URL, supports_images="no"), "supports_images: True or False, not str"),
        (lambda: Anthropic("m", URL, headers=3), "Anthropic(…): headers: a dict of texts, not int"),
        (lambda: load(folder=3), "load(folder): a path is a text or a Path, not int"),
        (lambda: load(environ={"A": 3}), "environ['A']: a text, not int"),
        (lambda: load(""), "load(path): the name of a file cannot be empty"),
        (lambda: model(" "), "model(name): the name is empty"),
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
        (lambda: Mixture.of("openai/x", echo("c")), "proposers: a list of models"),
        (
            lambda: Mixture.of([3], echo("c")),
            "proposers[0]: a model or a model's name, not int",
        ),
        (lambda: Mixture.of([echo("a")], object()), "aggregator: a model"),
        (lambda: answer_sync(3, "x"), "answer_sync(model, …): a model"),
        (
            lambda: answer_sync(echo("a"), 3),
            "answer_sync(…, question): a text or a Request, not int",
        ),
        (lambda: answer_sync(echo("a"), [ask("x")]), "a text or a Request, not list"),
        (lambda: ask(3), "ask(question): a question is a text, not int"),
        (
            lambda: OpenAI("m", URL, timeout=3),
            "unknown argument 'timeout': did you mean 'timeouts'",
        ),
        (lambda: OpenAI("m", URL, transport=Http1Transport), "not the class Http1Transport"),
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


def test_an_answer_inside_a_running_loop_enters_the_ledger_around_it():
    async def inside():
        with open_ledger() as ledger:
            answer_sync(Mixture.of([echo("a"), echo("b")], echo("chief")), "2 + 2?")
        return [charge.model for charge in ledger.charges]

    assert sorted(asyncio.run(inside())) == ["a", "b", "chief"]


def test_ctrl_c_in_a_notebook_ends_the_call_and_not_only_the_wait():
    class Interrupting:
        name = "interrupting"
        cancelled = False

        async def complete(self, request, emit=None):
            # As a person does it, once the call is under way: the signal goes to the main thread.
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            try:
                await asyncio.Event().wait()  # an answer that never comes
            except asyncio.CancelledError:
                self.cancelled = True
                raise

    slow = Interrupting()

    async def notebook():
        with pytest.raises(KeyboardInterrupt):
            answer_sync(slow, "2 + 2?")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    loop = asyncio.new_event_loop()  # asyncio.run takes the signal for itself
    try:
        loop.run_until_complete(notebook())
    finally:
        loop.close()
        signal.signal(signal.SIGINT, before)

    assert slow.cancelled


def test_an_error_of_a_model_has_no_other_one_as_its_context():
    with pytest.raises(KeyError) as raised:
        answer_sync(Scripted("a", [KeyError("odd")]), "2 + 2?")

    assert raised.value.__context__ is None


CAPPED = """
default = "team"
[models.a]
base_url = "{url}"
model = "m"
price = {{ input = 1000, output = 1000 }}
[mixtures.team]
layers = [["a", "a"]]
aggregator = "a"
[budget]
{cap}
"""
WAYS_TO_A_TEAM = [
    lambda: load("mixtura.toml").model("team"),
    lambda: load().model("a"),
    lambda: model("team"),
    lambda: model("default"),
    lambda: model("a,a>a"),
    lambda: Mixture.of(["a"], "a"),
]


@pytest.mark.parametrize("cap", ["run_usd = 0.001", "run_tokens = 10", "day_usd = 0.001"])
@pytest.mark.parametrize("way", WAYS_TO_A_TEAM)
def test_the_caps_of_the_file_hold_in_python(way, cap, tmp_path):
    with running(lambda _: Script("Hello.")) as upstream:
        url = upstream.base_url("openai")
        (tmp_path / "mixtura.toml").write_text(CAPPED.format(url=url, cap=cap))

        with pytest.raises(BudgetExceededError, match="over"):
            answer_sync(way(), "Hi")

        assert not upstream.records


def test_what_was_spent_in_python_counts_for_the_day(tmp_path):
    with running(lambda _: Script("Hello.")) as upstream:
        url = upstream.base_url("openai")
        cap = "day_tokens = 4200"  # a call takes few of the 4,096 that its answer may have
        (tmp_path / "mixtura.toml").write_text(CAPPED.format(url=url, cap=cap))
        config = load()
        assert config.model("a") is config.model("a")

        async def notebook():
            return answer_sync("a", "Hi").text

        def answer_often():
            for _ in range(100):
                answer_sync(load().model("a"), "Hi")

        assert answer_sync(config.model("a"), "Hi").text == "Hello."
        assert asyncio.run(notebook()) == "Hello."
        with pytest.raises(BudgetExceededError, match="the day"):
            answer_often()


def test_a_timeout_is_set_with_a_public_name():
    assert OpenAI("m", URL, timeouts=CallTimeouts(total=3)).name == "m"


def test_type_checkers_are_told_that_the_package_has_types():
    """Without the file pyright reports every import of the package, and mypy refuses it."""
    assert (Path(mixtura.__file__).parent / "py.typed").is_file()


def test_a_configuration_names_what_it_has_and_limits_what_is_asked_of_it(tmp_path):
    with loopback() as server:
        server.answers |= {"a": Answer.text("forty-one"), "b": Answer.text("forty-two")}
        tables = "".join(
            f'[models.{name}]\nbase_url = "{server.base_url}"\nmodel = "{name}"\n'
            "price = { input = 10.0, output = 10.0 }\n"
            for name in "ab"
        )
        text = f'default = "team"\n{tables}[mixtures.team]\nlayers = [["a"]]\naggregator = "b"\n'
        (tmp_path / "mixtura.toml").write_text(text)
        found = load(tmp_path / "mixtura.toml", environ={}, folder=tmp_path)

        assert found.default == "team"
        assert {"team", "a", "b"} <= set(found.names)
        assert answer_sync(found.model(), "6 x 7?").text == "forty-two"
        with pytest.raises(BudgetExceededError):
            answer_sync(found.model("team", max_cost=0.000001), "6 x 7?")
        for limit in ({"max_cost": "1"}, {"max_cost": -1}, {"deadline": 0}, {"deadline": True}):
            with pytest.raises(ConfigError, match=next(iter(limit))):
                found.model("team", **limit)
