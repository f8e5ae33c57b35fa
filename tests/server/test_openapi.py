"""/openapi.json says what the server does: schemathesis tries to find a difference."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.paths import SUPPORT
from tests.support.serving import serving, team
from tests.support.upstream import Script, running

LOCK = f'[serve.keys.tester]\nsha256 = "{sha256(b"secret").hexdigest()}"\n'


def tried(tmp_path, more, *options, examples):
    with running() as upstream:
        # Presets ask the default's models: so the members of `review` have findings to give.
        upstream.scripts = dict.fromkeys(("a", "chief"), Script('{"findings": []}'))
        configuration = team(upstream, "a", "chief", more=more)
        # without the embedded model, so that no mixture of it is offered: it takes its time
        nothing = {"MIXTURA_CACHE": str(tmp_path / "empty")}
        with serving(tmp_path, configuration, environ=nothing) as server:
            command = [
                Path(sys.executable).parent / "schemathesis", "--config-file",
                SUPPORT / "schemathesis.toml", "run", f"{server.url}/openapi.json",
                "--checks", "all", "--seed", "1", "--max-examples", str(examples), "--no-color",
                *options,
            ]  # fmt: skip
            done = subprocess.run(
                list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, check=False
            )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    assert "Tested: 47" in done.stdout


def test_schemathesis_finds_nothing(tmp_path):
    tried(tmp_path, "", examples=2)


@pytest.mark.soak
def test_schemathesis_finds_nothing_in_many_examples(tmp_path):
    tried(tmp_path, "", examples=500)


def test_schemathesis_finds_nothing_where_keys_are_needed(tmp_path):
    tried(tmp_path, LOCK, "-H", "Authorization: Bearer secret", "--phases", "fuzzing", examples=2)
