"""Configuration: what is wrong is said with its file, its line and what would be right."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from genai_prices.data import providers as priced

from mixtura import ConfigError, Mixture, Sampling, TimedOutError, Usage, ask
from mixtura.catalog import providers
from mixtura.config.config import Config, load
from mixtura.config.paths import find_config_file
from mixtura.config.plan import EMBEDDED_MODEL, detect_defaults, parse_member
from mixtura.core.roles import Proposer
from mixtura.prompts.synthesis import envelope, paper
from tests.conftest import run
from tests.loopback import Answer, babble, loopback, nobody

NOTHING: Mapping[str, str] = {}
MODELS = """
[models.quick]
base_url = "http://127.0.0.1:9/v1"
model = "quick-1"

[models.steady]
base_url = "http://127.0.0.1:9/v1"
model = "steady-1"
"""


@pytest.fixture
def folder(tmp_path):
    """A working folder with nothing in it."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def read(text: str, folder: Path, environ: Mapping[str, str] = NOTHING) -> Config:
    (folder / "mixtura.toml").write_text(text, encoding="utf-8")
    return load(None, environ=environ, folder=folder, home=folder / "home")


def built(text: str, folder: Path, environ: Mapping[str, str] = NOTHING) -> Mixture:
    """The mixture that `mixtura ask` would use with this file."""
    config = read(text, folder, environ)
    return config.build_mixture(config.mixture_spec(config.default))


def refused(text: str, folder: Path, environ: Mapping[str, str] = NOTHING) -> str:
    """What is said of a wrong file, without the file's own name; it ends before any call."""
    with pytest.raises(ConfigError) as caught:
        built(text, folder, environ)
    said = str(caught.value)
    assert said.startswith(str(folder / "mixtura.toml")), said
    return said.removeprefix(str(folder / "mixtura.toml"))


def marked(text: str) -> int:
    """The line with the mark."""
    return next(n for n, line in enumerate(text.splitlines(), 1) if "# <-" in line)


def model(body: str) -> str:
    """A file with one model, complete but for *body*."""
    return f'default = "m"\n[models.m]\nmodel = "x"\nbase_url = "http://127.0.0.1:9"\n{body}\n'


def top(body: str) -> str:
    """A file with two models, and *body*."""
    return f'default = "team"\n{MODELS}\n{body}\n'


def team(body: str) -> str:
    """A file with two models and one mixture, of which *body* is all."""
    return top(f"[mixtures.team]\n{body}")


def simple(body: str) -> str:
    """The same with a mixture that is complete but for *body*."""
    return team(f'layers = [["quick"]]\naggregator = "quick"\n{body}')


