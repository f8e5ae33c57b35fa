"""Over 600 hostile payloads as question, proposal, answer, title and file name: nothing happens."""

from __future__ import annotations

import pytest

from tests.support import page_world
from tests.support.page_payloads import PAYLOADS, VECTORS
from tests.support.page_visit import Visit
from tests.support.page_world import configured
from tests.support.serving import Served, serving
from tests.support.upstream import Script

browser = page_world.browser
upstream = page_world.upstream

# ">" is in no name: it combines names into mixtures.
PRESET = "<img src=x onerror=window.pwned=1 x='"
ALIVE = ":is(script, iframe, style, link, meta, base, form, object, embed, video, input)"


def was_harmless(person: Visit) -> None:
    page = person.page
    assert page.evaluate("window.pwned") is None
    assert len(person.context.pages) == 1
    assert person.find(f".turn {ALIVE}").count() == 0
    assert person.find(".prose :is(img, svg)").count() == 0
    attributes = """[...document.querySelectorAll('.prose *')].flatMap((e) => e.getAttributeNames()
      .filter((name) => /^on|href|src$|action|^style$|^id$|^name$/.test(name))
      .filter((name) => name !== 'style' || !e.closest('.maths')))"""
    assert page.evaluate(attributes) == []
    handlers = """[...document.querySelectorAll('.turn *, .runs *, dialog *, .attached *')]
      .flatMap((e) => e.getAttributeNames()).filter((name) => name.startsWith('on'))"""
    assert page.evaluate(handlers) == []


@pytest.mark.parametrize(
    "payloads",
    [
        pytest.param(PAYLOADS[::8], id="every eighth"),
        pytest.param(PAYLOADS, id="all", marks=pytest.mark.soak),
    ],
)
def test_payloads_as_question_proposal_answer_title_file_and_preset_name(
    payloads, upstream, browser, tmp_path
):
    preset = f'[mixtures."{PRESET}"]\nlayers = [["ann", "ben"]]\naggregator = "chief"\n'
    with serving(tmp_path / "served", configured(upstream, preset)) as served:
        tried_everywhere(payloads, upstream, served, browser, tmp_path)


def tried_everywhere(payloads, upstream, served: Served, browser, tmp_path) -> None:
    every = "\n\n".join([*payloads, "The end of it."])
    for name in ("ann", "ben", "chief"):
        upstream.scripts[name] = Script("Fine.")
    for vector in VECTORS:  # each one the title of a conversation of its own
        assert served.chat(vector, model="team").status == 200
    for name in ("ann", "ben", "chief"):
        upstream.scripts[name] = Script(every)
    person = Visit(browser, served.url).ready()
    dialogs: list[str] = []
    person.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    person.find(".runs li").nth(len(VECTORS) - 1).wait_for()
    was_harmless(person)

    files = [
        {"name": vector, "mimeType": "text/plain", "buffer": vector.encode()}
        for vector in VECTORS[:12]
    ]
    person.find("input[type=file]").set_input_files(files)
    person.wait("document.querySelectorAll('.composer .attached li').length === 12")
    was_harmless(person)
    person.find("#preset").select_option(PRESET)
    person.find("#plan.ready").wait_for()
    person.ask(every)
    person.find(".answer .prose", has_text="The end of it.").wait_for()
    person.answered()
    person.button("Show the whole question").click()
    person.card(0).click()
    for tab in ("What it was shown", "In the final answer", "Answer"):
        person.page.get_by_role("tab", name=tab, exact=True).click()
    was_harmless(person)
    person.page.keyboard.press("Escape")

    with person.page.expect_download() as download:
        person.button("Share").click()
    file = tmp_path / "run.html"
    download.value.save_as(file)
    person.page.reload()
    person.find(".answer .prose", has_text="The end of it.").wait_for()
    was_harmless(person)
    assert dialogs == []
    assert PRESET in person.text(".strip")
    person.was_quiet()
    person.close()

    reader = Visit(browser, file.as_uri()).open("")
    reader.find(".answer .prose", has_text="The end of it.").wait_for()
    reader.card(0).click()
    was_harmless(reader)
    assert reader.requests == [file.as_uri()]
    reader.was_quiet(origin="file://")
    reader.close()
