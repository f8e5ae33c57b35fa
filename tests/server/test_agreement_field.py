"""The `agreement` option of a request to the server, and the confidence of its answers."""

from __future__ import annotations

import json

import pytest

from tests.support.agreement_reports import REPORT
from tests.support.chat_server import QUESTION
from tests.support.serving import serving, team
from tests.support.upstream import Script, upstream_fixture

upstream = upstream_fixture(
    {
        "a": Script("Because of scattering."),
        "b": Script("It is Rayleigh's doing."),
        "chief": Script(json.dumps(REPORT)),
    }
)


@pytest.fixture(scope="module")
def server(upstream, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("serve"), team(upstream, "a", "b", "chief")) as found:
        yield found


def asked(server, **more):
    body = {"model": "default", "messages": QUESTION, **more}
    return server.post("/v1/chat/completions", body)


def test_an_agreement_comes_with_the_answer_where_the_request_wants_it(server):
    summary = asked(server, mixtura={"agreement": True}).json["mixtura"]

    assert summary["agreement"]["number"] == 0.5
    assert summary["agreement"]["report"]["agreed"][0]["who"] == ["a", "b"]
    assert summary["confidence"] is None
    assert summary["support"] == {"source": "agreement", "value": 0.5}

    plain = asked(server).json
    assert "agreement" not in plain["mixtura"]
    assert (plain["mixtura"]["confidence"], plain["mixtura"]["support"]) == (None, None)
    assert (
        plain["usage"]["total_tokens"]
        < asked(server, mixtura={"agreement": True}).json["usage"]["total_tokens"]
    )


def test_a_stream_has_it_in_its_last_frame_and_nothing_of_it_in_the_answer(server):
    body = asked(server, mixtura={"agreement": True}, stream=True).body.decode()
    rows = [json.loads(r[6:]) for r in body.split("\n\n") if r.startswith("data: {")]

    text = "".join(c["delta"].get("content") or "" for r in rows for c in r["choices"])
    assert json.loads(text) == REPORT  # the answer, once
    (summary,) = [row["mixtura"] for row in rows if "agreement" in row.get("mixtura", {})]
    assert summary["agreement"]["number"] == 0.5


def test_an_option_that_is_no_yes_or_no_is_refused(server):
    answer = asked(server, mixtura={"agreement": "please"})

    assert answer.status == 400
    assert "agreement" in answer.json["error"]["message"]
