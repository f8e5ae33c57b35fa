"""The page and text that nobody trusts; who may come in; the files that it consists of."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from base64 import b64encode
from pathlib import Path

import pytest

from mixtura.web import assets
from tests.support import page_world
from tests.support.page_visit import Visit
from tests.support.page_world import ANSWER, configured
from tests.support.paths import SUPPORT
from tests.support.serving import serving
from tests.support.upstream import Script

browser = page_world.browser
served = page_world.served
upstream = page_world.upstream
visit = page_world.visit


# ---------------------------------------------------------------- text that nobody trusts


PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HOSTILE = (SUPPORT / "page_hostile.md").read_text().replace("{{pixel}}", PIXEL)


def test_hostile_text_does_nothing_and_asks_for_nothing(upstream, visit):
    upstream.scripts["mallory"] = Script(HOSTILE)
    upstream.scripts["ann"] = Script(HOSTILE)
    person = visit().ready()
    person.find("#preset").select_option("trap")
    person.ask("<img src=http://evil.test/q onerror=window.pwned=20>").answered()
    person.card(0).click()
    for tab in ("What it was shown", "In the final answer", "Answer"):
        person.page.get_by_role("tab", name=tab, exact=True).click()
    person.find("dialog math").wait_for()
    for element in person.find(".prose *").all()[:80]:
        element.dispatch_event("mouseover")
    person.page.wait_for_timeout(300)

    assert person.page.evaluate("window.pwned") is None
    inside = ".prose :is(script, img, iframe, style, link, meta, base, form, object, embed, svg)"
    assert person.find(inside).count() == 0
    assert person.find(".prose [href], .prose [src], .prose [style], .prose [onerror]").count() == 0
    assert "It costs $5, and then $10." in person.text(".answer .prose")
    assert person.page.evaluate("getComputedStyle(document.body).display") != "none"
    assert len(person.context.pages) == 1


def test_a_link_opens_only_after_its_whole_address_was_seen(upstream, visit):
    upstream.scripts["chief"] = Script("[a bank](https://xn--bnk-qla.test/login?to=me) and so on.")
    person = visit().ready().ask().answered()
    person.page.get_by_role("link", name="a bank").click()
    sheet = person.page.get_by_role("dialog")

    assert "https://xn--bnk-qla.test/login?to=me" in sheet.inner_text()
    way = sheet.get_by_role("link", name="Open in a new tab")
    assert way.get_attribute("rel") == "noopener noreferrer"
    assert way.get_attribute("target") == "_blank"
    sheet.get_by_role("button", name="Cancel").click()
    assert len(person.context.pages) == 1


def test_an_image_is_a_chip_until_it_is_asked_for(upstream, visit):
    upstream.scripts["chief"] = Script(f"![far](http://evil.test/p.png) ![near]({PIXEL}) words.")
    person = visit().ready().ask()
    person.find(".answer .prose", has_text="words.").wait_for()
    person.button("image: evil.test — show").first.click()
    assert "http://evil.test/p.png" in person.page.get_by_role("dialog").inner_text()
    person.button("Cancel").click()

    person.button("image: in the text — show").first.click()
    person.wait("document.querySelector('.prose img').naturalWidth === 1")
    person.requests[:] = [url for url in person.requests if url != PIXEL]


def test_a_run_is_exported_as_one_file_that_asks_for_nothing(upstream, visit, browser, tmp_path):
    upstream.scripts["mallory"] = Script(HOSTILE)
    upstream.scripts["ann"] = Script(HOSTILE)
    person = visit().ready()
    person.find("#preset").select_option("trap")
    person.ask("</script><script>window.pwned=30</script><!--<script>").answered()
    with person.page.expect_download() as download:
        person.button("Share").click()
    file = tmp_path / "run.html"
    download.value.save_as(file)

    reader = Visit(browser, file.as_uri()).open("")
    reader.find(".answer math").first.wait_for()
    assert reader.find(".card").all_inner_texts() == person.find(".card").all_inner_texts()
    assert reader.text(".pathtold") == person.text(".pathtold")
    assert reader.text(".question") == "</script><script>window.pwned=30</script><!--<script>"
    assert reader.find(".answer mark").count() > 0
    reader.card(0).click()
    reader.page.get_by_role("tab", name="What it was shown").click()
    assert "window.pwned=30" in reader.page.get_by_role("dialog").inner_text()
    assert reader.find("textarea, #preset, .runs").count() == 0

    assert reader.page.evaluate("window.pwned") is None
    assert reader.requests == [file.as_uri()]
    reader.was_quiet(origin="file://")
    reader.close()


def test_no_text_of_a_run_can_end_the_exports_script():
    run = {"answer": "</script><!--<script>&\u2028", "calls": [], "request": None}
    whole = assets.export_run(run)

    data = re.search(r'<script type="application/json" id="run">(.*?)</script>', whole, re.DOTALL)
    assert data is not None
    assert json.loads(data[1]) == run
    assert not re.search(r"[<>&\u2028]", data[1])
    assert len(re.findall(r"</script>", whole)) == 2
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\';' in whole


# ---------------------------------------------------------------- who may come in


def test_where_keys_are_needed_the_page_asks_for_one(browser, upstream, tmp_path):
    key = "mx-a-key-for-tests"
    table = f'[serve.keys.me]\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\n'
    with serving(tmp_path / "served", configured(upstream, table)) as server:
        person = Visit(browser, server.url).open()
        person.page.get_by_label("Key").fill("a wrong one")
        person.button("Come in").click()
        assert "not one of its keys" in person.find("[role=alert]").inner_text()
        person.page.get_by_label("Key").fill(key)
        person.button("Come in").click()
        person.find("#plan.ready").wait_for()

        person.ask().answered()
        assert person.answer() == ANSWER
        with person.page.expect_download():
            person.button("Share").click()
        person.page.reload()
        person.find(".answer .prose").wait_for()
        stored = person.page.evaluate("[{...sessionStorage}, {...localStorage}]")
        assert stored[0] == {"mixtura.key": key}
        assert key not in json.dumps(stored[1])

        refused = [c for c in person.complaints if "401" not in c]
        assert refused == []
        person.close()


@pytest.mark.parametrize(
    ("allowed", "opened"), [(["cleo", "deep"], "deep"), (["cleo"], "cleo"), (["team"], "team")]
)
def test_the_page_opens_on_what_the_key_may_use(allowed, opened, browser, upstream, tmp_path):
    key = "mx-a-key-for-some-names"
    digest = hashlib.sha256(key.encode()).hexdigest()
    table = f'[serve.keys.me]\nsha256 = "{digest}"\nmodels = {json.dumps(allowed)}\n'
    with serving(tmp_path / "served", configured(upstream, table)) as server:
        person = Visit(browser, server.url).open()
        person.page.get_by_label("Key").fill(key)
        person.button("Come in").click()
        person.find("#plan.ready").wait_for()

        assert person.find("#preset").input_value() == opened
        assert [c for c in person.complaints if "401" not in c] == []
        person.close()


# ---------------------------------------------------------------- the files


def test_the_pages_files_are_small_and_all_their_own(served):
    files = assets.page_assets()
    later = ("vendor/temml.mjs", "vendor/stix-two-math.woff2")  # where there are formulas
    first = [name for name in files if name not in later]
    packed = sum(len(gzip.compress(files[name].body)) for name in first)
    assert packed < 200_000, "what a browser gets before anything is asked"
    assert all(re.fullmatch(r'"[0-9a-f]{24}"', file.etag) for file in files.values())
    for name, file in files.items():
        if not name.startswith("vendor/") and not name.endswith(".svg"):
            assert b"://" not in file.body.replace(b"http://www.w3.org", b""), name
        reply = served.get("/" if name == "index.html" else f"/{name}")
        assert (reply.status, reply.body) == (200, file.body), name
        assert reply.headers["content-type"] == file.content_type


def test_an_exported_run_brings_the_font_of_formulas_only_where_there_are_some():
    assert '"Maths"' in assets.page_style(with_maths=True)
    assert "stix" not in assets.page_style(with_maths=True) + assets.page_style()
    assert 'font-family: "Maths";' not in assets.page_style()


def test_every_vendored_file_has_its_licence():
    folder = Path(assets.__file__).parent / "vendor"
    told = (folder / "README.md").read_text()
    for file in folder.iterdir():
        if file.suffix in (".mjs", ".woff2"):
            assert f"`{file.name}`" in told
    for name in (
        "preact", "htm", "preact-signals", "marked", "dompurify", "temml", "geist",
        "stix-two-math",
    ):  # fmt: skip
        assert (folder / f"LICENSE-{name}.txt").stat().st_size > 500


def test_the_policy_allows_the_pages_one_inline_map_and_nothing_else(served):
    whole = served.get("/").body.decode()
    found = re.search(r'<script type="importmap">(.*?)</script>', whole)
    assert found is not None
    digest = b64encode(hashlib.sha256(found[1].encode()).digest()).decode()

    assert f"script-src 'self' 'sha256-{digest}';" in assets.PAGE_CSP
    assert assets.PAGE_CSP.startswith("default-src 'none'")
    assert "unsafe" not in assets.PAGE_CSP
    assert "require-trusted-types-for 'script'" in assets.PAGE_CSP
    assert served.get("/").headers["content-security-policy"] == assets.PAGE_CSP
    assert len(re.findall(r"<script", whole)) == 3
    assert not re.search(r"<style|\sstyle=|\son\w+=", whole)
