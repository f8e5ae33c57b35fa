"""Configuration: what is wrong is said with its file, its line and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixtura import ConfigError
from mixtura.config.config import load
from mixtura.config.paths import find_config_file
from tests.support import config_files
from tests.support.config_files import MODELS, NOTHING, built, marked, read, refused, team, top

folder = config_files.folder


def model(body: str) -> str:
    """A file with one model, complete but for *body*."""
    return f'default = "m"\n[models.m]\nmodel = "x"\nbase_url = "http://127.0.0.1:9"\n{body}\n'


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
        team('layers = [["quick"]]\naggregator = { model = "quick", variants = true }  # <-'),
        "'variants'", "model",
    ),
    "a key of a mixture's sampling": (
        simple(
            '[mixtures.team.sampling]\nmax_token = 5  # <-'
        ),
        "'max_token'", "'max_tokens'",
    ),
    # ---- values of another type
    "a text for a number": (
        '[models.m]\nmodel = "x"\nretries = "two"  # <-', "retries", "a whole number, got a string"
    ),
    "a fraction for a number": (
        simple('quorum = 1.5  # <-'), "quorum", "a whole number"
    ),
    "one name for the layers": (
        team('layers = "quick"  # <-\naggregator = "quick"'), "layers", "a list, got a string"
    ),
    "names for the layers": (
        team('layers = ["quick"]  # <-\naggregator = "quick"'), "layers[0]", "a list, got a string"
    ),
    "a number among names, lines below the list's beginning": (
        team('layers = [\n  ["quick"],\n  ["quick", 7],  # <-\n]\naggregator = "quick"'),
        "layers[1][1]", "a string or a table, got a whole number",
    ),
    "a text for a temperature": (
        simple('sampling = { temperature = "hot" }  # <-'),
        "sampling.temperature", "a number, got a string",
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
    "a cache that is less than empty": (simple('[cache]\ndays = -1  # <-'), "cache.days", "0"),
    "a word that none of those is": (
        simple('[budget]\nat_the_cap = "drop"  # <-'), "budget.at_the_cap", "'refuse'"
    ),
    "a provider that no one knows, before a slash": (
        team('layers = [["nosuch/model"]]  # <-\naggregator = "quick"'), "'nosuch'", "openai"
    ),
    # ---- names that could not be used
    "a model by a name that is taken": ('[models.auto]  # <-\nmodel = "x.gguf"', "'auto'", "name"),
    "a mixture by a name that is taken": (
        simple('[mixtures.auto-team]  # <-\nlayers = [["quick"]]\naggregator = "quick"'),
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
    "a header with a blank in its name": (
        model('headers = { "X Team" = "blue" }  # <-'),
        "X Team", "not the name of a header",
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

    assert said.startswith(f":{marked(text)}: "), said
    assert wrong in said, said
    assert right in said, said
    assert "\n" not in said


def test_all_mistakes_of_a_file_are_told_at_once_by_their_lines(folder):
    text = (
        'default = "tem"\n'  # 1
        "[cache]\ndays = -1\nmegabites = 3\n"  # 3, 4
        '[serve]\nport = 99999\ncors = ["chat.example"]\n'  # 6, 7
        '[models.quick]\nmodel = "x"\nbase_ulr = "http://127.0.0.1:9"\nretries = "two"\n'  # 10, 11
        '[models.odd]\nmodel = "x"\nbase_url = "localhost"\nheaders = { a = "b\\nc" }\n'  # 14, 15
        "[mixtures.team]\n"
        'layers = [["quick", "qick"], ["quick*x"]]\n'  # 17, 17
        'aggregator = { model = "quick", samples = 2 }\n'  # 18
        'synthesis = "papr"\nextract = "number"\n'  # 19, 20
    )

    said = refused(text, folder).replace(str(folder / "mixtura.toml"), "").splitlines()

    lines = [int(line.split(":")[1]) for line in said]
    assert lines == [1, 3, 4, 6, 7, 10, 11, 14, 15, 17, 17, 18, 19, 20], said


def test_mistakes_hide_none_beside_them_in_a_table_nor_in_other_tables(folder):
    text = (
        '[models.quick]\nmodel = "x"\ncolour = 1\nbase_url = "localhost"\n'  # 3, 4
        "[mixtures.one]\n"
        'layers = [["quick", "qick"], [3, "quick"]]\n'  # 6, 6
        'aggregator = "steddy"\nquorum = 9\npatience = -1\n'  # 7, 9
        "[mixtures.two]\n"
        'layers = [["quick", "nobody"]]\naggregator = "quick"\ncolour = 1\n'  # 11, 13
        "quorum = 9\n"  # 14
        '[mixtures.three]\nlayers = "quick"\naggregator = "nobody"\n'  # 16, 17
        '[mixtures.four]\naggregator = "nobody"\n'  # 18, 19
        '[mixtures.five]\npattern = "modes"\nlayers = [["quick"]]\nquorum = 2\n'  # 22, 23
    )

    said = refused(text, folder).replace(str(folder / "mixtura.toml"), "").splitlines()

    lines = [int(line.split(":")[1]) for line in said]
    assert lines == [3, 4, 6, 6, 7, 9, 11, 13, 14, 16, 17, 18, 19, 22, 23], said


def test_a_name_that_is_unknown_is_told_those_of_the_file_before_all_others(folder):
    own = "".join(f'[mixtures.zz{i}]\nlayers = []\naggregator = "quick"\n' for i in range(3))

    said = refused(f'default = "nobody"\n{MODELS}{own}', folder)

    assert "choose one of quick, steady, zz0, zz1, zz2, adaptive, analyse, " in said


def test_one_mistake_is_not_told_twice(folder):
    """Not the missing `layers` of a misspelt `layer`, nor what refers to a table that is wrong."""
    text = (
        'default = "team"\n[mixtures.team]\nlayer = [["quick"]]\nagregator = "quick"\n'
        '[model.quick]\nmodel = "x"\nbase_url = "http://127.0.0.1:9"\n'
    )

    said = refused(text, folder).splitlines()

    assert len(said) == 3
    assert all("did you mean" in line for line in said)


def test_a_mistake_that_comes_with_the_program_shows_its_line(folder):
    """No one has the file of the presets open."""
    with pytest.raises(ConfigError) as caught:
        built('default = "lite"', folder)

    assert 'together/Qwen/Qwen1.5-110B-Chat", ' in str(caught.value)
    assert "TOGETHER_API_KEY" in str(caught.value)


def test_a_default_that_does_not_exist_is_refused_with_its_line(folder):
    said = refused(f'# mine\ndefault = "quik"\n{MODELS}', folder)

    assert said.startswith(":2: ")
    assert "'quick'" in said


def test_a_default_may_be_a_model_of_a_provider(folder):
    config = read('default = "openai/gpt-5.4"', folder, {"OPENAI_API_KEY": "k"})

    assert config.build_mixture(config.mixture_spec(config.default)).call_count == 1


def test_broken_toml_is_refused_with_its_file_and_line(folder):
    said = refused('default = "lite"\n[models.m\nmodel = "x"\n', folder)

    assert said.startswith(":2: not valid TOML: ")


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

    assert said.startswith(f":{marked(text)}: ")
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

    assert said.startswith(f":{marked(text)}: ")
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
    assert set(config.registry.mixtures) >= {
        "paper",
        "paper-gpt-4o",
        "lite",
        "paper-today",
        "self",
    }


def test_a_mixture_of_ones_own_takes_the_place_of_a_preset(folder):
    config = read(f'{MODELS}[mixtures.lite]\nlayers = [["quick*2"]]\naggregator = "steady"', folder)

    assert config.build_mixture(config.mixture_spec("lite")).call_count == 3


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
    assert refused(model(body + "  # <-"), folder).startswith(":5: ")
    assert said in refused(model(body), folder)


def test_copies_that_go_round_in_a_circle_are_refused(folder):
    text = "\n".join(
        f'[models.{a}]\nmodel = "x"\nbase_url = "http://127.0.0.1:9"\n'
        f'hedge = {{ elsewhere = "{b}" }}'
        for a, b in (("m", "o"), ("o", "m"))
    )

    assert "leads back to the model itself" in refused(f'default = "m"\n{text}', folder)


def test_a_capped_key_that_no_one_has_is_refused(folder):
    said = refused(model("[budget]\nkeys = { GORQ_API_KEY = { day_usd = 1 } }"), folder)

    assert said.startswith(":6: ")
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
    "origins by a star": ('[serve]\ncors = ["https://*.example"]  # <-', "not an origin", "SCHEME"),
    "an end that never comes": (
        "[serve]\ndrain_seconds = inf  # <-", "serve.drain_seconds", "finite",
    ),
    "an end that is no number": ("[serve]\ndrain_seconds = nan  # <-", "serve.drain_seconds", ""),
    "a key's cap that is no number": (
        f"[serve.keys.k]\n{KEY}\nday_usd = inf  # <-", "serve.keys.k.day_usd", "finite",
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
    assert message.startswith(f"{folder / 'mixtura.toml'}:{marked(text)}: "), message
    assert all(part in message for part in said), message


def test_a_server_with_every_setting_right_is_read(folder):
    origins = ["*", "https://chat.example", "http://localhost:3000", "app://obsidian.md"]
    body = (
        f'[serve]\nside = "quick > steady"\ncors = {origins}\ndrain_seconds = 0\n'
        f'[serve.keys.k]\n{KEY}\nmodels = ["default", "quick", "auto", "openai/gpt-5.4"]\n'
        "[budget.keys.OPENAI_API_KEY]\nday_usd = 1\n"
    )

    assert read(f'default = "quick"\n{MODELS}\n{body}', folder).serve.cors == origins
