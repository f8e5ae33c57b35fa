"""Every pattern has its page: six sections, a team, and the cost that the code counts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mixtura.billing.typical_answer import (
    ANSWER_TOKENS,
    ENVELOPE_TOKENS,
    QUESTION_TOKENS,
    estimate_typical_answer,
)
from mixtura.config.config import load
from mixtura.models.fake import echo
from tests.support.paths import ROOT
from tests.support.pattern_teams import NAMES, read_configuration

PAGES = ROOT / "docs" / "patterns"
SECTIONS = ["What it does", "When it wins", "When it loses", "Formula", "Cost", "Source"]
COST = re.compile(
    r"The team above makes (?P<most>at most )?(?P<calls>\d+) calls;"
    r" the longest chain is (?P<chain>\d+) calls?\."
    r" A typical question: (?P<most2>at most )?(?P<read>[\d,]+) tokens read"
    r" and (?P<wrote>[\d,]+) written, (?P<slow>[\d,]+) of these in the slowest chain"
)


def page(name: str) -> str:
    path = PAGES / f"{name}.md"
    assert path.is_file(), f"write {path.relative_to(ROOT)}: the page of the pattern '{name}'"
    return path.read_text("utf-8")


def sections(name: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)\n", page(name), flags=re.MULTILINE)
    return dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))


def outline_of_team(name: str, folder: Path):
    """The team of the page's first block, of echoes; and whether it may stop early."""
    block = re.search(r"^```toml\n(.*?)^```", page(name), re.MULTILINE | re.DOTALL)
    assert block, f"{name}.md begins with a team in TOML"
    config = read_configuration(block[1], folder, presets=False)
    plan = next(plan for plan in config.registry.mixtures.values() if plan.where)
    if name != "self":
        assert plan.pattern.kind == name
    return config.builder.build_outline(plan), plan.pattern.stops_early


@pytest.mark.parametrize("name", [*NAMES, "self"])
def test_a_page_has_all_six_sections_in_their_order_and_a_source(name):
    found = sections(name)

    assert list(found) == SECTIONS
    assert all(found.values())
    paper = re.search(r"arXiv\s\d{4}\.\d{5}\]\(https://arxiv\.org/abs/", found["Source"])
    assert paper or found["Source"].startswith("Our own")
    assert page(name).startswith(f"# {name}: ")


@pytest.mark.parametrize("name", [*NAMES, "self"])
def test_the_cost_on_a_page_is_what_the_code_counts_for_its_team(name, tmp_path):
    team, may_stop_early = outline_of_team(name, tmp_path)
    typical = estimate_typical_answer(team)

    said = COST.search(" ".join(sections(name)["Cost"].split()))
    assert said, "the section Cost says: The team above makes … (as `mixtura show` counts)"
    parts = ("calls", "chain", "read", "wrote", "slow")
    figures = [int(said[part].replace(",", "")) for part in parts]
    usage = typical.usage
    assert figures == [
        team.call_count, typical.calls_in_chain, usage.prompt_tokens, usage.completion_tokens,
        typical.chain_tokens,
    ]  # fmt: skip
    assert bool(said["most"]) == bool(said["most2"]) == may_stop_early


def test_the_table_to_choose_by_links_every_pattern():
    text = (PAGES / "index.md").read_text("utf-8")
    table = text[text.index("| you have |") : text.index("**Rules of thumb.**")]

    assert set(re.findall(r"\[`([\w-]+)`\]\(\1\.md\)", table)) == {*NAMES, "self"}
    assert "The aggregator should be the strongest member." in text


def test_the_page_of_costs_counts_as_show_does(tmp_path):
    text = (ROOT / "docs" / "explanation" / "costs.md").read_text("utf-8")
    config = load(None, environ={}, folder=tmp_path, home=tmp_path)
    shapes = [config.build_outline(config.mixture_spec(name)) for name in ("lite", "paper")]

    rows = []
    for answer in map(estimate_typical_answer, [echo("a"), *shapes]):
        usage = answer.usage
        rows.append((len(answer.calls), usage.prompt_tokens, usage.completion_tokens))
    row = r"^\| (?:one model|\w+ layers) .*\| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$"
    said = re.findall(row, text, re.MULTILINE)
    assert [tuple(int(n.replace(",", "")) for n in row) for row in said] == rows
    assert f"about *a* = {ENVELOPE_TOKENS} tokens" in text
    assert f"*p* = {QUESTION_TOKENS} and *o* = {ANSWER_TOKENS}" in text
