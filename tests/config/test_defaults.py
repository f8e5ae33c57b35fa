"""What answers where nothing is configured, and the mixtures that come with the package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import pytest
from genai_prices.data import providers as priced

from mixtura import Sampling, Usage, ask
from mixtura.catalog import providers
from mixtura.catalog.model_strength import find_strength, sort_by_strength
from mixtura.config.auto_defaults import choose_team_across, detect_defaults, find_provider_keys
from mixtura.config.config import load
from mixtura.config.embedded_model import embedded_settings
from mixtura.config.plan import EMBEDDED_MODEL, MixtureSpec, parse_member
from mixtura.prompts.synthesis import paper
from tests.conftest import run
from tests.support import config_files
from tests.support.config_files import built, marked, read, refused, team
from tests.support.loopback import babble, loopback, nobody
from tests.support.paths import ROOT

folder = config_files.folder


# ---------------------------------------------------------------- what `auto` stands for


def chosen(environ: Mapping[str, str], folder: Path):
    config = load(None, environ=environ, folder=folder, home=folder)
    return config.registry.auto_defaults(), config.mixture_spec("default")


def test_a_key_in_the_environment_comes_first(folder):
    with loopback() as ollama:
        ollama.tags = [{"name": "llama3.2:3b", "size": 2}]
        environ = {"GROQ_API_KEY": "k", "OLLAMA_HOST": ollama.host}

        auto, plan = chosen(environ, folder)

    assert auto.why == "GROQ_API_KEY is set"
    assert plan.aggregator.startswith("groq/")
    assert all(seat.model.startswith("groq/") for seat in plan.layers[0])
    assert sum(seat.samples for seat in plan.layers[0]) >= 3


def test_keys_of_several_providers_make_a_team_whose_strongest_model_answers(folder):
    environ = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"), "k")

    auto, plan = chosen(environ, folder)

    makers = [seat.model.split("/")[0] for seat in plan.layers[0]]
    assert sorted(makers) == ["anthropic", "google", "openai"]
    assert plan.aggregator == "anthropic/claude-opus-5-5"
    assert auto.why.startswith("OPENAI_API_KEY, ANTHROPIC_API_KEY and GEMINI_API_KEY are set; ")
    known = find_strength(plan.aggregator)
    assert "claude-opus-5-5 is ranked first by list price" in auto.why
    assert f"(prices of {known.date})" in auto.why


def test_two_keys_make_three_proposals_and_many_keys_no_more_than_four(folder):
    _, two = chosen({"MISTRAL_API_KEY": "k", "DEEPSEEK_API_KEY": "k"}, folder)
    _, many = chosen(ALL_KEYS, folder)

    assert len(two.layers[0]) == 3
    assert two.aggregator == "mistral/mistral-medium-latest"
    assert len(many.layers[0]) == 4


def test_no_team_that_is_chosen_from_keys_is_one_that_our_own_rules_advise_against(folder):
    keys = sorted(ALL_KEYS)
    chosen_from = [one for n in (1, 2, 3) for one in combinations(keys, n)]

    config = load(None, environ={}, folder=folder, home=folder)
    warned = {}
    for names in chosen_from:
        found = find_provider_keys(dict.fromkeys(names, "k"))
        if len(found) < 2:
            continue
        auto = choose_team_across(found)
        plan = MixtureSpec("default", (auto.team,), auto.aggregator)
        if problems := config.team_problems(plan):
            warned[names] = problems

    assert warned == {}


def test_a_provider_whose_models_are_all_far_weaker_proposes_nothing_and_it_is_said():
    auto = choose_team_across({"anthropic": "A", "mistral": "M", "groq": "G"})

    assert {seat.model.partition("/")[0] for seat in auto.team} == {"anthropic", "mistral"}
    assert "the models of G are left out as far weaker" in auto.why


def test_the_table_of_strengths_knows_every_model_that_could_write_the_answer():
    for name, provider in providers.providers().items():
        if provider.aggregator:
            row = find_strength(f"{name}/{provider.aggregator}")
            assert row is not None, name
            assert row.source
            assert row.date


def test_a_model_that_is_not_in_the_table_comes_last():
    names = ["x/unheard-of", "openai/gpt-5.4-mini", "together/moonshotai/Kimi-K3"]

    assert sort_by_strength(names) == [names[2], names[1], names[0]]


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


def test_the_embedded_models_settings_are_those_of_one_file(folder):
    _, plan = chosen({"OLLAMA_HOST": nobody()}, folder)
    settings = embedded_settings()
    (seat,) = plan.layers[0]

    assert settings.model == EMBEDDED_MODEL
    assert plan.pattern.kind == settings.pattern
    assert (seat.samples, seat.persona, seat.sampling) == (
        settings.samples,
        settings.persona,
        settings.draft,
    )
    assert plan.answering_models == {EMBEDDED_MODEL}


def test_an_aggregator_that_someone_names_writes_the_answer_from_its_drafts(folder):
    _, plan = chosen({"OLLAMA_HOST": nobody()}, folder)

    named = plan.with_aggregator("openai/gpt-5.4")

    assert (named.pattern.kind, named.aggregator) == ("mixture", "openai/gpt-5.4")
    assert named.layers == plan.layers
    assert named.answering_models == {"openai/gpt-5.4"}


def test_a_default_of_ones_own_is_left_as_it_is_written(folder):
    body = '[mixtures.default]\nlayers = [["auto-team"]]\naggregator = "auto"\n'
    config = read(body, folder, {"OLLAMA_HOST": nobody()})

    plan = config.mixture_spec("default")

    assert (plan.pattern.kind, plan.aggregator) == ("mixture", EMBEDDED_MODEL)


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

    assert said.startswith(f":{marked(team(body))}: ")
    assert "auto-team" in said


# ---------------------------------------------------------------- a default of one's own

OWN = """default = "{default}"
[models.alpha]
base_url = "http://127.0.0.1:9/v1"
model = "a"
[models.beta]
base_url = "http://127.0.0.1:9/v1"
model = "b"
[mixtures.ours]
layers = [[{{ model = "alpha", samples = 2, persona = "Be brief." }}, "beta"]]
aggregator = {{ model = "beta", sampling = {{ temperature = 0.1 }} }}
[mixtures.counted]
pattern = "vote"
layers = [["beta", "alpha"]]
[mixtures.nested]
layers = [["ours", "beta"]]
aggregator = "beta"
[mixtures.own-guard]
pattern = "guard"
layers = [["alpha", "beta"]]
aggregator = "beta"
[mixtures.detected]
layers = [["auto-team"]]
aggregator = "auto"
[mixtures.around]
layers = [["rank", "alpha"]]
aggregator = "beta"
"""
KEYS = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "OLLAMA_HOST": nobody()}
DEFAULTS = {
    "ours": ({"alpha", "beta"}, "beta"),
    "counted": ({"beta", "alpha"}, "beta"),
    "nested": ({"ours", "beta"}, "beta"),
    "alpha": ({"alpha"}, "alpha"),
}


@pytest.mark.parametrize("default", DEFAULTS)
def test_every_preset_asks_the_models_of_the_configured_default_and_no_one_else(default, folder):
    config = read(OWN.format(default=default), folder, KEYS)
    presets = [name for name in config.registry.mixtures if uses_auto(config, name)]
    members, last = DEFAULTS[default]

    assert {"rank", "guard", "mux", "review", "robust", "tree", "self"} <= set(presets)
    for name in set(presets) - {"detected", "around"}:
        assert config.mixture_spec(name).member_names() <= members | {last}, name
    assert config.mixture_spec("auto").aggregator == last
    assert config.registry.auto_defaults().why == f"the default mixture is '{default}'"


def uses_auto(config, name: str) -> bool:
    return bool(config.registry.mixtures[name].member_names() & {"auto", "auto-team"})


def test_the_team_of_the_default_comes_with_its_draws_personas_and_sampling(folder):
    config = read(OWN.format(default="ours"), folder, KEYS)

    ((first, second),) = config.mixture_spec("review").layers
    assert (first.model, first.samples, first.persona) == ("alpha", 2, "Be brief.")
    assert second.model == "beta"
    assert config.mixture_spec("tree").answer.temperature == 0.1


@pytest.mark.parametrize("default", ["alpha", "single"])
def test_a_default_of_one_proposal_gives_presets_three_to_choose_from(default, folder):
    single = '[mixtures.single]\nlayers = [["alpha"]]\naggregator = "beta"\n'
    config = read(OWN.format(default=default) + single, folder, KEYS)

    assert config.mixture_spec("rank").seat_count == 3


@pytest.mark.parametrize("default", ["default", "detected", "around", "auto"])
def test_a_default_that_names_no_models_leaves_them_to_what_is_found(default, folder):
    config = read(OWN.format(default=default), folder, KEYS)

    assert "OPENAI_API_KEY" in config.registry.auto_defaults().why
    assert config.build_mixture(config.mixture_spec("rank"))


def test_a_mixture_that_someone_called_default_is_followed(folder):
    text = OWN.replace("mixtures.ours", "mixtures.default").replace('"ours"', '"default"')
    config = read(text.format(default="default"), folder, KEYS)

    assert config.mixture_spec("rank").member_names() == {"alpha", "beta"}


def test_a_guard_without_a_judge_asks_its_own_aggregator_to_compare(folder):
    config = read(OWN.format(default="detected"), folder, KEYS)

    guard = config.build_mixture(config.mixture_spec("own-guard"))

    assert config.mixture_spec("own-guard").member_names() == {"alpha", "beta"}
    assert guard.judge.name == "beta"


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
    for name, plan in config.registry.mixtures.items():
        if name not in ("paper", "paper-gpt-4o", "lite"):
            members = [seat.model for layer in plan.layers for seat in layer]
            names |= {m for m in (*members, plan.aggregator) if providers.split_model_name(m)}
    return sorted(names)


def written() -> list[str]:
    """Every served model that the docs and the help of commands name."""
    files = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/mixtura/cli/*.py")]
    # These name packages, and models as other people's clients write them.
    files = [file for file in files if file.name not in ("clients.md", "public-reports.md")]
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

    assert set(read(text, folder).registry.mixtures) >= {"paper", "default"}
