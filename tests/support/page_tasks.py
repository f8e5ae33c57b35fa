"""Ten tasks of somebody who has only the page, each step a picture.

``python -m tests.support.pictures FOLDER`` walks through them at every size.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.support.agreement_reports import REPORT
from tests.support.page_world import Gate

if TYPE_CHECKING:
    from tests.support.page_visit import Visit
    from tests.support.upstream import Upstream

Take = Callable[[str], None]


def change_and_save_team(visit: Visit, take: Take) -> None:
    """The team is changed, a seat gets a persona, and all of it becomes a preset."""
    visit.ready()
    visit.find("#preset").select_option("team")
    visit.button("Change the mixture").click()
    visit.find(".tuner .proposer input").first.fill("bo")
    take("task-find-a-model")
    visit.find(".modellist li", has_text="boreal-8b").first.click()
    visit.button("Proposer 2: persona and sampling").click()
    visit.page.get_by_label("Persona", exact=True).fill("You doubt everything.")
    take("task-persona")
    visit.button("Save as a preset").click()
    number = visit.find("#preset option").count()  # each window saves one of its own
    visit.page.get_by_label("Name of the preset").fill(f"doubters-{number}")
    take("task-save-preset")
    visit.button("Save", exact=True).click()
    visit.find(".toast").wait_for()
    take("task-saved-preset")
    visit.button("Done").click()


def hand_on_a_run(visit: Visit, take: Take, upstream: Upstream, question: str) -> None:
    """A failed proposer is replaced, the run answers now with what is there."""
    slow, gate = upstream.scripts["cirrus-27b"], Gate()
    upstream.scripts["cirrus-27b"] = replace(slow, ever=gate)
    visit.ready()
    visit.find("#preset").select_option("deep")
    visit.ask(question)
    visit.find(".card.failed").click()
    visit.page.get_by_label("Replace it with another model").select_option("delta-flash")
    visit.find(".callhand b").wait_for()
    take("task-replace")
    visit.button("Replace", exact=True).click()
    visit.page.keyboard.press("Escape")
    visit.find(".card.done", has_text="delta-flash").wait_for()
    take("task-replaced")
    visit.button("Answer now").click()
    upstream.scripts["cirrus-27b"] = slow
    gate.let()
    visit.answered()
    take("task-answered-now")


def conversation_of_turns(visit: Visit, take: Take) -> None:
    """It goes on, branches, is renamed, found and exported."""
    visit.find("#preset").select_option("team")
    visit.ask("And what of clouds?")
    visit.find(".turn").nth(1).locator(".totals").wait_for()
    take("task-second-turn")
    visit.button("Edit", exact=True).last.click()
    visit.page.get_by_label("The question, edited").fill("And what of the sea?")
    take("task-edit")
    visit.page.get_by_label("The question, edited").press("Enter")
    visit.find(".versions", has_text="2 of 2").wait_for()
    visit.answered()
    take("task-branch")
    visit.button("Export the conversation").click()
    take("task-export")
    visit.page.keyboard.press("Escape")


def find_it(visit: Visit, take: Take) -> None:
    """A word of an answer finds the conversation."""
    if visit.page.viewport_size["width"] < 860:
        visit.button("Show past runs").click()
    visit.page.get_by_label("Search past conversations").fill("forty times")
    visit.page.wait_for_timeout(500)
    take("task-search")
    if visit.page.viewport_size["width"] < 860:
        visit.button("Close the list of runs").click()


def compare_blind(visit: Visit, take: Take, question: str) -> None:
    """Two answers without names, and a choice."""
    visit.ready()
    visit.find("#preset").select_option("team")
    visit.find("#against").select_option("blind:boreal-8b")
    visit.find("#plan.ready", has_text="6 calls").wait_for()
    visit.ask(question)
    take("task-blind-wait")
    visit.find(".blind .answer").first.wait_for()
    take("task-blind")
    visit.button("Answer 1", exact=True).click()
    visit.find(".note.verdict").wait_for()
    take("task-blind-chosen")


def see_where_they_agree(visit: Visit, take: Take, upstream: Upstream) -> None:
    """A report about the run that is there, after its price."""
    chief = upstream.scripts["atlas-large"]
    visit.button("Where they agree").last.click()
    visit.find("dialog .actions b").wait_for()
    take("task-report-price")
    upstream.scripts["atlas-large"] = replace(chief, text=json.dumps(REPORT))
    visit.button("Make the report").click()
    visit.find(".agreement", has_text="Disputed").wait_for()
    upstream.scripts["atlas-large"] = chief
    visit.find(".agreement").scroll_into_view_if_needed()
    take("task-report")


def attach_a_file(visit: Visit, take: Take) -> None:
    """A text file goes with the question."""
    visit.ready()
    note = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"The sky was green."}
    visit.find("input[type=file]").set_input_files([note])
    visit.find("#question").fill("What colour was it?")
    take("task-attached")
    visit.find("#question").press("Enter")
    visit.answered()
    visit.page.evaluate("document.querySelector('.scroller').scrollTo(0, 0)")
    take("task-asked-with-a-file")


def by_keyboard(visit: Visit, take: Take) -> None:
    """From the top of the page to an answer's details without a mouse."""
    visit.ready()
    visit.page.keyboard.press("Escape")
    keys = visit.button("Keyboard shortcuts")
    if visit.page.viewport_size["width"] < 860:
        visit.button("Show past runs").click()
    keys.click()
    take("task-shortcuts")
    visit.page.keyboard.press("Escape")
    for number in range(4):
        visit.page.keyboard.press("Tab")
        take(f"task-keyboard-{number}")


def walk_through_tasks(visit: Visit, take: Take, upstream: Upstream, question: str) -> None:
    """All of them, in one window."""
    change_and_save_team(visit, take)
    hand_on_a_run(visit, take, upstream, question)
    see_where_they_agree(visit, take, upstream)
    conversation_of_turns(visit, take)
    find_it(visit, take)
    compare_blind(visit, take, question)
    attach_a_file(visit, take)
    by_keyboard(visit, take)
