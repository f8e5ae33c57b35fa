"""`mixtura doctor`: what works here, told without a secret in it."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.forked_program import run_mixtura
from tests.support.http_server import QuietHandler, serve_handler
from tests.support.loopback import nobody
from tests.support.upstream import Script, Wire, running

SECRET = "sk-proj-this-is-nobodys-business-1234"


class Doctor:
    """The command in a process of its own, with nothing of this machine's settings."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environ = {
            key: value for key, value in os.environ.items()
            if not key.endswith(("_API_KEY", "_TOKEN", "_HOST", "_ENDPOINT", "_PROXY", "_proxy"))
        }  # fmt: skip
        self.environ |= {
            "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder),
            "XDG_STATE_HOME": str(folder), "XDG_DATA_HOME": str(folder),
            "OLLAMA_HOST": nobody(), "NO_COLOR": "1", "COLUMNS": "160",
        }  # fmt: skip
        self.environ.pop("MIXTURA_CONFIG", None)

    def configure(self, text: str) -> None:
        (self._folder / "mixtura.toml").write_text(text)

    def __call__(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return run_mixtura(
            ["doctor", *arguments], text=True, cwd=self._folder, env=self.environ | environ
        )

    def report(self, *arguments: str, **environ: str) -> dict:
        return json.loads(self("--json", *arguments, **environ).stdout)


@pytest.fixture
def doctor(tmp_path):
    return Doctor(tmp_path)


@pytest.fixture
def upstream():
    with running() as server:
        server.scripts["good"] = Script("Yes.")
        server.scripts["bad"] = Script(ever=_refuse)
        yield server


async def _refuse(wire: Wire) -> None:
    said = f"Incorrect API key provided: {wire.record.headers.get('authorization')}"
    await wire.reply(401, {"error": {"message": said}})


def file(upstream, *models):
    return "".join(
        f'[models.{name}]\nbase_url = "{upstream.base_url()}"\nmodel = "{name}"\n'
        f'api_key_env = "HOUSE_KEY"\nretries = 0\n'
        for name in models
    )


def test_with_nothing_configured_it_says_so_and_all_is_well(doctor):
    done = doctor()

    assert done.returncode == 0, done.stderr
    assert "no file; built-in mixtures only" in done.stdout
    assert "not running" in done.stdout


def test_an_endpoint_whose_key_is_set_and_that_is_down_is_a_failure(doctor):
    # No host has a name in this domain.
    there = {"AZURE_OPENAI_ENDPOINT": "http://no.such.host.invalid"}
    bare = doctor("--json", **there)
    keyed = doctor("--json", AZURE_OPENAI_API_KEY=SECRET, **there)
    report = json.loads(keyed.stdout)

    assert (bare.returncode, keyed.returncode) == (0, 3)
    assert [one["name"] for one in report["endpoints"] if not one["usable"]] == ["azure"]
    assert report["ok"] is False


def test_a_server_of_one_s_own_that_is_not_running_is_no_failure(doctor):
    assert doctor("--json", VLLM_API_KEY=SECRET).returncode == 0


def test_a_configured_model_is_asked_for_a_word(doctor, upstream):
    doctor.configure(file(upstream, "good"))
    done = doctor("--json", HOUSE_KEY=SECRET)
    report = json.loads(done.stdout)

    assert done.returncode == 0
    assert report["ok"]
    assert report["config"].endswith("mixtura.toml")
    assert report["keys"]["HOUSE_KEY"] is True
    assert report["keys"]["OPENAI_API_KEY"] is False
    (call,) = report["calls"]
    assert call["model"] == "good"
    assert call["works"]
    assert 0 < call["first_token"] <= call["seconds"]
    assert upstream.records[0].body["max_tokens"] == 1


def test_a_model_that_does_not_answer_is_exit_code_3_and_no_key_is_ever_shown(doctor, upstream):
    doctor.configure(file(upstream, "good", "bad"))
    for arguments in ((), ("--json",)):
        done = doctor(*arguments, HOUSE_KEY=SECRET)
        assert done.returncode == 3
        assert "Incorrect API key" in " ".join(done.stdout.split())
        assert SECRET not in done.stdout + done.stderr
        assert SECRET[8:] not in done.stdout + done.stderr


def test_a_missing_key_is_told_by_its_name(doctor, upstream):
    doctor.configure(file(upstream, "good"))
    done = doctor("--json")

    assert done.returncode == 3
    assert "HOUSE_KEY" in json.loads(done.stdout)["calls"][0]["error"]


def test_the_members_of_ones_own_mixtures_are_asked_too(doctor, upstream):
    doctor.configure(
        file(upstream, "good")
        + '[mixtures.team]\nlayers = [["good*2"]]\naggregator = "vllm/other"\n'
    )
    report = doctor.report(HOUSE_KEY=SECRET)

    works = {call["model"]: call["works"] for call in report["calls"]}
    assert works == {"good": True, "vllm/other": False}


def test_a_model_can_be_named(doctor, upstream):
    doctor.configure(file(upstream, "good", "bad"))
    report = doctor.report("--call", "good", HOUSE_KEY=SECRET)

    assert [call["model"] for call in report["calls"]] == ["good"]


@contextmanager
def listing(models):
    """A server that lists models and sees who asks."""
    asked = []

    class Handler(QuietHandler):
        def do_GET(self):
            asked.append((self.path, dict(self.headers.items())))
            self.send_json(200, {"data": [{"id": name} for name in models]})

    with serve_handler(Handler) as url:
        yield url.replace("http://", "http://user:hidden@"), asked


def test_endpoints_that_answer_tell_which_models_they_list(doctor):
    with listing(["a", "b", f"an echo of {SECRET}"]) as (url, asked):
        doctor.configure(
            f'[models.x]\nprovider = "anthropic"\nbase_url = "{url}/own/v1"\nmodel = "a"\n'
            'api_key_env = "HOUSE_KEY"\n'
        )
        there = {
            "HOUSE_KEY": SECRET, "OLLAMA_HOST": url[7:],
            "AZURE_OPENAI_API_KEY": SECRET, "AZURE_OPENAI_ENDPOINT": url,
        }  # fmt: skip
        done = doctor("--json", "--call", "smollm2-no", **there)
        told = doctor("--call", "smollm2-no", **there)
    assert "ollama lists a, b, an echo of ***" in told.stdout
    found = {row["name"]: row for row in json.loads(done.stdout)["endpoints"]}

    for name in ("x", "ollama", "azure"):
        assert found[name]["answers"], found[name]
        assert found[name]["models"] == ["a", "b", "an echo of ***"]
        assert "hidden" not in found[name]["address"]
    headers = {path: {k.lower(): v for k, v in seen.items()} for path, seen in asked}
    assert headers["/own/v1/models?limit=1000"]["x-api-key"] == SECRET
    assert headers["/openai/v1/models"]["api-key"] == SECRET
    assert SECRET not in done.stdout


def test_a_cap_of_nothing_calls_nothing(doctor, upstream):
    doctor.configure(file(upstream, "good") + "price = { input = 1.0, output = 1.0 }\n")
    report = doctor.report("--max-cost", "0", HOUSE_KEY=SECRET)

    assert not report["ok"]
    assert not upstream.records


def test_a_team_that_the_rules_advise_against_is_told_and_unknown_strengths_are_not(doctor):
    doctor.configure(
        '[mixtures.weak]\nlayers = [["openai/gpt-5.4"]]\naggregator = "openai/gpt-4.1-mini"\n'
        '[mixtures.unknown]\nlayers = [["openai/x"]]\naggregator = "openai/gpt-4.1-mini"\n'
    )

    (told,) = doctor.report("--call", "openai/x")["warnings"]

    assert told.startswith("weak: openai/gpt-4.1-mini writes the answer")
    assert "Let openai/gpt-5.4 aggregate." in doctor("--call", "openai/x").stdout.replace("\n", " ")
    shown = run_mixtura(["show", "weak"], text=True, cwd=doctor._folder, env=doctor.environ).stdout
    assert "Warning: openai/gpt-4.1-mini writes the answer" in shown
