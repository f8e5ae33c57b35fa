"""The page's panel of where the proposals agree: asked for, kept with the run, text as text."""

from __future__ import annotations

import json
import os

import pytest

from tests.support import page_world
from tests.support.agreement_reports import REPORT
from tests.support.page_visit import CONTRAST
from tests.support.upstream import Script

browser = page_world.browser
served = page_world.served
upstream = page_world.upstream
visit = page_world.visit

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> " + "long" * 60


def ask_with_report(upstream, person):
    report = {**REPORT, "not_covered": [HOSTILE]}
    upstream.scripts["chief"] = Script(json.dumps(report))
    person.ready()
    person.button("Agreement report").click()
    person.ask("Why is the sky blue?").answered()
    person.find(".agreement").wait_for()
    return person


def test_a_report_is_asked_for_with_a_button_counted_before_and_shown_with_the_run(upstream, visit):
    person = ask_with_report(upstream, visit())

    shown = person.text(".agreement")
    assert "50" in person.text(".agreement header")
    for words in ("Air scatters light. ann, ben", "Disputed", "ben red", "Only one says", HOSTILE):
        assert words in shown
    assert person.page.title() != "owned"
    assert person.page.locator(".agreement img").count() == 0
    person.page.reload()
    person.find(".agreement").wait_for()
    assert person.text(".agreement") == shown
    body = upstream.records[-1].body
    assert "only_one" in str(body["messages"][-1]["content"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_panel_fits_a_phone_in_light_and_dark(scheme, upstream, visit):
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme}
    person = ask_with_report(upstream, visit(**phone, reduced_motion="reduce"))

    over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert person.page.evaluate(over) <= 0
    assert person.page.evaluate(CONTRAST) == []
    person.find(".agreement").scroll_into_view_if_needed()
    if folder := os.environ.get("SHOTS"):
        person.page.screenshot(path=f"{folder}/{scheme}.png")
