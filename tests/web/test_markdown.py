"""Markdown as models write it: code before formulas and prices, folds, footnotes, long texts."""

from __future__ import annotations

import pytest

from tests.support import page_world
from tests.support.upstream import Script

browser = page_world.browser
served = page_world.served
upstream = page_world.upstream
visit = page_world.visit

PRICES = (
    "It costs $5 a month; set `$HOME` first, then run `echo $PATH` for $3 more. From $5-$10, or "
    "US$5 (was US$6), in $HOME:$PATH. The $n$th term is $2x + 3$.\n\n"
)
TAGS = "One<br>two, H<sub>2</sub>O, x<sup>2</sup>, <kbd>Ctrl</kbd>, <b onclick=x>raw</b> &lt;i&gt;."
FORMULAS = (
    "\n\n\\begin{aligned}\na &= b \\\\\n &= c\n\\end{aligned}\n\nAs `$$` and `$$` say:\n\n"
    "$$\nx^2\n$$\n\n"
)
NOTES = "A claim[^1] and more[^b].\n\n[^1]: The **first** note.\n[^b]: Another.\n\n"
FOLD = "<details>\n<summary>More *here*</summary>\n\n- hidden item\n\n</details>\n\n"
TABLE = (
    "| statement of the whole table | B-tree | one-or-another |\n| --- | --- | --- |\n"
    "| pg_stat_statements | contains<br>two | read-only |\n\n"
)
OTHERS = "```mermaid\ngraph TD\n```\n\nمرحبا بالعالم\n\n" + ">" * 300 + " deep\n"
WHOLE = PRICES + TAGS + FORMULAS + NOTES + FOLD + TABLE + OTHERS


def test_code_prices_tags_formulas_folds_and_footnotes_are_what_was_meant(upstream, visit):
    upstream.scripts["chief"] = Script(WHOLE)
    upstream.scripts["ann"] = Script(
        "The **table** `pg_stat_statements` and customer_id cost $5.\n\n```py\nx ** 2 * _y_\n```\n"
    )
    person = visit(viewport={"width": 390, "height": 800}).ready().ask().answered()
    answer = person.find(".answer .prose")
    answer.locator("math").nth(3).wait_for()

    first = answer.locator("p").first
    assert first.locator("code").all_inner_texts() == ["$HOME", "echo $PATH"]
    assert "costs $5 a month" in first.inner_text()
    assert "From $5-$10, or US$5 (was US$6), in $HOME:$PATH." in first.inner_text()
    assert first.locator("math").count() == 2
    assert answer.locator("math").count() == 4

    tags = answer.locator("p").nth(1)
    assert tags.locator("br, sub, sup, kbd").count() == 4
    assert "<b onclick=x>raw</b> <i>" in tags.inner_text()

    answer.get_by_role("link", name="Footnote 1").click()
    person.wait("document.activeElement.className === 'footnote'")
    assert "The first note." in person.text(".footnote:focus")
    assert not answer.get_by_text("hidden item").is_visible()
    answer.locator("summary").click()
    assert answer.get_by_text("hidden item").is_visible()

    cell = answer.locator("td").first
    assert cell.inner_text() == "pg_stat_statements"
    lines = """e => { const r = document.createRange(); r.selectNodeContents(e);
      return new Set([...r.getClientRects()].map((box) => box.top)).size; }"""
    assert cell.evaluate(lines) == 1, "a word was broken"
    assert answer.locator("td").nth(2).evaluate(lines) == 1, "a word was broken at its hyphen"
    frame = answer.locator(".scroll")
    assert frame.evaluate("e => e.scrollWidth > e.clientWidth")
    sideways = "e => e.scrollWidth > e.clientWidth + 1"
    assert not person.find(".scroller").evaluate(sideways), "deep quotes scroll sideways"

    assert "mermaid" in answer.locator("figcaption").inner_text()
    arabic = answer.locator("p", has_text="مرحبا").first
    assert arabic.evaluate("e => getComputedStyle(e).direction") == "rtl"
    said = "The table pg_stat_statements and customer_id cost $5.\nx ** 2 * _y_"
    assert person.card(0).locator(".glance").inner_text() == said


BOTH_WAYS = """async (text) => {
  const { show } = await import('./markdown.mjs');
  const { fragment, lexed } = await import('./blocks.mjs');
  const place = () => document.body.appendChild(document.createElement('div'));
  const [grown, whole] = [place(), place()];
  for (let end = 1000; end < text.length; end += 7000) show(grown, text.slice(0, end), true);
  const done = await show(grown, text);
  const { tokens } = await lexed(text, async () => true);
  for (const token of tokens) whole.append(fragment(token));
  const plain = (e) => e.textContent.replace(/\\s+/g, '');
  const names = ['p', 'li', 'tr', 'ul', 'ol', 'a'];
  const counts = [grown, whole].map((e) => names.map((n) => e.querySelectorAll(n).length));
  return { done, same: plain(grown) === plain(whole), counts };
}"""


@pytest.mark.parametrize("kind", ["blocks", "list", "table", "deep"])
def test_a_long_answer_is_made_in_slices_and_is_the_same_as_in_one_piece(kind, served, browser):
    texts = {
        "blocks": "".join(f"Part {i} is *so*, [x].\n\n- one\n- two\n\n" for i in range(900))
        + "[x]: https://example.org/late\n",
        "list": "".join(f"{i}. item {i}\n" for i in range(1, 1500)),
        "table": "| a | b |\n| - | - |\n" + "".join(f"| {i} | b |\n" for i in range(1500)),
        "deep": "> " * 10000 + "end",
    }
    page = browser.new_page()
    page.goto(served.url)
    made = page.evaluate(
        BOTH_WAYS,
        texts[kind],
    )
    page.close()

    assert made["done"]
    assert made["same"]
    assert made["counts"][0] == made["counts"][1]
    if kind == "blocks":
        assert made["counts"][0] == [900, 1800, 0, 900, 0, 900]
    if kind == "list":
        assert made["counts"][0][4] == 1
