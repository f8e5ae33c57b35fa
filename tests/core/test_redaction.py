"""What is taken out of a text, whole or in pieces, and what is left as it is."""

from __future__ import annotations

import logging
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura.core.credentials import (
    environment_secrets,
    header_secrets,
    is_secret,
    looks_like_key,
    mask_keys,
    url_secrets,
)
from mixtura.core.errors import ConfigError, RejectedError
from mixtura.core.escapes import Spelling
from mixtura.core.logs import install_log_redaction
from mixtura.core.redaction import SCAN_CHUNK_CHARS, Redactor, register_secrets, use_redactor
from tests.support import canaries

EVERY = Redactor(canaries.ALL)
CASES = [(secret, form) for secret in canaries.ALL for form in canaries.written(secret)]


@pytest.mark.parametrize(("secret", "form"), CASES)
def test_a_secret_is_hidden_in_every_form_and_cut_at_every_place(secret, form):
    said = canaries.written(secret)[form]
    text = f"It is {said} , they say."

    outputs = [EVERY.redact_text(text), _streamed(EVERY, list(text))]
    outputs += [_streamed(EVERY, [text[:at], text[at:]]) for at in range(1, len(text))]

    for output in set(outputs):
        assert not canaries.found(output, (secret,)), output
        assert "***" in output
        assert output.startswith("It is ")
        assert output.endswith(" , they say.")


@pytest.mark.parametrize("secret", canaries.ALL)
def test_a_secret_that_is_cut_off_at_the_end_is_hidden_too(secret):
    for length in range(canaries.LEAST, len(secret)):
        text = f"It is {secret[:length]}"
        assert not canaries.found(EVERY.redact_text(text), (secret,))
        assert not canaries.found(_streamed(EVERY, list(text)), (secret,))


_TEXT = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(
    ["task-", "sk-", "s", "k", "-", "%73", "\\u0073", "&#115;", "hf_", "canary", "c", "ca.n"]
)


@given(st.lists(_TEXT, max_size=20))
def test_text_without_a_secret_comes_out_as_it_went_in(parts):
    stream, text = EVERY.create_stream(), "".join(parts)
    shown = [stream.feed_text(part) for part in parts]
    out = "".join(shown) + stream.finish()
    assert out == text or "***" in EVERY.redact_text(text)


@given(
    st.lists(st.sampled_from([*canaries.ALL, "plain ", "words\n", "sk-", "%"]), max_size=8),
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
)
def test_no_way_to_cut_a_stream_shows_a_secret(parts, sizes):
    text = "|".join(parts)
    pieces: list[str] = []
    at = number = 0
    while at < len(text):
        size = sizes[number % len(sizes)]
        pieces.append(text[at : at + size])
        at, number = at + size, number + 1
    out = _streamed(EVERY, pieces)
    assert not canaries.found(out)
    assert out.count("plain ") == text.count("plain ")


def test_each_piece_is_shown_at_once_where_nothing_begins_a_secret():
    stream = EVERY.create_stream()
    for piece in ("The", " ", "tas", "k", " is", " 5 %", " of \\alpha", " & more", " s"):
        assert stream.feed_text(piece) == piece
    assert stream.finish() == ""


def test_what_only_began_like_a_secret_is_shown_as_soon_as_that_is_known():
    stream = Redactor(["sk-proj-Vw7canary"]).create_stream()
    assert stream.feed_text("Keys begin with sk-pro") == "Keys begin with "
    assert stream.feed_text("j-, ") == "sk-proj-, "
    assert stream.feed_text("they say") == "they say"


def test_one_secret_may_begin_like_another():
    redactor = Redactor(["canary-key", "canary-key-longer-one"])
    text = "a canary-key, b canary-key-longer-one, c"
    assert _streamed(redactor, list(text)) == "a ca***, b ca***, c"
    assert redactor.redact_text("canary-key-lo") in ("***", "***-lo")


@pytest.mark.parametrize(
    "value",
    ["", "x", "ollama", "none", "EMPTY", "dummy", "not-needed", "lm-studio", "1234", "0000000000"],
)
def test_what_stands_where_no_key_is_needed_is_no_secret(value):
    assert not is_secret(value)
    assert Redactor([value]).redact_text(f"say {value}.") == f"say {value}."


def test_secrets_are_found_where_configurations_have_them():
    environ = {
        "A_KEY": "canary-1-key",
        "PROXY": "http://u:canary%2D2@h:1",
        "HOME": "/home/canary-3",
    }
    assert {"canary-1-key", "canary-2"} <= environment_secrets(environ)
    assert "/home/canary-3" not in environment_secrets(environ)
    assert "canary-4" in url_secrets("http://h/v1?api-key=canary-4&api-version=2024-06-01")
    assert "2024-06-01" not in url_secrets("http://h/v1?api-key=canary-4&api-version=2024-06-01")
    assert "tokenCanary5" in url_secrets("https://tokenCanary5@h/v1")
    found = header_secrets({"Authorization": "Bearer canary-6", "Accept": "application/json"})
    assert "canary-6" in found
    assert not any("json" in value for value in found)


