"""An API on either side is one entry: CONTRIBUTING's own blocks, installed, served and asked."""

from __future__ import annotations

import json
import sys

import pytest

from mixtura import ConfigError
from mixtura.catalog.entry_points import find_entry_points
from mixtura.server.served_apis import served_apis
from tests.support.loopback import Answer, loopback
from tests.support.other_packages import docs_block, install_modules, install_package, program
from tests.support.serving import serving

SERVED = docs_block("../CONTRIBUTING.md", "class SayApi")
ASKED = docs_block("../CONTRIBUTING.md", "class Say(HostedModel)")
POINTS = docs_block("../CONTRIBUTING.md", "mixtura.dialects", "text")


def entry_points(text):
    """What an installer writes of a project's tables."""
    text = text.replace("project.entry-points.", "").replace("my_package.", "say_")
    return text.replace('"', "")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    site = install_modules(
        folder / "site", "say", {"say_server": SERVED, "say_model": ASKED}, entry_points(POINTS)
    )
    with loopback() as upstream:
        upstream.answers |= {"a": Answer.text("41?"), "b": Answer.text("It is 42.")}
        models = "".join(
            f'[models.{name}]\nbase_url = "{upstream.base_url}"\nmodel = "{name}"\nretries = 0\n'
            for name in ("a", "b")
        )
        mixture = '[mixtures.team]\nlayers = [["a"]]\naggregator = "b"\n'
        configuration = f'default = "team"\ncache = {{ use = false }}\n{models}{mixture}'
        with serving(folder / "served", configuration, environ={"PYTHONPATH": str(site)}) as server:
            yield folder, site, server, upstream


def ask(world, *words, question="6 x 7?"):
    folder, site, server, _ = world
    far = f'provider = "say"\nmodel = "default"\nbase_url = "{server.url}"\nretries = 0\n'
    (folder / "mixtura.toml").write_text(f"cache = {{ use = false }}\n[models.far]\n{far}")
    return program(folder, site, "ask", "-m", "far", *words, question, SAY_API_KEY="k-1")


def test_an_api_that_the_docs_add_is_answered_whole_and_in_pieces(world):
    _, _, server, upstream = world
    before = len(upstream.requests)

    whole = server.post("/say", {"model": "default", "text": "6 x 7?"})
    streamed = server.post("/say", {"model": "default", "text": "6 x 7?", "stream": True})

    assert whole.status == 200
    assert whole.json == {"text": "It is 42.", "over": True}
    rows = [
        json.loads(line[6:]) for line in streamed.body.decode().splitlines() if line[:5] == "data:"
    ]
    assert "".join(row.get("text", "") for row in rows) == "It is 42."
    assert rows[-1] == {"over": True}
    assert len(upstream.requests) > before


def test_its_errors_have_its_form_and_it_stands_among_the_addresses(world):
    _, _, server, _ = world

    empty = server.post("/say", {"model": "default"})
    unknown = server.post("/say", {"model": "nobody", "text": "6 x 7?"})
    nothing = server.get("/sai")

    assert (empty.status, unknown.status) == (400, 404)
    assert "text" in empty.json["error"]
    assert "nobody" in unknown.json["error"]
    assert "/say" in nothing.json["error"]["message"]
    assert "/say" in server.get("/openapi.json").json["paths"]


def test_a_provider_that_speaks_it_is_asked_through_the_adapter_of_the_docs(world):
    answered = ask(world, "--json")

    assert answered.returncode == 0, answered.stderr
    assert json.loads(answered.stdout)["answer"] == "It is 42."


def test_an_error_in_that_api_is_an_error_of_the_program_and_no_answer(world):
    _, _, _, upstream = world
    said = dict(upstream.answers)
    upstream.answers |= dict.fromkeys(said, Answer.refused(400, "no such thing"))
    try:
        answered = ask(world, "--quiet")
    finally:
        upstream.answers |= said

    assert answered.returncode != 0
    assert answered.stdout == ""
    assert "no such thing" in answered.stderr
    assert "Traceback" not in answered.stderr


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a package for this process."""

    def forget():
        find_entry_points.cache_clear()
        served_apis.cache_clear()
        sys.modules.pop("say_served", None)

    def install(code):
        site = install_package(
            tmp_path / "site", "say_served", code, "mixtura.dialects", say="say_served:DIALECT"
        )
        monkeypatch.syspath_prepend(str(site))
        forget()
        return site

    yield install
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('path = "/say"', 'path = "/v1/messages"'), "'/v1/messages', which is taken already"),
        (('path = "/say"', 'path = "say"'), "it must begin with /"),
        (("DIALECT = SayApi()", "DIALECT = 7"), "say-served is not a ServedApi"),
    ],
    ids=["taken", "relative", "no API"],
)
def test_an_api_that_cannot_be_served_is_refused(installed, change, words):
    installed(SERVED.split("if __name__")[0].replace(*change))

    with pytest.raises(ConfigError, match=words):
        served_apis()


def test_a_server_that_cannot_serve_an_api_does_not_start_and_says_why(installed, tmp_path):
    site = installed("raise RuntimeError('no licence')")

    started = program(tmp_path, site, "serve", "--port", "0")

    assert started.returncode != 0
    assert "say-served cannot be loaded: RuntimeError: no licence" in " ".join(
        started.stderr.split()
    )
    assert "Traceback" not in started.stderr
