"""The engine: the paper's layers, order, quorum, draws, nesting, cancelling."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura import (
    Aggregator,
    CallRestarted,
    CallStarted,
    Charge,
    Completion,
    ConfigError,
    ContentFilterError,
    ContextOverflowError,
    Failure,
    ImagePart,
    Layer,
    LayerFinished,
    Message,
    Mixture,
    ModelError,
    ModelInfo,
    Position,
    Proposal,
    Proposer,
    QuorumNotMetError,
    Recorder,
    RejectedError,
    Request,
    RunCompleted,
    RunStarted,
    Sampling,
    TextPart,
    TimedOutError,
    Token,
    UnavailableError,
    Usage,
    ask,
    streamed,
)
from mixtura.core.call_ledger import open_ledger
from mixtura.core.token_estimate import estimate_tokens
from mixtura.models.fake import FailedCall, Scripted, echo, failing_model, slow_model
from mixtura.prompts.context_fitting import truncate_proposals
from mixtura.prompts.synthesis import envelope, paper
from tests.conftest import run

ASK = ask("Why is the sky blue?")


def mixture(*proposers, aggregator, layers=1, **layer):
    row = Layer(tuple(p if isinstance(p, Proposer) else Proposer(p) for p in proposers), **layer)
    return Mixture(layers=(row,) * layers, aggregator=Aggregator(aggregator), synthesis=paper)


def shown(model, call=0):
    """Every word of what a model was shown."""
    return "\n".join(m.text for m in model.asked[call].messages)


def answer(model, request=ASK, emit=None):
    return run(model.complete(request, emit))


# ---- equation 1


def test_the_aggregator_reads_every_proposal_in_proposer_order_though_the_last_came_first():
    late, quick = Scripted("late", ["one"], delay=0.02), Scripted("quick", ["two"])
    chief = Scripted("chief", ["three"])

    got = answer(mixture(late, quick, aggregator=chief))

    assert got.text == "three"
    assert late.asked == [ASK]
    assert chief.asked[0].messages[1:] == ASK.messages
    assert chief.asked[0].messages[0].text.endswith("1. one\n2. two")


def test_a_second_layer_sees_the_layer_before_it_and_the_question_again():
    a, chief = Scripted("a", ["first", "second"]), Scripted("chief", ["done"])

    answer(mixture(a, aggregator=chief, layers=2))

    assert "first" in shown(a, 1)
    assert ASK.messages[0] in a.asked[1].messages
    assert "second" in shown(chief)
    assert "first" not in shown(chief)


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_the_papers_count_of_layers_has_the_aggregator_in_it(layers):
    a, b, chief = echo("a"), echo("b"), echo("chief")
    team = mixture(a, b, aggregator=chief, layers=layers)

    answer(team)

    assert team.layer_count == layers + 1
    assert team.call_count == 2 * layers + 1
    assert len(a.asked) + len(b.asked) + len(chief.asked) == team.call_count


def test_the_default_of_the_paper_is_thirteen_calls_and_lite_is_seven():
    six = [echo(str(i)) for i in range(6)]

    assert Mixture.of(six, echo(), depth=3).call_count == 13
    assert Mixture.of(six, echo(), depth=2).call_count == 7


def test_a_mixture_without_proposers_is_its_aggregator_alone():
    chief = Scripted("chief", ["done"])
    alone = Mixture(layers=(), aggregator=Aggregator(chief))

    assert answer(alone).text == "done"
    assert chief.asked == [ASK]
    assert alone.layer_count == 1


# ---- one model more than once


def test_two_proposers_of_one_model_stay_two_with_draws_and_seeds_of_their_own():
    one, chief = Scripted("one", ["a", "b"]), Scripted("chief", ["done"])
    seeded = replace(ASK, sampling=Sampling(seed=40))

    answer(mixture(Proposer(one), Proposer(one), aggregator=chief), seeded)

    assert [r.draw for r in one.asked] == [0, 1]
    assert [r.sampling.seed for r in one.asked] == [40, 41]
    assert chief.asked[0].messages[0].text.endswith("1. a\n2. b")


def test_samples_of_one_proposer_are_draws_like_any_others():
    one, chief = Scripted("one", ["a", "b", "c"]), Scripted("chief", ["done"])

    answer(mixture(Proposer(one, Sampling(seed=7), samples=3), aggregator=chief))

    assert [(r.draw, r.sampling.seed) for r in one.asked] == [(0, 7), (1, 8), (2, 9)]
    assert chief.asked[0].messages[0].text.endswith("1. a\n2. b\n3. c")


def test_a_mixture_drawn_twice_asks_its_members_for_fresh_draws():
    inner_a, inner_chief = echo("a"), echo("inner-chief")
    inner = mixture(Proposer(inner_a, samples=2), aggregator=inner_chief)
    outer = mixture(Proposer(inner, samples=2), aggregator=echo("chief"))

    answer(outer)

    assert sorted(r.draw for r in inner_a.asked) == [0, 1, 2, 3]
    assert sorted(r.draw for r in inner_chief.asked) == [0, 1]


# ---- what reaches whom


def test_the_callers_sampling_reaches_the_aggregator_and_no_one_else_but_for_the_seed():
    a, chief = Scripted("a", ["x"]), Scripted("chief", ["y"])

    answer(mixture(a, aggregator=chief), Request(ASK.messages, Sampling(max_tokens=5, seed=3)))

    assert a.asked[0].sampling == Sampling(seed=3)
    assert chief.asked[0].sampling == Sampling(max_tokens=5, seed=3)


def test_the_callers_sampling_wins_over_the_aggregators_own():
    chief = Scripted("chief", ["y"])
    team = Mixture(layers=(), aggregator=Aggregator(chief, Sampling(temperature=0.2, max_tokens=9)))

    answer(team, Request(ASK.messages, Sampling(temperature=1.0)))

    assert chief.asked[0].sampling == Sampling(temperature=1.0, max_tokens=9)


def test_tools_and_response_format_are_for_the_answer_not_for_drafts():
    a, chief = Scripted("a", ["x"]), Scripted("chief", ["y"])
    tools = ({"type": "function", "function": {"name": "f"}},)
    request = Request(
        ASK.messages, tools=tools, tool_choice="auto", response_format={"type": "json_object"}
    )

    answer(mixture(a, aggregator=chief), request)

    assert (a.asked[0].tools, a.asked[0].response_format) == ((), None)
    assert (chief.asked[0].tools, chief.asked[0].tool_choice) == (tools, "auto")
    assert chief.asked[0].response_format == {"type": "json_object"}


def test_a_conversation_with_a_system_prompt_and_pictures_reaches_every_proposer_untouched():
    parts = (TextPart("And this?"), ImagePart("data:image/png;base64,AAAA", "low"))
    talk = Request(
        (
            Message("system", "Speak like a sailor."),
            Message("user", "Hello"),
            Message("assistant", "Ahoy"),
            Message("user", parts),
        )
    )
    a, chief = Scripted("a", ["x"]), Scripted("chief", ["y"])

    answer(Mixture(layers=(Layer((Proposer(a),)),), aggregator=Aggregator(chief)), talk)

    assert a.asked[0].messages == talk.messages
    assert chief.asked[0].messages[:3] == talk.messages[:3]
    assert chief.asked[0].messages[3].content[:2] == parts
    assert talk.messages[3].content == parts


def test_a_persona_comes_after_the_callers_system_prompt_and_only_to_its_proposer():
    a, b, chief = Scripted("a", ["x"]), Scripted("b", ["y"]), Scripted("chief", ["z"])
    talk = ask("Hi", system="Be brief.")

    answer(mixture(Proposer(a, persona="You doubt everything."), b, aggregator=chief), talk)

    assert a.asked[0].messages[0] == Message("system", "Be brief.\n\nYou doubt everything.")
    assert b.asked[0].messages[0] == Message("system", "Be brief.")
    assert "doubt" not in shown(chief)


@pytest.mark.parametrize("synthesis", [paper, envelope])
def test_a_persona_stands_before_the_proposals_not_behind_them_where_it_could_be_one(synthesis):
    team, chief = Scripted("m", ["first", "second"]), echo("chief")
    layer = Layer((Proposer(team, persona="You doubt everything."),))

    answer(Mixture(layers=(layer, layer), aggregator=Aggregator(chief), synthesis=synthesis))

    words = shown(team, 1)
    assert words.count("You doubt everything.") == 1
    assert words.index("You doubt everything.") < words.index("first")


# ---- failures


def test_one_failing_proposer_is_reported_and_left_out_and_its_words_reach_no_one():
    bad = failing_model(UnavailableError("503 at dawn"), "bad")
    good, chief = Scripted("good", ["ok"]), Scripted("chief", ["done"])
    events = []

    got = answer(mixture(bad, good, aggregator=chief), emit=events.append)

    told = [e for e in events if isinstance(e, Failure | Proposal)]
    assert [(type(e), e.at) for e in told] == [
        (Failure, (Position(1, 0, "proposer"),)),
        (Proposal, (Position(1, 1, "proposer"),)),
    ]
    assert "503" not in shown(chief)
    assert got.degraded == ("layer 1: bad failed: 503 at dawn",)


def test_too_few_proposals_stop_the_run_and_name_every_cause():
    chief = Scripted("chief", ["done"])
    team = mixture(
        failing_model(RejectedError("401 bad key"), "a"),
        failing_model(UnavailableError("no route"), "b"),
        Scripted("c", ["fine"]),
        aggregator=chief,
        quorum=2,
    )

    with pytest.raises(QuorumNotMetError, match="only 1 of the 3 proposers of layer 1") as e:
        answer(team)

    assert str(e.value).endswith("(at least 2 are needed): a: 401 bad key; b: no route")
    assert [type(c) for c in e.value.causes] == [RejectedError, UnavailableError]
    assert chief.asked == []


def test_an_aggregator_that_fails_alone_raises_and_everything_paid_is_in_the_ledger():
    error = FailedCall(UnavailableError("gone"), (Charge("chief", Usage(5, 2), "failed"),))
    team = Mixture(layers=(), aggregator=Aggregator(failing_model(error, "chief")))

    with open_ledger() as ledger, pytest.raises(UnavailableError, match="gone"):
        answer(team)

    assert [(c.model, c.usage) for c in ledger.charges] == [("chief", Usage(5, 2))]


def test_when_no_aggregator_answers_the_proposal_closest_to_the_others_does_and_is_marked():
    far = Scripted("far", ["bananas are yellow"])
    near, nearer = Scripted("near", ["the sky is blue"]), Scripted("nearer", ["blue is the sky"])
    chief = failing_model(UnavailableError("gone"), "chief")
    events = []

    got = answer(mixture(far, near, nearer, aggregator=chief), emit=events.append)

    assert got.text == "the sky is blue"
    assert "gone" in got.degraded[0]
    assert "near" in got.degraded[1]
    assert len(got.charges) == 3
    assert isinstance(events[-1], RunCompleted)


def test_a_content_filter_at_the_aggregator_leads_to_another_try_without_some_proposals():
    team = [Scripted(n, [f"{n} says"]) for n in ("one", "two", "bad", "four")]

    def filtering(request):
        if "bad says" in request.messages[0].text:
            raise ContentFilterError("no")
        return "clean"

    chief = Scripted("chief", [filtering] * 9)
    got = answer(mixture(*team, aggregator=chief))

    assert got.text == "clean"
    assert "bad" not in shown(chief, -1)
    assert len(chief.asked) == 2
    assert "left out" in got.degraded[-1]


def test_a_filter_that_objects_to_the_question_itself_ends_after_a_few_tries():
    chief = failing_model(ContentFilterError("no"), "chief")
    team = [Scripted(n, [f"{n} says"]) for n in "abcdef"]

    got = answer(mixture(*team, aggregator=chief))

    assert len(chief.asked) <= 5
    assert got.text.endswith("says")


def test_a_fallback_answers_when_the_aggregator_cannot_and_the_answer_says_so():
    chief, spare = failing_model(UnavailableError("gone"), "chief"), Scripted("spare", ["saved"])
    team = Mixture(layers=(), aggregator=Aggregator(chief, fallbacks=(spare,)))
    events = []

    got = answer(team, emit=events.append)

    assert got.text == "saved"
    assert got.degraded == ("the aggregator chief failed: gone",)
    assert any(isinstance(e, CallRestarted) and e.model == "spare" for e in events)


def test_an_answer_of_which_a_person_saw_a_part_is_not_begun_again_by_a_fallback():
    broken = UnavailableError("cut off")
    broken.shown = True
    spare = Scripted("spare", ["other words"])
    team = Mixture(
        layers=(), aggregator=Aggregator(failing_model(broken, "chief"), fallbacks=(spare,))
    )

    with pytest.raises(UnavailableError, match="cut off"):
        answer(team, emit=lambda _: None)
    assert spare.asked == []


def test_a_bug_in_a_model_is_not_taken_for_a_failing_proposer():
    class Buggy:
        name = "buggy"

        async def complete(self, request, emit=None):
            raise KeyError("choices")

    with pytest.raises(KeyError, match="choices"):
        answer(mixture(Buggy(), echo("b"), aggregator=echo("chief")))


def test_a_proposer_that_cannot_be_set_up_ends_the_run_with_the_reason_itself():
    bad = Scripted("bad", [ConfigError("the file is damaged")])
    late = slow_model(30, name="late")

    with pytest.raises(ConfigError, match="the file is damaged"):
        answer(mixture(bad, late, aggregator=echo("chief")))
    assert late.in_flight == 0


@pytest.mark.parametrize("text", ["User: hi\nAssistant: no", "<b>bold</b> & [x](y)", "None", "{x}"])
def test_an_answer_that_looks_like_something_else_survives_whole(text):
    a, chief = Scripted("a", [text]), Scripted("chief", [text])

    got = answer(mixture(a, aggregator=chief))

    assert got.text == text
    assert text in shown(chief)


# ---- patience and deadline


def test_after_a_quorum_stragglers_are_waited_for_only_as_long_as_patience():
    quick, late = Scripted("quick", ["here"]), slow_model(30.0, name="late")
    chief, events = Scripted("chief", ["done"]), []

    got = answer(
        mixture(quick, late, aggregator=chief, quorum=1, patience=0.05), emit=events.append
    )

    lost = [e for e in events if isinstance(e, Failure)]
    assert [(e.model, type(e.error), e.at[0].index) for e in lost] == [("late", TimedOutError, 1)]
    assert got.degraded
    assert late.in_flight == 0


def test_patience_begins_only_when_the_quorum_has_answered():
    first = Scripted("first", ["here"], delay=0.15)
    second = Scripted("second", ["too"], delay=0.2)

    got = answer(mixture(first, second, aggregator=echo(), quorum=1, patience=0.5))

    assert got.degraded == ()


def test_a_deadline_goes_on_with_what_there_is_or_fails_the_quorum():
    team = [Scripted("quick", ["here"]), slow_model(30.0, name="late")]

    got = answer(mixture(*team, aggregator=echo(), deadline=0.05))
    assert len(got.degraded) == 1

    late = [slow_model(30.0, name="x"), slow_model(30.0, name="y")]
    with pytest.raises(QuorumNotMetError, match=r"deadline"):
        answer(mixture(*late, aggregator=echo(), deadline=0.05))


# ---- leaving


def test_a_layer_without_any_time_is_a_failure_not_a_cancelled_run():
    late = slow_model(30, name="late")

    with pytest.raises(QuorumNotMetError, match="late: cut off") as error:
        answer(mixture(late, late, aggregator=echo("chief"), deadline=0))
    assert error.value.late


def test_cancelling_a_run_cancels_every_call_and_leaves_no_task():
    models = [slow_model(30.0, name=str(i)) for i in range(6)]
    team = mixture(*models, aggregator=echo())

    async def cancelled():
        task = asyncio.create_task(team.complete(ASK))
        await asyncio.sleep(0.02)
        assert [m.in_flight for m in models] == [1] * 6
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancelled())
    assert [m.in_flight for m in models] == [0] * 6


def test_leaving_a_stream_early_leaves_no_call_running():
    late = slow_model(30.0, name="late")
    team = mixture(Scripted("quick", ["a b c"]), late, aggregator=echo())

    async def left():
        async with streamed(team, ASK) as under_way:
            async for event in under_way:
                if isinstance(event, Token):
                    break
        assert late.in_flight == 0

    run(left())


def test_a_run_that_fails_while_watched_fails_for_the_watcher():
    team = mixture(failing_model(ModelError("no"), "bad"), aggregator=echo())

    async def watched():
        async with streamed(team, ASK) as under_way:
            return [event async for event in under_way]

    with pytest.raises(QuorumNotMetError):
        run(watched())


def test_nothing_leaks_from_one_run_into_the_next():
    a, chief = echo("a"), echo("chief")
    team = mixture(a, aggregator=chief)

    async def both():
        async with asyncio.TaskGroup() as group:
            for word in ("apple", "pear"):
                group.create_task(team.complete(ask(word)))

    run(both())
    for prompt in (shown(chief, 0), shown(chief, 1)):
        assert ("apple" in prompt) != ("pear" in prompt)


# ---- nesting


def test_a_nested_mixtures_failure_counts_as_one_failed_proposer():
    inner = mixture(
        failing_model(RejectedError("no"), "x"),
        failing_model(RejectedError("no"), "y"),
        aggregator=echo("inner-chief"),
    )
    good, chief = Scripted("good", ["ok"]), Scripted("chief", ["done"])
    events = []

    got = answer(mixture(replace(inner, name="inner"), good, aggregator=chief), emit=events.append)

    outer = [e for e in events if isinstance(e, Failure) and len(e.at) == 1]
    assert [(e.model, type(e.error)) for e in outer] == [("inner", QuorumNotMetError)]
    assert len(got.degraded) == 1


def test_usage_is_the_sum_over_every_call_nested_ones_included():
    def member(name, read, wrote):
        return Scripted(name, ["x"] * 9, usage=Usage(read, wrote))

    inner = mixture(member("a", 1, 10), member("b", 2, 20), aggregator=member("c", 3, 30))
    outer = mixture(inner, member("a", 4, 40), aggregator=member("d", 5, 50))

    got = answer(outer)

    assert got.usage == Usage(15, 150)
    assert got.usage_by_model == {
        "a": Usage(5, 50), "b": Usage(2, 20), "c": Usage(3, 30), "d": Usage(5, 50),
    }  # fmt: skip


# ---- events and the trace


def test_the_events_of_a_run_come_in_the_order_of_what_happens():
    team = mixture(Scripted("a", ["hi there"]), aggregator=Scripted("chief", ["done"]))
    events = []

    answer(team, emit=events.append)

    kinds = [type(e).__name__ for e in events]
    assert kinds == [
        "RunStarted", "CallStarted", "Token", "Token", "Proposal", "LayerFinished",
        "CallStarted", "Token", "Aggregation", "RunCompleted",
    ]  # fmt: skip
    assert events[0] == RunStarted("mixture", ASK, (("a",), ("chief",)))
    assert isinstance(events[5], LayerFinished)


def test_the_places_of_a_nested_mixtures_events_begin_with_its_seat():
    inner = mixture(Scripted("deep", ["x"]), aggregator=Scripted("inner-chief", ["y"]))
    events = []

    answer(mixture(inner, aggregator=Scripted("chief", ["z"])), emit=events.append)

    asked = {e.model: e.at for e in events if isinstance(e, CallStarted)}
    assert asked["deep"] == (Position(1, 0, "proposer"), Position(1, 0, "proposer"))
    assert asked["inner-chief"] == (Position(1, 0, "proposer"), Position(2, 0, "aggregator"))
    assert [e.at for e in events if isinstance(e, RunCompleted)] == [
        (Position(1, 0, "proposer"),),
        (),
    ]


def test_a_trace_says_who_said_what_when_and_who_failed():
    clock = iter(range(1000))
    recorder = Recorder(clock=lambda: float(next(clock)))
    team = mixture(
        Scripted("a", ["hi there"]),
        failing_model(RejectedError("no"), "b"),
        aggregator=echo("chief"),
    )

    got = answer(team, emit=recorder)
    trace = recorder.build_trace()

    assert [(c.seat.layer, c.seat.index, c.seat.role, c.model) for c in trace.calls] == [
        (1, 0, "proposer", "a"), (1, 1, "proposer", "b"), (2, 0, "aggregator", "chief"),
    ]  # fmt: skip
    a, b, chief = trace.calls
    assert (a.text, str(b.error), chief.text) == ("hi there", "no", got.text)
    assert a.started < a.first_token < a.ended
    assert trace.usage == got.usage
    assert trace.request == ASK


def test_a_trace_of_a_run_that_was_left_counts_what_it_saw():
    late = Scripted("late", ["one two three four"], pace=0.02)
    recorder = Recorder()

    async def left():
        task = asyncio.create_task(mixture(late, aggregator=echo()).complete(ASK, recorder))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])

    run(left())
    trace = recorder.build_trace()
    assert trace.completion is None
    assert trace.usage.completion_tokens > 0
    assert trace.usage.estimated


# ---- windows


def narrow_model(name, script):
    return Scripted(name, script, info=ModelInfo(name, context_window=700))


def test_drafts_are_cut_to_each_readers_own_window_and_marked():
    long, short = "word " * 2000, "a short draft"
    narrow, chief = narrow_model("narrow", ["one", "two"]), Scripted("chief", ["done"])
    first = Layer((Proposer(Scripted("a", [long])), Proposer(Scripted("b", [short]))))
    second = Layer((Proposer(narrow), Proposer(Scripted("wide", ["x"]))))
    wide = second.proposers[1].model

    answer(Mixture(layers=(first, second), aggregator=Aggregator(chief)))

    assert long.strip() in shown(wide)
    assert len(shown(narrow)) < 700 * 3
    assert short in shown(narrow)
    assert "left out here" in shown(narrow)
    assert '"complete": false' in shown(narrow)


def test_a_conversation_that_does_not_fit_fails_before_it_is_sent():
    narrow = narrow_model("narrow", ["never"])
    chief = Scripted("chief", ["done"])
    events = []

    got = answer(mixture(narrow, echo("b"), aggregator=chief), ask("word " * 900), events.append)

    assert narrow.asked == []
    assert [type(e.error) for e in events if isinstance(e, Failure)] == [ContextOverflowError]
    assert "narrow" in got.degraded[0]


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=7), st.integers(300, 3000))
def test_fitted_drafts_fit_and_none_is_cut_while_a_longer_one_is_not(lengths, space):
    drafts = [Completion(Message("assistant", "x" * n), "m") for n in lengths]

    cut = truncate_proposals(drafts, space)

    if space >= 50 * len(drafts):
        assert sum(estimate_tokens(d.text) + 24 for d in cut) <= space
    whole = [len(d.text) for d in cut if d.finish_reason == "stop"]
    shortened = [n for n, d in zip(lengths, cut, strict=True) if d.finish_reason != "stop"]
    assert not whole or not shortened or max(whole) <= max(shortened)
