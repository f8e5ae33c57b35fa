"""Caps, prices and times that are no numbers, negative or endless are refused everywhere."""

from __future__ import annotations

import re

import click
import msgspec
import pytest
from click.testing import CliRunner

from mixtura import ConfigError, cli
from mixtura.billing.price import Price
from mixtura.billing.spending_caps import RunCap
from mixtura.config import schema
from mixtura.config.config import load
from tests.support.serving import serving, team
from tests.support.upstream import running

WRONG = ("nan", "inf", "-inf", "-1", "1e400", "1e308", "NaN", "Infinity", "-0.01")
OPTIONS = {
    "ask": ("--max-cost", "--deadline", "--temperature", "--top-p"),
    "chat": ("--max-cost", "--deadline"),
    "doctor": ("--max-cost", "--deadline"),
    "serve": ("--max-cost", "--deadline"),
    "init": ("--day-limit",),
    "eval": ("--max-cost", "--deadline"),
    "compare": ("--max-cost", "--deadline"),
    "show": ("--max-cost",),
    "mcp": ("--max-cost", "--deadline"),
    "review": ("--max-cost", "--deadline"),
    "batch": ("--max-cost", "--deadline", "--temperature", "--top-p"),
    "tune": ("--max-cost", "--deadline", "--held-out"),
    "select": ("--max-cost", "--deadline", "--answer-cost", "--answer-seconds", "--held-out"),
}


def test_every_option_that_takes_a_fraction_is_tried_here():
    found = {}
    for name in cli.group.list_commands(None):
        command = cli.group.get_command(click.Context(cli.group), name)
        options = {
            param.opts[0] for param in command.params if param.type.name.startswith(("num", "flo"))
        }
        if options:
            found[name] = options
    assert {name: set(options) for name, options in OPTIONS.items()}.items() >= found.items()


def test_every_option_that_takes_a_whole_number_has_a_range():
    for name in cli.group.list_commands(None):
        command = cli.group.get_command(click.Context(cli.group), name)
        for param in command.params:
            if isinstance(param.type, click.types.IntParamType) and not getattr(param, "count", 0):
                assert getattr(param.type, "max", None) is not None, (name, param.opts)


@pytest.mark.parametrize("name", OPTIONS)
def test_no_command_takes_an_amount_that_is_none(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for option in OPTIONS[name]:
        for value in WRONG:
            words = ["gsm8k"] if name == "eval" else []
            told = CliRunner().invoke(cli.group, [name, *words, f"{option}={value}"])
            assert told.exit_code == 2, (name, option, value, told.output)
            assert f"Invalid value for '{option}'" in told.output, (name, option, value)
            assert "Traceback" not in told.output


SETTINGS = {
    "budget": ("run_usd", "day_usd"),
    "budget.keys.A_KEY": ("day_usd",),
    "cache": ("days", "megabytes"),
    "runs": ("days", "megabytes"),
    "serve": ("largest_megabytes", "receive_seconds", "keep_alive_seconds", "drain_seconds"),
    "serve.batches": ("days", "file_megabytes", "megabytes"),
    "serve.responses": ("days", "megabytes"),
    "models.m": ("largest_megabytes",),
    "models.m.price": ("input", "output", "cached", "cache_write"),
    "models.m.timeouts": ("connect", "first_token", "progress", "total"),
    "models.m.hedge": ("share", "quantile", "after"),
    "models.m.extra": ("top_k",),
    "mixtures.x": ("patience", "deadline"),
    "mixtures.x.sampling": ("temperature", "top_p"),
}
WRONG_TOML = ("nan", "-nan", "inf", "-inf", "+inf", "-1.0", "1e308", "1" + "0" * 400, "9" * 5000)


@pytest.mark.parametrize("table", SETTINGS)
def test_no_setting_takes_a_number_that_is_none(table, tmp_path):
    for key in SETTINGS[table]:
        for value in WRONG_TOML:
            if "extra" in table and value in ("-1.0", "1e308"):
                continue  # theirs to refuse
            model = (
                '[models.m]\nbase_url = "http://127.0.0.1:9"\nmodel = "m"\napi_key_env="A_KEY"\n'
            )
            mixture = '[mixtures.x]\nlayers = [["m"]]\naggregator = "m"\n'
            given = {"input": "1.0", "output": "1.0"} if table.endswith("price") else {}
            rows = "".join(f"{k} = {v}\n" for k, v in (given | {key: value}).items())
            head = "" if table == "mixtures.x" else f"[{table}]\n"
            if table == "models.m":
                model, head, rows = model + rows, "", ""
            path = tmp_path / "mixtura.toml"
            path.write_text(model + mixture + head + rows)
            with pytest.raises(ConfigError) as told:
                load(str(path), environ={"A_KEY": "x"}, folder=tmp_path, home=tmp_path)
            said = str(told.value)
            assert "mixtura.toml" in said, (table, key, value)
            if len(value) < 4000:
                assert key in said, (table, key, value, said)
                assert re.search(r"mixtura\.toml:\d+: ", said)


def test_a_request_with_an_amount_that_is_none_is_refused_and_asks_no_one(tmp_path):
    with running() as upstream, serving(tmp_path, team(upstream, "a", "b")) as server:
        for name in ("max_cost", "deadline"):
            for value in ("NaN", "Infinity", "-Infinity", "1e400", "1e308", "-1", '"1"', "true"):
                body = (
                    '{"model": "team", "messages": [{"role": "user", "content": "Why?"}],'
                    f' "mixtura": {{"{name}": {value}}}}}'
                )
                told = server.post("/v1/chat/completions", body.encode())
                assert told.status == 400, (name, value, told.body)
                assert told.json["error"]["message"], (name, value)
        assert upstream.records == []
        assert server.chat().status == 200


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e308])
def test_the_library_takes_no_amount_that_is_none(value, tmp_path):
    config = load(None, environ={}, folder=tmp_path, home=tmp_path)
    plan = config.mixture_spec("smollm2-135m")
    with pytest.raises(ConfigError, match="max_cost"):
        config.build_runnable(plan, max_cost=value)
    with pytest.raises(ConfigError, match="deadline"):
        config.build_runnable(plan, deadline=value)
    with pytest.raises(ValueError, match="input"):
        Price(input=value, output=1.0)
    with pytest.raises(ValueError, match="cached"):
        Price(input=1.0, output=1.0, cached=value)
    with pytest.raises(ValueError, match="dollars"):
        RunCap("mine", value)


def test_every_setting_that_is_a_fraction_has_a_range():
    unbounded = []
    for name, table in vars(schema).items():
        if isinstance(table, type) and issubclass(table, msgspec.Struct):
            for field in msgspec.inspect.type_info(table).fields:
                kinds = getattr(field.type, "types", (field.type,))
                for kind in kinds:
                    if isinstance(kind, msgspec.inspect.FloatType) and kind.le is None:
                        unbounded.append(f"{name}.{field.name}")
    assert unbounded == []
