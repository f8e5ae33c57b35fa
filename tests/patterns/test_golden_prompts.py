"""Every call of every pattern sends what its golden file says, message by message."""

from __future__ import annotations

import re

import pytest

from mixtura.billing.typical_answer import estimate_typical_answer
from mixtura.models.fake import echo
from mixtura.patterns.agreement import AgreementReported
from tests.conftest import run
from tests.support.golden_prompts import COMMAND, FOLDER, golden_names, play
from tests.support.pattern_teams import (
    NAMES,
    Cast,
    build_team,
    drafts_between_fences,
    question,
    said_to,
)


@pytest.mark.parametrize("name", golden_names())
def test_every_call_is_sent_in_order_as_its_golden_file_has_it(name):
    file = FOLDER / f"{name}.txt"
    assert file.is_file(), f"{file.name} is missing: run `{COMMAND}`, then read what it wrote"

    said = f"other prompts than in {file.name}: if they are meant, run `{COMMAND}`"
    assert play(name) == file.read_text("utf-8"), said


def test_no_golden_file_is_left_of_a_pattern_that_is_gone():
    assert {file.stem for file in FOLDER.glob("*.txt")} == set(golden_names()), COMMAND


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_needs_them_all_makes_the_calls_that_were_planned(name):
    head = (FOLDER / f"{name}.txt").read_text("utf-8").split("\n")[0]
    made, most = head.removesuffix(".").split(" calls; at most ")

    assert int(made) == int(most)


DEEPER = {"sparse": 3, "adaptive": 5, "residual": 4}
"""Calls one after another where a judge chooses, or a report is made, between the layers."""


@pytest.mark.parametrize("name", DEEPER)
def test_what_waits_for_a_judge_between_the_layers_is_planned_so(name, tmp_path):
    team = build_team(name, tmp_path, Cast())

    assert estimate_typical_answer(team).calls_in_chain == DEEPER[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_report_of_agreement_comes_after_the_answer_and_reads_proposals(name, tmp_path):
    team = build_team(name, tmp_path, Cast())
    model = AgreementReported.of(team, echo("reporter"))
    calls = model.planned_calls()

    if team.reports_agreement:
        assert len(calls) == len(team.planned_calls())
        return
    assert all(calls[number].proposes for number in calls[-1].reads)
    assert len(calls[-1].reads) >= team.layers[-1].call_count
    chains = [estimate_typical_answer(one).calls_in_chain for one in (team, model)]
    assert chains[1] == chains[0] + 1


@pytest.mark.parametrize("name", NAMES)
def test_a_report_of_agreement_compares_what_members_wrote_and_no_text_of_the_last_step(
    name, tmp_path
):
    team, reporter = build_team(name, tmp_path, Cast()), Cast().model("reporter")

    run(AgreementReported.of(team, reporter).complete(question(name)))

    shown = [row for one in reporter.asked for row in drafts_between_fences(said_to(one))[0]]
    texts = [str(row["text"]) for row in shown]
    assert team.reports_agreement or texts
    of_members = re.compile(r"Text \d+ of [abc]\b|```python|\{\"findings\"")
    assert [text for text in texts if not of_members.match(text)] == []
