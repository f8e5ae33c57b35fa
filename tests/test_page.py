"""The page as people use it: a real browser, a real server, models on loopback."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mixtura.web import assets
from tests.page_visit import CONTRAST, Visit, chromium
from tests.serving import Served, serving
from tests.upstream import Script, Upstream, Wire, running

FIRST = "Air scatters blue light far more than red light. The sun is far away."
SECOND = "Short waves are scattered by the smallest parts of the air."
ANSWER = (
    "Air scatters blue light far more than red light. Short waves are scattered by the smallest"
    " parts of the air. Nobody else ever said this sentence here."
)


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running() as up:
        up.scripts = {
            "ann": Script(FIRST),
            "ben": Script(SECOND),
            "cleo": Script("Cleo agrees with everybody."),
            "chief": Script(ANSWER),
        }
        yield up


def configured(upstream: Upstream, more: str = "") -> str:
    tables = [
        f'[models.{name}]\nbase_url = "{upstream.base_url()}"\nmodel = "{name}"\n'
        f"retries = {int(name == 'shaky')}\nprice = {{ input = 1.0, output = 2.0 }}\n"
        for name in ("ann", "ben", "cleo", "chief", "shaky", "lost", "mallory")
    ]
    return (
        'default = "team"\ncache = { use = false }\n'
        + "".join(tables)
        + '[mixtures.team]\nlayers = [["ann", "ben"]]\naggregator = "chief"\n'
        + '[mixtures.deep]\nlayers = [["ann", "ben"], ["ann", "cleo"]]\naggregator = "chief"\n'
        + '[mixtures.torn]\nlayers = [["ann", "shaky", "lost"]]\naggregator = "chief"\n'
        + '[mixtures.doomed]\nlayers = [["lost"]]\naggregator = "chief"\n'
        + '[mixtures.trap]\nlayers = [["mallory", "ann"]]\naggregator = "mallory"\n'
        + more
    )


@pytest.fixture
def served(upstream, tmp_path) -> Iterator[Served]:
    with serving(tmp_path / "served", configured(upstream)) as server:
        yield server


@pytest.fixture
def visit(browser, served) -> Iterator[Callable[..., Visit]]:
    """Open windows on the page; each was quiet when the test ends."""
    opened: list[Visit] = []

    def visiting(**window: Any) -> Visit:
        opened.append(Visit(browser, served.url, **window))
        return opened[-1]

    yield visiting
    for one in opened:
        one.was_quiet()
        one.close()


class Gate:
    """A play that says some words and the rest when it is let."""

    def __init__(self, words: int = 3) -> None:
        self._words = words
        self._open = threading.Event()

    def let(self) -> None:
        self._open.set()

    async def __call__(self, wire: Wire) -> None:
        await wire.head()
        await wire.send(wire.voice.opening())
        await wire.say(*wire.words[: self._words])
        while not self._open.is_set():
            await wire.pause(0.01)
        await wire.say(*wire.words[self._words :])
        await wire.finish()
        await wire.end()


async def refuses(wire: Wire) -> None:
    error = {"message": "no such key", "type": "invalid_request_error", "code": "invalid_api_key"}
    await wire.reply(401, {"error": error})


async def breaks_off(wire: Wire) -> None:
    await wire.head()
    await wire.send(wire.voice.opening())
    await wire.say(*wire.words[:2])
    await wire.reset()


# ---------------------------------------------------------------- asking, and watching


def test_drafts_are_seen_while_they_are_written_and_before_the_answer(upstream, visit):
    ann, ben, chief = Gate(), Gate(), Gate()
    upstream.scripts["ann"] = Script(FIRST, ever=ann)
    upstream.scripts["ben"] = Script(SECOND, ever=ben)
    upstream.scripts["chief"] = Script(ANSWER, ever=chief)
    person = visit().ready().ask("Why is the sky blue?")

    person.find(".card.writing", has_text="Air scatters blue").wait_for()
    person.find(".card.writing", has_text="Short waves are").wait_for()
    begins = """(() => { const box = document.querySelector('.card.writing .glance');
      const [text, all] = [box.firstElementChild, box].map((e) => e.getBoundingClientRect());
      return text.top - all.top })()"""
    assert 0 <= person.page.evaluate(begins) < 12, "a short draft stands at its card's top"
    assert "Waits for layer 1: 0 of 2 drafts are there" in person.text(".answer")
    assert person.find(".answer .prose").count() == 0

    ann.let()
    person.find(".card.done", has_text="ann").wait_for()
    assert "writing" in (person.find(".card", has_text="ben").get_attribute("class") or "")
    assert person.find(".axis .bar").count() == 2

    ben.let()
    person.find(".answer .prose.live", has_text="Air scatters blue").wait_for()
    assert "Nobody else" not in person.text(".answer")

    chief.let()
    person.answered()
    assert person.text(".answer .prose") == ANSWER
    assert person.text(".question") == "Why is the sky blue?"


def test_the_upper_edge_of_a_draft_fades_only_when_it_has_grown_beyond_its_card(upstream, visit):
    short, long, chief = Gate(), Gate(), Gate()
    upstream.scripts["ann"] = Script(FIRST, ever=short)
    upstream.scripts["ben"] = Script(SECOND, ever=long)
    upstream.scripts["chief"] = Script(ANSWER, ever=chief)
    person = visit(viewport={"width": 390, "height": 844}).ready().ask()
    person.find(".card.writing", has_text="Air scatters blue").wait_for()
    assert person.find(".glance.full").count() == 0

    short.let()
    grown = Script(FIRST * 9, pace=0.02)
    upstream.scripts["ann"] = grown
    person = visit(viewport={"width": 390, "height": 844}).ready().ask()
    person.find(".card.writing .glance.full").wait_for()
    for gate in (short, long, chief):
        gate.let()


def test_every_card_says_its_model_its_times_its_speed_and_its_cost(upstream, visit):
    upstream.scripts["ann"] = Script(FIRST, pace=0.02)
    person = visit().ready().ask().answered()

    words = person.card(0).inner_text()
    assert "ann" in words
    assert re.search(r"⇥ \d+ ms", words)
    assert re.search(r"\d+ tok/s", words)
    assert re.search(r"\$0\.0000\d", words)
    totals = person.text(".totals")
    assert re.search(r"Time\s+\d", totals)
    assert re.search(r"Calls\s+3", totals)
    assert re.search(r"Cost\s+\$0\.000", totals)


def test_layers_are_drawn_one_under_the_other_with_the_aggregator_last(visit):
    person = visit().ready()
    person.find("#preset").select_option("deep")
    person.ask().answered()

    layers = person.find("section.layer")
    assert layers.count() == 2
    tops = [layers.nth(i).bounding_box()["y"] for i in (0, 1)]
    answer = person.find(".answer").bounding_box()["y"]
    assert tops[0] < tops[1] < answer
    assert person.find(".card").all_inner_texts()[2].startswith("A2,1")
    assert person.find(".fan .line.done").count() == 2 + 2 + 2 + 2 + 1


def test_a_failed_call_says_why_and_the_run_goes_on(upstream, visit):
    upstream.scripts["lost"] = Script(ever=refuses)
    upstream.scripts["shaky"] = Script("It holds now.", plays=[breaks_off])
    person = visit().ready()
    person.find("#preset").select_option("torn")
    person.ask().answered()

    assert "no such key" in person.find(".card.failed").inner_text()
    assert "RejectedError" in person.find(".card.failed").inner_text()
    assert "↻ 1" in person.find(".card", has_text="shaky").inner_text()
    assert "1 call left out of this answer" in person.text(".leftout")
    assert person.find(".axis .bar.failed .cross").count() == 1
    assert person.find(".axis .again").count() == 1


def test_a_run_without_an_answer_says_so_and_can_be_asked_again(upstream, visit):
    upstream.scripts["lost"] = Script(ever=refuses)
    person = visit().ready()
    person.find("#preset").select_option("doomed")
    person.ask("Is anybody there?")

    assert "no such key" in person.find(".answer [role=alert]").inner_text()
    person.find(".runs .dot.failed").wait_for()
    person.button("Ask again").click()
    person.wait("document.querySelectorAll('.runs li').length === 2")
    assert len(upstream.of("lost")) == 2
    person.complaints.clear()  # the failed stream itself is no complaint of the page's


def test_the_embedded_model_answers_in_the_page(browser, embedded, tmp_path):
    config = (
        'default = "small"\n[mixtures.small]\nlayers = [["smollm2-135m*2"]]\n'
        'aggregator = "smollm2-135m"\nsampling = { max_tokens = 12, seed = 1 }\n'
    )
    with serving(tmp_path / "served", config) as server:
        person = Visit(browser, server.url).ready()
        person.context.set_default_timeout(60_000)
        person.ask("Name a colour.").answered()

        assert person.find(".card.done").count() == 2
        assert person.text(".answer .prose").strip()
        person.was_quiet()
        person.close()


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stopping_hangs_up_on_every_model(how, upstream, visit):
    for name in ("ann", "ben"):
        upstream.scripts[name] = Script(FIRST, ever=Gate())
    person = visit().ready().ask()
    person.wait("document.querySelectorAll('.card.writing').length === 2")

    if how == "button":
        person.button("Stop").click()
    else:
        person.find("#question").press("Escape")

    person.find(".answer .note", has_text="Stopped").wait_for()
    upstream.wait_until_quiet()
    assert {record.status for record in upstream.of("ann", "ben")} == {"left"}
    assert person.find(".card.stopped").count() == 2
    person.find(".runs .dot.stopped").wait_for()


def test_a_second_question_carries_the_conversation(upstream, visit):
    person = visit().ready().ask("The first thing").answered()
    person.ask("The second thing")
    person.wait("document.querySelectorAll('.turn').length === 2")
    person.answered()

    said = upstream.of("ann")[-1].body["messages"]
    contents = [message["content"] for message in said]
    assert contents == ["The first thing", ANSWER, "The second thing"]
    assert person.find(".turn").first.locator(".card").count() == 0, "the older one is folded"
    person.find(".turn").first.locator(".fold").click()
    assert person.find(".turn").first.locator(".card").count() == 2


def test_one_model_alone_is_asked_beside_the_mixture(upstream, visit):
    person = visit().ready()
    person.find("#against").select_option("cleo")
    person.ask().answered()

    both = person.find(".beside .answer")
    assert both.count() == 2
    assert "Cleo agrees with everybody." in both.nth(1).inner_text()
    versus = person.text(".versus")
    assert re.search(r"Cost\s+\$\S+\s+mixture \$", versus)
    assert "cheaper" in versus
    assert len(upstream.of("cleo")) == 1
    assert [m["content"] for m in upstream.of("cleo")[0].body["messages"]] == ["Why?"]


def test_an_answer_that_is_there_can_be_compared_afterwards(upstream, visit):
    person = visit().ready().ask("Why, then?").answered()

    person.find(".after select").select_option("cleo")

    person.find(".beside .answer", has_text="Cleo agrees").wait_for()
    person.find(".versus").wait_for()
    assert upstream.of("cleo")[0].body["messages"][-1]["content"] == "Why, then?"
    assert len(upstream.of("chief")) == 1


# ---------------------------------------------------------------- before asking


def test_the_plan_tells_the_calls_and_the_worst_price_before_anything_is_asked(upstream, visit):
    person = visit().ready()
    assert "3 calls" in person.text("#plan")
    assert re.search(r"at most \$\d", person.text("#plan"))

    person.find("#preset").select_option("deep")
    person.find("#plan", has_text="5 calls").wait_for()
    person.find("#preset").select_option("cleo")
    person.find("#plan", has_text="1 call").wait_for()
    assert upstream.records == []


def test_proposers_samples_aggregator_and_layers_are_put_together_by_hand(upstream, visit):
    person = visit().ready()
    person.button("Change the mixture").click()
    person.button("One draft more").first.click()
    person.button("Add a proposer").click()
    person.page.get_by_label("Proposer 3: model").fill("cleo")
    person.button("Remove proposer 2").click()
    person.page.get_by_role("combobox", name="Aggregator").fill("ben")
    person.button("One layer more").click()
    person.find("#plan", has_text="7 calls").wait_for()
    assert upstream.records == []

    person.button("Done").click()
    person.ask().answered()
    asked = {name: len(upstream.of(name)) for name in ("ann", "ben", "cleo", "chief")}
    assert asked == {"ann": 4, "ben": 1, "cleo": 2, "chief": 0}
    assert [person.find("section.layer").nth(i).locator(".card").count() for i in (0, 1)] == [3, 3]


def test_a_mixture_that_cannot_be_is_said_before_it_is_asked(visit):
    person = visit().ready()
    person.button("Change the mixture").click()
    person.page.get_by_label("Proposer 1: model").fill("nobody-knows-me")

    person.find(".tuner [role=alert]", has_text="nobody-knows-me").wait_for()
    assert "cannot be asked" in person.text("#plan")
    person.complaints[:] = [c for c in person.complaints if "status of 40" not in c]


def test_what_cannot_be_asked_is_not_sent_and_the_reason_is_pointed_at(upstream, visit):
    person = visit().ready()
    person.button("Change the mixture").click()
    person.page.get_by_label("Proposer 1: model").fill("nobody-knows-me")
    person.find("#plan .bad").wait_for()
    person.button("Done").click()
    person.ask("Will it be lost?")

    person.find("#refusal", has_text="nobody-knows-me").wait_for()
    assert "nobody-knows-me" in person.text("[role=status].sr")
    person.button("Ask", exact=True).click()
    person.page.wait_for_timeout(600)
    assert person.find("#question").input_value() == "Will it be lost?"
    assert person.find("#refusal").is_visible()
    assert person.find(".turn, .tuner").count() == 0
    person.find("#question").press("Enter")
    person.wait("document.activeElement.id === 'question'")
    assert [url for url in person.requests if "/v1/" in url] == []

    person.find("#preset").select_option("deep")
    person.find("#plan.ready", has_text="5 calls").wait_for()
    assert person.find("#refusal").count() == 0
    person.find("#question").press("Enter")
    person.answered()
    assert person.text(".question") == "Will it be lost?"
    person.complaints[:] = [c for c in person.complaints if "status of 40" not in c]


def test_a_new_question_is_asked_at_once_though_the_last_run_is_still_being_recorded(
    upstream, visit
):
    upstream.scripts["ann"] = Script(FIRST, plays=[Gate()])
    person = visit().ready()
    person.page.route("**/api/runs/*", lambda route: route.fulfill(status=404, body="{}"))
    person.ask("The first")
    person.find(".card.writing", has_text="ann").wait_for()
    person.button("New question").click()
    person.ask("The second")

    person.find(".turn .totals").wait_for()
    assert person.find(".question").all_inner_texts() == ["The second"]
    assert person.text(".answer .prose") == ANSWER
    person.ask("The third")
    person.find(".question", has_text="The third").wait_for(timeout=1000)
    person.find(".turn").nth(1).locator(".totals").wait_for()
    person.complaints[:] = [c for c in person.complaints if "status of 404" not in c]


@pytest.mark.parametrize(
    ("pattern", "does"),
    [("rank", "picks"), ("vote", "votes"), ("best-of", "judges"), ("sequential", "aggregator")],
)
@pytest.mark.parametrize("teller", ["setup", "plan"])
def test_a_pattern_is_named_and_its_last_seat_is_called_by_what_it_does(
    pattern, does, teller, visit
):
    def told(route: Any) -> None:
        reply = route.fetch()
        body = reply.json()
        for row in body.get("mixtures", [body]):
            row.pop("pattern", None)
            if row["name"] == "team" and teller in route.request.url:
                row["pattern"] = pattern
        route.fulfill(response=reply, json=body)

    person = visit()
    person.page.route(re.compile("/api/(setup|plan)$"), told)
    person.ready()
    assert person.text(".pattern") == pattern
    person.button("Change the mixture").click()
    person.button("One draft more").first.click()
    person.find("#plan.ready", has_text="4 calls").wait_for()
    assert person.text(".pattern") == pattern
    last = person.page.get_by_role("combobox", name=does.capitalize(), exact=True)
    assert last.input_value() == "chief"
    assert person.page.evaluate(CONTRAST) == []

    person.button("Done").click()
    person.ask().answered()
    assert person.text(".answer .role") == does
    person.find("#preset").select_option("deep")
    person.find("#plan.ready", has_text="5 calls").wait_for()
    assert person.find(".pattern").count() == 0
    assert person.text(".answer .role") == does


# ---------------------------------------------------------------- details and marks


def test_a_card_opens_with_its_whole_answer_and_exactly_what_it_was_shown(upstream, visit):
    person = visit().ready().ask("Why is the sky blue?").answered()
    person.card(0).click()
    sheet = person.page.get_by_role("dialog")

    assert FIRST in sheet.inner_text()
    copy = sheet.get_by_role("button", name="Copy").bounding_box()
    text = sheet.locator(".prose p").first.bounding_box()
    assert copy["y"] + copy["height"] <= text["y"], "no button lies over the text"
    sheet.get_by_role("tab", name="What it was shown").click()
    assert "Why is the sky blue?" in sheet.inner_text()
    assert '"model": "ann"' in sheet.inner_text()
    sheet.get_by_role("button", name="Copy as JSON").click()
    copied = json.loads(person.page.evaluate("navigator.clipboard.readText()"))
    assert copied["messages"] == upstream.of("ann")[0].body["messages"]
    person.page.keyboard.press("Escape")
    assert sheet.count() == 0

    person.find(".answer .who").click()
    sheet.get_by_role("tab", name="What it was shown").click()
    assert "Short waves are scattered" in sheet.inner_text()


def test_a_card_tells_how_alike_it_is_and_which_sentences_stand_in_the_answer(visit):
    person = visit().ready().ask().answered()
    person.card(0).click()
    sheet = person.page.get_by_role("dialog")
    sheet.get_by_role("tab", name="In the final answer").click()

    assert "1 of 3 sentences" in sheet.inner_text()
    marked = "Air scatters blue light far more than red light."
    assert sheet.locator("mark").all_inner_texts() == [marked]
    assert sheet.get_by_role("progressbar").count() == 2


def test_the_answers_sentences_are_marked_by_whose_they_are(visit):
    person = visit().ready().ask().answered()
    toggle = person.button("Sources")
    assert toggle.get_attribute("aria-pressed") == "false"
    toggle.click()

    marks = person.find(".answer.marking mark.from")
    assert marks.count() == 2
    assert marks.nth(0).get_attribute("class") == "from c0"
    assert marks.nth(1).get_attribute("class") == "from c1"
    assert marks.nth(1).inner_text().startswith("Short waves are scattered")
    assert "its own words" in person.text(".sources")
    marks.nth(1).click()
    assert "ben" in person.page.get_by_role("dialog").inner_text()


def test_marks_find_their_sentences_through_markdown_code_and_maths(upstream, visit):
    said = (
        "## A title of five whole words\n\n- The **first** point has *many* marks in it, truly.\n"
        "- See [the whole page](https://example.org/a_b) for what it says.\n\n"
        "It goes as $1/x^4$ with the wavelength, as everybody knows.\n\n"
        "```python\nprint('a line of code with words')\n```\n"
    )
    for name in ("ann", "chief"):
        upstream.scripts[name] = Script(said)
    person = visit().ready().ask().answered()
    person.button("Sources").click()

    person.find(".answer math").wait_for()
    person.wait("document.querySelectorAll('.answer mark').length >= 5")
    marked = " ".join(person.find(".answer mark").all_inner_texts())
    for words in ("title of five", "first", "the whole page", "with the wavelength", "line of"):
        assert words in marked


def test_the_axis_of_a_short_run_has_no_number_twice(visit):
    person = visit().ready().ask().answered()
    ticks = person.find(".axis .tick text").all_text_contents()
    assert len(ticks) > 2
    assert len({tick.removesuffix(" s") for tick in ticks}) == len(ticks)


def test_the_axis_names_the_critical_path(upstream, visit):
    upstream.scripts["ben"] = Script(SECOND, delay=0.4)
    person = visit().ready().ask().answered()

    chart = person.find(".axis svg[role=img]")
    assert re.search(
        r"3 calls.*Critical path: ben .* → chief ", chart.get_attribute("aria-label") or ""
    )
    assert person.find(".axis .bar.critical").count() == 2
    person.find(".axis .bar").nth(1).click()
    assert "Proposer 2 of layer 1" in person.page.get_by_role("dialog").inner_text()


# ---------------------------------------------------------------- past runs


def test_a_past_run_is_found_and_reopened_as_it_went(visit):
    person = visit().ready().ask("Why is the sky blue?").answered()
    cards = person.find(".card").all_inner_texts()
    path = person.text(".pathtold")
    person.button("New question").click()
    person.ask("What is rain?").answered()
    person.wait("document.querySelectorAll('.runs li').length === 2")

    person.page.get_by_label("Search past runs").fill("sky")
    person.wait("document.querySelectorAll('.runs li').length === 1")
    person.find(".runs li a").click()
    person.find(".question", has_text="sky blue").wait_for()
    assert person.find(".card").all_inner_texts() == cards
    assert person.text(".pathtold") == path
    person.button("Sources").click()
    assert person.find(".answer mark").count() == 2

    person.page.reload()
    person.find(".question", has_text="sky blue").wait_for()
    assert person.find(".card").all_inner_texts() == cards


def test_a_reopened_run_can_be_continued(upstream, visit):
    person = visit().ready().ask("One").answered()
    person.page.reload()
    person.find("#plan.ready").wait_for()
    person.find(".card").first.wait_for()
    person.ask("Two")
    person.wait("document.querySelectorAll('.turn').length === 2")
    person.answered()

    contents = [message["content"] for message in upstream.of("ann")[-1].body["messages"]]
    assert contents == ["One", ANSWER, "Two"]


def test_a_run_is_deleted_only_when_that_is_said_twice(served, visit):
    person = visit().ready().ask().answered()
    person.find(".runs li").hover()
    person.button("Delete the run").click()
    person.button("Cancel").click()
    assert person.find(".runs li").count() == 1

    person.button("Delete the run").click()
    person.button("Delete", exact=True).click()
    person.find(".hintline", has_text="listed here").wait_for()
    assert served.get("/api/runs").json["runs"] == []
    assert person.find(".turn").count() == 0


# ---------------------------------------------------------------- text that nobody trusts

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HOSTILE = (Path(__file__).parent / "page_hostile.md").read_text().replace("{{pixel}}", PIXEL)

DOES = "window.pwned=1"
VECTORS = (
    f"<script>{DOES}</script>",
    f"<img src=x onerror={DOES}>",
    f"<img src='http://evil.test/p.png' onload={DOES}>",
    f"<svg onload={DOES}>",
    f"<svg><script>{DOES}</script></svg>",
    f"<svg><animate onbegin={DOES} attributeName=x dur=1s>",
    f"<svg><a xlink:href='javascript:{DOES}'><text>x</text></a></svg>",
    f"<math><mi xlink:href='javascript:{DOES}'>x</mi></math>",
    f"<math><mtext><table><mglyph><style><!--</style><img title='--><img src onerror={DOES}>'>",
    f"<iframe srcdoc='<script>parent.{DOES}</script>'></iframe>",
    f"<iframe src='javascript:parent.{DOES}'></iframe>",
    f"<details open ontoggle={DOES}>",
    f"<video><source onerror={DOES}></video>",
    f"<input autofocus onfocus={DOES}>",
    f"<body onload={DOES}>",
    f"<a href='javascript:{DOES}'>x</a>",
    f"<form action='javascript:{DOES}'><button>x</button></form>",
    "<meta http-equiv=refresh content='0;url=http://evil.test/'>",
    "<link rel=stylesheet href=http://evil.test/s.css>",
    "<style>@import 'http://evil.test/s.css'; body { display: none }</style>",
    "<base href=http://evil.test/>",
    "<object data=http://evil.test/o></object><embed src=http://evil.test/e>",
    "<template shadowrootmode=open><slot onslotchange=x></template>",
    f"<noscript><p title='</noscript><img src=x onerror={DOES}>'>",
    f"<form><math><mtext></form><form><mglyph><style></math><img src onerror={DOES}>",
    f"[x](javascript:{DOES})",
    f"[x](JaVaScRiPt&colon;{DOES})",
    f"[x](\x01javascript:{DOES})",
    f"[x](data:text/html,<script>{DOES}</script>)",
    f"![x](javascript:{DOES})",
    f'![x](http://evil.test/i.png "" onerror={DOES} x="")',
    f"![x](data:image/svg+xml,<svg/onload={DOES}>)",
    f"<javascript:{DOES}>",
    f"$\\href{{javascript:{DOES}}}{{x}}$",
    f"$\\html{{<img src=x onerror={DOES}>}}$",
    "$\\includegraphics[height=1em]{http://evil.test/m.png}$",
    f"$\\htmlData{{x=y onclick={DOES}}}{{z}}$",
    f"$\\text{{</annotation-xml><img src=x onerror={DOES}>}}$",
)
PLACES = (
    "{}", "# {}", "- {}", "1. {}", "> {}", "**{}**", "_{}_", "~~{}~~", "`{}`", "[{}](#x)",
    "| a |\n| - |\n| {} |", "```{}\nx\n```", "```html\n{}\n```", "    {}", "$${}$$", "\\({}\\)",
    "<div>\n\n{}\n\n</div>", "<!-- {} -->", "[^1]: {}",
)  # fmt: skip


def test_hostile_text_does_nothing_and_asks_for_nothing(upstream, visit):
    upstream.scripts["mallory"] = Script(HOSTILE)
    upstream.scripts["ann"] = Script(HOSTILE)
    person = visit().ready()
    person.find("#preset").select_option("trap")
    person.ask("<img src=http://evil.test/q onerror=window.pwned=20>").answered()
    person.button("Sources").click()
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


def test_hundreds_of_vectors_in_every_place_of_a_text_do_nothing(upstream, visit):
    every = [place.format(vector) for place in PLACES for vector in VECTORS]
    assert len(every) > 600
    upstream.scripts["chief"] = Script("\n\n".join([*every, "The end of it."]))
    person = visit().ready().ask()
    person.find(".answer .prose", has_text="The end of it.").wait_for()
    person.answered()
    person.page.wait_for_timeout(500)

    assert person.page.evaluate("window.pwned") is None
    assert person.find(".prose *").count() > 600
    inside = ".prose :is(script, img, iframe, style, link, meta, base, form, object, embed, svg)"
    assert person.find(inside).count() == 0
    handlers = """[...document.querySelectorAll('.prose *')].flatMap((e) => e.getAttributeNames()
      .filter((name) => /^on|href|src$|action|^style$|^id$|^name$/.test(name))
      .filter((name) => name !== 'style' || !e.closest('.maths')))"""
    assert person.page.evaluate(handlers) == []


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
    reader.button("Sources").click()
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
        assert person.text(".answer .prose") == ANSWER
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


# ---------------------------------------------------------------- for everyone


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
        'navigation "Past runs"',
        'main "Conversation"',
        'heading "Why is the sky blue?" [level=2]',
        'region "Layer 1"',
        'button "Proposer 1 of layer 1, ann: answered. Open its details."',
        'region "Answer"',
        'button "Sources"',
        'region "What ran when"',
        'textbox "Your question"',
        'combobox "Mixture"',
        'combobox "Compare with one model alone"',
        'button "Ask"',
    ):
        assert line in heard, f"{line}\n{heard}"
    assert "img:" not in heard
    unnamed = """[...document.querySelectorAll('button, a, input, select, textarea')]
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
    person.button("Sources").click()
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


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_is_wider_than_the_window(width, upstream, visit):
    long = f"{'long' * 60}\n\n```\n{'code ' * 60}\n```\n\n$${'x+' * 80}y$$\n"
    upstream.scripts["chief"] = Script(long)
    person = visit(viewport={"width": width, "height": 740}).ready()
    wider = """[document.documentElement, ...document.querySelectorAll('.scroller, .composer')]
      .some((e) => e.scrollWidth > e.clientWidth + 1)"""
    assert not person.page.evaluate(wider)
    person.find("#preset").select_option("deep")
    person.ask().answered()
    person.button("Sources").click()
    assert not person.page.evaluate(wider)
    person.card(0).click()
    # a browser's boxes are floats
    assert person.page.get_by_role("dialog").bounding_box()["width"] < width + 0.1
    assert person.page.get_by_role("dialog").is_visible()
    person.page.keyboard.press("Escape")
    person.find(".dock .pick").click()
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


# ---------------------------------------------------------------- the files


def test_the_pages_files_are_small_and_all_their_own(served):
    files = assets.page_assets()
    later = ("vendor/temml.mjs", "vendor/stix-two-math.woff2")  # where there are formulas
    first = [name for name in files if name not in later]
    assert sum(len(files[name].body) for name in first) < 300_000
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
