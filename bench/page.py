"""What the page costs a browser: ``python -m bench.page [--before SRC] [SCENE ...]``.

A real server, Chromium, and models on loopback; Chromium's own trace says what the page's main
thread did. Everything is *processor* time of that thread, so that a machine with other work does
not count: the longest task, the tasks over 50 ms, the sum of script (JavaScript with its parsing
and its garbage), and frames. *SRC* is the ``src`` folder of another version,
measured in the same run and set beside. Scenes: long, six, deep, stream, list, conversation; all of
them where none is named. ``--quick`` takes small sizes and shows only that it runs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["NO_PROXY"] = "*"

from bench.page_trace import Reading, traced
from playwright.sync_api import Browser, Error, Page
from tests.support.page_visit import chromium
from tests.support.serving import Served
from tests.support.upstream import Script, Upstream, running

ROOT = Path(__file__).parents[1]
QUICK = "--quick" in sys.argv
SIZE = 20_000 if QUICK else 200_000
PAST_RUNS, TURNS = (20, 5) if QUICK else (500, 50)
STREAM_SECONDS = 3 if QUICK else 12
END = "Thus ends the whole of it."
SENTENCES = (
    "Short waves are scattered far more than long ones, and that is most of what there is to it.",
    "Where the *density* of the air falls, the effect falls with it, as `ratio(450, 650)` tells.",
    "**Nobody** measured it before 1871; see [the paper](https://example.org/paper) for its words.",
    "With $I \\propto \\lambda^{-4}$ the blue at 450 nm is 4.4 times as strong as red at 650 nm.",
    "Dust and droplets, being larger, scatter all colours alike, which is why clouds are white.",
)


# ---- texts of a length


def repeated(make: Callable[[int], str], head: str = "") -> str:
    parts, size = [head], len(head)
    while size < SIZE - len(END) - 2:
        parts.append(make(len(parts)))
        size += len(parts[-1])
    return "".join(parts) + "\n\n" + END


def mixed_part(i: int) -> str:
    words = " ".join(SENTENCES[(i + k) % 5] for k in range(4))
    shapes = (
        f"## Part {i}\n\n{words}\n\n",
        f"{words}\n\n- one of {i}\n- two, *too*\n  - and a `third`\n\n",
        f"```python\ndef part_{i}(x):\n    return [x ** {i} for _ in range({i})]  # {i}\n```\n\n",
        f"| what | is | in {i} |\n| --- | ---: | --- |\n| a-b | {i} | `c` |\n| d | {i}.5 | e |\n\n",
        f"$$\\sum_{{k=1}}^{{{i}}} \\frac{{1}}{{k^2}} < \\frac{{\\pi^2}}{{6}}$$\n\n{words}\n\n",
    )
    return shapes[i % 5]


def code_part(i: int) -> str:
    return f"x{i} = call(x{i - 1}, 'a{i}')  # {i}\n"


def row_part(i: int) -> str:
    return f"| {i} | a-b {i} | `c` | {SENTENCES[i % 5]} |\n"


def formula_part(i: int) -> str:
    formula = f"$a_{{{i}}} = \\sqrt{{x^{{{i}}} + \\frac{{1}}{{{i}}}}}$ and "
    return formula + ("\n\n" if i % 12 == 0 else "")


TEXTS: dict[str, Callable[[], str]] = {
    "mixed": lambda: repeated(mixed_part),
    "paragraph": lambda: repeated(lambda i: f"{i}. " + SENTENCES[i % 5] + " "),
    "code": lambda: "```python\n" + repeated(code_part) + "\n```",
    "table": lambda: repeated(row_part, "| a | b | c | d |\n| - | - | - | - |\n"),
    "list": lambda: repeated(lambda i: f"{i}. item {i} with *words*\n   - and one below\n", "\n"),
    "formulas": lambda: repeated(formula_part),
}


# ---- a server of a version, and what it has


MODELS = ["a1", "a2", "a3", "a4", "a5", "a6", "chief", *TEXTS]


def configuration(upstream: Upstream) -> str:
    tables = "".join(
        f'[models.{name}]\nbase_url = "{upstream.base_url("openai")}"\nmodel = "{name}"\n'
        "price = { input = 1.0, output = 2.0 }\n"
        for name in MODELS
    )
    six = json.dumps(MODELS[:6])
    teams = "".join(
        f'[mixtures.long-{name}]\nlayers = [["a1", "a2"]]\naggregator = "{name}"\n'
        for name in TEXTS
    )
    return (
        f'default = "two"\ncache = {{ use = false }}\n{tables}{teams}'
        '[mixtures.two]\nlayers = [["a1", "a2"]]\naggregator = "chief"\n'
        f'[mixtures.six]\nlayers = [{six}]\naggregator = "chief"\n'
        f'[mixtures.deep]\nlayers = [{six}, {six}, {six}]\naggregator = "chief"\n'
    )


def set_pace(upstream: Upstream, text: str, pace: float) -> None:
    for name in MODELS:
        upstream.scripts[name] = Script(text, pace=pace)
    for name, make in TEXTS.items():
        upstream.scripts[name] = Script(make())


@contextmanager
def server_of(source: Path, upstream: Upstream) -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mixtura.toml").write_text(configuration(upstream), encoding="utf-8")
        env = {k: v for k, v in os.environ.items() if not k.upper().endswith("_KEY")}
        env |= {
            "PYTHONPATH": str(source), "XDG_STATE_HOME": folder, "XDG_CONFIG_HOME": folder,
            "OLLAMA_HOST": "127.0.0.1:9",
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "mixtura", "serve", "--port", "0"], cwd=folder, env=env,
            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+:\d+", process.stdout.readline())
            assert found, "the server did not begin"
            yield Served(found[0], process)
        finally:
            process.terminate()
            process.wait(30)


def chat(server: Served, question: str, model: str) -> str:
    """A run that is kept; its id."""
    server.chat(question, model=model)
    return server.get("/api/runs").json["runs"][0]["id"]


def go_to(page: Page, run: str) -> None:
    page.evaluate(f"location.hash = 'run/{run}'; dispatchEvent(new PopStateEvent('popstate'))")


def wait_seldom(page: Page, seen: str, seconds: float = 240) -> None:
    """Until *seen* is true; asked from outside and seldom, as asking is work of the page's too."""
    end = time.monotonic() + seconds
    while not page.evaluate(seen):
        assert time.monotonic() < end, f"never: {seen}"
        time.sleep(0.5)


