"""axe-core finds nothing in any state of the page: wide and narrow, light and dark."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import page_axe, page_world
from tests.support.page_axe import found
from tests.support.page_states import states_of_a_conversation, states_of_a_run
from tests.support.page_visit import Visit
from tests.support.page_world import ANSWER, FIRST, Gate, refuses
from tests.support.upstream import Script

axe = page_axe.axe
browser = page_world.browser
served = page_world.served
upstream = page_world.upstream
visit = page_world.visit

WIDE_LIGHT: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}
NARROW_DARK: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
MORE = [
    {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    for width in (1440, 1024, 390)
    for scheme in ("light", "dark")
] + [{"viewport": {"width": 720, "height": 450}, "color_scheme": "light"}]  # 200 % of 1440 × 900
RICH = (
    f"# A title\n\n{ANSWER}\n\n### Deeper\n\n```python\nx = 'y'  # note 12\n```\n\n"
    "| a | b |\n| - | - |\n| 1 | `x` |\n\n$$x^2$$\n\nA note[^1] and [a link](https://e.test/).\n\n"
    "[^1]: It.\n\n<details><summary>More</summary>\n\ninside\n\n</details>\n"
)


def replace_member(person: Visit, seat: int, name: str) -> None:
    person.page.get_by_label(f"Proposer {seat}: model").fill(name)
    person.find("#plan.ready").wait_for()


def every_state(person: Visit, upstream, axe: str, gate: Gate) -> list[str]:
    """All that is found on the way through the page."""
    page, narrow = person.page, person.page.viewport_size["width"] < 860
    person.ready()
    wrong = found(person, axe, "welcome")
    person.button("Change the mixture").click()
    page.get_by_label("Proposer 1: model").fill("nobody")
    person.find(".tuner [role=alert]").wait_for()
    wrong += found(person, axe, "a team that cannot be")
    replace_member(person, 1, "ann")
    person.button("Proposer 1: persona and sampling").click()
    person.button("Save as a preset").click()
    page.get_by_label("Proposer 2: model").fill("l")
    page.get_by_label("Proposer 2: model").press("ArrowDown")
    person.find(".modellist [aria-selected=true]").wait_for()
    wrong += found(person, axe, "a seat, a list of models, a preset's name")
    replace_member(person, 2, "ben")
    person.button("Done").click()

    question = "Why is it so?\n" * 12
    for state in states_of_a_run(person, "en", gate, question=question, link="a link"):
        wrong += found(person, axe, state)

    person.find("#against").select_option("")
    person.find("#preset").select_option("doomed")
    person.ask("And now?")
    person.find(".answer [role=alert]").wait_for()
    wrong += found(person, axe, "two turns, the last without an answer")
    if narrow:
        person.button("Show past runs").click()
    person.find(".runs li").first.wait_for()
    wrong += found(person, axe, "the list of runs")
    person.button("Keyboard shortcuts").click()
    wrong += found(person, axe, "shortcuts")
    page.keyboard.press("Escape")
    if narrow:
        page.keyboard.press("Escape")
    for state in states_of_a_conversation(person, "en", question="Which?"):
        wrong += found(person, axe, state)
    return wrong


def walked(window: dict[str, Any], upstream, visit, axe: str) -> None:
    gate = Gate()
    upstream.scripts["ann"] = Script(FIRST, plays=[gate])
    upstream.scripts["lost"] = Script(ever=refuses)
    upstream.scripts["chief"] = Script(RICH)
    person = visit(**window, reduced_motion="reduce")
    wrong = every_state(person, upstream, axe, gate)
    person.complaints.clear()  # what was refused was refused on purpose
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize(
    "window",
    [
        pytest.param(WIDE_LIGHT, id="wide"),
        pytest.param(NARROW_DARK, id="narrow", marks=pytest.mark.soak),
    ],
)
def test_axe_finds_nothing_in_any_state(window, upstream, visit, axe):
    walked(window, upstream, visit, axe)


@pytest.mark.soak
@pytest.mark.parametrize("window", MORE, ids=str)
def test_axe_finds_nothing_at_any_size_in_any_light(window, upstream, visit, axe):
    walked(window, upstream, visit, axe)
