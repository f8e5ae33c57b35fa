"""The page in German: no English is left, nothing is too wide, axe finds nothing, in any state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from tests.support import page_axe, page_world
from tests.support.page_axe import found
from tests.support.page_states import leave_dialog, states_of_a_conversation, states_of_a_run
from tests.support.page_visit import Visit
from tests.support.page_words import split_words, vocabulary
from tests.support.page_world import Gate, configured, refuses
from tests.support.serving import serving
from tests.support.upstream import Script

axe = page_axe.axe
browser = page_world.browser
upstream = page_world.upstream

FIRST = "Luft streut blaues Licht weit mehr als rotes. Die Sonne ist weit weg."
SECOND = "Kurze Wellen werden von kleinsten Teilchen der Luft gestreut."
ANSWER = (
    f"{FIRST} {SECOND}\n\n```text\nblau\n```\n\nEine Fußnote[^1] und [ein Verweis](https://e.test/)."
    "\n\n| Farbe | Welle |\n| - | - |\n| blau | kurz |\n\n[^1]: Sie.\n"
)
NAMES = re.compile(r"\S*/\S+|\w+\.jsonl|[A-Z]+(?:_[A-Z]+)+|paper-today")
ENGLISH = vocabulary("en") - vocabulary("de")

SAID = """() => {
  const foreign = (e) => e.closest('[lang]').lang !== 'de' || e.closest('code, pre, .t-word');
  const seen = (e) => e.checkVisibility({ visibilityProperty: true }) && !foreign(e);
  const said = [document.title];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode())
    if (seen(text.parentElement)) said.push(text.data);
  for (const name of ['aria-label', 'title', 'placeholder', 'alt', 'label'])
    for (const e of document.querySelectorAll(`[${name}]`))
      if (seen(e)) said.push(e.getAttribute(name));
  const quoted = [...document.querySelectorAll('body [lang=en]')].map((e) => e.textContent.trim())
    .filter(Boolean).sort((a, b) => b.length - a.length);
  return said.map((text) => quoted.reduce((rest, one) => rest.replaceAll(one, ''), text)); }"""
"""Every text and every name on the page but those that are marked as another language's."""

TOO_WIDE = """() => {
  const places = '.scroller, .composer, .side, dialog[open], .sheetbody, .tuner';
  const wide = [document.documentElement, ...document.querySelectorAll(places)]
    .filter((e) => e.scrollWidth > e.clientWidth + 1)
    .flatMap((box) => [box, ...[...box.querySelectorAll('*')].filter((e) => !e.closest('.scroll')
      && e.getBoundingClientRect().right > box.getBoundingClientRect().right + 1)].slice(0, 3));
  const seen = (e) => e.checkVisibility({ visibilityProperty: true })
    && !e.closest('.sr, .scroll, .tabs') && !(e.closest('.side') && innerWidth < 860);
  const parts = 'button, select, label, h1, h2, h3, dt, dd, .tag, .price, .legend, .note, .problem';
  const out = [...document.querySelectorAll(parts)].filter(seen).filter((e) => {
    const { left, right, width } = e.getBoundingClientRect();
    return width && (right > innerWidth + 1 || left < -1); });
  const cut = [...document.querySelectorAll('button:not(.card, .row, .who)')].filter(seen)
    .filter((e) => e.scrollWidth > e.clientWidth + 1);
  return [...wide, ...out, ...cut].map((e) => e.outerHTML.slice(0, 140)); }"""
"""What is wider than its place, or stands outside the window."""


def english_in(person: Visit) -> list[str]:
    """English words on the page, with the text that each stands in."""
    texts = {text: split_words(NAMES.sub("", text)) for text in person.page.evaluate(SAID)}
    return [f"{word} in {text!r}" for text, words in texts.items() for word in ENGLISH & {*words}]