def scroll_down(page: Page, place: tuple[int, int], pixels: int) -> None:
    """Forty turns of the wheel by *pixels* each, over *place*; until nothing more is drawn."""
    page.mouse.move(*place)
    for _ in range(40):
        page.mouse.wheel(0, pixels)
        time.sleep(0.05)
    settled(page, "true")


def settled(page: Page, seen: str, seconds: float = 240) -> None:
    """Until *seen* is true and neither the nodes nor the marks become more."""
    end, before, same = time.monotonic() + seconds, -1, 0
    while same < 2:
        assert time.monotonic() < end, f"never: {seen}"
        time.sleep(0.7)
        if not page.evaluate(seen):
            continue
        now = page.evaluate("document.getElementsByTagName('*').length")
        same = same + 1 if now == before else 0
        before = now


ENDED = (
    f"[...document.querySelectorAll('.answer .prose')].some(e => e.textContent.includes('{END}'))"
)


# ---- what is measured


class Walk:
    """The scenes, each a reading by its name."""

    def __init__(self, browser: Browser, server: Served, upstream: Upstream) -> None:
        self.browser, self.server, self.upstream = browser, server, upstream
        self.readings: dict[str, Reading] = {}

    @contextmanager
    def window(self) -> Iterator[Page]:
        page = self.browser.new_page(
            viewport={"width": 1440, "height": 900}, service_workers="block"
        )
        page.goto(self.server.url)
        page.wait_for_selector("#plan.ready")
        try:
            yield page
        finally:
            page.close()

    @contextmanager
    def scene(self, name: str, page: Page) -> Iterator[None]:
        into: list[Reading] = []
        with traced(self.browser, page, into):
            yield
        self.readings[name] = into[0]
        print(f"  {name}: {line_of(into[0])} | {', '.join(into[0].what)}", flush=True)

    def open_long_answers(self) -> None:
        set_pace(self.upstream, " ".join(SENTENCES), 0)
        for name in TEXTS:
            run = chat(self.server, f"A long one: {name}", f"long-{name}")
            with self.window() as page:
                with self.scene(f"open {SIZE // 1000} kB, {name}", page):
                    page.evaluate(
                        f"location.hash = 'run/{run}'; dispatchEvent(new PopStateEvent('popstate'))"
                    )
                    settled(page, ENDED)
                if name != "mixed":
                    continue
                with self.scene(f"its details, {name}", page):
                    page.evaluate("document.querySelector('.answer .who').click()")
                    settled(page, "document.querySelector('dialog[open]') !== null")
                page.keyboard.press("Escape")
                with self.scene(f"scrolled through, {name}", page):
                    scroll_down(page, (800, 400), 3000)

    def stream_six(self) -> None:
        words = " ".join(SENTENCES[i % 5] for i in range(STREAM_SECONDS * 6))
        set_pace(self.upstream, words, 0.01)
        self._stream("six", f"6 × 100 tokens/s for {STREAM_SECONDS} s")

    def stream_deep(self) -> None:
        set_pace(self.upstream, " ".join(SENTENCES * 2), 0.01)
        self._stream("deep", "3 × 6 proposers, 100 tokens/s each")

    def stream_long(self) -> None:
        set_pace(self.upstream, "Short.", 0)
        self._stream("long-mixed", f"{SIZE // 1000} kB as they come")

    def _stream(self, model: str, name: str) -> None:
        with self.window() as page:
            page.locator("#preset").select_option(model)
            page.locator("#question").fill(f"Go: {name}")
            page.wait_for_selector("#plan.ready")
            with self.scene(name, page):
                page.locator("#question").press("Enter")
                wait_seldom(page, "document.querySelector('.turn .totals') !== null")

    def fill_list(self) -> None:
        set_pace(self.upstream, " ".join(SENTENCES), 0)
        for number in range(PAST_RUNS):
            self.server.chat(f"Question {number}: why is the sky blue?", model="two")
        with self.window() as page:
            with self.scene(f"open the page over {PAST_RUNS} runs", page):
                page.goto(self.server.url)
                page.wait_for_selector("#plan.ready")
                settled(page, "true")
            with self.scene(f"scroll the list of {PAST_RUNS}", page):
                scroll_down(page, (100, 500), 2000)
            with self.scene(f"search in {PAST_RUNS}", page):
                page.locator("#search").press_sequentially("question 1", delay=60)
                settled(page, "true")

    def open_conversation(self) -> None:
        set_pace(self.upstream, " ".join(SENTENCES * 3), 0)
        last = ""
        for number in range(TURNS):
            last = self._turn(f"Turn {number}: go on", last)
        with self.window() as page:
            with self.scene(f"open a conversation of {TURNS} turns", page):
                page.evaluate(
                    f"location.hash = 'run/{last}'; dispatchEvent(new PopStateEvent('popstate'))"
                )
                settled(page, "document.querySelectorAll('.turn .prose').length > 0")
            with self.scene(f"ask in a conversation of {TURNS} turns", page):
                page.locator("#question").fill("And one more?")
                page.wait_for_selector("#plan.ready")
                page.locator("#question").press("Enter")
                settled(page, "document.querySelector('main[aria-busy=false]') !== null")

    def _turn(self, words: str, last: str) -> str:
        body = {"model": "two", "messages": [{"role": "user", "content": words}], "stream": True}
        place = f"?previous={last}" if last else ""
        begun = self.server.post(f"/api/runs{place}", body)
        if begun.status not in (200, 201, 202):  # version 0.1 knows no conversations of this kind
            return chat(self.server, words, "two")
        run = begun.json["run"]
        while self.server.get(f"/api/runs/{run}").json["state"] == "running":
            time.sleep(0.02)
        return run


