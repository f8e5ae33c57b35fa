"""/v1/files and /v1/batches: what the official client does with OpenAI's, per key."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from contextlib import closing
from hashlib import sha256

import openai
import pytest

from tests.support.serving import serving, team
from tests.support.upstream import Script, honest, running, upstream_fixture
from tests.support.upstream.dialects import frame

URL = "/v1/chat/completions"
OVER = ("completed", "failed", "cancelled", "expired")


def key(name: str, more: str = "") -> str:
    return f'[serve.keys.{name}]\nsha256 = "{sha256(name.encode()).hexdigest()}"\n{more}\n'


KEYS = key("ann", 'models = ["team"]') + key("bob")


def row(number: int, model: str = "team", **more) -> dict:
    body = {"model": model, "messages": [{"role": "user", "content": f"Question {number}?"}]}
    return {"custom_id": f"row-{number}", "method": "POST", "url": URL, "body": body} | more


def lines(*rows: dict | str) -> bytes:
    return "".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in rows).encode()


def client_of(server, name: str = "ann") -> openai.OpenAI:
    client = openai.OpenAI(base_url=server.base_url, api_key=name, max_retries=0, timeout=60)
    return server.closed_with_it.enter_context(client)


def begun(client, data: bytes):
    file = client.files.create(file=("in.jsonl", data), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=URL, completion_window="24h", metadata={"name": "mine"}
    )


def waited(client, batch, *states: str):
    until = time.monotonic() + 60
    while (batch := client.batches.retrieve(batch.id)).status not in (states or OVER):
        assert time.monotonic() < until, batch
        time.sleep(0.05)
    return batch


def content(client, file_id: str) -> list[dict]:
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


upstream = upstream_fixture({"a": Script("a says so."), "chief": Script("Because.")})


@pytest.fixture(scope="module")
def server(upstream, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("batches"), team(upstream, "a", "chief", more=KEYS)) as s:
        yield s


def test_the_official_client_runs_a_batch_from_upload_to_download(server):
    client = client_of(server)
    batch = begun(client, lines(*map(row, range(5))))
    assert batch.object == "batch"
    assert batch.status == "validating"
    batch = waited(client, batch)
    assert batch.status == "completed", batch
    assert batch.request_counts.model_dump() == {"total": 5, "completed": 5, "failed": 0}
    assert batch.metadata == {"name": "mine"}
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens > 0
    assert batch.error_file_id is None
    assert batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    answers = content(client, batch.output_file_id)
    assert [one["custom_id"] for one in answers] == [f"row-{i}" for i in range(5)]
    body = answers[0]["response"]["body"]
    assert body["choices"][0]["message"]["content"] == "Because."
    made = client.files.retrieve(batch.output_file_id)
    assert made.purpose == "batch_output"
    assert batch.id in [one.id for one in client.batches.list(limit=1)]
    assert client.files.delete(batch.input_file_id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(batch.input_file_id)


def test_a_bad_file_fails_with_the_line_and_code_of_every_mistake(server):
    client = client_of(server)
    rows = (
        row(1), "{", row(1), row(2, method="GET"), row(3, url="/v1/embeddings"), row(4, "other"),
        {"custom_id": "x"}, row(5, body={"model": "team"}),
    )  # fmt: skip
    batch = waited(client, begun(client, lines(*rows)))
    assert batch.status == "failed"
    assert [(one.line, one.code) for one in batch.errors.data] == [
        (2, "invalid_json_line"),
        (3, "duplicate_custom_id"),
        (4, "invalid_method"),
        (5, "invalid_url"),
        (6, "mismatched_model"),
        (7, "missing_required_parameter"),
        (8, "invalid_request"),
    ]


def test_a_batch_asks_no_model_that_its_key_may_not_use(server, upstream):
    before = len(upstream.records)
    batch = waited(client_of(server), begun(client_of(server), lines(row(1, "a"))))
    assert batch.status == "failed"
    assert batch.errors.data[0].code == "model_not_allowed"
    assert len(upstream.records) == before


def test_a_key_sees_only_its_own_files_and_batches(server):
    ann, bob = client_of(server), client_of(server, "bob")
    batch = waited(ann, begun(ann, lines(row(1))))
    assert bob.batches.list().data == []
    assert bob.files.list().data == []
    for asked in (
        lambda: bob.batches.retrieve(batch.id),
        lambda: bob.batches.cancel(batch.id),
        lambda: bob.files.retrieve(batch.output_file_id),
        lambda: bob.files.content(batch.output_file_id),
        lambda: bob.files.delete(batch.output_file_id),
    ):
        with pytest.raises(openai.NotFoundError):
            asked()
    with pytest.raises(openai.BadRequestError, match="No such File"):
        bob.batches.create(input_file_id=batch.input_file_id, endpoint=URL, completion_window="24h")


def test_another_window_endpoint_or_purpose_is_refused(server):
    client = client_of(server)
    file = client.files.create(file=("in.jsonl", lines(row(1))), purpose="batch")
    for wrong, param in (
        ({"completion_window": "1h"}, "completion_window"),
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
    ):
        asked = {"input_file_id": file.id, "endpoint": URL, "completion_window": "24h"} | wrong
        with pytest.raises(openai.BadRequestError) as refused:
            client.batches.create(**asked)
        assert refused.value.param == param
    for wrong in ({"anchor": "created_at", "seconds": 60}, {"anchor": "now", "seconds": 3600}):
        with pytest.raises(openai.BadRequestError, match="output_expires_after"):
            client.batches.create(**asked | {"completion_window": "24h", "endpoint": URL},
                                  output_expires_after=wrong)  # fmt: skip
    with pytest.raises(openai.BadRequestError, match="purpose"):
        client.files.create(file=("in.jsonl", b"{}"), purpose="assistants")


def test_the_files_of_a_batch_are_kept_as_long_as_it_asks(server):
    client = client_of(server)
    file = client.files.create(file=("in.jsonl", lines(row(1))), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint=URL, completion_window="24h",
        output_expires_after={"anchor": "created_at", "seconds": 7200},
    )  # fmt: skip
    batch = waited(client, batch)
    made = client.files.retrieve(batch.output_file_id)
    assert made.expires_at - made.created_at == pytest.approx(7200, abs=1)


def test_a_cancelled_batch_keeps_what_was_answered_and_names_the_rest(tmp_path):
    with running() as slow:
        slow.scripts = {"a": Script("a", delay=0.05), "chief": Script("Because.", delay=0.05)}
        table = team(slow, "a", "chief", more="[serve.batches]\nrows_at_once = 2")
        with serving(tmp_path, table) as server:
            client = client_of(server)
            batch = begun(client, lines(*map(row, range(200))))
            counted(client, batch, 3)
            assert client.batches.cancel(batch.id).status == "cancelling"
            batch = waited(client, batch)
            asked = len(slow.records)
            assert batch.status == "cancelled"
            assert batch.cancelling_at <= batch.cancelled_at
            done = [one["custom_id"] for one in content(client, batch.output_file_id)]
            left = content(client, batch.error_file_id)
            assert 3 <= len(done) == batch.request_counts.completed < 200
            assert {one["error"]["code"] for one in left} == {"batch_cancelled"}
            names = [f"row-{i}" for i in range(200)]
            assert sorted(done + [one["custom_id"] for one in left]) == sorted(names)
            whole = [r for r in slow.records if r.model == "chief" and r.status == "whole"]
            assert len(done) == len(whole), "an answer that was paid is in the output"
            metrics = server.get("/metrics").body
            assert b'mixtura_batches_total{status="cancelled"} 1.0' in metrics
            assert f"mixtura_batch_rows_total {float(len(done))}".encode() in metrics
            with pytest.raises(openai.ConflictError):
                client.batches.cancel(batch.id)
            assert len(slow.records) == asked


def test_a_killed_server_goes_on_with_a_batch_and_pays_no_finished_call_twice(tmp_path):
    with running() as slow:
        table, batch = killed_in_a_batch(tmp_path, slow, rows=60, answered=8)
        with serving(tmp_path, table) as server:
            client = client_of(server)
            batch = waited(client, batch)
            assert batch.status == "completed", batch
            answers = content(client, batch.output_file_id)
            assert [one["custom_id"] for one in answers] == [f"row-{i}" for i in range(60)]
        asked = [json.dumps(record.body, sort_keys=True) for record in slow.records]
        again = len(asked) - len(set(asked))
        assert len(set(asked)) == 120
        assert again <= 4  # the rows that were under way, one call each


def killed_in_a_batch(folder, slow, *, rows, answered):
    """A server's table and the batch in which it was killed, when so many rows were *answered*."""
    slow.scripts = {"a": Script("a", delay=0.05), "chief": Script("Because.", delay=0.05)}
    table = team(slow, "a", "chief", more="[serve.batches]\nrows_at_once = 2")
    with serving(folder, table) as server:
        batch = begun(client_of(server), lines(*map(row, range(rows))))
        counted(client_of(server), batch, answered)
        server.ended(signal.SIGKILL)
    return table, batch