@pytest.mark.parametrize(
    "name",
    [
        "gpt-5.4-mini", "qwen2.5-coder-32b-instruct-awq", "openai/gpt-oss-120b", "team",
        "task-a1b2c3",
        "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", "hf-internal-testing/tiny-random-gpt2",
        "claude-opus-4-20250514", "smollm2-135m", "xai/grok-4-0709", "models/a@b.gguf",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "@cf/meta/llama-3.1-8b-instruct",
    ],
)  # fmt: skip
def test_names_of_models_do_not_look_like_keys(name):
    assert not looks_like_key(name)


@pytest.mark.parametrize(
    "word",
    [
        "sk-canary-1", "sk-proj-canary", "openai/sk-canary-123", "gsk_canary1234",
        "hf_canaryAbcdefgh1234", "AIzaCanaryCanaryCanary12", "http://me:canary@host/v1",
        "ghp_canary1234567",
        "AKIACANARY12345678", "Canary1234567890abcdefGHIJKL", "0123456789abcdef0123456789abcdef",
    ],
)  # fmt: skip
def test_keys_look_like_keys(word):
    assert looks_like_key(word)
    assert "canary" not in mask_keys(f"unknown model '{word}'", names=True).lower()


def test_no_error_of_ours_has_a_secret_in_its_message_or_behind_it():
    secret = canaries.ALL[5]

    def fail() -> None:
        try:
            raise ValueError(f"it was {secret}")
        except ValueError as cause:
            raise RejectedError(f"HTTP 401: {secret} is wrong") from cause

    with use_redactor(Redactor([secret])), pytest.raises(RejectedError) as caught:
        fail()
    error = caught.value
    Redactor([secret]).redact_error(error)
    assert str(error) == "HTTP 401: *** is wrong"
    assert not canaries.found("".join(traceback.format_exception(error)))
    assert not canaries.found(repr(error.__cause__))
    assert str(ConfigError("unknown model 'sk-canary-12345'")) == "unknown model '***'"


def test_no_log_has_a_secret_that_the_process_knows(caplog):
    register_secrets(["canary-secret-logged"])
    install_log_redaction()
    logger = logging.getLogger("someone.else")
    with caplog.at_level(logging.DEBUG):
        logger.debug("headers: %s", {"authorization": "Bearer canary-secret-logged"})
        try:
            raise ValueError("canary-secret-logged")
        except ValueError:
            logger.exception("it failed")
    assert "Bearer ***" in caplog.text
    assert "canary-secret-logged" not in caplog.text


def test_log_probabilities_tell_no_token_of_a_secret():
    rows = [
        {"token": token, "logprob": -1.0, "bytes": list(token.encode()), "top_logprobs": [
            {"token": token, "logprob": -1.0, "bytes": list(token.encode())}]}
        for token in ("It ", "is ", "sk-proj", "-Vw7can", "aryOne_0aZ9-lQ", " so")
    ]  # fmt: skip
    hidden = EVERY.redact_logprobs(rows)
    assert [row["token"] for row in hidden] == ["It ", "is ", "***", "***", "***", " so"]
    assert not canaries.found(str(hidden))
    assert all(row["bytes"] is None for row in hidden[2:5])


def test_arguments_of_a_tool_stay_as_they_are_unless_a_secret_is_in_them():
    text = '{"a":  "\\u00e9\\n", "b": [1.50]}'
    assert EVERY.redact_json(text) == text
    escaped = "".join(f"\\u{ord(c):04x}" for c in canaries.ALL[5])
    assert not canaries.found(EVERY.redact_json(f'{{"x\\n": "{escaped}"}}'))


def _streamed(redactor: Redactor, pieces: list[str]) -> str:
    stream = redactor.create_stream()
    return "".join([*map(stream.feed_text, pieces), stream.finish()])


def test_a_long_text_is_looked_through_in_parts_and_a_secret_on_their_border_is_found():
    secret = "sk-canary-7f3a9b1c5d"
    redactor = Redactor([secret])
    for before in range(SCAN_CHUNK_CHARS - len(secret) - 1, SCAN_CHUNK_CHARS + 2, 3):
        text = "x" * before + secret + "y" * SCAN_CHUNK_CHARS
        assert redactor.redact_text(text) == "x" * before + "***" + "y" * SCAN_CHUNK_CHARS


def test_a_text_full_of_a_secret_s_beginning_is_compared_in_full_at_its_end_alone(monkeypatch):
    compared = []
    walk = Spelling.match_at
    monkeypatch.setattr(
        Spelling, "match_at", lambda self, text, at: compared.append(at) or walk(self, text, at)
    )
    redactor = Redactor(["sk-live-0123456789abcdefghij"])

    for begun in ("sk-", "sk-live-", "%73k-"):
        compared.clear()
        text = begun * 20_000 + " and so on"
        assert redactor.redact_text(text) == text
        assert len(compared) < 2_000  # a comparison in full for each beginning were 20,000