class Walk:
    """The page in one state after the other, and what is wrong in each."""

    def __init__(self, person: Visit, axe: str) -> None:
        self.person, self.axe = person, axe
        self.states = 0
        self.wrong: list[str] = []

    def look(self, state: str) -> None:
        self.states += 1
        page = self.person.page
        self.wrong += [f"{state}: {english}" for english in english_in(self.person)]
        self.wrong += found(self.person, self.axe, state)
        window = page.viewport_size
        for width in (390, 1024, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            self.person.wait(f"innerWidth === {width}")
            wide = self.too_wide()
            self.wrong += [f"{state}, {width} px: {element}" for element in wide]
        page.set_viewport_size(window)

    def too_wide(self) -> list[str]:
        """What stays too wide once the page has settled in its new width."""
        wide: list[str] = []
        for _ in range(20):
            wide = self.person.page.evaluate(TOO_WIDE)
            if not wide:
                break
            self.person.page.wait_for_timeout(100)
        return wide


def test_nothing_is_english_or_too_wide_in_any_state(browser, upstream, axe, tmp_path):
    gate = Gate()
    upstream.scripts |= {
        "ann": Script(FIRST, plays=[gate]),
        "ben": Script(SECOND),
        "cleo": Script("Cleo ist derselben Meinung."),
        "chief": Script(ANSWER),
        "lost": Script(ever=refuses),
    }
    with serving(tmp_path / "served", configured(upstream)) as server:
        window = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce"}
        person = Visit(browser, server.url, locale="de-AT", **window).ready()
        assert person.page.evaluate("document.documentElement.lang") == "de"
        walk = Walk(person, axe)
        question = "Warum ist der Himmel blau?\n" * 12
        run = states_of_a_run(person, "de", gate, question=question, link="ein Verweis")
        for state in chain(before_asking(person), run, afterwards(person)):
            walk.look(state)
        assert walk.states >= 8
        assert walk.wrong == [], "\n".join(walk.wrong)
        person.close()


def before_asking(person: Visit) -> Iterator[str]:
    page = person.page
    yield "welcome"
    person.find("#preset").select_option("paper-today")
    person.find("#plan", has_text="nicht ausführbar: TOGETHER_API_KEY fehlt").wait_for()
    person.ask("Läuft das?")
    person.find("#refusal").get_by_role("button", name="Schlüssel eingeben").click()
    person.button("Noch einmal nachsehen").wait_for()
    yield "what is missing, and a first run"
    leave_dialog(person)
    person.find("#preset").select_option("team")
    person.find("#plan.ready", has_text="3 Aufrufe").wait_for()
    person.button("Tastenkürzel").click()
    yield "shortcuts"
    leave_dialog(person)
    person.button("Mischung ändern").click()
    person.button("Entwurfsmodell 1: Persona").click()
    person.button("Entwurfsmodell hinzufügen").click()
    person.button("Als Vorlage speichern").click()
    person.find("input:focus").wait_for()  # the form that opens takes it, which closes the list
    person.find("#plan.ready").wait_for()
    page.get_by_label("Entwurfsmodell 2: Modell").fill("l")
    person.find(".modellist li").first.wait_for()
    page.get_by_label("Entwurfsmodell 2: Modell").press("ArrowDown")
    person.find(".modellist [aria-selected=true]").wait_for()
    yield "the team, a seat, a list of models"
    page.keyboard.press("Escape")
    page.get_by_label("Entwurfsmodell 2: Modell").fill("ben")
    person.button("Zurück zu team").click()
    person.find("#plan.ready").wait_for()
    person.button("Fertig").click()


def afterwards(person: Visit) -> Iterator[str]:
    page = person.page
    yield from states_of_a_conversation(person, "de", question="Welche?")
    person.button("Alle Entscheidungen").click()
    yield "all choices"
    leave_dialog(person)
    person.find("#against").select_option("")
    person.find("#preset").select_option("doomed")
    person.ask("Und nun?")
    person.find(".answer [role=alert]").wait_for()
    yield "no answer"
    person.button("Ganze Unterhaltung löschen").click()
    yield "a conversation to delete"
    person.button("Abbrechen").click()
    page.goto(f"{person.url}/#run/nowhere")
    said = person.find("p[role=status].sr", has_text="Dieser Lauf ist nicht mehr da.")
    said.wait_for(state="attached")
    person.complaints.clear()  # that there is none was told
    yield "a run that is not there"


def test_an_exported_run_and_a_page_without_its_server_are_german_too(browser, upstream, tmp_path):
    upstream.scripts = {"ann": Script(FIRST), "ben": Script(SECOND), "chief": Script(ANSWER)}
    with serving(tmp_path / "served", configured(upstream)) as server:
        assert server.chat("Warum ist der Himmel blau?", model="team").status == 200
        run = server.get("/api/runs").json["runs"][0]["id"]
        file = tmp_path / "run.html"
        file.write_bytes(server.get(f"/api/runs/{run}/html").body)
        person = Visit(browser, server.url, locale="de-DE")
        person.page.goto(file.as_uri())
        person.find(".totals").wait_for()
        assert person.page.evaluate("document.documentElement.lang") == "de"
        assert english_in(person) == []
        assert "nur zum Lesen" in person.text(".frozenhead")

        person.page.route("**/api/**", lambda route: route.abort())
        person.open()
        person.find(".lost", has_text="Der Server ist nicht erreichbar.").wait_for()
        assert english_in(person) == []
        person.close()


def test_the_language_is_the_browser_s_until_somebody_chooses(browser, upstream, tmp_path):
    with serving(tmp_path / "served", configured(upstream)) as server:
        person = Visit(browser, server.url, locale="fr-FR").ready()
        lang = "document.documentElement.lang"
        assert person.page.evaluate(lang) == "en"
        person.find("#question").fill("A draft")
        person.page.get_by_label("Language").select_option("de")
        person.page.get_by_label("Sprache").wait_for()
        assert person.page.evaluate("document.activeElement.id") == "language"
        assert person.find("#question").input_value() == "A draft"
        person.find("#plan.ready", has_text="höchstens 0,051\u00a0$").wait_for()
        manifest = "document.querySelector('link[rel=manifest]').getAttribute('href')"
        assert person.page.evaluate(manifest) == "./manifest.de.webmanifest"

        person.page.reload()
        person.find("#plan.ready").wait_for()
        assert person.page.evaluate(lang) == "de"
        person.page.get_by_label("Sprache").select_option("en")
        person.page.get_by_label("Language").wait_for()
        assert person.page.evaluate("localStorage.getItem('mixtura.language')") is None
        person.was_quiet()
        person.close()