WRONG = {
    # ---- keys that do not exist, at every level
    "a key of the whole file": ('modles = {}  # <-', "'modles'", "'models'"),
    "a table of the whole file": ('[mixture.team]  # <-\nlayers = []', "'mixture'", "'mixtures'"),
    "a key of a model": (
        '[models.m]\nmodel = "x"\nbase_ulr = "http://127.0.0.1"  # <-',
        "'base_ulr'", "'base_url'",
    ),
    "a key of a model's timeouts": (
        '[models.m]\nmodel = "x"\n[models.m.timeouts]\ntotal = 3\nconect = 5  # <-',
        "'conect'", "'connect'",
    ),
    "a key of timeouts in one line": (
        '[models.m]\nmodel = "x"\ntimeouts = { total = 3, conect = 5 }  # <-',
        "'conect'", "'connect'",
    ),
    "a limit": (
        '[models.m]\nlimits = { concurency = 5 }  # <-',
        "'concurency'", "'concurrency'",
    ),
    "a key of a price": (
        '[models.m]\nprice = { input = 1, ouput = 2 }  # <-', "'ouput'", "'output'"
    ),
    "a key of a mixture": (
        team('layer = [["quick"]]  # <-\naggregator = "quick"'), "'layer'", "'layers'"
    ),
    "a key of a mixture by another's word": (
        simple('rounds = 5  # <-'), "'rounds'", "layers"
    ),
    "a key of a proposer, lines below the list's beginning": (
        team(
            'layers = [\n  ["quick"],\n  ["steady",\n'
            '   { model = "quick", persna = "x" }],  # <-\n]\naggregator = "quick"'
        ),
        "'persna'", "'persona'",
    ),
    "a key of a proposer's sampling": (
        team(
            'layers = [\n  ["quick"],\n'
            '  [{ model = "quick", sampling = { temprature = 1 } }],  # <-\n]\n'
            'aggregator = "quick"'
        ),
        "'temprature'", "'temperature'",
    ),
    "a key of the aggregator": (
        team('layers = [["quick"]]\naggregator = { model = "quick", persona = "x" }  # <-'),
        "'persona'", "model",
    ),
    "a key of a mixture's sampling": (
        simple(
            '[mixtures.team.sampling]\nmax_token = 5  # <-'
        ),
        "'max_token'", "'max_tokens'",
    ),
    # ---- values of another type
    "a text for a number": (
        '[models.m]\nmodel = "x"\nretries = "two"  # <-', "retries", "a whole number, got a text"
    ),
    "a fraction for a number": (
        simple('quorum = 1.5  # <-'), "quorum", "a whole number"
    ),
    "one name for the layers": (
        team('layers = "quick"  # <-\naggregator = "quick"'), "layers", "a list, got a text"
    ),
    "names for the layers": (
        team('layers = ["quick"]  # <-\naggregator = "quick"'), "layers[0]", "a list, got a text"
    ),
    "a number among names, lines below the list's beginning": (
        team('layers = [\n  ["quick"],\n  ["quick", 7],  # <-\n]\naggregator = "quick"'),
        "layers[1][1]", "a text or a table, got a whole number",
    ),
    "a text for a temperature": (
        simple('sampling = { temperature = "hot" }  # <-'),
        "sampling.temperature", "a number, got a text",
    ),
    "a table for models that is no table": ("[models]\nquick = 5  # <-", "models.quick", "a table"),
    # ---- what is missing
    "a mixture without layers": (
        top('[mixtures.team]  # <-\naggregator = "quick"'), "layers", "missing"
    ),
    "a mixture without an aggregator": (
        top('[mixtures.team]  # <-\nlayers = [["quick"]]'), "aggregator", "missing"
    ),
    "a proposer without a model": (
        team('layers = [\n  ["quick"],\n  [{ samples = 3 }],  # <-\n]\naggregator = "quick"'),
        "model", "missing",
    ),
    "a hosted model without its name": (
        'default = "m"\n[models.m]  # <-\nbase_url = "http://127.0.0.1:9/v1"', "`model`", "missing"
    ),
    # ---- names that mean nothing
    "a misspelt proposer": (
        team('layers = [["quick", "staedy"]]  # <-\naggregator = "quick"'), "'staedy'", "'steady'"
    ),
    "a misspelt proposer, lines below the list's beginning": (
        team(
            'layers = [\n  ["quick"],\n  ["quick",\n   "staedy*2"],  # <-\n]\n'
            'aggregator = "quick"'
        ),
        "'staedy'", "'steady'",
    ),
    "a proposer with a name that other words contain": (
        team('layers = [\n  ["quick"],\n  ["a"],  # <-\n]\naggregator = "quick"'), "'a'", "quick"
    ),
    "a misspelt proposer in a table": (
        team(
            'layers = [\n  ["quick"],\n  [{ model = "staedy", samples = 2 }],  # <-\n]\n'
            'aggregator = "quick"'
        ),
        "'staedy'", "'steady'",
    ),
    "a misspelt aggregator": (
        team('layers = [["quick"]]\naggregator = "qick"  # <-'), "'qick'", "'quick'"
    ),
    "a misspelt aggregator after lists that end without a comma": (
        team('layers = [\n  ["quick"],\n  ["steady"]\n]\naggregator = "qick"  # <-'),
        "'qick'", "'quick'",
    ),
    "a misspelt aggregator in a table of its own": (
        team('layers = [["quick"]]\n[mixtures.team.aggregator]\nmodel = "qick"  # <-'),
        "'qick'", "'quick'",
    ),
    "a misspelt fallback": (
        simple('fallbacks = [\n  "steady",\n  "qick",  # <-\n]'),
        "'qick'", "'quick'",
    ),
    "a mixture in one line": (
        top('[mixtures]\nother = { layers = [["quick"]], aggregator = "quick" }\n'
            'team = { layers = [["quick"]], aggregator = "qick" }  # <-'),
        "'qick'", "'quick'",
    ),
    "a mixture by dotted keys": (
        top('[mixtures]\nteam.layers = [["quick"]]\nteam.aggregator = "qick"  # <-'),
        "'qick'", "'quick'",
    ),
    "a provider that no one knows": (
        'default = "m"\n[models.m]\nmodel = "gpt"\nprovider = "opnai"  # <-', "'opnai'", "'openai'"
    ),
    "a local model that no one knows": (
        'default = "m"\n[models.m]\nmodel = "qwen2.5-1b"  # <-', "qwen2.5-1b", "qwen2.5-1.5b"
    ),
    "a file that is not there": (
        'default = "m"\n[models.m]\nmodel = "gone.gguf"  # <-', "gone.gguf", "no file"
    ),
    # ---- values that cannot be
    "an empty layer": (
        team('layers = [["quick"], []]  # <-\naggregator = "quick"'), "layer 2", "empty"
    ),
    "a quorum larger than a layer": (
        team('layers = [["quick*3"], ["quick", "steady"]]\naggregator = "quick"\nquorum = 3  # <-'),
        "quorum: 3", "2",
    ),
    "a quorum of none": (
        simple('quorum = 0  # <-'), "quorum: 0", "1"
    ),
    "a star before no number": (
        team('layers = [\n  ["steady"],\n  ["quick*x"],  # <-\n]\naggregator = "quick"'),
        "'quick*x'", "'quick*3'",
    ),
    "a star before nothing": (
        team('layers = [["quick*"]]  # <-\naggregator = "quick"'), "'quick*'", "'quick*3'"
    ),
    "no samples": (
        team('layers = [[{ model = "quick", samples = 0 }]]  # <-\naggregator = "quick"'),
        "samples", "1 to 1,000",
    ),
    "more samples than anyone wants": (
        team('layers = [["quick*999999999"]]  # <-\naggregator = "quick"'),
        "samples", "1 to 1,000",
    ),
    "a share above the whole": (model('hedge = { share = 5 }  # <-'), "hedge.share", "1"),
    "a cache that is less than empty": (top('[cache]\ndays = -1  # <-'), "cache.days", "0"),
    "a word that none of those is": (
        top('[budget]\nat_the_cap = "drop"  # <-'), "budget.at_the_cap", "'refuse'"
    ),
    "a provider that no one knows, before a slash": (
        team('layers = [["nosuch/model"]]  # <-\naggregator = "quick"'), "'nosuch'", "openai"
    ),
    # ---- names that could not be used
    "a model by a name that is taken": ('[models.auto]  # <-\nmodel = "x.gguf"', "'auto'", "name"),
    "a mixture by a name that is taken": (
        top('[mixtures.auto-team]  # <-\nlayers = [["quick"]]\naggregator = "quick"'),
        "'auto-team'", "another name",
    ),
    "a name with a star": ('[models."x*3"]  # <-\nmodel = "x.gguf"', "'x*3'", "'*'"),
    "a negative patience": (
        simple('patience = -1  # <-'),
        "patience", "a number >= 0",
    ),
    "a negative deadline": (
        simple('deadline = -1  # <-'),
        "deadline", "a number >= 0",
    ),
    "a negative temperature": (
        simple('sampling = { temperature = -1 }  # <-'),
        "temperature", "0",
    ),
    "no tokens": (
        simple('sampling = { max_tokens = 0 }  # <-'),
        "max_tokens", "1",
    ),
    "negative retries": (
        model('retries = -1  # <-'),
        "retries", "0",
    ),
    "no calls at once": (
        model('limits = { concurrency = 0 }  # <-'),
        "concurrency", "1",
    ),
    "no threads": ('[models.m]\nmodel = "x.gguf"\nthreads = 0  # <-', "threads", "1"),
    "no context": ('[models.m]\nmodel = "x.gguf"\ncontext = 0  # <-', "context", "1"),
    "a negative timeout": (
        model('timeouts = { total = -5 }  # <-'),
        "total", "0",
    ),
    "a negative price": (
        model('price = { input = -1, output = 2 }  # <-'),
        "input", "0",
    ),
    "an address without http": (
        'default = "m"\n[models.m]\nmodel = "x"\nbase_url = "localhost:8000/v1"  # <-',
        "localhost:8000/v1", "http://",
    ),
    "a header of two lines": (
        model('headers = { "X-Team" = "blue\\nX-Role: chief" }  # <-'),
        "X-Team", "line",
    ),
    "a synthesis that is neither a name nor a file": (
        simple('synthesis = "papr"  # <-'),
        "'papr'", "'paper'",
    ),
    # ---- mixtures in circles
    "a mixture that proposes to itself": (
        team('layers = [\n  ["quick"],\n  ["team"],  # <-\n]\naggregator = "quick"'),
        "team", "itself",
    ),
    "a mixture that brings itself together": (
        team('layers = [["quick"]]\naggregator = "team"  # <-'), "team", "itself"
    ),
    "a mixture that falls back to itself": (
        simple('fallbacks = ["team"]  # <-'),
        "team", "itself",
    ),
    "a circle of three mixtures": (
        team('layers = [["b"]]\naggregator = "quick"\n[mixtures.b]\nlayers = [["c"]]\n'
             'aggregator = "quick"\n[mixtures.c]\nlayers = [["team"]]  # <-\naggregator = "quick"'),
        "team in c in b in team", "itself",
    ),
    # ---- keys that are not there
    "a key of one's own that is not in the environment": (
        model('api_key_env = "HOUSE_KEY"  # <-'),
        "HOUSE_KEY", "environment",
    ),
    "a provider's key that is not in the environment": (
        'default = "m"\n[models.m]\nmodel = "gpt-5.4"\nprovider = "openai"  # <-',
        "OPENAI_API_KEY", "environment",
    ),
    "a provider's key for a member": (
        team('layers = [\n  ["quick"],\n  ["openai/gpt-5.4"],  # <-\n]\naggregator = "quick"'),
        "OPENAI_API_KEY", "environment",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('provider = "opnai"  # <-\nmodel = "gpt"', "did you mean 'openai'"),
        ('provider = "openai"  # <-', "`model` is missing"),
        ('model = "x"\nbase_url = "localhost:8000"  # <-', "http://"),
        ('provider = "groq"\nmodel = "x"\nbase_url = "localhost:8000"  # <-', "http://"),
        ('model = "x.gguf"\nretries = 5  # <-', "hosted models"),
    ],
)
def test_a_model_that_no_one_uses_yet_is_checked_when_the_file_is_read(body, said, folder):
    text = f"{MODELS}[models.unused]\n{body}\n"

    with pytest.raises(ConfigError) as error:
        read(text, folder)
    assert said in str(error.value)


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_its_line_and_what_would_be_right(case, folder):
    text, wrong, right = WRONG[case]

    said = refused(text, folder)

    assert said.startswith(f", line {marked(text)}: "), said
    assert wrong in said, said
    assert right in said, said
    assert "\n" not in said


