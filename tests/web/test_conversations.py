"""Conversations on the page: turns as they were, branches, a name, files, the same team again."""

from __future__ import annotations

import os
import re

import pytest

from tests.server.test_conversations import ask
from tests.support import page_world
from tests.support.page_visit import CONTRAST
from tests.support.upstream import Script

browser = page_world.browser
served = page_world.served
upstream = page_world.upstream
visit = page_world.visit

TURNS = 50


def shoot(person, name):
    if folder := os.environ.get("SHOTS"):
        person.page.screenshot(path=f"{folder}/{name}.png")


def test_a_conversation_comes_back_as_it_was_with_its_own_mixture(upstream, visit):
    upstream.scripts["chief"] = Script(
        "## Choose\n\n- the **B-tree**\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    )
    person = visit().ready().ask("Which index?").answered()
    person.button("Change the mixture").click()
    person.button("One draft more").first.click()
    person.find("#plan.ready", has_text="4 calls").wait_for()
    person.button("Done").click()
    person.ask("And on disk?")
    person.find(".turn").nth(1).locator(".totals").wait_for()
    person.find(".talk", has_text="2 turns").wait_for()
    person.find(".runs .m", has_text="2 turns").wait_for()
    assert person.find(".runs li").count() == 1
    shoot(person, "two-turns")

    person.page.reload()
    person.find(".turn").nth(1).locator(".card").nth(2).wait_for()
    first = person.find(".turn").first
    assert first.locator(".answer strong").inner_text() == "B-tree"
    assert first.locator(".answer td").count() == 2
    assert person.find(".card").count() == 3
    assert "changed" in person.find(".turn").nth(1).locator(".strip").inner_text()
    person.find("#plan.ready", has_text="4 calls").wait_for()
    first.locator(".fold").click()
    first.locator(".card").nth(1).wait_for()
    assert person.find(".card").count() == 5
    contents = [m["content"] for m in upstream.of("ann")[-1].body["messages"]]
    assert contents[0] == "Which index?"
    assert contents[2] == "And on disk?"


def test_an_edited_question_and_another_answer_are_branches_to_go_back_to(upstream, visit):
    person = visit().ready().ask("Why is the sky blue?").answered()
    person.ask("And red?")
    person.find(".turn").nth(1).locator(".totals").wait_for()
    person.button("Edit", exact=True).first.click()
    box = person.page.get_by_label("The question, edited")
    assert box.input_value() == "Why is the sky blue?"
    box.fill("Why is the sea blue?")
    shoot(person, "editing")
    box.press("Enter")
    person.find(".turn").nth(1).wait_for(state="detached")
    person.find(".versions", has_text="2 of 2").wait_for()
    assert person.text(".question") == "Why is the sea blue?"
    assert [m["content"] for m in upstream.of("ann")[-1].body["messages"]] == [
        "Why is the sea blue?"
    ]

    person.button("Regenerate").click()
    person.find(".versions", has_text="3 of 3").wait_for()
    for number in (2, 1):
        person.button("The version before").click()
        person.find(".versions", has_text=f"{number} of 3").wait_for()
    person.find(".turn").nth(1).wait_for()
    assert person.find(".question").all_inner_texts() == ["Why is the sky blue?", "And red?"]
    assert person.find(".runs li").count() == 1


def test_a_conversation_is_renamed_saved_and_deleted_from_its_head(visit, served):
    person = visit().ready().ask("Why is the sky blue?").answered()
    person.button("Rename the conversation").click()
    person.page.get_by_role("dialog").get_by_role("textbox").fill("The sky")
    person.button("Save", exact=True).click()
    person.find(".runs .q", has_text="The sky").wait_for()
    person.find(".talk h1", has_text="The sky").wait_for()

    for name, words in (("Markdown", "# The sky"), ("JSON", '"title":"The sky"')):
        person.button("Export the conversation").click()
        with person.page.expect_download() as saved:
            person.button(name, exact=True).click()
        assert words in saved.value.path().read_text()
    person.page.get_by_label("Search past conversations").fill("nobody else ever")
    person.find(".runs nav[aria-busy=false]").wait_for()
    assert person.find(".runs li").count() == 1
    person.button("Delete the whole conversation").click()
    person.button("Delete", exact=True).click()
    person.find(".turn").wait_for(state="detached")
    assert served.get("/api/runs").json["runs"] == []


def test_a_conversation_of_fifty_turns_is_opened_with_two_requests(served, visit):
    last = ""
    for number in range(TURNS):
        last = ask(
            served, f"Question {number}?", f"?previous={last}" if last else "", model="chief"
        )
    person = visit().ready(f"/#run/{last}")
    person.find(".turn").nth(TURNS - 1).wait_for()
    person.find(".turn").last.locator(".totals").wait_for()
    asked = [re.sub(r"^.*?/api/", "/api/", url) for url in person.requests if "/api/" in url]
    runs = [url for url in asked if re.match("/api/(runs|conversations)/", url)]
    assert runs == [f"/api/conversations/{last}", f"/api/runs/{last}"]
    assert person.find(".runs li").count() == 1
    assert person.find(".answer .prose").count() == TURNS
    size = person.page.evaluate(
        "performance.getEntriesByType('resource').filter((e) => e.name.includes('/api/'))"
        ".reduce((sum, e) => sum + e.decodedBodySize, 0)"
    )
    assert size < 200_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_head_and_the_tools_fit_a_phone(scheme, visit):
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme}
    person = visit(**phone, reduced_motion="reduce").ready().ask("Why? " * 40).answered()
    person.find(".talk").wait_for()
    person.find(".talk").scroll_into_view_if_needed()
    over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert person.page.evaluate(over) <= 0
    assert person.page.evaluate(CONTRAST) == []
    shoot(person, f"phone-{scheme}")
    assert person.find("h1").count() == 1
