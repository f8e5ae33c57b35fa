"""What a member is not shown, and what it finds in the web, where its calls go out as batches."""

from __future__ import annotations

import json

import pytest

from tests.batch import test_provider_batches as batches
from tests.batch.test_provider_batches import ROWS, WORDS, finish, team_of
from tests.support import batch_provider, command_line
from tests.support.batch_provider import message_answer, provider_fake
from tests.support.batches import read_lines

desk, folder = command_line.desk, batches.folder
PLANTED = ("anna@example.com", "sk-proj-abcdefghijklmnop1234567890ABCD", "DE89370400440532013000")


@pytest.fixture
def said_again(monkeypatch):
    """Every row of a batch is answered with what was asked."""

    def repeat(body):
        return f"You said: {json.dumps(body['messages'], ensure_ascii=False)}"

    monkeypatch.setattr(batch_provider, "answer_text", repeat)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
@pytest.mark.usefixtures("said_again")
def test_what_a_member_is_not_shown_is_in_no_batch_and_stands_in_its_answers(folder, provider):
    rows = [f"Question {n}? {item}, {n}@example.org" for n, item in enumerate(PLANTED)]
    (folder.folder / "in.jsonl").write_text("".join(f'{{"prompt": "{row}"}}\n' for row in rows))
    with provider_fake() as fake:
        folder.write(team_of(provider, fake).replace("retries = 0", "redact = true\nretries = 0"))

        done = folder.run(*WORDS, "only")
        again = folder.run(*WORDS, "only")

    assert done.code == again.code == 0, done.err
    left = json.dumps([one["rows"] for one in fake.batches.values()]) + repr(fake.files)
    for item in (*PLANTED, "@example"):
        assert item not in left
    assert "[EMAIL_1]" in left
    lines = read_lines(folder.folder / "out.jsonl")
    for n, (line, item) in enumerate(zip(lines, PLANTED, strict=True)):
        assert item in line["answer"]
        assert f"{n}@example.org" in line["answer"]


def found_answer(body):
    """Anthropic's answer behind two searches; each model found a page of its own."""
    page = {"url": f"https://{body['model']}.example/", "title": body["model"]}
    found = [{"type": "web_search_result", **page}]
    return message_answer(body) | {
        "content": [
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": found},
            {"type": "text", "text": "It is so."},
        ],
        "usage": {
            "input_tokens": 20, "output_tokens": 10, "server_tool_use": {"web_search_requests": 2},
        },
    }  # fmt: skip


def test_a_search_of_a_providers_batch_is_in_the_row_with_its_pages_and_its_price(
    folder, monkeypatch
):
    monkeypatch.setattr(batch_provider, "message_answer", found_answer)
    with provider_fake() as fake:
        searching = "search = true\nretries = 0"
        folder.write(team_of("anthropic", fake).replace("retries = 0", searching))

        done = folder.run(*WORDS, "only")
        first = read_lines(folder.folder / "out.jsonl")
        again = folder.run(*WORDS, "only", "--overwrite")

    assert done.code == again.code == 0, done.err + again.err
    for one in fake.batches.values():
        assert all("web_search_20250305" in json.dumps(row["body"]["tools"]) for row in one["rows"])
    pages = [{"url": f"https://{name}.example/", "title": name} for name in ("last", "a", "b")]
    assert [line["sources"] for line in first] == [pages] * ROWS
    calls = 3 * ROWS
    cost = calls * (20 + 2 * 10) / 1e6 / 2 + calls * 2 * 10 / 1000
    assert finish(done)["cost_usd"] == pytest.approx(cost)
    # From the journal, too.
    assert read_lines(folder.folder / "out.jsonl") == first
    assert not fake.paid_twice