def test_a_default_that_does_not_exist_is_refused_with_its_line(folder):
    said = refused(f'# mine\ndefault = "quik"\n{MODELS}', folder)

    assert said.startswith(", line 2: ")
    assert "'quick'" in said


def test_a_default_may_be_a_model_of_a_provider(folder):
    config = read('default = "openai/gpt-5.4"', folder, {"OPENAI_API_KEY": "k"})

    assert config.build_mixture(config.mixture_spec(config.default)).call_count == 1


def test_broken_toml_is_refused_with_its_file_and_line(folder):
    said = refused('default = "lite"\n[models.m\nmodel = "x"\n', folder)

    assert "TOML" in said
    assert "line 2" in said


def test_a_file_that_begins_with_a_byte_order_mark_is_read(folder):
    """Windows' editors put one there."""
    (folder / "mixtura.toml").write_text('default = "lite"', encoding="utf-8-sig")

    assert load(None, environ=NOTHING, folder=folder, home=folder).default == "lite"


def test_a_file_that_is_no_text_is_refused_by_name(folder):
    (folder / "mixtura.toml").write_bytes(b"\xff\xfe\x00default")

    with pytest.raises(ConfigError, match=r"mixtura\.toml.*(?i:utf-8)"):
        load(None, environ=NOTHING, folder=folder, home=folder)


