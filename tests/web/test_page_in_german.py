"""The page in German: no English is left, nothing is too wide, axe finds nothing, in any state."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support import page_axe, page_world
from tests.support.page_axe import found
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
ENGLISH = vocabulary("en") - vocabulary("de")

SAID = """() => {
  const foreign = (e) => e.closest('[lang]').lang !== 'de' || e.closest('code, pre, .t-word');
  const seen = (e) => e.checkVisibility({ visibilityProperty: true }) && !foreign(e);
  const said = [document.title];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) if (seen(texts.currentNode.parentElement)) said.push(texts.currentNode.data);
  for (const name of ['aria-label', 'title', 'placeholder', 'alt', 'label'])
    for (const e of document.querySelectorAll(`[${name}]`)) if (seen(e)) said.push(e.getAttribute(name));
  return said; }"""
"""Every text and every name on the page that is not marked as being in another language."""

TOO_WIDE = """() => {
  const scrolls = '.scroller, .composer, .side, dialog[open], .sheetbody, .tuner';
  const wide = [document.documentElement, ...document.querySelectorAll(scrolls)]
    .filter((e) => e.scrollWidth > e.clientWidth + 1);
  const inner = 'button, select, label, h1, h2, h3, dt, dd, .tag, .price, .legend, .note, .problem';
  const out = [...document.querySelectorAll(inner)].filter((e) => {
    const { left, right, width } = e.getBoundingClientRect();
    return width && e.checkVisibility({ visibilityProperty: true }) && !e.closest('.sr, .scroll, .tabs')
      && !(e.closest('.side') && innerWidth < 860) && (right > innerWidth + 1 || left < -1); });
  const cut = [...document.querySelectorAll('button:not(.card):not(.row):not(.who)')].filter((e) =>
    e.checkVisibility({ visibilityProperty: true }) && e.scrollWidth > e.clientWidth + 1);
  return [...wide, ...out, ...cut].map((e) => e.outerHTML.slice(0, 140)); }"""
"""What is wider than its place, or stands outside the window."""


class Walk:
    """The page in one state after the other, and what is wrong in each."""

    def __init__(self, person: Visit, axe: str) -> None:
        self.person, self.axe = person, axe
        self.states = 0
        self.wrong: list[str] = []

    def look(self, state: str) -> None:
        self.states += 1
        page = self.person.page
        for text in page.evaluate(SAID):
            if english := ENGLISH & set(split_words(text)):
                self.wrong.append(f"{state}: {sorted(english)} in {text!r}")
        self.wrong += found(self.person, self.axe, state)
        window = page.viewport_size
        for width in (390, 1024, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            self.person.wait(f"innerWidth === {width}")
            wide = page.evaluate(TOO_WIDE)
            self.wrong += [f"{state}, {width} px: {element}" for element in wide]
        page.set_viewport_size(window)


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
        for state in [*before_asking(person), *a_run(person, gate), *afterwards(person)]:
            walk.look(state)
        assert walk.states >= 8
        assert walk.wrong == [], "\n".join(walk.wrong)
        person.close()


def before_asking(person: Visit) -> Iterator[str]:
    page = person.page
    yield "welcome"
    person.button("Tastenkürzel").click()
    yield "shortcuts"
    page.keyboard.press("Escape")
    person.button("Mischung ändern").click()
    person.button("Entwurfsmodell 1: Persona").click()
    person.button("Entwurfsmodell hinzufügen").click()
    person.button("Als Vorlage speichern").click()
    page.get_by_label("Entwurfsmodell 2: Modell").fill("l")
    page.get_by_label("Entwurfsmodell 2: Modell").press("ArrowDown")
    person.find(".modellist [aria-selected=true]").wait_for()
    yield "the team, a seat, a list of models"
    page.keyboard.press("Escape")
    page.get_by_label("Entwurfsmodell 2: Modell").fill("ben")
    person.button("Zurück zu team").click()
    person.find("#plan.ready").wait_for()
    person.button("Fertig").click()


def a_run(person: Visit, gate: Gate) -> Iterator[str]:
    page = person.page
    person.find("#preset").select_option("torn")
    person.find("#against").select_option("cleo")
    person.ask("Warum ist der Himmel blau?\n" * 12)
    person.find(".card.writing").wait_for()
    person.find(".card.failed").first.wait_for()
    yield "a run under way"
    gate.let()
    person.find(".totals").wait_for()
    person.find("mark.from").first.wait_for()
    person.find("#plan.ready").wait_for()
    yield "an answer beside that of one model"
    person.card(0).click()
    for tab in ("Was ihm gezeigt wurde", "In der Antwort", "Antwort"):
        page.get_by_role("tab", name=tab, exact=True).click()
        yield f"details: {tab}"
    page.keyboard.press("Escape")
    page.get_by_role("link", name="ein Verweis").first.click()
    yield "a link"
    page.keyboard.press("Escape")


def afterwards(person: Visit) -> Iterator[str]:
    page = person.page
    for name in ("Unterhaltung umbenennen", "Unterhaltung exportieren", "Neu antworten"):
        person.button(name).first.click()
        page.get_by_role("dialog").wait_for()
        yield name
        page.keyboard.press("Escape")
    person.button("Bearbeiten", exact=True).first.click()
    yield "a question that is edited"
    person.button("Abbrechen", exact=True).click()
    person.find("#preset").select_option("team")
    person.find("#against").select_option("blind:cleo")
    person.find("#plan.ready", has_text="4 Aufrufe").wait_for()
    person.ask("Welche?")
    person.find(".blind .verdict").wait_for()
    yield "two answers without names"
    person.button("Keine von beiden").click()
    person.find(".verdict", has_text="Unentschieden").wait_for()
    person.button("Alle Entscheidungen").click()
    yield "all choices"
    page.keyboard.press("Escape")
    person.find("#against").select_option("")
    person.find("#preset").select_option("doomed")
    person.ask("Und nun?")
    person.find(".answer [role=alert]").wait_for()
    yield "no answer"
    person.button("Ganze Unterhaltung löschen").click()
    yield "a conversation to delete"
    person.button("Abbrechen").click()
    page.goto(f"{person.url}/#run/nowhere")
    page.reload()
    person.find(".toast").wait_for()
    yield "a run that is not there"
