"""A provider that says odd things of its batches: one row, or one batch, and no more, is harmed."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import ClassVar

import pytest

from mixtura.batch import provider_http
from mixtura.batch.mistral_batches import MistralForm
from mixtura.batch.provider_forms import AnthropicForm, OpenAIForm, RemoteBatch
from mixtura.batch.provider_http import BatchHttp
from mixtura.core.errors import MixturaError, ModelError, TimedOutError
from mixtura.transport.pool import Http1Transport
from tests.batch.test_provider_batches import ROWS, WORDS, answers, finish, team_of
from tests.support.batch_provider import chat_answer, provider_fake
from tests.support.batches import write_rows
from tests.support.canaries import ALL, found
from tests.support.command_line import desk  # noqa: F401 - a fixture
from tests.support.http_server import QuietHandler, serve_handler

ODD = (
    None, True, -1, 2**62, 2**80, 10**400, 1.5, float("nan"), float("inf"), "", "x" * 10_000, "..",
    "../../admin", "a/../b", "a?b=c", "a#b", "a\r\nX-Injected: yes", "a b", "ключ", "%2e%2e", [],
    {}, [1], ["x"], [None], [[]], [{}], {"id": 1}, {"data": {"data": 1}}, {"message": ["x"]},
)  # fmt: skip
BODIES = (
    b"", b"null", b"[]", b"5", b'"x"', b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 5_000,
    b'{"data": [' + b"[" * 2_000, b"NaN", b"<html>", b"9" * 5_000,
)  # fmt: skip
FIELDS = (
    "id", "status", "data", "errors", "output_file_id", "error_file_id", "output_file",
    "error_file", "input_files", "input_file_id", "metadata", "request_counts", "created_at",
    "processing_status", "has_more", "custom_id", "response", "result", "error",
)  # fmt: skip


@pytest.fixture(scope="module")
def said():
    """What the provider says to every request, and the requests that it gets."""

    class Handler(QuietHandler):
        body = b""
        asked: ClassVar[list[str]] = []

        def do_GET(self) -> None:
            type(self).asked.append(self.path)
            self.send_body(200, self.body, "application/json")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.do_GET()

    with serve_handler(Handler) as Handler.url:
        yield Handler


async def _ask_everything(url: str) -> list[BaseException]:
    """What goes wrong in all that can be asked of a provider, once each."""
    wrong: list[BaseException] = []
    http = BatchHttp(url + "/v1", {}, Http1Transport())
    done = RemoteBatch("b", over=True, files=("f",))
    for form in (OpenAIForm(http), AnthropicForm(http), MistralForm(http)):
        form_read = form.read

        async def over(name: str, read=form_read) -> RemoteBatch:
            return (await read(name))._replace(over=True)

        form.read = over  # type: ignore[method-assign] - it would wait for one that never ends
        for step in (
            form.upload("t", []), form.find("t", "f", 0, 0.0), form.read("b"), form.cancel("b"),
            form.read_results(done, lambda _: None),
        ):  # fmt: skip
            try:
                await step
            except BaseException as error:  # noqa: BLE001 - all that could end the batch
                wrong.append(error)
    return wrong


def test_whatever_a_provider_says_of_a_batch_is_an_error_in_words_or_passed_over(said):
    tried = 0
    bodies = [*BODIES]
    for value in ODD:
        odd = dict.fromkeys(FIELDS, value)
        for rows in ({}, {"data": [odd]}, {"data": [{"id": "b"}, odd], "errors": {"data": [odd]}}):
            bodies.append(json.dumps({**odd, "id": "b", "status": "failed", **rows}).encode())
        bodies.append(json.dumps(odd).encode())
    for said.body in bodies:
        for error in asyncio.run(_ask_everything(said.url)):
            assert isinstance(error, ModelError), (said.body[:200], error)
            assert len(str(error)) < 3_000
        tried += 15
    assert tried > 1_500
    assert all(path.startswith("/v1/") and ".." not in path for path in said.asked)


def test_a_reply_and_a_line_without_end_are_cut_off(said, monkeypatch):
    monkeypatch.setattr(provider_http, "MAX_REPLY_BYTES", 1_000)
    said.body = b'{"id": "' + b"x" * 5_000
    errors = asyncio.run(_ask_everything(said.url))
    assert len(errors) == 14  # there is no upload at Anthropic
    assert all("larger than" in str(error) for error in errors)


@pytest.fixture
def folder(desk):  # noqa: F811
    desk.env["KEY_OF_TEST"] = ALL[0]
    write_rows(desk.folder / "in.jsonl", ROWS)
    return desk


@pytest.mark.parametrize(("pause", "arrives"), [(0.3, True), (30.0, False)])
def test_results_may_take_long_if_they_come_steadily(said, monkeypatch, pause, arrives):
    monkeypatch.setattr(provider_http, "REQUEST_SECONDS", 2.0)
    monkeypatch.setattr(provider_http, "SLOWEST_DOWNLOAD", 200)

    class Slow(said):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2000")
            self.end_headers()
            with suppress(OSError):  # who does not wait for the end
                for _ in range(10):
                    self.wfile.write(b"x" * 199 + b"\n")
                    time.sleep(pause)

    lines = []
    with serve_handler(Slow, waits=False) as url:
        read = BatchHttp(url + "/v1", {}, Http1Transport()).read_lines("/f", lines.append)
        if arrives:
            asyncio.run(read)
            assert len(lines) == 10
        else:
            with pytest.raises(TimedOutError):
                asyncio.run(read)
            assert len(lines) < 3


def test_one_odd_line_among_the_results_costs_no_other_row_its_answer(folder, monkeypatch):
    with provider_fake() as fake:
        folder.write(team_of("openai", fake))
        name = "custom_id"
        odd = [
            "{", "5", "[" * 3_000, json.dumps({name: ["x"], "response": {"body": {}}}),
            json.dumps({name: "other-0", "response": {"body": chat_answer(PROMPT)}}),
            json.dumps({name: f"x-{'9' * 5000}", "response": {"status_code": 2**70}}),
            json.dumps({name: "mixtura-0-٣", "response": {"status_code": "200"}}),
        ]  # fmt: skip
        fake.odd_lines = odd
        done = folder.run(*WORDS, "auto")
        assert done.code == 0, done.err
        assert len(answers(folder)) == ROWS
        assert not fake.live
        assert not fake.paid_twice
        assert "forged" not in json.dumps(answers(folder))


PROMPT = {"model": "forged", "messages": [{"role": "user", "content": "forged"}]}


def test_numbers_and_keys_in_the_answers_of_a_batch_pass_the_same_doors_as_live_ones(folder):
    with provider_fake() as fake:
        folder.write(team_of("openai", fake))
        counts = iter((2**62, -5, 1.5, "many", None, 10**30, True, [7]))

        def odd_answer(body):
            count = next(counts, 2**62)
            answer = chat_answer(body)
            answer["usage"] = {"prompt_tokens": count, "completion_tokens": count}
            answer["choices"][0]["message"]["content"] += f" {ALL[0]}"
            return answer

        fake.answer = odd_answer
        done = folder.run(*WORDS, "only", "--max-cost", "1")
        assert done.code == 0, done.err
        assert 0 < finish(done)["cost_usd"] < 0.01
        assert finish(done)["tokens"] < 100_000
        for path in folder.folder.rglob("*"):
            if path.is_file() and path.suffix != ".toml":
                assert not found(path.read_bytes(), (ALL[0],)), path
        assert not found(done.out + done.err, (ALL[0],))


def test_a_batch_that_fails_with_words_full_of_keys_shows_none(folder):
    with provider_fake() as fake:
        folder.write(team_of("openai", fake))
        fake.failure = "x" * 290 + ALL[0] + "y" * 5_000
        done = folder.run(*WORDS, "only")
        assert done.code == 3, done.err
        text = (folder.folder / "out.errors.jsonl").read_text()
        assert not found(text + done.out + done.err, (ALL[0],))
        assert len(text) < 3_000 * ROWS
        assert MixturaError.__name__ not in text
