"""How a server starts, or says why it does not."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from hashlib import sha256

import pytest

from tests.support import chat_server
from tests.support.forked_program import run_mixtura
from tests.support.paths import ROOT
from tests.support.serving import serving, team

upstream = chat_server.upstream


def test_it_does_not_begin_on_an_open_address_without_keys(tmp_path):
    command = ["serve", "--host", "0.0.0.0", "--port", "0"]
    done = run_mixtura(command, cwd=tmp_path, text=True)
    assert done.returncode == 2
    assert "keys" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_new_key_is_shown_once_and_its_hash_is_what_the_file_gets(tmp_path):
    command = ["serve", "--new-key", "my phone"]
    done = run_mixtura(command, cwd=tmp_path, text=True, check=True)
    key = re.search(r"mx-[\w-]{40,}", done.stderr)[0]
    assert done.stdout == (
        f'[serve.keys."my phone"]\nsha256 = "{sha256(key.encode()).hexdigest()}"\n'
    )


def test_the_docs_show_exactly_what_is_printed_for_a_new_key(tmp_path):
    command = ["serve", "--new-key", "phone"]
    printed = run_mixtura(command, cwd=tmp_path, text=True, check=True).stdout
    page = (ROOT / "docs" / "reference" / "http.md").read_text("utf-8")
    shown = re.search(r"mixtura serve --new-key phone\n```.*?```toml\n(.*?)```", page, re.DOTALL)[1]
    assert re.sub(r"[0-9a-f]{64}", "HASH", shown) == re.sub(r"[0-9a-f]{64}", "HASH", printed)


def test_a_port_that_is_taken_is_said(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = ["serve", "--port", port]
        done = run_mixtura(command, cwd=tmp_path, text=True)
    assert done.returncode == 2
    assert "--port" in done.stderr


def test_with_nothing_configured_it_serves_the_embedded_model(tmp_path, embedded):
    with serving(tmp_path, "") as server:
        body = server.chat("Say hello.", max_tokens=8).json
        assert body["choices"][0]["message"]["content"]
        assert server.ready.startswith("Mixtura is at http://127.0.0.1:")
        assert "default" in [row["id"] for row in server.get("/v1/models").json["data"]]


def refused_start(folder, configuration="", *, code="", options=("--port", "0")):
    """What `mixtura serve` says when it does not begin; *code* runs before it."""
    (folder / "mixtura.toml").write_text(configuration, encoding="utf-8")
    begin = f"import sys\n{code}\nfrom mixtura.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", begin, "serve", *options],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_a_wrong_setting_of_the_server_ends_it_with_the_line(tmp_path):
    status, said = refused_start(tmp_path, "[serve]\ndrain_seconds = inf")
    assert status == 2
    assert "mixtura.toml:2: serve.drain_seconds" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "prometheus_client"])
def test_a_package_that_the_server_lacks_is_named_with_what_brings_it(package, tmp_path):
    status, said = refused_start(tmp_path, code=f"sys.modules[{package!r}] = None")
    assert status == 2
    assert package.replace("_", "-") in said
    assert "-m pip install 'prometheus-client<" in said
    assert "Traceback" not in said


def test_another_package_that_is_missing_is_not_taken_for_the_servers(tmp_path):
    status, said = refused_start(tmp_path, code="sys.modules['anyio'] = None")
    assert status != 2
    assert "anyio" in said
    assert "-m pip install" not in said


def test_a_default_that_cannot_answer_is_said_at_the_start_and_by_readyz(tmp_path, upstream):
    text = team(upstream, "a", "b", "chief").replace('default = "team"', 'default = "openai/gpt"')
    with serving(tmp_path, text) as server:
        said = (tmp_path / "log").read_text()
        ready = server.get("/readyz")
        assert "openai/gpt cannot answer yet" in said
        assert "OPENAI_API_KEY" in said
        assert ready.status == 503
        assert "OPENAI_API_KEY" in ready.json["error"]["message"]
        assert server.get("/healthz").status == 200
        assert server.chat(model="team").status == 200


def test_readyz_tells_what_is_wrong_only_to_whoever_has_a_key(tmp_path):
    lock = f'[serve.keys.one]\nsha256 = "{sha256(b"one").hexdigest()}"'
    with serving(tmp_path, f'default = "openai/gpt"\n{lock}') as server:
        ready = server.get("/readyz")
        assert ready.status == 503
        assert "OPENAI_API_KEY" not in ready.json["error"]["message"]
        server.key = "one"
        assert "OPENAI_API_KEY" in server.get("/readyz").json["error"]["message"]