def test_a_key_with_a_line_end_in_it_is_refused_and_not_shown(folder):
    said = refused(
        f'default = "m"\n{MODELS}[models.m]\nmodel = "x"\nbase_url = "http://127.0.0.1:9"\n'
        'api_key_env = "HOUSE_KEY"',
        folder,
        {"HOUSE_KEY": "sk-secret\n"},
    )

    assert "HOUSE_KEY" in said
    assert "sk-secret" not in said


def test_a_synthesis_without_a_place_for_the_drafts_is_refused_with_its_line(folder):
    (folder / "mine.md").write_text("Bring them together.")
    text = simple('synthesis = "mine.md"  # <-')

    said = refused(text, folder)

    assert said.startswith(f", line {marked(text)}: ")
    assert "{{proposals}}" in said


def test_one_name_cannot_be_a_model_and_a_mixture(folder):
    text = (
        f'default = "quick"\n{MODELS}[mixtures.quick]\nlayers = [["steady"]]\naggregator = "steady"'
    )

    assert "'quick'" in refused(text, folder)


def test_a_model_of_ones_own_takes_the_place_of_a_preset_of_its_name(folder):
    config = read(MODELS.replace("quick", "lite"), folder)

    assert config.build_mixture(config.mixture_spec("lite")).call_count == 1


def test_an_error_inside_a_nested_mixture_names_one_line_not_several(folder):
    text = team(
        'layers = [["inner"]]\naggregator = "quick"\n'
        '[mixtures.inner]\nlayers = [["openai/gpt-5.4"]]  # <-\naggregator = "quick"'
    )

    said = refused(text, folder)

    assert said.startswith(f", line {marked(text)}: ")
    assert said.count("mixtura.toml") == 0, said


# ---------------------------------------------------------------- which file counts


def test_a_config_file_that_is_not_there_is_an_error_that_names_the_option(folder):
    with pytest.raises(ConfigError, match=r"--config.*gone\.toml"):
        load("gone.toml", environ=NOTHING, folder=folder, home=folder)


def test_a_config_file_in_the_home_of_no_one_is_an_error_too(folder):
    with pytest.raises(ConfigError, match=r"--config.*~nobody-of-that-name"):
        load("~nobody-of-that-name/x.toml", environ=NOTHING, folder=folder, home=folder)


def test_a_variable_that_names_no_file_is_an_error_that_names_the_variable(folder):
    with pytest.raises(ConfigError, match=r"MIXTURA_CONFIG.*gone\.toml"):
        load(None, environ={"MIXTURA_CONFIG": "gone.toml"}, folder=folder, home=folder)


def test_the_option_counts_before_the_variable_then_the_folder_then_the_user(tmp_path):
    folder, home, xdg = tmp_path / "work", tmp_path / "home", tmp_path / "xdg"
    files = {
        "option": tmp_path / "option.toml",
        "variable": tmp_path / "variable.toml",
        "folder": folder / "mixtura.toml",
        "xdg": xdg / "mixtura" / "mixtura.toml",
        "home": home / ".config" / "mixtura" / "mixtura.toml",
    }
    for file in files.values():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    environ = {"MIXTURA_CONFIG": str(files["variable"]), "XDG_CONFIG_HOME": str(xdg)}

    def found(option: str | None) -> Path | None:
        return find_config_file(option, environ=environ, folder=folder, home=home)

    assert found(str(files["option"])) == files["option"]
    assert found(None) == files["variable"]
    del environ["MIXTURA_CONFIG"]
    assert found(None) == files["folder"]
    files["folder"].unlink()
    assert found(None) == files["xdg"]
    files["xdg"].unlink()
    assert found(None) is None
    del environ["XDG_CONFIG_HOME"]
    assert found(None) == files["home"]
    files["home"].unlink()
    assert found(None) is None


def test_without_any_file_there_are_the_presets(folder):
    config = load(None, environ=NOTHING, folder=folder, home=folder)

    assert config.default == "default"
    assert set(config.configured_mixtures()) >= {
        "paper",
        "paper-gpt-4o",
        "lite",
        "paper-today",
        "self",
    }


def test_a_mixture_of_ones_own_takes_the_place_of_a_preset(folder):
    config = read(f'{MODELS}[mixtures.lite]\nlayers = [["quick*2"]]\naggregator = "steady"', folder)

    assert config.build_mixture(config.mixture_spec("lite")).call_count == 3


# ---------------------------------------------------------------- what reaches the mixture


def test_everything_that_a_mixture_says_reaches_it(folder):
    mixture = built(
        team(
            """
layers = [
  ["quick*3", { model = "steady", samples = 2, persona = "Doubt.", sampling = { top_p = 0.9 } }],
  ["steady", "quick"],
]
aggregator = { model = "steady", sampling = { max_tokens = 9 } }
fallbacks = ["quick"]
quorum = 2
patience = 10
deadline = 60
synthesis = "paper"
sampling = { temperature = 0.5, seed = 7, stop = ["END"] }
"""
        ),
        folder,
    )  # fmt: skip
    first, second = mixture.layers
    shared = Sampling(temperature=0.5, seed=7, stop=("END",))

    assert mixture.name == "team"
    assert mixture.layer_count == 3
    assert mixture.call_count == 8
    assert [(p.model.name, p.samples, p.persona) for p in first.proposers] == [
        ("quick", 3, None),
        ("steady", 2, "Doubt."),
    ]
    assert first.proposers[0].sampling == shared
    assert first.proposers[1].sampling == Sampling(0.5, 0.9, seed=7, stop=("END",))
    assert [p.model.name for p in second.proposers] == ["steady", "quick"]
    assert [(x.quorum, x.patience, x.deadline) for x in mixture.layers] == [(2, 10, 60)] * 2
    assert mixture.aggregator.model.name == "steady"
    assert mixture.aggregator.sampling == Sampling(0.5, max_tokens=9, seed=7, stop=("END",))
    assert [m.name for m in mixture.aggregator.fallbacks] == ["quick"]
    assert mixture.synthesis is paper


