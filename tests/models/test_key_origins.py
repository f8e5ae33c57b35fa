"""A refused key: the error names where the key came from, and never shows the key."""

from __future__ import annotations

import copy
import pickle

import pytest

from mixtura import OpenAI, ask
from mixtura.config.config import load
from mixtura.core.errors import RejectedError
from tests.conftest import run
from tests.support.loopback import Answer, loopback

KEY = "sk-house-canary-0a1b2c3d4e5f"


def refused(folder, more: str, status: int = 401, environ: dict[str, str] | None = None) -> str:
    """What is said of a call that the endpoint answers with *status*."""
    with loopback() as server:
        server.answers["m"] = Answer.refused(status, f"bad key {KEY}")
        text = f'[models.m]\nmodel = "m"\nbase_url = "{server.base_url}"\nretries = 0\n{more}\n'
        (folder / "mixtura.toml").write_text(text)
        config = load(None, environ=environ or {}, folder=folder, home=folder)
        with pytest.raises(RejectedError) as caught:
            run(config.model("m").complete(ask("Why?")))
    assert KEY not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_the_variable_is_named_that_held_the_key(status, tmp_path):
    said = refused(tmp_path, 'api_key_env = "HOUSE_KEY"', status, {"HOUSE_KEY": KEY})

    assert f"HTTP {status}" in said
    assert said.endswith("; the API key came from HOUSE_KEY")


def test_the_line_is_named_where_the_key_stands_in_a_header(tmp_path):
    said = refused(tmp_path, f'headers = {{ Authorization = "Bearer {KEY}" }}')

    assert said.endswith(f"the API key came from `headers` in {tmp_path / 'mixtura.toml'}:5")


def test_a_call_without_a_key_says_what_was_missing(tmp_path):
    assert "no API key was sent: set `api_key_env`" in refused(tmp_path, "")


def test_another_refusal_says_nothing_of_a_key(tmp_path):
    assert "API key came" not in refused(tmp_path, "", 404)


def test_a_model_with_a_key_can_be_copied_and_never_pickled():
    model = OpenAI("m", "http://127.0.0.1:9/v1", api_key=KEY)

    assert copy.deepcopy(model).info == model.info
    with pytest.raises(TypeError, match="make the model in the process that uses it") as told:
        pickle.dumps(model)
    assert KEY not in str(told.value)
