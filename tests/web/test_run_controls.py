"""A hand on runs on the page: a proposer replaced, drafts used again, a report, a blind choice."""

from __future__ import annotations

import json
import os
import re

from tests.support import page_world
from tests.support.agreement_reports import REPORT
from tests.support.page_visit import CONTRAST
from tests.support.page_world import ANSWER, Gate
from tests.support.upstream import Script

browser = page_world.browser
served = page_world.served
upstream = page_world.upstream
visit = page_world.visit


def shoot(person, name):
    if folder := os.environ.get("SHOTS"):
        person.page.screenshot(path=f"{folder}/{name}.png")


def test_a_slow_proposer_is_replaced_and_its_price_is_told_before(upstream, visit):
    upstream.scripts["ann"] = Script(page_world.FIRST, ever=page_world.Gate())
    person = visit().ready().ask("Why?")
    person.find(".card.writing").click()
    person.page.get_by_label("Replace it with another model").select_option("cleo")
    person.find(".callhand", has_text=re.compile(r"1 call, at most \$")).wait_for()
    shoot(person, "replace")
    person.button("Replace", exact=True).click()
    person.page.keyboard.press("Escape")
    person.answered()
    person.find(".card", has_text="Cleo agrees").wait_for()
    assert "Cleo agrees" in str(upstream.of("chief")[-1].body["messages"])


def test_afterwards_the_missing_are_asked_and_another_answer_is_made_of_the_drafts(upstream, visit):
    upstream.scripts["lost"] = Script(ever=page_world.refuses)
    person = visit().ready()
    person.find("#preset").select_option("torn")
    person.ask("Why?").answered()
    upstream.scripts["lost"] = Script("found again")
    asked = len(upstream.records)
    person.button("Ask the missing 1").click()
    sheet = person.page.get_by_role("dialog")
    sheet.get_by_text(re.compile(r"2 calls\b")).wait_for()
    shoot(person, "missing")
    sheet.get_by_role("button", name="Ask", exact=True).click()
    person.find(".versions", has_text="2 of 2").wait_for()
    person.answered()
    assert [record.model for record in upstream.records[asked:]] == ["lost", "chief"]
    assert person.find(".card.failed").count() == 0

    person.button("Answer anew").click()
    sheet.get_by_label("Who writes the answer").select_option("cleo")
    sheet.get_by_label("What it is told besides").fill("As a table")
    sheet.get_by_text(re.compile(r"1 call\b")).wait_for()
    sheet.get_by_role("button", name="Ask", exact=True).click()
    person.find(".versions", has_text="3 of 3").wait_for()
    person.answered()
    assert person.answer() == "Cleo agrees with everybody."
    assert "As a table" in str(upstream.of("cleo")[-1].body["messages"])
    assert person.find(".runs li").count() == 1


def test_a_past_run_gets_its_report_after_its_price_and_keeps_it(upstream, visit):
    person = visit().ready().ask("Why?").answered()
    upstream.scripts["chief"] = Script(json.dumps(REPORT))
    person.button("Where they agree").click()
    sheet = person.page.get_by_role("dialog")
    sheet.get_by_text(re.compile(r"1 call\b")).wait_for()
    shoot(person, "report")
    sheet.get_by_role("button", name="Make the report").click()
    person.find(".agreement", has_text="Disputed").wait_for()
    assert person.button("Where they agree").count() == 0
    person.page.reload()
    person.find(".agreement", has_text="Disputed").wait_for()


def test_two_answers_without_names_are_chosen_from_and_counted(upstream, visit):
    gate = Gate()
    upstream.scripts["chief"] = Script(ANSWER, plays=[gate])
    person = visit().ready()
    person.find("#against").select_option("blind:cleo")
    person.ask("Why?")
    person.wait("location.hash.startsWith('#run/')")
    person.find(".blindwait").wait_for()
    while not upstream.of("cleo"):
        person.page.wait_for_timeout(20)
    person.page.reload()
    person.find(".blindwait").wait_for()
    gate.let()
    person.find(".blind .verdict").wait_for()
    shoot(person, "blind")
    assert person.page.evaluate(CONTRAST) == []
    shown = person.text(".turn")
    for name in ("cleo", "chief", "mixture", "team", "ann"):
        assert name not in shown.replace("Cleo agrees with everybody", "")
    both = person.find(".blind .answer").all_inner_texts()
    person.page.reload()
    person.find(".blind .verdict").wait_for()
    assert person.find(".blind .answer").all_inner_texts() == both
    assert "chief" not in person.text(".turn")
    mine = next(i for i, text in enumerate(both) if "Air scatters" in text)
    person.button(f"Answer {mine + 1}", exact=True).click()
    told = person.find(".verdict", has_text="You preferred the mixture.")
    told.wait_for()
    person.find(".verdict", has_text="team won 1 of 1 against cleo, 95 % 21–100").wait_for()
    shoot(person, "chosen")
    person.page.reload()
    person.find(".verdict", has_text="team won 1 of 1 against cleo, 95 % 21–100").wait_for()
    person.button("All choices").click()
    with person.page.expect_download() as saved:
        person.button("labels.jsonl").click()
    assert json.loads(saved.value.path().read_text()) == {"id": 1, "label": "model"}


def test_an_answer_asked_for_early_names_its_sources_and_who_was_not_asked(upstream, visit):
    gate = page_world.Gate()
    upstream.scripts["ann"] = Script("Nothing of use", ever=gate)
    upstream.scripts["ben"] = Script(page_world.FIRST)
    person = visit().ready()
    person.find("#preset").select_option("deep")
    person.ask("Why?")
    person.find(".pending", has_text="1 of 2 drafts").wait_for()
    person.button("Answer now").click()
    gate.let()
    person.answered()
    person.find(".answer mark").first.wait_for()
    assert person.find(".sources li .model").all_inner_texts() == ["ann", "ben", "its own words"]
    assert person.find(".layer").nth(1).locator(".stateword").all_inner_texts() == ["not asked"] * 2
    assert "1 of 4 drafts" in person.text(".strip")

    upstream.scripts["ann"] = Script(page_world.FIRST)
    person.ask("And red?")
    person.find(".turn").nth(1).locator(".totals").wait_for()
    place = "[...document.querySelectorAll('.question')].at(-1).getBoundingClientRect().top"
    assert person.page.evaluate(place) < 60, "a follow-up does not stand at the top"
