"""Seats with a persona and a sampling of their own, in the options of one request."""

from __future__ import annotations

import pytest

from tests.support import page_world

served = page_world.served
upstream = page_world.upstream

DOUBTS = {"model": "ann", "samples": 2, "persona": "Doubt it.", "sampling": {"temperature": 1.5}}
TELLS = {"model": "chief", "persona": "One table.", "sampling": {"top_p": 0.5, "max_tokens": 77}}


def test_a_seat_is_asked_as_the_request_says_and_the_plan_counts_it(upstream, served):
    wish = {"proposers": [DOUBTS, "ben"], "aggregator": TELLS}
    assert served.chat("Why?", model="team", mixtura=wish).status == 200
    ann, ben, chief = (upstream.of(name) for name in ("ann", "ben", "chief"))
    assert len(ann) == 2
    assert ann[0].body["temperature"] == 1.5
    assert "Doubt it." in ann[0].body["messages"][0]["content"]
    assert "Doubt it." not in str(ben[0].body)
    assert (chief[0].body["top_p"], chief[0].body["max_tokens"]) == (0.5, 77)
    assert "One table." in chief[0].body["messages"][0]["content"]
    assert "Doubt it." not in chief[0].body["messages"][0]["content"]

    def price(last):
        return served.post("/api/plan", {"model": "team", "mixtura": {"aggregator": last}}).json[
            "max_cost_usd"
        ]

    plain = price({"model": "chief"})
    assert price({"model": "chief", "persona": "Long. " * 400}) > plain
    assert price({"model": "chief", "sampling": {"max_tokens": 10}}) < plain


@pytest.mark.parametrize(
    ("seat", "said"),
    [
        ({"model": "ann", "sampling": {"temperature": 9}}, "proposers[0].sampling.temperature"),
        ({"model": "ann", "sampling": {"top_p": 2}}, "proposers[0].sampling.top_p"),
        ({"model": "ann", "sampling": {"heat": 1}}, "heat"),
        ({"model": "ann", "samples": 0}, "samples must be 1"),
        ({"model": "ann", "variants": [" "]}, "a variant is a text"),
        ({"persona": "Doubt."}, "model"),
        ({"model": "ann>ben"}, "takes names"),
        ({"model": "nobody-here"}, "nobody-here"),
    ],
)
def test_a_seat_that_cannot_be_is_refused_with_what_is_wrong(upstream, served, seat, said):
    answer = served.chat("Why?", model="team", mixtura={"proposers": [seat]})
    assert answer.status in (400, 404)
    assert said in answer.json["error"]["message"]
    assert not upstream.records


def test_another_aggregator_for_the_same_drafts_keeps_the_persona_of_its_seat(upstream, served):
    body = {
        "model": "team",
        "messages": [{"role": "user", "content": "Why?"}],
        "stream": True,
        "mixtura": {"proposals": True, "aggregator": TELLS},
    }
    run = served.post("/api/runs", body).json["run"]
    while served.get(f"/api/runs/{run}").json["state"] == "running":
        pass
    assert served.get(f"/api/runs/{run}").json["asked"]["mixtura"] == {"aggregator": TELLS}
    wish = {"ask": "answer", "aggregator": "cleo"}
    second = served.post(f"/api/runs/{run}/again", wish).json["run"]
    while served.get(f"/api/runs/{second}").json["state"] == "running":
        pass
    assert "One table." in upstream.of("cleo")[0].body["messages"][0]["content"]
