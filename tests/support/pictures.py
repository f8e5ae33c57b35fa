"""The pictures in docs/images, taken anew: ``python -m tests.support.pictures``.

With a folder, ``python -m tests.support.pictures FOLDER``, every state at every size goes there.

A real server, a real browser, and models on loopback that say what stands here at the pace that is
written beside them; what the page shows of them it has measured.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.moving_picture import pixels, write_moving_picture
from tests.support.page_tasks import walk_through_tasks
from tests.support.page_visit import Visit, chromium
from tests.support.paths import ROOT
from tests.support.serving import Served, serving
from tests.support.upstream import Script, running
from tests.support.upstream.server import Upstream, Wire

if TYPE_CHECKING:
    import numpy as np
    from playwright.sync_api import Browser, Page

HERE = ROOT / "docs" / "images"
QUESTION = "Why is the sky blue, and why are sunsets red?"
BEFORE = (
    "What is the cheapest way to store 3 TB for ten years?",
    "Name three ways a benchmark can be wrong",
    "Draft a kind no to a meeting",
    "Which of these two proofs is wrong, and where?",
    "Explain the birthday paradox with the numbers",
)
WIDE = {"viewport": {"width": 1440, "height": 900}}
NARROW = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}

ATLAS = """Sunlight contains every colour, and air scatters the short wavelengths far more \
strongly than the long ones. This is Rayleigh scattering: the intensity goes with the inverse \
fourth power of the wavelength, so blue light at 450 nm is scattered about 4.4 times as much as \
red light at 650 nm.

At sunset the light crosses up to forty times as much air, so most of the blue has been \
scattered out of the beam before it reaches you."""

BOREAL = """**Short answer.** The molecules of air are much smaller than the wavelength of \
light, which makes them scatter blue better than red.

```python
def ratio(blue=450, red=650):
    return (red / blue) ** 4  # 4.35
```

During the day you look at scattered light, which is mostly blue. You then look at the beam \
itself, after the blue has been taken out of it."""

CIRRUS = """The colour of the sky is a question of how light meets particles smaller than \
itself. Lord Rayleigh found in 1871 that the strength of scattering rises with the fourth power \
of the frequency. Dust and droplets, being larger, scatter all colours alike, which is why \
clouds are white."""

ATLAS_LARGE = """## Why the sky is blue

Sunlight contains every colour, and air scatters the short wavelengths far more strongly than \
the long ones. The molecules of air are much smaller than the wavelength of light, and for such \
particles the strength of scattering goes as

$$I(\\lambda) \\propto \\frac{1}{\\lambda^4} \\qquad\\Rightarrow\\qquad \\frac{I_{450}}{I_{650}} \
= \\Big(\\frac{650}{450}\\Big)^4 \\approx 4.4$$

So blue light at 450 nm is scattered about 4.4 times as much as red light at 650 nm. During the \
day you look at scattered light, which is mostly blue.

**Why not violet?** The sun emits less of it, and our eyes respond to it weakly.

## Why sunsets are red

At sunset the light crosses up to forty times as much air, so most of the blue has been \
scattered out of the beam before it reaches you. You then look at the beam itself, after the \
blue has been taken out of it.

| what you see | path through air | colour left |
| --- | ---: | --- |
| zenith at noon | 1 × | blue, scattered |
| sun at the horizon | ~ 38 × | red, transmitted |

Dust and droplets, being larger, scatter all colours alike, which is why clouds are white."""

MODELS = {
    "atlas-mini": (Script(ATLAS, delay=0.5, pace=0.03), 0.4, 1.6),
    "boreal-8b": (Script(BOREAL, delay=0.9, pace=0.018), 1.0, 4.0),
    "cirrus-27b": (Script(CIRRUS, delay=0.3, pace=0.05), 0.1, 0.6),
    "delta-flash": (Script(ATLAS, delay=1.2, pace=0.022), 0.1, 0.4),
    "ember-4b": (Script("no", delay=0.2), 0.1, 0.1),
    "atlas-large": (Script(ATLAS_LARGE, delay=0.7, pace=0.012), 3.0, 15.0),
}


async def refuses(wire: Wire) -> None:
    said = "Incorrect API key provided"
    await wire.pause(1.0)
    error = {"message": said, "type": "invalid_request_error", "code": "invalid_api_key"}
    await wire.reply(401, {"error": error})


def configuration(upstream: Upstream) -> str:
    tables = "\n".join(
        f'[models.{name}]\nbase_url = "{upstream.base_url("openai")}"\nmodel = "{name}"\n'
        f"price = {{ input = {read}, output = {wrote} }}\n"
        for name, (_, read, wrote) in MODELS.items()
    )
    four = '["atlas-mini", "boreal-8b", "cirrus-27b", '
    return f"""default = "deep"
{tables}
[mixtures.deep]
layers = [{four}"ember-4b"], ["atlas-mini", "boreal-8b", "cirrus-27b"]]
aggregator = "atlas-large"

[mixtures.team]
layers = [{four}"delta-flash"]]
aggregator = "atlas-large"

