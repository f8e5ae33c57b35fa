"""The page says what failed in a run of every pattern, in the words of the answer."""

from __future__ import annotations

import pytest

from tests.support import page_world, pattern_failures
from tests.support.page_visit import Visit
from tests.support.pattern_failures import ALL_LOST, LOST, SAID, Ended, check_outcome
from tests.support.pattern_teams import NAMES, question

browser = page_world.browser
provider = pattern_failures.provider_fixture
server = pattern_failures.server_fixture

SHOWN = dict.fromkeys(NAMES, LOST) | dict(case for case in SAID if case[0] in NAMES)
"""Of each pattern the failure of its last step, or a lost member where no model has that step."""


@pytest.fixture(scope="module")
def person(browser, server):
    visit = Visit(browser, server.url)
    yield visit
    visit.was_quiet()
    visit.close()


def ask_team(person, pattern):
    person.ready()
    person.find("#preset").select_option(f"t-{pattern}")
    person.ask(question(pattern).messages[-1].text)


@pytest.mark.parametrize("pattern", NAMES)
def test_a_failure_is_told_under_the_answer(pattern, provider, server, person):
    provider.begin(pattern, SHOWN[pattern], server)
    ask_team(person, pattern)

    person.answered()
    text = person.text(".answer .prose")
    told = "; ".join(person.find(".leftout li").all_text_contents())
    check_outcome(pattern, SHOWN[pattern], Ended(text, told))


def test_a_run_whose_members_are_all_lost_says_so_in_place_of_an_answer(provider, server, person):
    provider.begin("mixture", ALL_LOST, server)
    ask_team(person, "mixture")

    assert "down" in person.find(".answer [role=alert]").inner_text()
    assert person.find(".answer .prose").count() == 0
    person.find(".runs .dot.failed").first.wait_for()
    person.complaints.clear()  # the failed stream itself is no complaint of the page's


@pytest.mark.parametrize(
    ("pattern", "drafts", "judges"),
    [("adaptive", 9, 1), ("residual", 6, 1), ("sparse", 3, 1), ("analyse", 3, 1), ("gate", 4, 3)],
)
def test_what_judges_a_layer_is_no_draft_of_it(pattern, drafts, judges, provider, server, person):
    provider.begin(pattern, None, server)
    ask_team(person, pattern)

    person.answered()
    person.find(".axis .bar").first.wait_for()
    places = person.find(".axis .bar .place").all_text_contents()
    assert (person.find(".card").count(), places.count("≷")) == (drafts, judges)
    assert all(person.find(".card .glance").all_text_contents())
    person.page.reload()
    person.find(".card").nth(drafts - 1).wait_for()
    assert person.find(".card").count() == drafts
