"""Draws of one model, at once and in a sequence; caps on patterns."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura import (
    Aggregation,
    Aggregator,
    BudgetExceededError,
    Charge,
    Layer,
    LayerFinished,
    Message,
    Mixture,
    ModelError,
    Position,
    Proposer,
    Recorder,
    Sampling,
    Token,
    ToolCall,
    UnavailableError,
    Usage,
    ask,
)
from mixtura.billing.forecast import ENVELOPE_OVERHEAD_TOKENS, forecast_calls, worst_case_spend
from mixtura.billing.spending_caps import RunCap
from mixtura.core.errors import ConfigError
from mixtura.core.types import sum_usage
from mixtura.engine.proposal_cache import ProposalCache
from mixtura.models.fake import FailedCall, Scripted, echo, failing_model, slow_model
from mixtura.models.wrappers.budget_per_run import BudgetedPerRun
from mixtura.models.wrappers.deadline import with_layer_deadlines
from mixtura.patterns import BestOf, Chosen, Ranker, Sequential, Vote, self_moa
from mixtura.patterns.sequential import draft_windows
from mixtura.protocols.usage_estimates import estimate_usage
from tests.conftest import run
from tests.support.pattern_models import ASK, TOOL, charges_when_left, drafts_in, said, watched
from tests.support.pattern_teams import (
    NAMES,
    SETTINGS,
    Cast,
    answer_whatever,
    build_plan,
    model_keys,
    question,
    read_configuration,
)

# ---- draws of one model, at once and in a sequence


def test_self_moa_is_six_draws_and_one_call_more():
    model = self_moa(echo("m"))

    assert isinstance(model, Mixture)
    assert model.call_count == 7
    assert run(model.complete(ASK)).usage_by_model.keys() == {"m"}


def numbered():
    """A model whose draws and syntheses can be told apart, and what it was shown."""
    shown = []

    def script():
        while True:
            yield step

    def step(request):
        shown.append(drafts_in(request))
        return f"synthesis {sum(map(bool, shown))}" if shown[-1] else f"draw {len(shown)}"

    return Scripted("m", script()), shown


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 50), st.integers(2, 9), st.data())
def test_no_call_of_a_sequence_reads_more_than_its_window_and_every_draw_is_read_once(
    draws, width, data
):
    repeat = data.draw(st.integers(1, width - 1))
    model, shown = numbered()
    sequence = replace(Sequential.of(model, draws, width=width), repeat=repeat)

    answer = run(sequence.complete(ASK))

    read = [texts for texts in shown if texts]
    assert all(len(texts) <= width for texts in read)
    assert sorted(t for texts in read for t in texts if t.startswith("draw")) == sorted(
        f"draw {i}" for i in range(1, draws + 1)
    )
    for before, texts in enumerate(read[1:], start=1):
        assert texts[:repeat] == [f"synthesis {before}"] * repeat
        assert f"synthesis {before}" not in texts[repeat:]
    assert answer.text == f"synthesis {len(read)}"
    assert sequence.call_count == len(answer.charges) == draws + len(read)
    assert sequence.layer_count == 1 + len(read)


def test_fifty_draws_take_no_more_room_than_one_window():
    def longest(draws):
        model = Scripted("m", ["word " * 500] * 200)
        run(Sequential.of(model, draws, width=4).complete(ASK))
        return max(len(request.messages[-1].text) for request in model.asked)

    assert longest(50) == longest(4) < 5 * 500 * 5


def test_a_sequence_tells_its_run_layer_by_layer():
    model, _ = numbered()
    recorder = Recorder()

    answer = run(Sequential.of(model, 7, width=3).complete(ASK, recorder))

    events = [event for _, event in recorder.events]
    assert events[0].shape == (("m",) * 7, ("m",), ("m",), ("m",))
    done = [(e.layer, e.answered, e.asked) for e in events if isinstance(e, LayerFinished)]
    assert done == [(1, 7, 7), (2, 1, 1), (3, 1, 1)]
    assert "".join(
        e.text for e in events if isinstance(e, Token) and e.at[-1].role == "aggregator"
    ) == (answer.text)
    assert len(recorder.build_trace().calls) == 10


def test_only_the_last_step_is_asked_in_the_callers_way():
    model, chief = echo("m"), Scripted("chief", ["one", "two", "three"])
    sequence = Sequential.of(model, 4, aggregator=chief, width=2)
    request = replace(ask("?", sampling=Sampling(max_tokens=9, seed=1)), tools=(TOOL,))

    run(sequence.complete(request))

    assert [r.sampling.max_tokens for r in chief.asked] == [None, None, 9]
    assert [bool(r.tools) for r in chief.asked] == [False, False, True]
    assert [r.draft for r in chief.asked] == [True, True, False]


def test_a_step_that_fails_is_stood_in_for_and_said_and_paid():
    lost = FailedCall(UnavailableError("down"), (Charge("chief", Usage(9, 0), "failed"),))
    chief = Scripted("chief", [lost, "done"])
    answer = run(Sequential.of(Scripted("m", ["x y", "x z", "q"]), 3, aggregator=chief, width=2)
                 .complete(ASK))  # fmt: skip

    assert drafts_in(chief.asked[1]) == ["x y", "q"]
    assert answer.text == "done"
    assert answer.degraded == (
        "layer 2: chief failed: down",
        "layer 2: the text closest to the others stands in for it",
    )
    assert Charge("chief", Usage(9, 0), "failed") in answer.charges


def test_a_fallback_brings_a_window_together_where_the_aggregator_cannot():
    spare = Scripted("spare", ["by the spare", "the end"])
    layer = Layer((Proposer(echo("m"), samples=3),))
    last = Aggregator(failing_model(ModelError("no"), "chief"), fallbacks=(spare,))

    answer = run(Sequential(layers=(layer,), aggregator=last, width=2).complete(ASK))

    assert answer.text == "the end"
    assert "by the spare" in drafts_in(spare.asked[1])


def test_draws_that_fail_shorten_the_sequence():
    model = Scripted("m", ["a", ModelError("no"), ModelError("no"), "b", "together"])

    answer, events = watched(Sequential.of(model, 4, width=2))

    assert answer.text == "together"
    assert len(answer.degraded) == 2
    assert [e.at for e in events if isinstance(e, Aggregation)] == [(Position(4, 0, "aggregator"),)]


def test_a_sequence_asks_once_for_a_turn_in_which_tools_are_called():
    model = Scripted("m", ["a", "b", "c", "ab", "use the clock", "it is noon"])
    sequence = replace(Sequential.of(model, 3, width=2), turns=ProposalCache())
    asked = replace(ASK, tools=(TOOL,))
    run(sequence.complete(asked))
    call = Message("assistant", "", (ToolCall("1", "clock", "{}"),))
    result = Message("tool", "12:00", tool_call_id="1")

    answer = run(sequence.complete(replace(asked, messages=(*asked.messages, call, result))))

    assert answer.text == "it is noon"
    assert len(answer.charges) == 1


def test_leaving_a_sequence_keeps_what_it_had_cost():
    chief = slow_model(60, name="chief")
    sequence = Sequential.of(
        Scripted("m", [said("a"), said("b"), said("c")]), 3, aggregator=chief, width=2
    )

    assert sum_usage(run(charges_when_left(sequence, chief))) == Usage(9, 6)
    assert chief.in_flight == 0


@given(st.integers(0, 200), st.integers(2, 9), st.data())
def test_windows_cover_every_draft_in_order(drafts, width, data):
    repeat = data.draw(st.integers(1, width - 1))
    steps = draft_windows(drafts, width, repeat)

    assert [i for step in steps for i in step] == list(range(drafts))
    assert all(len(step) <= width - (repeat if number else 0) for number, step in enumerate(steps))


# ---- caps


def dear(model, usage):
    return usage.completion_tokens * 0.01 + usage.prompt_tokens * 0.001


def capped(name):
    """Each pattern of three proposals whose answers are as long as they may be."""
    ten = Sampling(max_tokens=10)
    words = "word " * 10

    def member(name, text=words):
        return Scripted(name, [text] * 40)

    layer = Layer(tuple(Proposer(member(f"m{i}"), ten) for i in range(3)))
    judge = '{"best": 1, "score": 5}'
    return {
        "rank": Chosen(layers=(layer,), chooser=Ranker(member("judge", judge), ten)),
        "vote": Chosen(layers=(layer,), chooser=Vote()),
        "best-of": Chosen(layers=(layer,), chooser=BestOf(member("judge", judge), ten)),
        "sequential": Sequential(
            layers=(layer,), aggregator=Aggregator(member("chief"), ten), width=2
        ),
    }[name]


@pytest.mark.parametrize("name", ["rank", "vote", "best-of", "sequential"])
def test_the_worst_case_is_never_less_than_what_a_run_takes(name):
    model = capped(name)
    recorder = Recorder()

    run(model.complete(ASK, recorder))

    calls = recorder.build_trace().leaf_calls()
    asked = [
        (call.model, estimate_usage(call.request, call.text))
        for call in calls
        if call.model != "vote"
    ]
    expected = forecast_calls(model, ASK)
    assert [row.model for row in expected] == [name for name, _ in asked]
    for row, (_, usage) in zip(expected, asked, strict=True):
        assert row.usage.prompt_tokens >= usage.prompt_tokens
        assert row.usage.completion_tokens >= 10


def test_what_is_expected_hangs_on_what_the_caller_asks_of_the_answer_and_on_what_is_read():
    ten = Sampling(max_tokens=10)
    three = Layer((Proposer(echo("m"), ten, 3),))
    ranked = Chosen(layers=(three, three), chooser=Ranker(echo("judge"), ten))
    sequence = Sequential(layers=(three,), aggregator=Aggregator(echo("chief"), ten), width=2)
    long = ask("?", sampling=Sampling(max_tokens=1000))

    def written(model):
        return [row.usage.completion_tokens for row in forecast_calls(model, long)]

    def read(model):
        return [row.usage.prompt_tokens for row in forecast_calls(model, long)]

    assert written(ranked) == [10] * 3 + [1000] * 3 + [10]
    assert written(sequence) == [10] * 3 + [10, 1000]
    alone, around, draft, answer = read(ranked)[0], ENVELOPE_OVERHEAD_TOKENS, 30 + 64, 3000 + 64
    assert read(ranked) == [alone] * 3 + [alone + around + 3 * draft] * 3 + [
        alone + around + 3 * answer
    ]
    assert read(sequence) == [alone] * 3 + [alone + around + 2 * draft] * 2


@pytest.mark.parametrize("name", ["rank", "vote", "best-of", "sequential"])
def test_a_pattern_that_might_pass_its_cap_is_refused_before_anything_is_asked(name):
    model = capped(name)
    worst = worst_case_spend(forecast_calls(model, ASK), dear)[0].dollars

    with pytest.raises(BudgetExceededError, match="Nothing was sent"):
        run(BudgetedPerRun(model, lambda: [RunCap("this run", worst - 0.001)], dear).complete(ASK))
    assert all(p.model.asked == [] for p in model.layers[0].proposers)

    run(BudgetedPerRun(model, lambda: [RunCap("this run", worst)], dear).complete(ASK))


def test_at_the_cap_a_choice_shrinks_to_one_proposal_and_needs_no_judge():
    model = capped("rank")
    single = model.with_layers((Layer(model.layers[0].proposers[:1]),))
    worst = worst_case_spend(forecast_calls(single, ASK), dear)[0].dollars
    budget = BudgetedPerRun(model, lambda: [RunCap("this run", worst)], dear, at_the_cap="degrade")

    answer = run(budget.complete(ASK))

    assert answer.degraded == ("the budget: at most 1 of 3 proposals a layer",)
    assert len(answer.charges) == 1
    less = BudgetedPerRun(
        model, lambda: [RunCap("this run", worst / 2)], dear, at_the_cap="degrade"
    )
    with pytest.raises(BudgetExceededError):
        run(less.complete(ASK))


def test_at_the_cap_a_sequence_shrinks_to_its_aggregator():
    model = capped("sequential")
    worst = worst_case_spend(forecast_calls(model.with_layers(()), ASK), dear)[0].dollars
    budget = BudgetedPerRun(model, lambda: [RunCap("this run", worst)], dear, at_the_cap="degrade")

    answer = run(budget.complete(ASK))

    assert answer.degraded == ("the budget: no proposers, chief alone",)
    assert len(answer.charges) == 1


def test_a_deadline_leaves_the_more_time_for_the_steps_the_more_there_are():
    short, long = (Sequential.of(echo(), draws, width=2) for draws in (2, 50))

    assert with_layer_deadlines(short, 100).layers[0].deadline == pytest.approx(60)
    assert with_layer_deadlines(long, 100).layers[0].deadline < 5


# ---- one model in all places


def plan_of_one_model(name, layers, folder):
    """The pattern with the model `a` in every place, as a configuration has it."""
    keys = "".join(f'{key} = "a"\n' for key in model_keys(name))
    more = "subset = 1" if name == "recursive" else SETTINGS.get(name, "")
    model = '[models.a]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
    table = f'[mixtures.team]\npattern = "{name}"\nlayers = {layers}\n{keys}{more}\n'
    config = read_configuration(model + table, folder, presets=False)
    return config, config.mixture_spec("team")


@pytest.mark.parametrize("layers", ['[["a*2"]]', '[["a*2"], ["a*2"], ["a*2"]]'])
@pytest.mark.parametrize("name", NAMES)
def test_no_pattern_asks_one_model_the_same_with_the_same_draw_and_seed_twice(
    name, layers, tmp_path
):
    refused = ""
    try:
        config, plan = plan_of_one_model(name, layers, tmp_path)
    except ConfigError as error:
        refused = str(error)
    if refused:
        assert f"layers: '{name}'" in refused  # it has but one, or more
        return
    # Nothing that modes looks for agrees: it asks every layer.
    words = (lambda *_: "I do not know.") if name == "modes" else answer_whatever
    cast = Cast(words)
    team = build_plan(config, plan, cast)
    asked = question(name)

    run(team.complete(replace(asked, sampling=Sampling(seed=7))))

    sent = [(one.messages, one.draw, one.sampling.seed) for _, one in cast.asked]
    assert len(sent) >= 2
    assert len({(str(messages), draw, seed) for messages, draw, seed in sent}) == len(sent)
