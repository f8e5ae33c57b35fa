"""What holds for every pattern: beside tools, at a cap that leaves out calls, with a length."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from mixtura import Message, ToolCall
from mixtura.billing.cheaper_mixtures import cheaper_variants
from mixtura.billing.spending_caps import RunCap
from mixtura.catalog.patterns import find_pattern
from mixtura.core.events import Position
from mixtura.engine.streaming import Recorder
from mixtura.engine.trace import trace_json
from mixtura.models.wrappers.budget_per_run import BudgetedPerRun
from mixtura.patterns.agreement import AgreementReported
from mixtura.storage.run_record import recorded_drafts
from mixtura.terminal.tables import trace_summary
from tests.conftest import run
from tests.support import pattern_teams
from tests.support.pattern_models import TOOL, said
from tests.support.pattern_teams import (
    LAYERS,
    MEMBERS,
    NAMES,
    PROGRAM,
    REVIEW,
    Cast,
    answer_whatever,
    build_team,
    drafts_between_fences,
    question,
    read_team,
    said_to,
)

ONE_LAYER = ("switch", "review", "sequential")
"""Patterns that have no layer before their last one."""
WRITING = tuple(
    name
    for name in NAMES
    if (last := find_pattern(name).final_model) is not None and last.key == "aggregator"
)


# ---- beside tools


def after_a_tool(name):
    """The question of that pattern's team, to which a tool has been called already."""
    asked = question(name)
    call = ToolCall("call-1", "clock", "{}")
    since = (
        Message("assistant", tool_calls=(call,)),
        Message("tool", "noon", tool_call_id=call.id),
    )
    return replace(asked, messages=(*asked.messages, *since), tools=(TOOL,))


@pytest.mark.parametrize("name", NAMES)
def test_no_call_without_the_tools_shows_calls_of_them_but_as_text(name, tmp_path, monkeypatch):
    """Many endpoints refuse such a conversation, so that the call would be lost."""
    if name not in ONE_LAYER:
        rows = json.loads(LAYERS.get(name, json.dumps([list(MEMBERS)])))
        monkeypatch.setitem(pattern_teams.LAYERS, name, json.dumps([*rows, rows[-1]]))
    cast = Cast()

    run(build_team(name, tmp_path, cast).complete(after_a_tool(name)))

    drafts = [request for _, request in cast.asked if not request.tools]
    assert all(not m.tool_calls and m.role != "tool" for one in drafts for m in one.messages)
    if name not in ("switch", "modes"):  # whose calls all may answer
        assert any("[clock returned]\nnoon" in said_to(one) for one in drafts)


@pytest.mark.parametrize("name", NAMES)
def test_whoever_reads_a_draft_that_calls_a_tool_reads_the_call_and_that_it_is_whole(
    name, tmp_path
):
    def calls_the_clock(model, number, request):
        if model not in MEMBERS or not request.tools:
            return answer_whatever(model, number, request)
        call = ToolCall("call-1", "clock", json.dumps({"of": model}))
        return said("", model, "tool_calls", tool_calls=(call,))

    cast = Cast(calls_the_clock)
    team = AgreementReported.of(build_team(name, tmp_path, cast), cast.model("reporter"))

    run(team.complete(replace(question(name), tools=(TOOL,))))

    read = [
        draft
        for _, request in cast.asked
        for listed in drafts_between_fences(said_to(request))
        for draft in listed
    ]
    assert all(draft["text"] and draft["complete"] for draft in read)
    if find_pattern(name).kind.proposals_answer:
        assert {'[calls clock with {"of": "a"}]'} <= {draft["text"] for draft in read}


# ---- at a cap


def priced(model, usage):
    return float(usage.total_tokens)


@pytest.mark.parametrize("name", NAMES)
def test_a_cap_that_leaves_out_calls_takes_nothing_from_a_run_that_has_room(name, tmp_path):
    cast = Cast()
    team = build_team(name, tmp_path, cast)
    model = BudgetedPerRun(team, lambda: [RunCap("this run", 1e9)], priced, at_the_cap="degrade")

    answer = run(model.complete(question(name)))

    assert answer.text
    assert not answer.degraded


