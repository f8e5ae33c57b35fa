"""States of the page that somebody leads it through, in any of its languages, one by one."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.page_visit import Visit
from tests.support.page_words import forms, read_words
from tests.support.page_world import Gate


def leave_dialog(person: Visit) -> None:
    """Close the dialog that is open."""
    person.page.keyboard.press("Escape")
    person.find("dialog").wait_for(state="detached")


def states_of_a_run(
    person: Visit, language: str, gate: Gate, *, question: str, link: str
) -> Iterator[str]:
    """A run of `torn` beside one model: under way, over, its details; *link* is in its answer."""
    page, words = person.page, read_words(language)
    person.find("#preset").select_option("torn")
    person.find("#against").select_option("cleo")
    person.ask(question)
    person.find(".card.writing").wait_for()
    person.find(".card.failed").first.wait_for()
    yield "a run under way"
    gate.let()
    person.find(".totals").wait_for()
    person.find("mark.from").first.wait_for()
    person.find("#plan.ready").wait_for()
    yield "an answer, its sources, and one model beside it"
    person.card(0).click()
    for key in ("details.shown", "details.overlap", "details.answer"):
        page.get_by_role("tab", name=str(words[key]), exact=True).click()
        yield key
    leave_dialog(person)
    page.get_by_role("link", name=link).first.click()
    yield "a link"
    leave_dialog(person)


def states_of_a_conversation(person: Visit, language: str, *, question: str) -> Iterator[str]:
    """A conversation's dialogs, a question that is edited, and a blind comparison."""
    words = read_words(language)
    for key in ("talk.rename", "talk.export", "hand.anew"):
        person.button(str(words[key])).first.click()
        person.page.get_by_role("dialog").wait_for()
        yield key
        leave_dialog(person)
    person.button(str(words["edit"]), exact=True).first.click()
    yield "a question that is edited"
    person.button(str(words["cancel"]), exact=True).click()
    person.find("#preset").select_option("team")
    person.find("#against").select_option("blind:cleo")
    four_calls = forms(words["calls"])[-1].replace("{n}", "4")
    person.find("#plan.ready", has_text=four_calls).wait_for()
    person.ask(question)
    person.find(".blind .verdict").wait_for()
    yield "two answers without names"
    person.button(str(words["blind.neither"]), exact=True).click()
    tie = forms(words["ties"])[0].removeprefix("{n} ")
    person.find(".verdict", has_text=tie).wait_for()
    yield "what was chosen"
