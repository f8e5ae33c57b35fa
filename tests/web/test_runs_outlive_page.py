"""A run begun on the page goes on without it: reload, Back, another tab; only Stop ends it."""

from __future__ import annotations

import json
import re
import urllib.request

from tests.support import page_world
from tests.support.upstream import Script

browser = page_world.browser
served = page_world.served
upstream = page_world.upstream
visit = page_world.visit

QUESTION = {"model": "team", "messages": [{"role": "user", "content": "Why?"}], "stream": True}
BODY = QUESTION | {"mixtura": {"proposals": True}}


def open_events(served, run):
    """A response that has begun: who opened it follows the run."""
    return urllib.request.urlopen(f"{served.url}/api/runs/{run}/events", timeout=60)


def follow(served, run):
    with open_events(served, run) as response:
        return response.read().decode()


def test_a_run_is_followed_from_its_start_by_everyone_and_forgotten_once_it_is_stored(
    upstream, served
):
    gate = page_world.Gate()
    upstream.scripts["chief"] = Script(page_world.ANSWER, ever=gate)
    run = served.post("/api/runs", BODY).json["run"]
    with open_events(served, run) as first, open_events(served, run) as second:
        gate.let()
        told = [one.read().decode() for one in (first, second)]

    assert all('"run_started"' in one and one.endswith("data: [DONE]\n\n") for one in told)
    assert served.get(f"/api/runs/{run}").json["state"] == "answered"
    while served.get(f"/api/runs/{run}/events").status != 404:
        pass


def test_the_events_of_a_run_that_ended_at_once_wait_for_whoever_began_it(served):
    run = served.post("/api/runs", BODY).json["run"]
    while served.get(f"/api/runs/{run}").json["state"] == "running":
        pass
    told = follow(served, run)
    assert '"run_started"' in told
    assert told.endswith("data: [DONE]\n\n")


def test_a_refused_run_is_refused_as_the_api_refuses_it(served):
    answer = served.post("/api/runs", BODY | {"model": "nobody"})
    assert answer.status == 404
    assert "nobody" in json.dumps(answer.json["error"])


def test_a_reload_another_tab_and_back_find_the_run_that_goes_on(upstream, visit):
    gate = page_world.Gate()
    upstream.scripts["chief"] = Script(page_world.ANSWER, ever=gate)
    person = visit().ready()
    person.ask("Why is the sky blue?")
    person.page.wait_for_url(re.compile("#run/"))
    address = person.page.evaluate("location.hash")
    person.page.reload()
    person.find(".answer", has_text="Air scatters blue").wait_for()
    other = visit().ready(f"/{address}")
    other.find(".answer", has_text="Air scatters blue").wait_for()
    person.page.go_back()
    person.find(".turn").first.wait_for(state="detached")
    person.page.go_forward()
    person.find(".answer", has_text="Air scatters blue").wait_for()

    gate.let()
    for one in (person, other):
        one.find(".answer", has_text="Nobody else ever said").wait_for()


def test_only_stop_ends_a_run_that_was_found_again(upstream, visit):
    upstream.scripts["chief"] = Script(page_world.ANSWER, ever=page_world.Gate())
    person = visit().ready()
    person.ask("Why?")
    person.page.wait_for_url(re.compile("#run/"))
    person.page.reload()
    person.button("Stop").click()
    person.find(".runs .dot.stopped").wait_for()


def test_a_run_is_told_to_answer_now_and_to_leave_a_proposer_out(upstream, visit):
    upstream.scripts["ann"] = Script(page_world.ANSWER, ever=page_world.Gate())
    for button in ("Answer now", "Leave it out"):
        person = visit().ready()
        person.ask("Why?")
        if button == "Leave it out":
            person.find(".card.writing").click()
        person.find("button", has_text=button).click()
        person.answered()
        assert "Error" not in person.page.inner_text("main")  # it was ended by hand