@pytest.mark.parametrize("reported", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_fewer_calls_answer_too_and_make_no_more_than_were_planned(name, reported, tmp_path):
    cast = Cast()
    team = build_team(name, tmp_path, cast)
    if reported:
        team = AgreementReported.of(team, cast.model("reporter"))
    variants = cheaper_variants(team)

    sizes = [team.call_count]
    for variant, notice in variants:
        cast.asked.clear()
        answer = run(variant.complete(question(name)))
        assert answer.text, notice
        assert len(cast.asked) <= variant.call_count < sizes[-1]
        assert (answer.agreement is not None) == reported or name == "analyse"
        sizes.append(variant.call_count)
    assert variants
    if name in WRITING and name not in ("recursive", "guard"):
        alone, notice = variants[-1]
        assert (notice, alone.name) == ("the budget: no proposers, aggregator alone", team.name)
        assert [call.model.name for call in alone.planned_calls()] == ["aggregator"]


def test_a_guard_with_fewer_proposers_keeps_the_one_that_it_guards(tmp_path):
    team = build_team("guard", tmp_path, Cast(), 'member = "c"')

    kept = [
        [call.model.name for call in variant.layers[0].proposer_calls]
        for variant, _ in cheaper_variants(team)
    ]

    assert kept == [["a", "c"], ["c"]]


# ---- with a length


@pytest.mark.parametrize("name", WRITING)
def test_whoever_writes_from_drafts_is_told_how_long_the_text_may_be(name, tmp_path):
    cast = Cast()

    run(build_team(name, tmp_path, cast, "length = 9").complete(question(name)))

    written = [
        request
        for model, request in cast.asked
        if drafts_between_fences(said_to(request))
        and answer_whatever(model, 1, request).startswith("Text ")
    ]
    assert written
    assert all("Write at most 9 words" in said_to(request) for request in written)


# ---- where its calls are


def is_draft(text):
    """Whether a model of `pattern_teams` wrote it where it was asked for a draft."""
    return text.startswith("Text ") or text in (PROGRAM, json.dumps(REVIEW))


@pytest.mark.parametrize("name", NAMES)
def test_every_call_is_told_once_at_a_position_of_its_own_and_only_drafts_are_proposals(
    name, tmp_path
):
    cast, recorder = Cast(), Recorder()

    answer = run(build_team(name, tmp_path, cast).complete(question(name), recorder))

    trace = recorder.build_trace()
    leaves = [call for call in trace.leaf_calls() if call.charges]
    assert len(leaves) == len(cast.asked)
    for role in ("proposer", "aggregator"):
        assert all(is_draft(call.text) for call in leaves if call.seat.role == role)
    assert not any(is_draft(call.text) for call in leaves if call.seat.role == "judge")
    assert [call.seat.role for call in trace.calls].index("aggregator") == len(trace.calls) - 1
    # What each call is said to have cost comes to the bill.
    assert Counter(c for call in trace.calls for c in call.charges) == Counter(answer.charges)
    table = io.StringIO()
    Console(file=table, width=160).print(trace_summary(trace, lambda *_: None, 160))
    places = re.findall(
        r"^ *((?:answer(?: › \S+ \S+)?|judge \S+|\d+\.\d+)) ", table.getvalue(), re.MULTILINE
    )
    assert len(set(places)) == len(places) >= len(leaves)
    kept = recorded_drafts(trace_json(trace, lambda *_: None))
    assert all(is_draft(draft.text) for draft in kept.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_file_and_a_run_count_the_same_layers(name, tmp_path):
    config, plan = read_team(name, tmp_path)

    assert plan.layer_count == pattern_teams.build_plan(config, plan, Cast()).layer_count


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("guard", "proposal 1 of 3, by a: the synthesis was not preferred to it"),
        ("robust", "answer 1 of 3, by aggregator: of 3 answers, each without one proposal"),
        ("recursive", "answer 1 of 3, by aggregator: the closest to the others"),
        ("vote", "proposal 1 of 3, by a: the closest to the others"),
    ],
)
def test_a_choice_says_whether_a_members_proposal_is_the_answer(name, said, tmp_path):
    recorder = Recorder()

    run(build_team(name, tmp_path, Cast()).complete(question(name), recorder))

    (last,) = [call for call in recorder.build_trace().calls if call.seat.role == "aggregator"]
    assert last.notices[-1].startswith(said)


def test_the_calls_that_decide_stand_behind_what_they_read(tmp_path):
    def list_places(name):
        recorder = Recorder()
        run(build_team(name, tmp_path, Cast()).complete(question(name), recorder))
        trace = recorder.build_trace()
        return [(call.seat, tuple(one.seat for one in call.calls)) for call in trace.calls[3:]]

    answer = Position(3, 0, "aggregator")
    synthesis = Position(2, 0, "proposer")
    verdicts = (Position(1, 0, "judge"), Position(1, 1, "judge"))
    assert list_places("guard") == [(synthesis, ()), (answer, verdicts)]
    assert list_places("sparse")[0] == (Position(1, 0, "judge"), ())
    compared = [(Position(1, index, "judge"), ()) for index in range(3)]
    assert list_places("gate") == [*compared, (synthesis, ()), (answer, ())]