def test_what_a_mixture_does_not_say_stays_open(folder):
    mixture = built(team('layers = [["quick"]]\naggregator = "steady"'), folder)
    (layer,) = mixture.layers

    assert layer.proposers == (Proposer(layer.proposers[0].model),)
    assert (layer.quorum, layer.patience, layer.deadline) == (1, None, None)
    assert mixture.aggregator.sampling == Sampling()
    assert mixture.aggregator.fallbacks == ()
    assert mixture.synthesis is envelope


def test_one_name_is_one_model_wherever_it_stands(folder):
    mixture = built(team('layers = [["quick", "quick"], ["quick"]]\naggregator = "quick"'), folder)

    members = [p.model for layer in mixture.layers for p in layer.proposers]
    assert {id(m) for m in members} == {id(mixture.aggregator.model)}


def test_a_mixture_is_a_member_like_any_model(folder):
    mixture = built(
        team('layers = [["inner", "quick"]]\naggregator = "quick"\n'
             '[mixtures.inner]\nlayers = [["steady*2"]]\naggregator = "steady"'),
        folder,
    )  # fmt: skip

    assert isinstance(mixture.layers[0].proposers[0].model, Mixture)
    assert mixture.call_count == 5


def test_a_text_of_ones_own_is_found_beside_the_file_and_used(folder, tmp_path):
    (folder / "mine.md").write_text("Mine: {{count}}\n{{fence}}\n{{proposals}}\n{{fence}}\n")
    with loopback() as server:
        text = f'[models.m]\nbase_url = "{server.base_url}"\nmodel = "m"\n[mixtures.team]\n'
        body = 'layers = [["m*2"]]\naggregator = "m"\nsynthesis = "mine.md"'
        (folder / "mixtura.toml").write_text(text + body)
        config = load(str(folder / "mixtura.toml"), environ={}, folder=tmp_path, home=tmp_path)

        run(config.build_mixture(config.mixture_spec("team")).complete(ask("Why?")))

    assert "Mine: 2" in server.requests[-1]["messages"][-1]["content"]


def test_what_a_model_says_reaches_the_wire(folder):
    with loopback() as server:
        text = (
            f'default = "m"\n[models.m]\nbase_url = "{server.base_url}/"\nmodel = "their/name"\n'
            'api_key_env = "HOUSE_KEY"\nheaders = { X-Team = "blue" }\nextra = { top_k = 40 }'
        )
        answer = run(built(text, folder, {"HOUSE_KEY": "sk-1"}).complete(ask("Why?")))

    (request,), (headers,) = server.requests, server.headers
    assert answer.charges[0].model == "m"
    assert request["model"] == "their/name"
    assert request["top_k"] == 40
    assert headers["Authorization"] == "Bearer sk-1"
    assert headers["X-Team"] == "blue"


def test_a_models_timeouts_and_retries_hold(folder):
    with loopback() as server:
        server.answers["m"] = Answer(delay=30)
        text = (
            f'default = "m"\n[models.m]\nbase_url = "{server.base_url}"\nmodel = "m"\n'
            "timeouts = { first_token = 0.1 }\nretries = 1"
        )
        with pytest.raises(TimedOutError, match=r"0\.1 s"):
            run(built(text, folder).complete(ask("Why?")))

        assert len(server.requests) == 2


def test_a_limit_is_shared_by_every_model_at_one_address(folder):
    with loopback() as server:
        server.answers = {name: Answer(delay=0.05) for name in ("a", "b")}
        tables = "".join(
            f'[models.{name}]\nbase_url = "{server.base_url}"\nmodel = "{name}"\n'
            "limits = { concurrency = 2 }\n"
            for name in ("a", "b")
        )
        text = f'default = "t"\n{tables}[mixtures.t]\nlayers = [["a*3", "b*3"]]\naggregator = "a"'
        run(built(text, folder).complete(ask("Why?")))

        assert len(server.requests) == 7
        assert server.most_at_once == 2


def test_different_limits_for_one_address_are_refused(folder):
    text = "".join(
        f'[models.m{n}]\nbase_url = "http://127.0.0.1:9"\nmodel = "x"\n'
        f"limits = {{ concurrency = {n} }}\n"
        for n in (1, 4)
    )

    said = refused(
        f'default = "t"\n{text}[mixtures.t]\nlayers = [["m1"]]\naggregator = "m4"', folder
    )

    assert "concurrency" in said


def test_a_price_of_ones_own_counts_and_an_unknown_one_is_unknown(folder):
    config = read(
        f"{MODELS}price = {{ input = 1.0, output = 2.0, cached = 0.1 }}\n"
        '[models.known]\nprovider = "openai"\nmodel = "gpt-5.4"',
        folder,
    )
    usage = Usage(2_000_000, 1_000_000, cached_tokens=1_000_000)

    assert config.usage_cost("steady", usage) == pytest.approx(3.1)
    assert config.usage_cost("quick", usage) is None
    assert config.usage_cost("known", usage) == config.usage_cost("openai/gpt-5.4", usage)
    assert config.usage_cost("known", usage)
    assert config.usage_cost(EMBEDDED_MODEL, usage) == 0
    assert config.usage_cost("ollama/llama3.2", usage) == 0


