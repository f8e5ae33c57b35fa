"""The object of `ask --json`: docs/reference/cli.md has each field that is really there."""

from __future__ import annotations

import json
import re

import pytest

from mixtura.core.types import Completion, Message, ProviderData, WebSource
from mixtura.protocols.openai.completion_json import completion_json
from tests.support import command_line, shell
from tests.support.agreement_reports import reports_when_asked
from tests.support.http_server import QuietHandler, serve_handler
from tests.support.loopback import Answer
from tests.support.paths import ROOT

desk = command_line.desk
shell = shell.shell


def documented_fields(heading: str) -> tuple[set[str], set[str]]:
    """The fields of the table below a heading: all of them, and those that are always there."""
    page = (ROOT / "docs" / "reference" / "cli.md").read_text("utf-8")
    section = re.split(r"^#+ ", page.partition(f"# {heading}\n")[2], flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \| (.+) \|$", section, re.MULTILINE)
    names = [name for name, _, _ in rows]
    assert names, heading
    assert len(names) == len(set(names)), heading
    return set(names), {name for name, _, meaning in rows if not re.search(r"\bonly\b", meaning)}


def assert_documented(heading: str, objects: list[dict], apart: frozenset[str] = frozenset()):
    """Every key of *objects* is in the table; what the table has is in one or in all of them."""
    known, always = documented_fields(heading)
    assert set().union(*objects) - apart == known, heading
    assert [always - set(one) for one in objects] == [set()] * len(objects), heading


def every_call(calls: list[dict]) -> list[dict]:
    return [one for call in calls for one in (call, *every_call(call.get("calls", [])))]


class Searched(QuietHandler):
    """A provider that searched the web for its answer, as OpenRouter says it."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        page = {"type": "url_citation", "url_citation": {"url": "https://a.example/", "title": "A"}}
        delta = {"content": "It is A.", "annotations": [page]}
        used = {"prompt_tokens": 9, "completion_tokens": 20}
        rows = [
            {"choices": [{"index": 0, "delta": delta}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": used},
        ]
        said = "".join(f"data: {json.dumps(row)}\n\n" for row in rows)
        self.send_body(200, said.encode(), "text/event-stream")


@pytest.fixture
def objects(shell):
    """What `ask --json` prints in every case that adds a field."""
    desk = shell.desk
    desk.server.answers["chief"] = reports_when_asked("Because.")
    desk.server.answers["form"] = Answer.text('{"a": 1}')
    desk.server.answers["refuses"] = Answer.refused(401, "the key is wrong")
    with serve_handler(Searched) as address:
        team = (desk.folder / "mixtura.toml").read_text()
        redact = 'redact = { words = ["Zoe"] }'
        more = desk.model("form") + desk.model("refuses") + desk.model("hidden", redact)
        outer = '[mixtures.outer]\nlayers = [["team", "hidden"]]\naggregator = "chief"\n'
        web = (
            f'[models.web]\nprovider = "openrouter"\nmodel = "x"\nbase_url = "{address}"\n'
            'api_key_env = "KEY_OF_TEST"\nsearch = true\n'
        )
        desk.write(f"{team}{more}{web}{outer}")
        desk.write('{"type": "object"}', "form.json")
        desk.write("A note.", "note.txt")
        plain = ("ask", "-m", "outer", "--cache", "--json", "Who is Zoe?")
        form = ("--schema", "form.json", "--attach", "note.txt", "--output", "out.json")
        printed = [shell.run(*plain[:-1], "--agreement", "Who is Zoe?").json]
        printed.append(shell.run(*plain).json)
        shell.run("ask", "-m", "form", *form, "--continue=last", "--json", "And?")
        printed.append(json.loads((desk.folder / "out.json").read_text()))
        printed.append(shell.run("ask", "-m", "refuses", "--json", "Why?").json)
        printed.append(shell.run("ask", "-m", "web", "--json", "Why?", KEY_OF_TEST="k").json)
        dry = ("--dry-run", *form, "--continue=last", "--json", "And?")
        return printed, shell.run("ask", "-m", "form", *dry).json


def test_the_page_has_every_field_that_ask_prints_and_no_other(objects):
    printed, dry = objects
    calls = every_call([call for one in printed for call in one["calls"]])
    usages = [one["usage"] for one in (*printed, *calls)]
    by_model = [row for one in printed for row in one["usage_by_model"].values()]
    recalled = [call["recalled"] for call in calls if call["recalled"]]

    assert_documented("The object of `ask --json`", printed)
    assert_documented("A call", calls)
    assert_documented("Usage", usages)
    assert_documented("Usage", by_model, apart=frozenset(("cost_usd",)))
    assert recalled
    assert {*recalled[0]} == {"usage", "cost_usd", "seconds", "first_token_seconds"}
    assert all({"draw", "messages"} <= {*call["request"]} for call in calls)
    known, always = documented_fields("A dry run")
    assert known == always
    assert {*dry} == known | {"attachments", "continued", "schema", "output"}


def test_the_page_has_every_field_of_a_completion(objects):
    printed, _ = objects
    calls = every_call([call for one in printed for call in one["calls"]])
    answers = [call["completion"] for call in calls if call["completion"]]
    message = Message("assistant", "No.", provider_data=ProviderData("here", {"a": "b"}))
    rest = completion_json(
        Completion(message, "a", logprobs=({},), refusal=True, sources=(WebSource("https://a"),))
    )

    assert_documented("A completion", [*answers, rest])
    for charge in (charge for answer in answers for charge in answer["charges"]):
        assert {*charge} == {"model", "usage", "outcome"}
