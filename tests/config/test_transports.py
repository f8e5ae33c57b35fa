"""Which HTTP client asks an endpoint: chosen in a file or by a program, and told when wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mixtura import AiohttpTransport, Http1Transport, OpenAI, Transport, answer_sync, ask
from tests.conftest import run
from tests.support.byte_server import END, STREAM, answering, chunk, serving
from tests.support.config_files import folder, marked, read, refused
from tests.support.loopback import loopback
from tests.support.other_packages import docs_block, install_package
from tests.support.tls import make_certificate, speaking_tls

__all__ = ["folder"]

TOP = '[models.a]\nbase_url = "{url}"\nmodel = "m"\nretries = 0\n'
CHOICE = b'{"index": 0, "delta": {"content": "Hello."}, "finish_reason": "stop"}'
HELLO = b'data: {"choices": [' + CHOICE + b"]}\n\n"


def program(site: Path, work: Path, code: str) -> subprocess.CompletedProcess[str]:
    """A program of someone else's, in a folder with a configuration."""
    env = os.environ | {"PYTHONPATH": str(site), "XDG_STATE_HOME": str(work / "state")}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=work, env=env, text=True, capture_output=True, timeout=60
    )


ASKS = 'from mixtura import answer_sync, load; print(answer_sync(load().model("a"), "Hi").text)'


@pytest.mark.parametrize("kind", [Http1Transport, AiohttpTransport])
def test_a_program_hands_a_model_its_http_client(kind):
    transport = kind()

    with loopback() as server:
        model = OpenAI("m", server.base_url, transport=transport)
        answers = [answer_sync(model, "Hi").text for _ in range(2)]  # each in a loop of its own

    assert isinstance(transport, Transport)
    assert answers == ["Hello.", "Hello."]


def test_what_is_no_transport_is_a_type_error_in_words():
    with pytest.raises(
        TypeError, match="transport cannot be a str: it needs an `async send_request`"
    ):
        OpenAI("m", "http://127.0.0.1:9/v1", transport="aiohttp")


# ---- in a file


@pytest.mark.parametrize("above", ["", 'transport = "aiohttp"\n'])
def test_a_file_names_the_client_of_all_models_or_of_one(above, folder):
    with loopback() as server:
        text = above + TOP.format(url=server.base_url)
        model = read(text if above else text + 'transport = "aiohttp"\n', folder).model("a")
        assert run(model.complete(ask("Hi"))).text == "Hello."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'transport = "aihttp" # <-\n' + TOP,
            "transport: unknown transport 'aihttp': did you mean",
        ),
        (TOP + 'transport = "aihttp" # <-', "transport: unknown transport 'aihttp': did you mean"),
        (TOP + 'transport = "curl" # <-', "choose one of aiohttp, built-in"),
        (TOP + "transport = 3 # <-", "expected a string"),
        (TOP + 'client_key = "us.key" # <-', "client_key: its certificate is missing"),
        (
            '[models.a]\nmodel = "smollm2-135m"\ntransport = "aiohttp" # <-',
            "transport is for hosted models",
        ),
        (
            '[models.a]\nprovider = "bridge:cohere"\nmodel = "m"\ntransport = "aiohttp" # <-',
            "transport has no effect here",
        ),
    ],
)
def test_a_wrong_setting_is_told_with_its_line(text, words, folder):
    said = refused(text.format(url="http://127.0.0.1:9/v1"), folder)

    assert said.startswith(f":{marked(text)}: ")
    assert words in said


@pytest.mark.parametrize("above", [True, False])
def test_files_that_are_missing_are_told_before_any_call(above, folder):
    text = 'default = "a"\n' + TOP.format(url="http://127.0.0.1:9/v1")
    text += 'client_certificate = "us.pem" # <-\n'

    said = refused(('transport = "aiohttp"\n' if above else "") + text, folder)

    assert said.startswith(f":{6 + above}: models.a: client_certificate: ")
    assert f"{folder / 'us.pem'} cannot be read: No such file or directory" in said