# ---------------------------------------------------------------- what `auto` stands for


def chosen(environ: Mapping[str, str], folder: Path):
    config = load(None, environ=environ, folder=folder, home=folder)
    return config.auto_defaults(), config.mixture_spec("default")


def test_a_key_in_the_environment_comes_first(folder):
    with loopback() as ollama:
        ollama.tags = [{"name": "llama3.2:3b", "size": 2}]
        environ = {"GROQ_API_KEY": "k", "OLLAMA_HOST": ollama.host}

        auto, plan = chosen(environ, folder)

    assert auto.why == "GROQ_API_KEY is set"
    assert plan.aggregator.startswith("groq/")
    assert all(seat.model.startswith("groq/") for seat in plan.layers[0])
    assert sum(seat.samples for seat in plan.layers[0]) >= 3


def test_an_empty_key_is_no_key(folder):
    auto, _ = chosen({"OPENAI_API_KEY": "", "OLLAMA_HOST": nobody()}, folder)

    assert auto.is_embedded


@pytest.mark.parametrize("form", ["{}", "http://{}", "http://{}/", "0.0.0.0:{port}", ":{port}"])
def test_ollama_comes_next_with_its_largest_models(form, folder):
    with loopback() as ollama:
        ollama.tags = [
            {"name": "small:1b", "size": 1},
            {"name": "nomic-embed-text", "size": 9},
            {"name": "large:8b", "size": 8},
            {"name": "middle:3b", "size": 3},
            {"name": "tiny:0.5b", "size": 0},
        ]
        host = form.format(ollama.host, port=ollama.host.rpartition(":")[2])

        auto, plan = chosen({"OLLAMA_HOST": host}, folder)

    assert "Ollama" in auto.why
    assert [seat.model for seat in plan.layers[0]] == [
        "ollama/large:8b",
        "ollama/middle:3b",
        "ollama/small:1b",
    ]
    assert plan.aggregator == "ollama/large:8b"


def test_ollama_with_one_model_is_asked_three_times(folder):
    with loopback() as ollama:
        ollama.tags = [{"name": "only:3b", "size": 3}]
        environ = {"OLLAMA_HOST": ollama.host}
        config = load(None, environ=environ, folder=folder, home=folder)
        mixture = config.build_mixture(config.mixture_spec("default"))

        run(mixture.complete(ask("Why?")))

    assert [request["model"] for request in ollama.requests] == ["only:3b"] * 4


def test_ollama_without_a_model_is_not_chosen_and_not_said_to_be_silent(folder):
    with loopback() as ollama:
        ollama.tags = []
        auto, _ = chosen({"OLLAMA_HOST": ollama.host}, folder)

    assert auto.is_embedded
    assert "does not answer" not in auto.why
    assert "Ollama" in auto.why


@pytest.mark.parametrize("host", ["not a host", "http://", "[::1", "127.0.0.1:none", "\x00"])
def test_an_address_of_ollama_that_makes_no_sense_is_no_ollama(host, folder):
    auto, _ = chosen({"OLLAMA_HOST": host}, folder)

    assert auto.is_embedded


def test_what_answers_at_ollamas_port_and_is_no_ollama_is_not_chosen(folder):
    with babble() as host:
        auto, _ = chosen({"OLLAMA_HOST": host}, folder)
    assert auto.is_embedded

    with loopback() as other:
        auto, _ = chosen({"OLLAMA_HOST": other.host}, folder)
    assert auto.is_embedded


def test_the_pulled_starter_team_comes_before_the_embedded_model():
    auto = detect_defaults({}, None, ("qwen2.5-1.5b", "llama-3.2-1b"))

    assert "starter" in auto.why
    assert [seat.model for seat in auto.team] == ["qwen2.5-1.5b", "llama-3.2-1b"]
    assert auto.aggregator == "qwen2.5-1.5b"


def test_with_nothing_at_all_the_embedded_model_answers_and_says_why(folder):
    auto, plan = chosen({"OLLAMA_HOST": nobody()}, folder)

    assert auto.is_embedded
    assert "key" in auto.why
    assert "Ollama" in auto.why
    assert [(seat.model, seat.samples) for seat in plan.layers[0]] == [(EMBEDDED_MODEL, 3)]


def test_auto_can_stand_wherever_a_model_can(folder):
    """As a name of its own, as an aggregator's fallback, in a team, with draws of its own."""
    environ = {"OPENAI_API_KEY": "k", "OLLAMA_HOST": nobody()}
    config = read(
        team('layers = [["auto*2", "quick"]]\naggregator = "quick"\nfallbacks = ["auto"]'),
        folder,
        environ,
    )
    mixture = config.build_mixture(config.mixture_spec("team"))

    assert mixture.layers[0].proposers[0].model.name.startswith("openai/")
    assert mixture.layers[0].proposers[0].samples == 2
    assert mixture.aggregator.fallbacks[0].name.startswith("openai/")
    assert config.mixture_spec("auto").aggregator.startswith("openai/")


def test_a_quorum_fits_the_team_that_auto_team_stands_for(folder):
    environ = {"OPENAI_API_KEY": "k", "OLLAMA_HOST": nobody()}

    mixture = built(
        team('layers = [["auto-team"]]\naggregator = "auto"\nquorum = 2'), folder, environ
    )

    assert mixture.layers[0].quorum == 2


