"""The page for everyone: keyboard, screen readers, contrast, small windows, less motion."""

from __future__ import annotations

import pytest

from tests.support import page_world
from tests.support.page_visit import CONTRAST
from tests.support.page_world import ANSWER, FIRST, Gate, refuses
from tests.support.upstream import Script

browser = page_world.browser
served = page_world.served
upstream = page_world.upstream
visit = page_world.visit


def test_everything_is_done_with_the_keyboard_alone(upstream, visit):
    person = visit().ready()
    keys = person.page.keyboard
    person.wait("document.activeElement.id === 'question'")
    keys.type("One line")
    keys.press("Shift+Enter")
    keys.type("another")
    keys.press("Enter")
    person.answered()
    assert upstream.of("ann")[0].body["messages"][-1]["content"] == "One line\nanother"

    person.find(".card").first.focus()
    keys.press("Enter")
    person.wait("document.querySelector('dialog[open]') !== null")
    keys.press("Tab")
    keys.press("ArrowRight")
    assert person.page.evaluate("document.activeElement.textContent") == "What it was shown"
    for _ in range(12):
        keys.press("Tab")
        inside = (
            "document.activeElement === document.body || document.activeElement.closest('dialog')"
        )
        assert person.page.evaluate(f"Boolean({inside})"), "the focus left the dialog"
    keys.press("Escape")
    person.wait("document.activeElement.classList.contains('card')")

    keys.press("/")
    person.wait("document.activeElement.id === 'question'")
    keys.press("Control+k")
    person.wait("document.activeElement.id === 'search'")
    person.find(".card").first.focus()
    keys.press("?")
    assert "Keyboard" in person.page.get_by_role("dialog").inner_text()
    person.page.get_by_label("Shortcuts of a single key").uncheck()
    keys.press("Escape")
    person.find(".card").first.focus()
    keys.press("?")
    assert person.page.get_by_role("dialog").count() == 0


def test_what_has_the_focus_is_seen(visit):
    person = visit().ready().ask().answered()
    person.find("#question").focus()
    seen = """() => { const style = getComputedStyle(document.activeElement);
      const around = document.activeElement.closest('.composer, .select, .searchbox');
      return style.outlineStyle !== 'none' || around !== null
        || document.activeElement === document.body; }"""
    for _ in range(40):
        person.page.keyboard.press("Tab")
        name = person.page.evaluate("document.activeElement.outerHTML.slice(0, 90)")
        assert person.page.evaluate(seen), name


def test_roles_and_names_are_what_a_screen_reader_needs(visit):
    person = visit().ready().ask("Why is the sky blue?").answered()
    heard = person.find("body").aria_snapshot()

    for line in (
        'complementary "Runs"',
        'navigation "Past conversations"',
        'main "Conversation"',
        'heading "Why is the sky blue?" [level=2]',
        'group "Layer 1"',
        'button "Proposer 1 of layer 1, ann: answered. Open its details."',
        'group "Answer"',
        'button "Sources"',
        'group "What ran when"',
        'textbox "Your question"',
        'combobox "Mixture"',
        'combobox "Compare with one model alone"',
        'button "Ask"',
    ):
        assert line in heard, f"{line}\n{heard}"
    assert "img:" not in heard
    unnamed = """[...document.querySelectorAll('button, a, input, select, textarea')]
      .filter((e) => !e.hidden)
      .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length))
      .map((e) => e.outerHTML)"""
    assert person.page.evaluate(unnamed) == []
    doubled = """[...document.querySelectorAll('[id]')].map((e) => e.id)
      .filter((id, i, all) => all.indexOf(id) !== i)"""
    assert person.page.evaluate(doubled) == []