@pytest.mark.parametrize("transport", ["built-in", "aiohttp"])
def test_a_models_certificate_lies_beside_the_file_and_is_shown(transport, folder, monkeypatch):
    server_side = make_certificate(folder / "server", "localhost")
    ours = make_certificate(folder / "us", "client")
    monkeypatch.setenv("SSL_CERT_FILE", str(server_side / "cert.pem"))
    play = answering(STREAM, chunk(HELLO), chunk(b"data: [DONE]\n\n"), END)

    async def call() -> str:
        async with serving(play, tls=speaking_tls(server_side, asks_for=ours)) as server:
            url = f"https://localhost:{server.host.rpartition(':')[2]}/v1"
            text = TOP.format(url=url) + f'transport = "{transport}"\n'
            text += 'client_certificate = "us/cert.pem"\nclient_key = "us/key.pem"\n'
            return (await read(text, folder).model("a").complete(ask("Hi"))).text

    assert run(call()) == "Hello."


# ---- other packages, and what is not installed


def test_another_package_offers_a_client_and_lists_and_calls_go_through_it(tmp_path):
    code = docs_block("../CONTRIBUTING.md", "class Announced").partition("\nmodel = ")[0]
    site = install_package(
        tmp_path / "site", "spoken", code, "mixtura.transports", announced="spoken:Announced"
    )
    lists = (
        "import asyncio, os\nfrom contextlib import suppress\nfrom pathlib import Path\n"
        "from mixtura import ModelError\nfrom mixtura.config import config\n"
        "from mixtura.config.model_lists import fetch_model_list\n"
        "found = config.load(None, environ=os.environ, folder=Path.cwd())\n"
        "place = found.builder.hosted_address('a').endpoint\n"
        "with suppress(ModelError): asyncio.run(fetch_model_list(place, seconds=10))\n"
    )
    with loopback() as server:
        (tmp_path / "mixtura.toml").write_text(
            'transport = "announced"\n' + TOP.format(url=server.base_url)
        )
        done = program(site, tmp_path, f"{lists}{ASKS}")

    first, second, answer = done.stdout.splitlines()
    assert first == f"GET {server.base_url}/models: 0 bytes"
    assert re.fullmatch(rf"POST {server.base_url}/chat/completions: \d+ bytes", second)
    assert answer == "Hello."


BROKEN = {
    "announced": "cannot be made with a client certificate: ",
    "model": "'model' cannot be made: ",
    "text": "'text' is not a transport: it needs `send_request` and `close`",
    "nothing": "'nothing' of the package spoken cannot be loaded",
    "three": "'three' of the package spoken is not a type",
}


def test_a_package_whose_client_is_none_is_told_in_words(tmp_path):
    code = docs_block("../CONTRIBUTING.md", "class Announced").partition("\nmodel = ")[0]
    points = {
        "announced": "spoken:Announced",
        "model": "spoken:OpenAI",
        "text": "spoken:text",
        "nothing": "spoken:nothing",
        "three": "spoken:three",
    }
    site = install_package(
        tmp_path / "site",
        "spoken",
        f"{code}\ntext = str\nthree = 3\n",
        "mixtura.transports",
        **points,
    )
    for name in BROKEN:
        text = TOP.format(url="http://127.0.0.1:9/v1") + f'transport = "{name}"\n'
        if name == "announced":
            text += 'client_certificate = "us.pem"\n'
        (tmp_path / f"{name}.toml").write_text(text)
    tries = (
        "import mixtura\n"
        f"for name in {list(BROKEN)}:\n"
        "    try: mixtura.load(f'{name}.toml').model('a')\n"
        "    except mixtura.ConfigError as error: print(error)\n"
    )

    done = program(site, tmp_path, tries)

    for line, words in zip(done.stdout.splitlines(), BROKEN.values(), strict=True):
        assert words in line
        assert ".toml:" in line


def test_without_aiohttp_the_error_says_what_to_install(tmp_path):
    text = TOP.format(url="http://127.0.0.1:9/v1") + 'transport = "aiohttp"\n'
    (tmp_path / "mixtura.toml").write_text(text)
    code = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "import mixtura\nfrom mixtura import *\n"
        f"try:\n    {ASKS}\nexcept mixtura.ConfigError as error:\n    print(error)"
    )

    done = program(tmp_path, tmp_path, code)

    assert ':5: models.a: the transport "aiohttp" needs aiohttp' in done.stdout, done.stderr
    assert "-m pip install 'aiohttp<" in done.stdout
