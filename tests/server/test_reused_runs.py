"""A hand on runs: one proposer replaced, drafts paid for reused, reports and choices afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256

from tests.server.test_conversations import ask
from tests.support import page_world
from tests.support.agreement_reports import REPORT
from tests.support.serving import serving
from tests.support.upstream import Script

served = page_world.served
upstream = page_world.upstream


def wait_for(served, run):
    while (found := served.get(f"/api/runs/{run}").json)["state"] == "running":
        pass
    return found


def again(served, run, **wish):
    return served.post(f"/api/runs/{run}/again", wish)


def test_only_what_is_missing_is_asked_again_and_its_price_is_told_before(upstream, served):
    upstream.scripts["lost"] = Script(ever=page_world.refuses)
    first = ask(served, "Why?", model="torn")  # ann, shaky, lost > chief
    upstream.scripts["lost"] = Script("found again")
    price = again(served, first, ask="missing", dry_run=True).json
    whole = served.post("/api/plan", {"model": "torn"}).json
    assert (price["kept"], price["missing"], price["calls"]) == (2, 1, 2)
    assert 0 < price["max_cost_usd"] < whole["max_cost_usd"]
    asked = len(upstream.records)

    second = wait_for(served, again(served, first, ask="missing").json["run"])
    assert [record.model for record in upstream.records[asked:]] == ["lost", "chief"]
    assert second["state"] == "answered"
    assert [call["cost_usd"] for call in second["calls"][:2]] == [0.0, 0.0]
    assert "not paid for again" in second["calls"][0]["notices"][0]
    assert "found again" in str(upstream.records[-1].body["messages"])
    turns = served.get(f"/api/conversations/{first}").json["turns"]
    assert [(turn["id"], turn["previous"]) for turn in turns] == [
        (first, None),
        (second["id"], None),
    ]
    refused = again(served, second["id"], ask="missing")
    assert refused.status == 409
    assert "every proposer has answered" in refused.json["error"]["message"]


def test_another_aggregator_with_another_instruction_reads_the_drafts_that_are_there(
    upstream, served
):
    first = ask(served, "Why?")
    asked = len(upstream.records)
    wish = {"ask": "answer", "aggregator": "cleo", "instruction": "Write a table."}
    assert again(served, first, **wish, dry_run=True).json["calls"] == 1
    second = wait_for(served, again(served, first, **wish).json["run"])
    assert [record.model for record in upstream.records[asked:]] == ["cleo"]
    body = str(upstream.records[-1].body["messages"])
    assert "Write a table." in body
    assert page_world.FIRST in body
    assert second["answer"] == "Cleo agrees with everybody."
    assert second["asked"]["mixtura"] == {"aggregator": "cleo"}
    for wrong, status in (({"ask": "all"}, 400), ({"ask": "answer", "aggregator": "no"}, 404)):
        assert again(served, first, **wrong).status == status
    alone = ask(served, "Why?", model="ann")
    assert again(served, alone, ask="answer").status == 409


def test_a_proposer_under_way_is_replaced_by_another_model(upstream, served):
    upstream.scripts["ann"] = Script(page_world.FIRST, ever=page_world.Gate())
    body = {"model": "team", "messages": [{"role": "user", "content": "Why?"}], "stream": True}
    run = served.post("/api/runs", body).json["run"]
    path = f"/api/runs/{run}/control"
    wish = {"action": "ask_again", "layer": 1, "index": 0}
    for name, status in (("nobody", 404), ("deep", 400)):
        assert served.post(path, wish | {"model": name}).status == status
    while served.post(path, wish | {"model": "cleo"}).status == 409:
        pass
    found = wait_for(served, run)
    assert found["state"] == "answered"
    assert [call["model"] for call in found["calls"]] == ["ann", "ben", "cleo", "chief"]
    assert "asked anew" in found["calls"][0]["error"]
    assert "Cleo agrees" in str(upstream.of("chief")[-1].body["messages"])


def test_a_report_on_a_past_run_has_its_price_told_and_is_made_once(upstream, served):
    run = ask(served, "Why?")
    before = served.get(f"/api/runs/{run}").json
    path = f"/api/runs/{run}/agreement"
    upstream.scripts["chief"] = Script(json.dumps(REPORT))
    price = served.post(path, {"dry_run": True}).json
    assert (price["by"], price["calls"]) == ("chief", 1)
    assert price["max_cost_usd"] > 0

    made = served.post(path, {}).json
    asked = len(upstream.records)
    assert served.post(path, {}).json["agreement"] == made["agreement"]
    assert served.post(path, {"dry_run": True}).json["calls"] == 0
    assert len(upstream.records) == asked
    after = served.get(f"/api/runs/{run}").json
    assert after["agreement"] == made["agreement"]
    assert after["agreement"]["report"]["agreed"]
    assert after["cost_usd"] > before["cost_usd"]
    assert served.get(f"/api/conversations/{run}").json["turns"][0]["agreement"]
    alone = ask(served, "Why?", model="ann")
    assert served.post(f"/api/runs/{alone}/agreement", {}).status == 409


def choose(served, choice, words):
    run = ask(served, words)
    beside = ask(served, words, f"?beside={run}", model="cleo")
    return served.post("/api/choices", {"run": run, "beside": beside, "choice": choice})


def test_choices_are_counted_with_their_interval_and_exported_as_labels(tmp_path, served):
    for number, choice in enumerate(("mixture", "mixture", "model", "tie")):
        last = choose(served, choice, f"Question {number}?")
    (row,) = last.json["counts"]
    assert (row["mixture"], row["model"]) == ("team", "cleo")
    assert (row["won"], row["lost"], row["tied"]) == (2, 1, 1)
    assert (round(row["low"], 3), round(row["high"], 3)) == (0.208, 0.939)
    assert served.get("/api/choices").json == last.json

    files = {}
    for part in ("labels", "against", "outputs"):
        reply = served.get(f"/api/choices/{part}?mixture=team&model=cleo")
        files[part] = tmp_path / f"{part}.jsonl"
        files[part].write_bytes(reply.body)
    labels = [json.loads(line) for line in files["labels"].read_text().splitlines()]
    assert [label["label"] for label in labels] == ["model", "model", "other", "tie"]
    command = [
        sys.executable, "-m", "mixtura", "eval", "alpaca-eval", "--config",
        str(tmp_path / "served" / "mixtura.toml"), "--labels", str(files["labels"]), "--judge",
        "ben", "--against", str(files["against"]), "--outputs", str(files["outputs"]), "--dry-run",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert served.get("/api/choices/all").status == 404


def test_a_choice_is_only_of_two_answers_that_stand_beside_each_other(served):
    one, other = ask(served, "One?"), ask(served, "Other?")
    wish = {"run": one, "beside": other, "choice": "tie"}
    assert served.post("/api/choices", wish).status == 409
    assert served.post("/api/choices", wish | {"beside": "nothing"}).status == 404
    assert served.post("/api/choices", wish | {"choice": "both"}).status == 400


def test_calls_asked_anew_by_hand_are_as_bounded_as_those_of_a_request(upstream, tmp_path):
    for name in ("ann", "cleo"):
        upstream.scripts[name] = Script(page_world.FIRST, ever=page_world.Gate())
    configuration = page_world.configured(upstream, "[serve]\nmost_calls = 4\n")
    with serving(tmp_path / "bounded", configuration) as server:
        body = {"model": "team", "messages": [{"role": "user", "content": "Why?"}], "stream": True}
        path = f"/api/runs/{server.post('/api/runs', body).json['run']}/control"
        wish = {"action": "ask_again", "layer": 1, "index": 0, "model": "cleo"}
        told = []
        while "too_many_calls" not in told:
            reply = server.post(path, wish)
            told.append(reply.json["error"]["code"] if reply.body else "asked")

    assert told.count("asked") == 4


def test_a_key_that_may_use_less_than_before_gets_no_report_and_no_answer_anew(upstream, tmp_path):
    def keys(models):
        return f'[serve.keys.one]\nsha256 = "{sha256(b"one").hexdigest()}"\nmodels = {models}\n'

    with serving(tmp_path / "s", page_world.configured(upstream, keys('["team", "ann"]'))) as first:
        run = ask(replace(first, key="one"), "Why?")
    asked = len(upstream.records)
    with serving(tmp_path / "s", page_world.configured(upstream, keys('["ann"]'))) as server:
        narrow = replace(server, key="one")
        for wish in ({}, {"dry_run": True}):
            assert narrow.post(f"/api/runs/{run}/agreement", wish).status == 403
            assert again(narrow, run, ask="answer", **wish).status == 403
        assert narrow.get(f"/api/runs/{run}").status == 200  # what it has been told is its own
    assert len(upstream.records) == asked