[mixtures.broken]
layers = [["atlas-mini", "boreal-8b"]]
aggregator = "ember-4b"
"""


def filled(server: Served) -> None:
    """Some runs of before, so that the list has something in it."""
    for number, question in enumerate(BEFORE):
        server.chat(question, model="deep" if number in (0, 3) else "team")


def scheme(name: str) -> dict[str, str]:
    return {"color_scheme": name}


def finished(visit: Visit) -> Visit:
    visit.ready().ask(QUESTION).answered()
    visit.page.evaluate("document.querySelector('.scroller').scrollTo(0, 0)")
    visit.page.wait_for_timeout(400)
    return visit


def writing(visit: Visit) -> Visit:
    """On a phone, in the middle of a run."""
    visit.ready()
    visit.find("#preset").select_option("team")
    visit.ask(QUESTION)
    visit.find(".card.writing", has_text="Sunlight").last.wait_for()
    visit.page.wait_for_timeout(900)
    return visit


def moving(visit: Visit, blank: Page) -> list[np.ndarray]:
    """A run from its question to its end, frame by frame."""
    visit.ready()
    visit.find("#preset").select_option("team")
    visit.find("#plan.ready", has_text="5 calls").wait_for()
    visit.find("#question").press_sequentially(QUESTION, delay=25)
    frames = [visit.page.screenshot()]
    visit.find("#question").press("Enter")
    visit.find(".turn .card").first.wait_for()
    end = time.monotonic() + 30
    while time.monotonic() < end and not visit.find(".turn .totals").count():
        frames.append(visit.page.screenshot())
        visit.page.wait_for_timeout(150)
    visit.answered()
    visit.button("Sources").last.click()
    visit.page.wait_for_timeout(600)
    frames.append(visit.page.screenshot())
    return [pixels(blank, frame) for frame in frames]


SIZES = {"1440": (1440, 900), "1024": (1024, 768), "390": (390, 844)}


def every_state(visit: Visit, take: Callable[[str], None]) -> None:
    """Each state of the page as one picture."""
    visit.ready()
    take("welcome")
    visit.button("Change the mixture").click()
    take("team")
    visit.button("Done").click()
    visit.ask(QUESTION)
    visit.find(".card.writing").first.wait_for()
    take("run")
    visit.answered()
    take("answer")
    visit.button("Sources").last.click()
    take("sources")
    visit.card(0).click()
    for tab in ("Answer", "What it was shown", "In the final answer"):
        visit.page.get_by_role("tab", name=tab, exact=True).click()
        take(f"details-{tab.lower().replace(' ', '-')}")
    visit.page.keyboard.press("Escape")
    visit.find("#preset").select_option("broken")
    visit.find("#against").select_option("atlas-large")
    visit.find("#plan.ready").wait_for()
    visit.ask("Which of these is wrong?\n" + "def half(x):\n    return x / 2\n" * 12)
    visit.find(".versus").wait_for()
    take("stand-in-and-comparison")
    visit.find("#preset").select_option("paper-today")
    visit.find("#plan", has_text="cannot run").wait_for()
    visit.ask("Can it run?")
    take("cannot-run")
    visit.find("#refusal button").click()
    visit.find(".keyform").wait_for()
    take("set-up")
    visit.page.keyboard.press("Escape")
    if visit.page.viewport_size["width"] < 860:
        visit.button("Show past runs").click()
        take("runs")


def take_docs_pictures(browser: Browser, server: Served) -> None:
    """The pictures in docs/images, and the moving one."""
    for name in ("light", "dark"):
        visit = finished(Visit(browser, server.url, **WIDE, **scheme(name)))
        visit.page.screenshot(path=HERE / f"page-{name}-wide.png")
        if name == "light":
            visit.card(5).click()
            visit.page.get_by_role("tab", name="In the final answer").click()
            visit.page.wait_for_timeout(400)
            visit.page.screenshot(path=HERE / "run-details.png")
        visit.close()
        visit = writing(Visit(browser, server.url, **NARROW, **scheme(name)))
        visit.page.screenshot(path=HERE / f"page-{name}-narrow.png")
        visit.close()
    blank = browser.new_page()
    visit = Visit(browser, server.url, viewport={"width": 1060, "height": 700}, **scheme("light"))
    frames = moving(visit, blank)
    write_moving_picture(frames, HERE / "run.png", pause=260, last=4000)
    visit.close()
    blank.close()


def main() -> None:
    """Without a word the pictures of the docs; with a folder, every state at every size."""
    with running() as upstream, tempfile.TemporaryDirectory() as folder, chromium() as browser:
        upstream.scripts = {name: script for name, (script, _, _) in MODELS.items()}
        upstream.scripts["ember-4b"] = Script("no", ever=refuses)
        with serving(Path(folder), configuration(upstream)) as server:
            filled(server)
            if len(sys.argv) < 2:
                take_docs_pictures(browser, server)
                return
            into = Path(sys.argv[1])
            into.mkdir(parents=True, exist_ok=True)
            for size, (width, height) in SIZES.items():
                for name in ("light", "dark"):
                    window = {"viewport": {"width": width, "height": height}}
                    visit = Visit(browser, server.url, **window, **scheme(name))

                    def take(state: str, at=visit, end=f"{size}-{name}.png") -> None:
                        at.page.wait_for_timeout(450)
                        at.page.screenshot(path=into / f"{state}-{end}")

                    every_state(visit, take)
                    walk_through_tasks(visit, take, upstream, QUESTION)
                    visit.close()


if __name__ == "__main__":
    main()
