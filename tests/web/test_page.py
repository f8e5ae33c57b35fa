"""The page as people use it: asking and watching, before asking, details, marks, past runs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support import page_world
from tests.support.page_visit import CONTRAST, Visit
from tests.support.page_world import ANSWER, FIRST, SECOND, Gate, refuses
from tests.support.serving import serving
from tests.support.upstream import Script, Wire

browser = page_world.browser
served = page_world.served
upstream = page_world.upstream
visit = page_world.visit


async def breaks_off(wire: Wire) -> None:
    await wire.head()
    await wire.send(wire.voice.opening())
    await wire.say(*wire.words[:2])
    await wire.reset()


# ---------------------------------------------------------------- asking, and watching


def test_drafts_are_seen_while_they_are_written_and_before_the_answer(upstream, visit):
    ann, ben, chief = Gate(), Gate(), Gate()
    upstream.scripts["ann"] = Script(FIRST, ever=ann)
    upstream.scripts["ben"] = Script(SECOND, ever=ben)
    upstream.scripts["chief"] = Script(ANSWER, ever=chief)
    person = visit().ready().ask("Why is the sky blue?")

    person.find(".card.writing", has_text="Air scatters blue").wait_for()
    person.find(".card.writing", has_text="Short waves are").wait_for()
    begins = """(() => { const box = document.querySelector('.card.writing .glance');
      const [text, all] = [box.firstElementChild, box].map((e) => e.getBoundingClientRect());
      return text.top - all.top })()"""
    assert 0 <= person.page.evaluate(begins) < 12, "a short draft stands at its card's top"
    assert "Waits for layer 1: 0 of 2 drafts are there" in person.text(".answer")
    assert person.find(".answer .prose").count() == 0

    ann.let()
    person.find(".card.done", has_text="ann").wait_for()
    assert "writing" in (person.find(".card", has_text="ben").get_attribute("class") or "")
    assert person.find(".axis .bar").count() == 2

    ben.let()
    person.find(".answer .prose.live", has_text="Air scatters blue").wait_for()
    assert "Nobody else" not in person.text(".answer")

    chief.let()
    person.answered()
    assert person.answer() == ANSWER
    assert person.text(".question") == "Why is the sky blue?"


def test_the_upper_edge_of_a_draft_fades_only_when_it_has_grown_beyond_its_card(upstream, visit):
    short, long, chief = Gate(), Gate(), Gate()
    upstream.scripts["ann"] = Script(FIRST, ever=short)
    upstream.scripts["ben"] = Script(SECOND, ever=long)
    upstream.scripts["chief"] = Script(ANSWER, ever=chief)
    person = visit(viewport={"width": 390, "height": 844}).ready().ask()
    person.find(".card.writing", has_text="Air scatters blue").wait_for()
    assert person.find(".glance.full").count() == 0

    short.let()
    grown = Script(FIRST * 9, pace=0.02)
    upstream.scripts["ann"] = grown
    person = visit(viewport={"width": 390, "height": 844}).ready().ask()
    person.find(".card.writing .glance.full").wait_for()
    for gate in (short, long, chief):
        gate.let()


def test_every_card_says_its_model_its_times_its_speed_and_its_cost(upstream, visit):
    upstream.scripts["ann"] = Script(FIRST, pace=0.02)
    person = visit().ready().ask().answered()

    words = person.card(0).inner_text()
    assert "ann" in words
    assert re.search(r"first word \d+ ms", words)
    assert re.search(r"\d+ tokens/s", words)
    assert re.search(r"\$0\.0000\d", words)
    totals = person.text(".totals")
    assert re.search(r"Time\s+\d", totals)
    assert re.search(r"Calls\s+3", totals)
    assert re.search(r"Cost\s+\$0\.000", totals)


def test_layers_are_drawn_one_under_the_other_with_the_aggregator_last(visit):
    person = visit().ready()
    person.find("#preset").select_option("deep")
    person.ask().answered()

    layers = person.find("section.layer")
    assert layers.count() == 2
    tops = [layers.nth(i).bounding_box()["y"] for i in (0, 1)]
    answer = person.find(".answer").bounding_box()["y"]
    assert tops[0] < tops[1] < answer
    assert person.find(".card").all_inner_texts()[2].startswith("Draft 2.1")
    assert person.find(".fan .line.done").count() == 2 + 2 + 2 + 2 + 1


def test_a_failed_call_says_why_and_the_run_goes_on(upstream, visit):
    upstream.scripts["lost"] = Script(ever=refuses)
    upstream.scripts["shaky"] = Script("It holds now.", plays=[breaks_off])
    person = visit().ready()
    person.find("#preset").select_option("torn")
    person.ask().answered()

    assert "no such key" in person.find(".card.failed").inner_text()
    assert "RejectedError" in person.find(".card.failed").inner_text()
    assert "begun anew" in person.find(".card", has_text="shaky").inner_text()
    assert "1 call failed" in person.text(".leftout")
    assert person.find(".axis .bar.failed .cross").count() == 1
    assert person.find(".axis .again").count() == 1


def test_a_run_without_an_answer_says_so_and_can_be_asked_again(upstream, visit):
    upstream.scripts["lost"] = Script(ever=refuses)
    person = visit().ready()
    person.find("#preset").select_option("doomed")
    person.ask("Is anybody there?")

    assert "no such key" in person.find(".answer [role=alert]").inner_text()
    person.find(".runs .dot.failed").wait_for()
    person.button("Ask again").click()
    person.find(".versions", has_text="2 of 2").wait_for()
    assert person.find(".runs li").count() == 1
    assert len(upstream.of("lost")) == 2
    person.complaints.clear()  # the failed stream itself is no complaint of the page's


def test_the_embedded_model_answers_in_the_page(browser, embedded, tmp_path):
    config = (
        'default = "small"\n[mixtures.small]\nlayers = [["smollm2-135m*2"]]\n'
        'aggregator = "smollm2-135m"\nsampling = { max_tokens = 12, seed = 1 }\n'
    )
    with serving(tmp_path / "served", config) as server:
        person = Visit(browser, server.url).ready()
        person.context.set_default_timeout(60_000)
        person.ask("Name a colour.").answered()

        assert person.find(".card.done").count() == 2
        assert person.text(".answer .prose").strip()
        person.was_quiet()
        person.close()


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stopping_hangs_up_on_every_model(how, upstream, visit):
    for name in ("ann", "ben"):
        upstream.scripts[name] = Script(FIRST, ever=Gate())
    person = visit().ready().ask()
    person.wait("document.querySelectorAll('.card.writing').length === 2")

    if how == "button":
        person.button("Stop").click()
    else:
        person.find("#question").press("Escape")

    person.find(".answer .note", has_text="Stopped").wait_for()
    upstream.wait_until_quiet()
    assert {record.status for record in upstream.of("ann", "ben")} == {"left"}
    assert person.find(".card.stopped").count() == 2
    person.find(".runs .dot.stopped").wait_for()


def test_a_second_question_carries_the_conversation(upstream, visit):
    person = visit().ready().ask("The first thing").answered()
    person.ask("The second thing")
    person.wait("document.querySelectorAll('.turn').length === 2")
    person.answered()

    said = upstream.of("ann")[-1].body["messages"]
    contents = [message["content"] for message in said]
    assert contents == ["The first thing", ANSWER, "The second thing"]
    assert person.find(".turn").first.locator(".card").count() == 0, "the older one is folded"
    person.find(".turn").first.locator(".fold").click()
    assert person.find(".turn").first.locator(".card").count() == 2


def test_one_model_alone_is_asked_beside_the_mixture(upstream, visit):
    person = visit().ready()
    person.find("#against").select_option("cleo")
    person.ask().answered()

    person.find(".versus").wait_for()
    both = person.find(".beside .answer")
    assert both.count() == 2
    assert "Cleo agrees with everybody." in both.nth(1).inner_text()
    versus = person.text(".versus")
    assert re.search(r"Cost\s+\$\S+\s+mixture \$", versus)
    assert "cheaper" in versus
    assert len(upstream.of("cleo")) == 1
    assert [m["content"] for m in upstream.of("cleo")[0].body["messages"]] == ["Why?"]


def test_an_answer_that_is_there_can_be_compared_afterwards(upstream, visit):
    person = visit().ready().ask("Why, then?").answered()

    person.find(".after select").select_option("cleo")
    person.button("Ask cleo").click()

    person.find(".beside .answer", has_text="Cleo agrees").wait_for()
    person.find(".versus").wait_for()
    assert upstream.of("cleo")[0].body["messages"][-1]["content"] == "Why, then?"
    assert len(upstream.of("chief")) == 1


# ---------------------------------------------------------------- before asking


def test_the_plan_tells_the_calls_and_the_worst_price_before_anything_is_asked(upstream, visit):
    person = visit().ready()
    assert "3 calls" in person.text("#plan")
    assert re.search(r"at most \$\d", person.text("#plan"))

    person.find("#preset").select_option("deep")
    person.find("#plan", has_text="5 calls").wait_for()
    person.find("#preset").select_option("cleo")
    person.find("#plan", has_text="1 call").wait_for()
    assert upstream.records == []


def test_proposers_samples_aggregator_and_layers_are_put_together_by_hand(upstream, visit):
    person = visit().ready()
    person.button("Change the mixture").click()
    person.button("One draft more").first.click()
    person.button("Add a proposer").click()
    person.page.get_by_label("Proposer 3: model").fill("cleo")
    person.button("Remove proposer 2").click()
    person.page.get_by_role("combobox", name="Aggregator").fill("ben")
    person.button("One layer more").click()
    person.find("#plan", has_text="7 calls").wait_for()
    assert upstream.records == []

    person.button("Done").click()
    person.ask().answered()
    asked = {name: len(upstream.of(name)) for name in ("ann", "ben", "cleo", "chief")}
    assert asked == {"ann": 4, "ben": 1, "cleo": 2, "chief": 0}
    assert [person.find("section.layer").nth(i).locator(".card").count() for i in (0, 1)] == [3, 3]


def test_a_mixture_that_cannot_be_is_said_before_it_is_asked(visit):
    person = visit().ready()
    person.button("Change the mixture").click()
    person.page.get_by_label("Proposer 1: model").fill("nobody-knows-me")

    person.find(".tuner [role=alert]", has_text="nobody-knows-me").wait_for()
    assert "cannot be asked" in person.text("#plan")
    person.complaints[:] = [c for c in person.complaints if "status of 40" not in c]


def test_what_cannot_be_asked_is_not_sent_and_the_reason_is_pointed_at(upstream, visit):
    person = visit().ready()
    person.button("Change the mixture").click()
    person.page.get_by_label("Proposer 1: model").fill("nobody-knows-me")
    person.find("#plan .bad").wait_for()
    person.button("Done").click()
    person.ask("Will it be lost?")

    person.find("#refusal", has_text="nobody-knows-me").wait_for()
    assert "nobody-knows-me" in person.text("[role=status].sr")
    person.button("Ask", exact=True).click()
    person.page.wait_for_timeout(600)
    assert person.find("#question").input_value() == "Will it be lost?"
    assert person.find("#refusal").is_visible()
    assert person.find(".turn, .tuner").count() == 0
    person.find("#question").press("Enter")
    person.wait("document.activeElement.id === 'question'")
    assert [url for url in person.requests if "/v1/" in url] == []

    person.find("#preset").select_option("deep")
    person.find("#plan.ready", has_text="5 calls").wait_for()
    assert person.find("#refusal").count() == 0
    person.find("#question").press("Enter")
    person.answered()
    assert person.text(".question") == "Will it be lost?"
    person.complaints[:] = [c for c in person.complaints if "status of 40" not in c]


def test_a_new_question_is_asked_at_once_though_the_last_run_is_still_being_recorded(
    upstream, visit
):
    upstream.scripts["ann"] = Script(FIRST, plays=[Gate()])
    person = visit().ready()
    person.page.route("**/api/runs/*", lambda route: route.fulfill(status=404, body="{}"))
    person.ask("The first")
    person.find(".card.writing", has_text="ann").wait_for()
    person.button("New question").click()
    person.ask("The second")

    person.find(".turn .totals").wait_for()
    assert person.find(".question").all_inner_texts() == ["The second"]
    assert person.answer() == ANSWER
    person.ask("The third")
    person.find(".question", has_text="The third").wait_for(timeout=1000)
    person.find(".turn").nth(1).locator(".totals").wait_for()
    person.complaints[:] = [c for c in person.complaints if "status of 404" not in c]


@pytest.mark.parametrize(
    ("pattern", "does"),
    [("rank", "picks"), ("vote", "votes"), ("best-of", "judges"), ("sequential", "aggregator")],
)
@pytest.mark.parametrize("teller", ["setup", "plan"])
def test_a_pattern_is_named_and_its_last_seat_is_called_by_what_it_does(
    pattern, does, teller, visit
):
    def told(route: Any) -> None:
        reply = route.fetch()
        body = reply.json()
        for row in body.get("mixtures", [body]):
            row.pop("pattern", None)
            if row["name"] == "team" and teller in route.request.url:
                row["pattern"] = pattern
        route.fulfill(response=reply, json=body)

    person = visit()
    person.page.route(re.compile("/api/(setup|plan)$"), told)
    person.ready()
    assert person.text(".pattern") == pattern
    person.button("Change the mixture").click()
    person.button("One draft more").first.click()
    person.find("#plan.ready", has_text="4 calls").wait_for()
    assert person.text(".pattern") == pattern
    last = person.page.get_by_role("combobox", name=does.capitalize(), exact=True)
    assert last.input_value() == "chief"
    assert person.page.evaluate(CONTRAST) == []

    person.button("Done").click()
    person.ask().answered()
    assert person.text(".answer .role") == does
    person.find("#preset").select_option("deep")
    person.find("#plan.ready", has_text="5 calls").wait_for()
    assert person.find(".pattern").count() == 0
    assert person.text(".answer .role") == does


# ---------------------------------------------------------------- details and marks


def test_a_card_opens_with_its_whole_answer_and_exactly_what_it_was_shown(upstream, visit):
    person = visit().ready().ask("Why is the sky blue?").answered()
    person.card(0).click()
    sheet = person.page.get_by_role("dialog")

    assert FIRST in sheet.inner_text()
    copy = sheet.get_by_role("button", name="Copy").bounding_box()
    text = sheet.locator(".prose p").first.bounding_box()
    assert copy["y"] + copy["height"] <= text["y"], "no button lies over the text"
    sheet.get_by_role("tab", name="What it was shown").click()
    assert "Why is the sky blue?" in sheet.inner_text()
    assert '"model": "ann"' in sheet.inner_text()
    sheet.get_by_role("button", name="Copy as JSON").click()
    copied = json.loads(person.page.evaluate("navigator.clipboard.readText()"))
    assert copied["messages"] == upstream.of("ann")[0].body["messages"]
    person.page.keyboard.press("Escape")
    assert sheet.count() == 0

    person.find(".answer .who").click()
    sheet.get_by_role("tab", name="What it was shown").click()
    assert "Short waves are scattered" in sheet.inner_text()


def test_a_card_tells_how_alike_it_is_and_which_sentences_stand_in_the_answer(visit):
    person = visit().ready().ask().answered()
    person.card(0).click()
    sheet = person.page.get_by_role("dialog")
    sheet.get_by_role("tab", name="In the final answer").click()

    assert "1 of 3 sentences" in sheet.inner_text()
    marked = "Air scatters blue light far more than red light."
    assert sheet.locator("mark").all_inner_texts() == [marked]
    assert sheet.get_by_role("progressbar").count() == 2


def test_the_answers_sentences_are_marked_by_whose_they_are(visit):
    person = visit().ready().ask().answered()
    toggle = person.button("Sources")
    assert toggle.get_attribute("aria-pressed") == "true"

    marks = person.find(".answer.marking mark.from")
    marks.nth(1).wait_for()
    assert marks.count() == 2
    assert marks.nth(0).get_attribute("class") == "from c0"
    assert marks.nth(1).get_attribute("class") == "from c1"
    assert marks.nth(1).inner_text().startswith("Short waves are scattered")
    assert "its own words" in person.text(".sources")
    marks.nth(1).click()
    assert "ben" in person.page.get_by_role("dialog").inner_text()


def test_marks_find_their_sentences_through_markdown_code_and_maths(upstream, visit):
    said = (
        "## A title of five whole words\n\n- The **first** point has *many* marks in it, truly.\n"
        "- See [the whole page](https://example.org/a_b) for what it says.\n\n"
        "It goes as $1/x^4$ with the wavelength, as everybody knows.\n\n"
        "```python\nprint('a line of code with words')\n```\n"
    )
    for name in ("ann", "chief"):
        upstream.scripts[name] = Script(said)
    person = visit().ready().ask().answered()

    person.find(".answer math").wait_for()
    person.wait("document.querySelectorAll('.answer mark').length >= 5")
    marked = " ".join(person.find(".answer mark").all_inner_texts())
    for words in ("title of five", "first", "the whole page", "with the wavelength", "line of"):
        assert words in marked


def test_the_axis_of_a_short_run_has_no_number_twice(visit):
    person = visit().ready().ask().answered()
    ticks = person.find(".axis .tick text").all_text_contents()
    assert len(ticks) > 2
    assert len({tick.removesuffix(" s") for tick in ticks}) == len(ticks)


def test_the_axis_names_the_critical_path(upstream, visit):
    upstream.scripts["ben"] = Script(SECOND, delay=0.4)
    person = visit().ready().ask().answered()

    chart = person.find(".axis svg[role=img]")
    assert re.search(
        r"3 calls.*Critical path: ben .* → chief ", chart.get_attribute("aria-label") or ""
    )
    assert person.find(".axis .bar.critical").count() == 2
    person.find(".axis .bar").nth(1).click()
    assert "Proposer 2 of layer 1" in person.page.get_by_role("dialog").inner_text()


# ---------------------------------------------------------------- past runs


def test_a_past_run_is_found_and_reopened_as_it_went(visit):
    person = visit().ready().ask("Why is the sky blue?").answered()
    cards = person.find(".card").all_inner_texts()
    path = person.text(".pathtold")
    person.button("New question").click()
    person.ask("What is rain?").answered()
    person.wait("document.querySelectorAll('.runs li').length === 2")

    person.page.get_by_label("Search past conversations").fill("sky")
    person.wait("document.querySelectorAll('.runs li').length === 1")
    person.find(".runs li a").click()
    person.find(".question", has_text="sky blue").wait_for()
    assert person.find(".card").all_inner_texts() == cards
    assert person.text(".pathtold") == path
    person.find(".answer mark").nth(1).wait_for()
    assert person.find(".answer mark").count() == 2

    person.page.reload()
    person.find(".question", has_text="sky blue").wait_for()
    assert person.find(".card").all_inner_texts() == cards


def test_a_reopened_run_can_be_continued(upstream, visit):
    person = visit().ready().ask("One").answered()
    person.page.reload()
    person.find("#plan.ready").wait_for()
    person.find(".card").first.wait_for()
    person.ask("Two")
    person.wait("document.querySelectorAll('.turn').length === 2")
    person.answered()

    contents = [message["content"] for message in upstream.of("ann")[-1].body["messages"]]
    assert contents == ["One", ANSWER, "Two"]


def test_a_conversation_is_deleted_only_when_that_is_said_twice(served, visit):
    person = visit().ready().ask().answered()
    person.find(".runs li").hover()
    person.button("Delete the conversation").click()
    person.button("Cancel").click()
    assert person.find(".runs li").count() == 1

    person.button("Delete the conversation").click()
    person.button("Delete", exact=True).click()
    person.find(".hintline", has_text="listed here").wait_for()
    assert served.get("/api/runs").json["runs"] == []
    assert person.find(".turn").count() == 0
