"""Conversations over HTTP: turns in their places, read, renamed, exported, deleted."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

from tests.support import page_world
from tests.support.serving import serving
from tests.support.upstream import Script

served = page_world.served
upstream = page_world.upstream


def ask(served, words, place="", **more):
    """Ask as the page does, and wait until the run is kept; its id."""
    body = {"model": "team", "messages": [{"role": "user", "content": words}], "stream": True}
    run = served.post(f"/api/runs{place}", body | more).json["run"]
    while served.get(f"/api/runs/{run}").json["state"] == "running":
        pass
    return run


def test_turns_have_their_places_and_remember_how_they_were_asked(served):
    first = ask(served, "Why is the sky blue?")
    changed = {"proposers": ["ann*2", "ben"], "aggregator": "cleo", "proposals": True}
    second = ask(served, "And red?", f"?previous={first}", mixtura=changed)
    beside = ask(served, "And red?", f"?beside={second}", model="ann")

    (row,) = served.get("/api/conversations?q=nobody+else").json["conversations"]
    assert (row["id"], row["run"], row["turns"]) == (first, first, 2)
    found = served.get(f"/api/conversations/{second}").json
    assert [(t["id"], t["previous"], t["beside"]) for t in found["turns"]] == [
        (first, None, None), (second, first, None), (beside, first, second),
    ]  # fmt: skip
    assert found["turns"][1]["asked"] == {
        "model": "team",
        "mixtura": {"proposers": ["ann*2", "ben"], "aggregator": "cleo"},
    }
    assert found["turns"][0]["message"] == {"role": "user", "content": "Why is the sky blue?"}
    assert found["cost_usd"] > 0


def test_which_of_two_answers_without_names_comes_first_is_kept_and_what_was_chosen(served):
    run = ask(served, "Why?", "?blind=model")  # beside nothing it says nothing
    beside = ask(served, "Why?", f"?beside={run}&blind=model", model="cleo")
    named = ask(served, "Why?", f"?beside={run}&blind=chief", model="cleo")

    def seen(key):
        turns = served.get(f"/api/conversations/{run}").json["turns"]
        return {turn["id"]: turn.get(key) for turn in turns}

    assert seen("blind") == {run: None, beside: "model", named: None}
    assert seen("choice") == {run: None, beside: None, named: None}
    chosen = {"run": run, "beside": beside, "choice": "tie"}
    assert served.post("/api/choices", chosen).status == 200
    assert seen("choice") == {run: None, beside: "tie", named: None}


def test_an_answer_that_is_asked_for_again_does_not_come_from_the_cache(upstream, tmp_path):
    configuration = page_world.configured(upstream).replace("use = false", "use = true")
    with serving(tmp_path / "again", configuration) as server:
        first = ask(server, "Why?")
        ask(server, "Why?")
        calls = len(upstream.records)
        ask(server, "Why?", f"?conversation={first}")
        assert calls == 3
        assert len(upstream.records) == 6


def test_a_conversation_is_renamed_exported_and_deleted(upstream, served):
    upstream.scripts["chief"] = Script("It is **blue**.")
    first = ask(served, "Why is the sky blue?")
    last = ask(served, "Shorter", f"?previous={first}")
    path = f"/api/conversations/{first}"
    assert served.post(path, {"title": "The sky"}, method="PATCH").status == 204
    assert served.get("/api/conversations?q=SKY").json["conversations"][0]["title"] == "The sky"
    assert served.post(path, {"name": "x"}, method="PATCH").status == 400
    assert served.post(path, {"title": "x" * 201}, method="PATCH").status == 400

    text = served.get(f"{path}/markdown?run={last}").body.decode()
    assert text.startswith("# The sky\n")
    assert text.index("Why is the sky blue?") < text.index("It is **blue**.") < text.index("Short")
    whole = json.loads(served.get(f"{path}/json").body)
    assert [run["id"] for run in whole["turns"]] == [first, last]
    assert whole["turns"][0]["calls"][0]["text"] == page_world.FIRST

    assert served.post(path, {}, method="DELETE").status == 204
    assert served.get("/api/runs").json["runs"] == []
    for gone in (
        served.get(path),
        served.post(path, {}, method="DELETE"),
        served.get(f"{path}/json"),
    ):
        assert gone.status == 404


def test_a_key_sees_no_conversation_of_another(upstream, tmp_path):
    keys = "".join(
        f'[serve.keys.{name}]\nsha256 = "{sha256(name.encode()).hexdigest()}"\n'
        for name in ("one", "two")
    )
    with serving(tmp_path / "keys", page_world.configured(upstream, keys)) as server:
        mine, other = replace(server, key="one"), replace(server, key="two")
        first = ask(mine, "Why?")
        assert other.get(f"/api/conversations/{first}").status == 404
        assert other.post(f"/api/conversations/{first}", {}, method="DELETE").status == 404
        assert other.get("/api/conversations").json["conversations"] == []
        followed = ask(other, "Why?", f"?previous={first}")
        assert other.get(f"/api/conversations/{followed}").json["id"] == followed
