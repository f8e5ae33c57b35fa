"""What a server logs: a line for each request, its errors, and nothing that was said."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest

from tests.support.loopback import Answer, loopback
from tests.support.serving import serving

SECRET = "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz"
PASTED = "sk-proj-" + "z9" * 20
"""A key that this server does not know."""
QUESTION, ANSWER = "Is anyone called Zebedee?", "Nobody called Ermintrude is here."


@pytest.fixture(scope="module")
def models():
    with loopback() as server:
        server.answers = {
            "good": Answer.text(ANSWER),
            "bad": Answer.refused(500, f"the key {SECRET} broke it"),
            "half": Answer((ANSWER, " And"), breaks_off=True),
        }
        yield server


def configuration(models, more=""):
    tables = "".join(
        f'[models.{name}]\nbase_url = "{models.base_url}"\nmodel = "{name}"\nretries = 0\n'
        for name in models.answers
    )
    return f'default = "good"\ncache = {{ use = false }}\n{tables}{more}'


def logged(folder):
    return (folder / "log").read_text()


@pytest.fixture(scope="module")
def log(tmp_path_factory, models):
    """What one server logs of one request of each kind."""
    folder = tmp_path_factory.mktemp("serve")
    with serving(folder, configuration(models), environ={"OPENAI_API_KEY": SECRET}) as server:
        server.chat(QUESTION)
        server.chat(QUESTION, "bad")
        server.chat(QUESTION, "half", stream=True)
        server.chat(QUESTION, "no-such-model")
        server.get(f"/v1/models?key={SECRET}", Authorization=f"Bearer {SECRET}")
        server.get("/a%0Ab")
        server.get(f"/{PASTED}/x")
        server.ended()
    return logged(folder)


@pytest.mark.parametrize(
    "line",
    [
        r"\d\d:\d\d:\d\d INFO +POST /v1/chat/completions 200 \d+ms model=default run=\d{8}-\w{8}",
        r'ERROR +POST \S+ 503 \d+ms model=bad run=\S+ code=\w+ error="HTTP 500: the key \*{3} br.+',
        r'ERROR +POST /v1/chat/completions 200 \d+ms model=half run=\S+ error=".+"',
        r"INFO +POST /v1/chat/completions 404 \d+ms code=model_not_found",
        r"INFO +GET /v1/models 200 \d+ms",
        r"INFO +GET /a%0Ab 404 \d+ms code=not_found",
    ],
)
def test_each_request_is_a_line_with_what_came_of_it(line, log):
    assert re.search(f"^.*{line}$", log, re.MULTILINE), log


def test_nothing_that_was_said_and_no_key_is_logged(log):
    for said in (SECRET, SECRET[8:], "Zebedee", "Ermintrude", "no-such-model", "Bearer"):
        assert said not in log
    assert "Traceback" not in log


def test_content_is_logged_where_it_is_asked_for_by_whom_and_still_no_key(tmp_path, models):
    key = "mx-abcdefghijklmnopqrstuvwxyz0123456789abcdefghij"
    table = f'[serve.keys.alice]\nsha256 = "{sha256(key.encode()).hexdigest()}"\n'
    with serving(
        tmp_path, configuration(models, table), "--log-content", environ={"OPENAI_API_KEY": SECRET}
    ) as server:
        assert server.get("/v1/models").status == 401
        server.key = key
        server.chat(f"{QUESTION} {SECRET} {key}")
        server.ended()
    log = logged(tmp_path)

    assert re.search(r"GET /v1/models 401 \d+ms code=\S+", log), log
    assert "client=alice" in log
    assert re.search(r"run=\S+ question: Is anyone called Zebedee\? \*\*\* \*\*\*", log), log
    assert re.search(rf"run=\S+ answer: {ANSWER}", log), log
    assert SECRET not in log
    assert key not in log


@pytest.mark.parametrize("options", [("--no-access-log",), ("--log-level", "warning")])
def test_who_wants_no_lines_gets_none(options, tmp_path, models):
    with serving(tmp_path, configuration(models), *options) as server:
        server.chat(QUESTION)
        server.ended()

    assert "POST" not in logged(tmp_path)


def test_a_key_that_stands_in_a_path_is_not_logged(log):
    assert "/***/x 404" in log
    assert PASTED not in log