@pytest.mark.parametrize(
    "body",
    [
        'layers = [["quick"]]\naggregator = "auto-team"  # <-',
        'layers = [["auto-team*2"]]  # <-\naggregator = "auto"',
    ],
)
def test_a_team_where_one_model_belongs_is_refused_with_its_line(body, folder):
    environ = {"OPENAI_API_KEY": "k", "OLLAMA_HOST": nobody()}

    said = refused(team(body), folder, environ)

    assert said.startswith(f", line {marked(team(body))}: ")
    assert "auto-team" in said


# ---------------------------------------------------------------- the presets


ALL_KEYS = {p.keys[0]: "k" for p in providers.providers().values() if p.keys}
PAPER = [
    "Qwen/Qwen1.5-110B-Chat",
    "Qwen/Qwen1.5-72B-Chat",
    "microsoft/WizardLM-2-8x22B",
    "meta-llama/Llama-3-70b-chat-hf",
    "mistralai/Mixtral-8x22B-Instruct-v0.1",
    "databricks/dbrx-instruct",
]


@pytest.fixture
def presets(folder):
    environ = {**ALL_KEYS, "OLLAMA_HOST": nobody()}
    return load(None, environ=environ, folder=folder, home=folder)


@pytest.mark.parametrize(
    ("name", "depth", "calls", "aggregator"),
    [
        ("paper", 3, 13, "together/Qwen/Qwen1.5-110B-Chat"),
        ("paper-gpt-4o", 3, 13, "openai/gpt-4o"),
        ("lite", 2, 7, "together/Qwen/Qwen1.5-72B-Chat"),
    ],
)
def test_the_papers_mixtures_are_the_papers(name, depth, calls, aggregator, presets):
    plan = presets.mixture_spec(name)
    mixture = presets.build_mixture(plan)

    assert (mixture.layer_count, mixture.call_count) == (depth, calls)
    assert presets.count_calls(plan) == calls
    assert mixture.aggregator.model.name == aggregator
    for layer in mixture.layers:
        assert [p.model.name for p in layer.proposers] == [f"together/{m}" for m in PAPER]
        assert all(p.sampling == Sampling(0.7, max_tokens=2048) for p in layer.proposers)
    assert mixture.synthesis is paper


def test_paper_today_has_the_papers_shape_with_six_families(presets):
    plan = presets.mixture_spec("paper-today")
    mixture = presets.build_mixture(plan)

    assert (mixture.layer_count, mixture.call_count) == (3, 13)
    assert mixture.synthesis is paper
    for layer in mixture.layers:
        makers = {p.model.name.split("/")[1].lower() for p in layer.proposers}
        assert len(makers) == 6


def test_self_draws_one_model_several_times(presets):
    mixture = presets.build_mixture(presets.mixture_spec("self"))
    (layer,) = mixture.layers

    assert [p.model for p in layer.proposers] == [mixture.aggregator.model]
    assert mixture.call_count == 7


@pytest.mark.parametrize("variable", [*ALL_KEYS, "nothing"])
def test_default_can_be_built_with_whichever_key_is_there(variable, folder):
    environ = {variable: "k", "OLLAMA_HOST": nobody()}
    plan = load(None, environ=environ, folder=folder, home=folder).mixture_spec("default")

    assert plan.layer_count == 2
    assert sum(seat.samples for seat in plan.layers[0]) >= 2


def hosted() -> list[str]:
    """Every served model that the package itself names, the paper's retired ones left out."""
    names = {
        f"{provider}/{model.split('*')[0]}"
        for provider, known in providers.providers().items()
        for model in (*known.usual, *filter(None, [known.aggregator]))
    }
    nowhere = Path("nowhere")
    config = load(None, environ={}, folder=nowhere, home=nowhere)
    for name, plan in config.configured_mixtures().items():
        if name not in ("paper", "paper-gpt-4o", "lite"):
            members = [seat.model for layer in plan.layers for seat in layer]
            names |= {m for m in (*members, plan.aggregator) if providers.split_model_name(m)}
    return sorted(names)


def written() -> list[str]:
    """Every served model that the docs and the help of commands name."""
    root = Path(__file__).parents[1]
    files = [root / "README.md", *root.glob("docs/*.md"), *root.glob("src/mixtura/cli/*.py")]
    # These name packages, and models as other people's clients write them.
    files = [file for file in files if file.name not in ("clients.md", "reports.md")]
    text = "\n".join(file.read_text("utf-8") for file in files)
    known = [name for name, provider in providers.providers().items() if provider.prices]
    named = re.findall(rf"\b((?:{'|'.join(known)})/[\w./:-]*\w)", text)
    return sorted({name for name in named if not name.endswith("/model")})


@pytest.mark.parametrize("name", [*hosted(), *written()])
def test_a_model_that_the_package_names_is_served_today_at_a_known_price(name):
    provider, model = name.split("/", 1)
    known = providers.providers()[provider]
    (prices,) = [p for p in priced if p.id == known.prices]

    found = prices.find_model(model) or prices.find_model(known.prefix + model)

    assert found is not None, f"{prices.id} has no {model}"
    assert not found.deprecated, f"{name} is deprecated"
    assert providers.list_price(provider, model, Usage(1000, 1000)), f"{name} has no price"


def test_every_team_of_a_provider_holds_more_than_one_draw():
    for name, provider in providers.providers().items():
        if provider.usual:
            assert sum(parse_member(member).samples for member in provider.usual) >= 3, name
            assert provider.aggregator, name


