"""The page as an app: it opens without its server, says so, and goes on when that answers."""

from __future__ import annotations

import json

from tests.support import page_world
from tests.support.page_visit import Visit
from tests.support.page_world import ANSWER

browser = page_world.browser
served = page_world.served
upstream = page_world.upstream


def test_the_page_opens_offline_says_so_and_goes_on_by_itself(browser, served):
    person = Visit(browser, served.url, service_workers="allow").ready()
    person.wait("'kept' in document.documentElement.dataset")
    person.ask("A secret question").answered()
    person.was_quiet()
    person.context.set_offline(True)
    person.page.goto(served.url)
    person.find(".lost", has_text="Mixtura is not there").wait_for()
    assert "cannot be reached" in person.text(".lost")
    kept = person.page.evaluate(
        """async () => { const shelf = await caches.open('mixtura-page');
        return (await shelf.keys()).map(({ url }) => new URL(url).pathname); }"""
    )
    assert "/" in kept
    assert not [path for path in kept if path.startswith(("/api", "/v1"))]

    person.context.set_offline(False)
    person.find("#plan.ready").wait_for()
    person.ask("Again?").answered()
    assert person.answer() == ANSWER
    person.close()


def test_the_manifest_names_what_there_is(served):
    manifest = json.loads(served.get("/manifest.webmanifest").body)
    assert manifest["display"] == "standalone"
    for icon in manifest["icons"]:
        assert served.get(icon["src"].removeprefix(".")).status == 200
