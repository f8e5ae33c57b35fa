"""The first run on the page: from a key that is missing to an answer, without a document."""

from __future__ import annotations

from tests.support import page_world
from tests.support.page_visit import Visit
from tests.support.page_world import ANSWER, configured
from tests.support.serving import serving

browser = page_world.browser
upstream = page_world.upstream
KEY = "sk-entered-on-the-page-123"


def test_a_missing_key_is_entered_on_the_page_and_never_shown_again(browser, upstream, tmp_path):
    locked = (
        f'[models.locked]\nbase_url = "{upstream.base_url()}"\nmodel = "chief"\n'
        'api_key_env = "SOME_TEAM_KEY"\n'
        '[mixtures.shut]\nlayers = [["ann"]]\naggregator = "locked"\n'
    )
    home = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hub"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }
    with serving(tmp_path / "served", configured(upstream, locked), environ=home) as server:
        person = Visit(browser, server.url).ready()
        person.find("#preset").select_option("shut")
        person.find("#plan", has_text="cannot run: needs SOME_TEAM_KEY").wait_for()
        person.ask("Does it open?")
        person.find("#refusal").get_by_role("button", name="Enter the key").click()
        sheet = person.page.get_by_role("dialog")
        sheet.locator("code", has_text="SOME_TEAM_KEY").wait_for()
        sheet.locator("input[type=password]").fill(KEY)
        sheet.get_by_role("button", name="Use this key").click()
        sheet.get_by_text("is set, until this server ends").wait_for()
        assert sheet.locator("input[type=password]").input_value() == ""
        assert KEY not in person.page.content()
        assert "No Ollama" in sheet.inner_text()

        sheet.get_by_role("button", name="Download them").click()
        sheet.get_by_role("alert").wait_for()  # this hub is not there: it says so
        assert sheet.get_by_role("button", name="Try again").is_visible()
        sheet.get_by_role("button", name="Done").click()

        person.find("#plan.ready", has_text="2 calls").wait_for()
        person.find("#question").press("Enter")
        person.answered()
        assert person.answer() == ANSWER
        assert upstream.of("chief")[-1].headers["authorization"] == f"Bearer {KEY}"
        assert KEY not in person.page.evaluate("JSON.stringify([{...localStorage}, location.href])")
        person.was_quiet()
        person.close()