def test_a_screen_reader_hears_sentences_and_no_tokens(upstream, visit):
    upstream.scripts["ann"] = Script(" ".join(["word"] * 200), pace=0.001)
    person = visit().ready()
    person.page.evaluate(
        """() => { window.heard = []; const region = document.querySelector('[role=status].sr');
        new MutationObserver(() => heard.push(region.textContent)).observe(region,
          { childList: true, characterData: true, subtree: true }); }"""
    )
    person.ask().answered()

    heard = person.page.evaluate("window.heard")
    assert len(heard) <= 8
    assert any("The answer is complete" in one for one in heard)
    assert not any("word word" in one for one in heard)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(scheme, upstream, visit):
    upstream.scripts["lost"] = Script(ever=refuses)
    upstream.scripts["chief"] = Script(ANSWER + "\n\n```python\nx = 'y'  # note 12\n```\n")
    person = visit(color_scheme=scheme, reduced_motion="reduce").ready()
    assert person.page.evaluate(CONTRAST) == []
    person.find("#preset").select_option("torn")
    person.ask().answered()
    assert person.page.evaluate(CONTRAST) == []
    person.button("Change the mixture").click()
    person.card(0).click()
    person.page.get_by_role("tab", name="In the final answer").click()
    person.page.wait_for_timeout(400)
    assert person.page.evaluate(CONTRAST) == []


def test_light_and_dark_follow_the_system_until_somebody_chooses(visit):
    person = visit(color_scheme="dark").ready()
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = person.page.evaluate(ground)
    person.button("Theme: system").click()
    light = person.page.evaluate(ground)
    assert dark != light

    person.page.reload()
    person.find("#plan.ready").wait_for()
    assert person.page.evaluate(ground) == light
    person.button("Theme: light").click()
    person.button("Theme: dark").click()
    assert person.page.evaluate("localStorage.getItem('mixtura.theme')") == "system"


def test_a_card_on_a_phone_shows_two_lines_of_its_draft(upstream, visit):
    upstream.scripts["ann"] = Script(FIRST * 8)
    person = visit(viewport={"width": 390, "height": 844}).ready().ask().answered()
    lines = """(() => { const box = document.querySelector('.card.done .glance');
      return box.clientHeight / parseFloat(getComputedStyle(box).lineHeight) })()"""
    person.wait(f"{lines} >= 2")


@pytest.mark.parametrize("width", [360, pytest.param(768, marks=pytest.mark.soak)])
def test_nothing_is_wider_than_the_window(width, upstream, visit):
    long = f"{'long' * 60}\n\n```\n{'code ' * 60}\n```\n\n$${'x+' * 80}y$$\n"
    upstream.scripts["chief"] = Script(long)
    person = visit(viewport={"width": width, "height": 740}).ready()
    wider = """[document.documentElement, ...document.querySelectorAll('.scroller, .composer')]
      .some((e) => e.scrollWidth > e.clientWidth + 1)"""
    assert not person.page.evaluate(wider)
    person.find("#preset").select_option("deep")
    person.ask().answered()
    assert not person.page.evaluate(wider)
    person.card(0).click()
    # a browser's boxes are floats
    assert person.page.get_by_role("dialog").bounding_box()["width"] < width + 0.1
    assert person.page.get_by_role("dialog").is_visible()
    person.page.keyboard.press("Escape")
    person.find(".dock .pick[aria-controls=tuner]").click()
    assert not person.page.evaluate(wider)
    person.find("#question").focus()

    person.button("Show past runs").click()
    person.find(".runs li a").wait_for()
    person.page.get_by_role("button", name="Close the list").click()
    person.wait("getComputedStyle(document.querySelector('.side')).visibility === 'hidden'")


def test_who_wants_less_motion_gets_none(upstream, visit):
    gate = Gate()
    upstream.scripts["ann"] = Script(FIRST, ever=gate)
    person = visit(reduced_motion="reduce").ready().ask()
    person.find(".card.writing").wait_for()
    person.page.wait_for_timeout(100)

    assert person.page.evaluate("document.getAnimations().length") == 0
    gate.let()
    person.answered()