def test_the_presets_read_as_any_file_of_ones_own_would(folder):
    from importlib import resources

    text = (resources.files("mixtura") / "presets" / "mixtures.toml").read_text("utf-8")

    assert set(read(text, folder).configured_mixtures()) >= {"paper", "default"}


# ---------------------------------------------------------------- settings that would say nothing


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("extra = { max_tokens = 9 }", "max_tokens"),
        ("extra = { n = 8 }", "'n'"),
        ("context = 4096", "context"),
        ('hedge = { elsewhere = "m" }\n[models.z]\nmodel = "x"', None),
    ],
)
def test_a_hosted_models_setting_that_says_nothing_is_refused_with_its_line(body, said, folder):
    if said is None:
        assert built(model(body), folder).call_count == 1  # a second copy of itself
        return
    assert refused(model(body + "  # <-"), folder).startswith(", line 5: ")
    assert said in refused(model(body), folder)


def test_copies_that_go_round_in_a_circle_are_refused(folder):
    text = "\n".join(
        f'[models.{a}]\nmodel = "x"\nbase_url = "http://127.0.0.1:9"\n'
        f'hedge = {{ elsewhere = "{b}" }}'
        for a, b in (("m", "o"), ("o", "m"))
    )

    assert "in place of itself" in refused(f'default = "m"\n{text}', folder)


def test_a_capped_key_that_no_one_has_is_refused(folder):
    said = refused(model("[budget]\nkeys = { GORQ_API_KEY = { day_usd = 1 } }"), folder)

    assert said.startswith(", line 6: ")
    assert "did you mean 'GROQ_API_KEY'" in said


KEY = f'sha256 = "{"a1" * 32}"'
WRONG_SERVING = {
    "a side model that is none": ('[serve]\nside = "qick"  # <-', "'qick'", "'quick'"),
    "a side model that is several": ('[serve]\nside = "auto-team"  # <-', "several", "'auto'"),
    "a side mixture of no models": ('[serve]\nside = "quick > cheif"  # <-', "serve.side", "cheif"),
    "a side model that is a file": ('[serve]\nside = "./x.gguf"  # <-', "file", "[models]"),
    "a key's model that is none": (
        f'[serve.keys.k]\n{KEY}\nmodels = ["quick", "stedy"]  # <-',
        "serve.keys.k.models[1]", "'steady'",
    ),
    "a key's model written as a mixture": (
        f'[serve.keys.k]\n{KEY}\nmodels = ["quick>steady"]  # <-', "quick>steady", "members",
    ),
    "a key that may use nothing": (
        f"[serve.keys.k]\n{KEY}\nmodels = []  # <-", "serve.keys.k.models", "leave it out",
    ),
    "two names of one key": (
        f"[serve.keys.k]\n{KEY}\n[serve.keys.o]\n{KEY.replace('a1', 'A1')}  # <-",
        "serve.keys.o.sha256", "'k'",
    ),
    "a hash that is none": (
        '[serve.keys."a b"]\nsha256 = "abc"  # <-', "serve.keys.a b.sha256", "--new-key",
    ),
    "a key's setting that is none": (
        f"[serve.keys.k]\n{KEY}\nday_usb = 1  # <-", "'day_usb'", "'day_usd'",
    ),
    "a page's address for an origin": (
        '[serve]\ncors = [\n"*",\n"https://Chat.example:443/page"]  # <-',
        "serve.cors[1]", "'https://chat.example'",
    ),
    "an origin without its scheme": ('[serve]\ncors = ["chat.example"]  # <-', "SCHEME", '"*"'),
    "origins by a star": ('[serve]\ncors = ["https://*.example"]  # <-', "no origin", "SCHEME"),
    "an end that never comes": ("[serve]\ndrain_seconds = inf  # <-", "serve.drain_seconds", "end"),
    "an end that is no number": ("[serve]\ndrain_seconds = nan  # <-", "serve.drain_seconds", ""),
    "a key's cap that is no number": (
        f"[serve.keys.k]\n{KEY}\nday_usd = inf  # <-", "serve.keys.k.day_usd", "end",
    ),
    "a provider's key that no one has": (
        "[budget.keys.GORQ_API_KEY]  # <-\nday_usd = 1", "'GORQ_API_KEY'", "'GROQ_API_KEY'",
    ),
    "a provider's key with a wrong cap": (
        "[budget.keys.GROQ_API_KEY]\nday_usd = -1  # <-", "budget.keys.GROQ_API_KEY.day_usd", "0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_SERVING)
def test_what_is_wrong_with_the_server_or_a_key_is_said_when_the_file_is_read(name, folder):
    body, *said = WRONG_SERVING[name]
    text = f'default = "quick"\n{MODELS}\n{body}\n'

    with pytest.raises(ConfigError) as caught:
        read(text, folder)

    message = str(caught.value)
    assert message.startswith(f"{folder / 'mixtura.toml'}, line {marked(text)}: "), message
    assert all(part in message for part in said), message


def test_a_server_with_every_setting_right_is_read(folder):
    origins = ["*", "https://chat.example", "http://localhost:3000", "app://obsidian.md"]
    body = (
        f'[serve]\nside = "quick > steady"\ncors = {origins}\ndrain_seconds = 0\n'
        f'[serve.keys.k]\n{KEY}\nmodels = ["default", "quick", "auto", "openai/gpt-5.4"]\n'
        "[budget.keys.OPENAI_API_KEY]\nday_usd = 1\n"
    )

    assert read(f'default = "quick"\n{MODELS}\n{body}', folder).serve.cors == origins
