"""What a configuration says reaches the mixture that is built of it."""

from __future__ import annotations

import json

import pytest

from mixtura import Mixture, Sampling, TimedOutError, Usage, ask
from mixtura.config.config import load
from mixtura.config.plan import EMBEDDED_MODEL
from mixtura.core.roles import Proposer
from mixtura.prompts.synthesis import envelope, paper
from tests.conftest import run
from tests.support import config_files
from tests.support.config_files import MODELS, built, read, refused, team
from tests.support.loopback import Answer, loopback

folder = config_files.folder


def test_everything_that_a_mixture_says_reaches_it(folder):
    mixture = built(
        team(
            """
layers = [
  ["quick*3", { model = "steady", samples = 2, persona = "Doubt.", sampling = { top_p = 0.9 } }],
  ["steady", "quick"],
]
aggregator = { model = "steady", persona = "Table.", sampling = { max_tokens = 9 } }
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
    assert mixture.instruction == "Table."
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
    mine = "Mine: {{count}}\n{{fence}}\n{{proposals}}\n{{fence}}\n"
    (folder / "mine.md").write_text(mine, encoding="utf-8-sig")  # as Windows' editors write it
    with loopback() as server:
        text = f'[models.m]\nbase_url = "{server.base_url}"\nmodel = "m"\n[mixtures.team]\n'
        body = 'layers = [["m*2"]]\naggregator = "m"\nsynthesis = "mine.md"'
        (folder / "mixtura.toml").write_text(text + body)
        config = load(str(folder / "mixtura.toml"), environ={}, folder=tmp_path, home=tmp_path)

        run(config.build_mixture(config.mixture_spec("team")).complete(ask("Why?")))

    (sent,) = server.requests[-1]["messages"][-1:]
    assert "Mine: 2" in sent["content"]
    assert "\ufeff" not in json.dumps(server.requests, ensure_ascii=False)


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
            "timeouts = { first_token = 1.0 }\nretries = 1"
        )
        with pytest.raises(TimedOutError, match=r"1(\.0)? s"):
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


def test_a_limit_of_one_model_is_that_of_its_command_whichever_stands_first(folder):
    for limits in (("", "limits = { concurrency = 2 }"), ("limits = { concurrency = 2 }", "")):
        tables = "".join(
            f'[models.m{n}]\ncommand = ["cat", "{n}"]\n{one}\n' for n, one in enumerate(limits)
        )
        text = f'default = "t"\n{tables}[mixtures.t]\nlayers = [["m0"]]\naggregator = "m1"'

        config = read(text, folder)
        config.build_mixture(config.mixture_spec("t"))

        (limiter,) = config.builder.rate_limiters().values()
        assert limiter.limits.concurrency == 2


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