def counted(client, batch, rows: int) -> None:
    """Return once so many *rows* are answered."""
    until = time.monotonic() + 60
    while client.batches.retrieve(batch.id).request_counts.completed < rows:
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [("/v1/completions", {"prompt": "Why?"}), ("/v1/responses", {"input": "Why?", "seed": None})],
)
def test_rows_of_the_other_endpoints_are_answered_in_their_form(server, endpoint, asked):
    client = client_of(server)
    rows = [
        {"custom_id": str(n), "method": "POST", "url": endpoint, "body": {"model": "team"} | asked}
        for n in range(2)
    ]
    file = client.files.create(file=("in.jsonl", lines(*rows)), purpose="batch")
    begun_here = client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h"
    )
    batch = waited(client, begun_here)
    assert batch.status == "completed", batch
    for one in content(client, batch.output_file_id):
        body = one["response"]["body"]
        if endpoint == "/v1/completions":
            assert openai.types.Completion(**body).choices[0].text == "Because."
            assert body["usage"]["total_tokens"] > 0
        else:
            assert openai.types.responses.Response(**body).output_text == "Because."
            assert body["usage"]["total_tokens"] > 0


PAGE = "https://found.example/page"


async def found_a_page(wire):
    """An answer with the page that its model found."""
    if wire.voice.body["model"] != "chief":
        await honest(wire)
        return
    await wire.head()
    await wire.send(frame({"choices": [], "citations": [PAGE]}))
    await wire.say("Because.")
    await wire.finish("stop")
    await wire.end()


