"""The pictures in docs/images, taken anew: ``python -m tests.support.pictures``.

A real server, a real browser, and models on loopback that say what stands here at the pace that is
written beside them; what the page shows of them it has measured.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.page_visit import Visit, chromium
from tests.support.paths import ROOT
from tests.support.serving import Served, serving
from tests.support.upstream import Script, running
from tests.support.upstream.server import Upstream, Wire

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


def main() -> None:
    with running() as upstream, tempfile.TemporaryDirectory() as folder, chromium() as browser:
        upstream.scripts = {name: script for name, (script, _, _) in MODELS.items()}
        upstream.scripts["ember-4b"] = Script("no", ever=refuses)
        with serving(Path(folder), configuration(upstream)) as server:
            filled(server)
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


if __name__ == "__main__":
    main()
