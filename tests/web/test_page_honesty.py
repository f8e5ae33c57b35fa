"""The page tells the truth: who wrote an answer, what it will cost, what cannot run, what waits."""

from __future__ import annotations

from tests.support import page_world
from tests.support.page_visit import Visit
from tests.support.page_world import ANSWER, FIRST, Gate, configured, refuses
from tests.support.serving import serving
from tests.support.upstream import Script

browser = page_world.browser
served = page_world.served
upstream = page_world.upstream
visit = page_world.visit


def test_an_answer_without_an_aggregator_names_its_author_and_counts_what_failed(upstream, visit):
    upstream.scripts["lost"] = Script(ever=refuses)
    person = visit().ready()
    person.button("Change the mixture").click()
    person.page.get_by_role("combobox", name="Aggregator").fill("lost")
    person.find("#plan.ready").wait_for()
    person.button("Done").click()
    person.ask().answered()

    def told() -> None:
        assert person.answer() in (FIRST, page_world.SECOND)
        author = "ann" if person.answer() == FIRST else "ben"
        assert person.text(".answer .who .model") == author
        assert f"This is the draft of {author}" in person.text(".answer > .problem")
        assert "no such key" in person.text(".answer > .problem")
        assert person.text(".leftout summary") == "1 call failed, 1 note"
        person.find(".answer .who").click()
        assert f"{author}" in person.find("dialog h2").inner_text()
        person.page.keyboard.press("Escape")

    told()
    person.page.reload()
    person.find(".answer .prose").wait_for()
    told()
    assert "2 drafts" in person.text(".strip")


def test_the_price_counts_a_comparison_and_a_later_one_says_its_own(upstream, visit):
    person = visit().ready()
    before = person.text("#plan .most")
    person.find("#against").select_option("cleo")
    person.find("#plan", has_text="4 calls").wait_for()
    assert person.text("#plan .most") != before
    person.find("#against").select_option("")
    person.find("#plan", has_text="3 calls").wait_for()

    gate = Gate()
    upstream.scripts["ann"] = Script(FIRST, plays=[gate])
    person.ask("A question\nof more\nthan five\nlines\nfolds\nat once.")
    person.find(".card.writing").wait_for()
    assert "0 of 2 drafts" in person.text(".strip") or "1 of 2 drafts" in person.text(".strip")
    person.find("#question").fill("Another one")
    person.find("#question").press("Enter")
    person.find(".toast", has_text="still being written").wait_for()
    assert person.find("#question").input_value() == "Another one"
    person.find("#question").fill("")
    gate.let()
    person.answered()
    folded = "document.querySelector('.question').clientHeight"
    small = person.page.evaluate(folded)
    person.button("Show the whole question").click()
    assert person.page.evaluate(folded) > small

    person.page.get_by_label("Compare with one model alone").first.select_option("cleo")
    person.find(".compareafter", has_text="at most $").wait_for()
    assert len(upstream.of("cleo")) == 0
    person.button("Ask cleo").click()
    person.find(".beside .answer").nth(1).wait_for()
    person.find(".versus").wait_for()
    assert len(upstream.of("cleo")) == 1


def test_what_cannot_run_says_which_key_it_needs_and_a_lost_server_is_found_again(
    browser, upstream, tmp_path
):
    with serving(tmp_path / "served", configured(upstream)) as server:
        person = Visit(browser, server.url).ready()
        listed = person.page.locator("#preset optgroup[label*='cannot run'] option")
        assert "needs TOGETHER_API_KEY" in " ".join(listed.all_text_contents())
        person.find("#preset").select_option("paper-today")
        person.find("#plan", has_text="cannot run: needs TOGETHER_API_KEY").wait_for()
        person.ask("Will it run?")
        person.find("#refusal", has_text="TOGETHER_API_KEY").wait_for()
        assert person.find(".turn").count() == 0
        person.was_quiet()

        person.context.set_offline(True)
        person.find("#preset").select_option("team")
        person.find("#plan.error").wait_for()
        person.context.set_offline(False)
        person.find("#plan.ready", has_text="3 calls").wait_for()
        person.ask("Now it does?").answered()
        assert person.answer() == ANSWER
        person.close()