@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [
        (URL, {"messages": [{"role": "user", "content": "Why?"}]}),
        ("/v1/completions", {"prompt": "Why?"}),
        ("/v1/responses", {"input": "Why?"}),
    ],
)
def test_a_row_of_every_endpoint_names_the_pages_that_were_found(tmp_path, endpoint, asked):
    body = {"model": "team"} | asked
    data = lines({"custom_id": "1", "method": "POST", "url": endpoint, "body": body})
    with running() as found:
        found.scripts = {"a": Script("So."), "chief": Script("Because.", ever=found_a_page)}
        with serving(tmp_path, team(found, "a", "chief")) as server:
            client = client_of(server)
            file = client.files.create(file=("in.jsonl", data), purpose="batch")
            batch = client.batches.create(
                input_file_id=file.id, endpoint=endpoint, completion_window="24h"
            )
            batch = waited(client, batch)
            assert batch.status == "completed", batch
            (line,) = content(client, batch.output_file_id)
    sources = line["response"]["body"]["mixtura"]["sources"]
    assert [one["url"] for one in sources] == [PAGE]


def test_a_batch_for_an_endpoint_has_rows_of_that_alone(server):
    client = client_of(server)
    body = {"model": "team", "input": "Why?", "previous_response_id": "resp_1"}
    wrong = {"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": body}
    file = client.files.create(file=("in.jsonl", lines(wrong, row(2))), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/responses", completion_window="24h"
    )
    batch = waited(client, batch)
    assert batch.status == "failed"
    assert [(one.line, one.code) for one in batch.errors.data] == [
        (1, "invalid_request"), (2, "invalid_url"),
    ]  # fmt: skip


def test_a_batch_that_expires_keeps_what_was_answered(tmp_path):
    with running() as slow:
        table, batch = killed_in_a_batch(tmp_path, slow, rows=200, answered=3)
        # Its day is over while no server runs.
        (store,) = tmp_path.rglob("mixtura.sqlite")
        with closing(sqlite3.connect(store)) as db, db:
            (body,) = db.execute("SELECT body FROM batches").fetchone()
            late = json.loads(body) | {"expires_at": 1}
            db.execute("UPDATE batches SET body = ?", (json.dumps(late),))
        with serving(tmp_path, table) as server:
            client = client_of(server)
            batch = waited(client, batch)
            assert batch.status == "expired", batch
            done = content(client, batch.output_file_id)
            left = content(client, batch.error_file_id)
            assert 3 <= len(done) == batch.request_counts.completed < 200
            assert {one["error"]["code"] for one in left} == {"batch_expired"}
            assert len(done) + len(left) == 200


def test_a_batch_ends_at_the_day_cap_of_its_key(tmp_path):
    with running() as priced:
        priced.scripts = {"a": Script("a"), "chief": Script("Because.")}
        capped = key("ann", "day_usd = 300.0")
        models = team(priced, "a", "chief", more="[serve.batches]\nrows_at_once = 1\n" + capped)
        models = models.replace("input = 1.0, output = 2.0", "input = 10000, output = 10000")
        with serving(tmp_path, models) as server:
            client = client_of(server)
            batch = waited(client, begun(client, lines(*(with_limit(n) for n in range(200)))))
            assert batch.status == "failed", batch
            assert batch.errors.data[0].code == "budget_exceeded"
            done = content(client, batch.output_file_id)
            left = content(client, batch.error_file_id)
            assert 0 < len(done) < 200
            assert len(done) + len(left) == 200
            assert batch.model_extra["mixtura"]["cost_usd"] <= 300


def with_limit(number: int) -> dict:
    asked = row(number)
    asked["body"]["max_tokens"] = 20
    return asked