SCENES = {
    "long": Walk.open_long_answers,
    "six": Walk.stream_six,
    "deep": Walk.stream_deep,
    "stream": Walk.stream_long,
    "list": Walk.fill_list,
    "conversation": Walk.open_conversation,
}


def line_of(one: Reading) -> str:
    return (
        f"longest {one.longest:.0f} ms, {one.over} over 50 ms, script {one.script:.0f} ms"
        f" ({one.share:.1f} %), all {one.busy:.0f} ms, {one.frames / one.wall:.0f} frames/s,"
        f" {one.wall:.1f} s"
    )


def measure(source: Path, only: list[str]) -> dict[str, Reading]:
    with running() as upstream, chromium() as browser, server_of(source, upstream) as server:
        walk = Walk(browser, server, upstream)
        for name, act in SCENES.items():
            if only and name not in only:
                continue
            try:
                act(walk)
            except (
                Error,
                AssertionError,
            ) as error:  # a scene that another version cannot do is left out
                print(f"  {name}: not measured ({str(error).splitlines()[0]})", flush=True)
        return walk.readings


def print_table(now: dict[str, Reading], before: dict[str, Reading] | None) -> None:
    head = ["", "longest task (ms)", "over 50 ms", "script (ms)", "main thread (ms)", "frames/s"]
    print("\n| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    for name, one in now.items():
        past = before.get(name) if before else None
        cells = [
            (one.longest, past and past.longest), (one.over, past and past.over),
            (one.script, past and past.script), (one.busy, past and past.busy),
            (one.frames / one.wall, past and past.frames / past.wall),
        ]  # fmt: skip
        row = [
            f"{value:,.0f}" if old is None else f"{old:,.0f} → {value:,.0f}" for value, old in cells
        ]
        print("| " + " | ".join([name, *row]) + " |")
    load = Path("/proc/loadavg")
    if load.exists():
        print(f"\nLoad of the machine: {load.read_text().split()[0]}, {os.cpu_count()} cores.")


def main() -> None:
    words = sys.argv[1:]
    only = [word for word in words if word in SCENES]
    before = None
    if "--before" in words:
        print("before", flush=True)
        before = measure(Path(words[words.index("--before") + 1]).resolve(), only)
    print("now", flush=True)
    print_table(measure(ROOT / "src", only), before)


if __name__ == "__main__":
    main()
