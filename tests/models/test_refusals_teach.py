"""A refusal teaches: its limits, its quotas and what it says of a begun answer."""

from __future__ import annotations

import json

import pytest

from mixtura import (
    Aggregator,
    ContextOverflowError,
    Layer,
    Message,
    Mixture,
    Notice,
    Proposer,
    QuotaError,
    RateLimitedError,
    RejectedError,
    Request,
    Sampling,
    ToolCall,
    ask,
)
from mixtura.core.errors import ModelError
from mixtura.models.anthropic import Anthropic
from mixtura.models.fake import Scripted
from mixtura.models.openai import OpenAI
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
from mixtura.models.wrappers.retry import Retrying
from mixtura.transport.client import error_from_response
from tests.conftest import run
from tests.support.refusal_cases import cases, error
from tests.support.upstream import Script, Wire, honest, running

HUGE = 900_000
"""Tokens of an answer that no one allows."""


def words(name):
    return [row["said"] for row in cases(name)]


def bounded(most, said, status=400):
    """A model that refuses longer answers in these words."""

    async def play(wire: Wire) -> None:
        body = wire.voice.body
        asked = body.get("max_tokens", body.get("max_completion_tokens", HUGE))
        await (wire.reply(status, error(said)) if asked > most else honest(wire))

    return Script("Because.", ever=play)


def bounds(records):
    return [r.body.get("max_tokens") for r in records]


LONG = ask("Why?", sampling=Sampling(max_tokens=HUGE))


# ---- limits of answers


def test_an_output_limit_stated_in_any_words_leads_to_one_further_try_and_is_remembered():
    rows = cases("output")
    with running() as upstream:
        for number, row in enumerate(rows):
            upstream.scripts[f"m{number}"] = bounded(row["output"], row["said"])
        models = [OpenAI(f"m{n}", upstream.base_url("openai")) for n in range(len(rows))]

        async def twice():
            for model in models:
                for _ in range(2):
                    await model.complete(LONG)

        run(twice())
        asked = {row["said"]: bounds(upstream.of(f"m{n}")) for n, row in enumerate(rows)}

    for row in rows:
        assert asked[row["said"]] == [HUGE, row["output"], row["output"]], row["said"]


def test_a_limit_is_one_model_s_and_anthropic_s_form_of_it_is_read():
    said = "max_tokens: 900000 > 8192, which is the maximum allowed number of output tokens for m"
    with running() as upstream:
        upstream.scripts["m"] = bounded(8192, said)
        model = Anthropic("m", upstream.base_url("anthropic"))
        other = Anthropic("other", upstream.base_url("anthropic"))

        async def both():
            await model.complete(LONG)
            await other.complete(LONG)

        run(both())
        asked = bounds(upstream.records)

    assert asked == [HUGE, 8192, HUGE]


def test_no_other_refusal_changes_what_is_asked_for():
    rows = cases("nothing")
    events = []
    with running() as upstream:
        for number, row in enumerate(rows):
            upstream.scripts[f"m{number}"] = bounded(0, row["said"])

        async def each():
            for number in range(len(rows)):
                model = OpenAI(f"m{number}", upstream.base_url("openai"))
                with pytest.raises(ModelError):
                    await model.complete(LONG, events.append)
                assert model.info.context_window is None

        run(each())
        asked = [
            r.body.get("max_tokens", r.body.get("max_completion_tokens")) for r in upstream.records
        ]

    assert {bound for bound in asked if bound is not None} == {HUGE}


# ---- windows


@pytest.mark.parametrize(
    "row", [r for r in cases("window") if r["room"]], ids=lambda r: r["said"][:50]
)
def test_what_a_window_leaves_leads_to_one_further_try_that_is_no_model_s_limit(row):
    long = ask("word " * 60_000, sampling=Sampling(max_tokens=HUGE))
    short = ask("Why?", sampling=Sampling(max_tokens=HUGE))

    async def play(wire: Wire) -> None:
        body = wire.voice.body
        full = len(json.dumps(body)) > 9_000 and body["max_tokens"] > row["room"]
        await (wire.reply(400, error(row["said"])) if full else honest(wire))

    events = []
    with running() as upstream:
        upstream.scripts["m"] = Script("Because.", ever=play)
        model = OpenAI("m", upstream.base_url("openai"))

        async def twice():
            await model.complete(long, events.append)
            await model.complete(short, events.append)

        run(twice())
        asked = bounds(upstream.records)

    assert asked == [HUGE, row["room"], HUGE]
    assert model.info.context_window == row["window"]
    assert [e for e in events if isinstance(e, Notice)]


@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_prompt_that_is_too_long_is_an_overflow_and_its_window_is_remembered(status):
    rows = [row for row in cases("window") if row["room"] is None]
    wordless = [
        "Your input exceeds the context window of this model.",
        "Input is too long for requested model.",
        "the input length exceeds the context length",
        "Please reduce the length of the messages or completion.",
        "prompt is too long",
        "invalid params, context window exceeds limit (2013)",
        "Prompt exceeds max length",
    ]
    for row in [*rows, *({"said": said, "window": None} for said in wordless)]:
        found = error_from_response(status, {}, json.dumps(error(row["said"])).encode())
        assert type(found) is ContextOverflowError, row["said"]
        assert found.limits.window == row["window"]


def test_llama_cpp_s_counts_are_read_from_fields_of_their_own():
    said = "the request exceeds the available context size, try increasing it"
    body = error(said, n_prompt_tokens=9000, n_ctx=8192) | {"code": 400}

    assert error_from_response(400, {}, json.dumps(body).encode()).limits.window == 8192


def test_drafts_are_cut_to_a_window_that_only_a_refusal_tells():
    window = 6000
    drafts = ["draft " * 2500, "other " * 2500]
    lengths = []

    async def play(wire: Wire) -> None:
        size = len(json.dumps(wire.voice.body["messages"])) // 4
        lengths.append(size)
        said = (
            f"This model's maximum context length is {window} tokens. However, you requested"
            f" {size + 500} tokens ({size} in the messages, 500 in the completion)."
        )
        await (wire.reply(400, error(said)) if size + 500 > window else honest(wire))

    with running() as upstream:
        upstream.scripts["chief"] = Script("Because.", ever=play)
        chief = OpenAI("chief", upstream.base_url("openai"))
        proposers = tuple(Proposer(Scripted(f"p{n}", [d, d])) for n, d in enumerate(drafts))
        team = Mixture(layers=(Layer(proposers),), aggregator=Aggregator(chief))

        async def twice():
            request = ask("Why?", sampling=Sampling(max_tokens=500))
            return [await team.complete(request) for _ in range(2)]

        answers = run(twice())
        sent = [r.body for r in upstream.records]

    assert [a.text for a in answers] == ["Because.", "Because."]
    assert [a.degraded for a in answers] == [(), ()]
    assert len(sent) == 3  # the second run is cut to it at once
    assert lengths[0] > window > max(lengths[1:])
    assert all(body["max_tokens"] == 500 for body in sent)
    assert "a part of this draft is left out" in json.dumps(sent[1])


def test_drafts_are_cut_rather_than_the_answer_shortened():
    async def play(wire: Wire) -> None:
        size = len(json.dumps(wire.voice.body["messages"])) // 4
        said = (
            f"This model's maximum context length is {size + 100} tokens. However, you requested"
            f" {size + 500} tokens ({size} in the messages, 500 in the completion)."
        )
        await (wire.reply(400, error(said)) if wire.record.call == 1 else honest(wire))

    with running() as upstream:
        upstream.scripts["chief"] = Script("Because.", ever=play)
        chief = OpenAI("chief", upstream.base_url("openai"))
        proposers = tuple(Proposer(Scripted(f"p{n}", ["draft " * 1500])) for n in range(2))
        team = Mixture(layers=(Layer(proposers),), aggregator=Aggregator(chief))
        run(team.complete(ask("Why?", sampling=Sampling(max_tokens=500))))
        sent = [r.body for r in upstream.records]

    assert bounds(upstream.records) == [500, 500]
    assert len(json.dumps(sent[1])) < len(json.dumps(sent[0]))


def test_the_proposers_of_a_later_layer_are_cut_for_too():
    window = 6000

    async def play(wire: Wire) -> None:
        size = len(json.dumps(wire.voice.body["messages"])) // 3
        said = f"prompt is too long: {size} tokens > {window} maximum"
        await (wire.reply(400, error(said)) if size > window else honest(wire))

    with running() as upstream:
        upstream.scripts["second"] = Script("A draft.", ever=play)
        second = OpenAI("second", upstream.base_url("openai"))
        first = [Proposer(Scripted(f"p{n}", ["draft " * 2000])) for n in range(2)]
        layers = (Layer(tuple(first)), Layer((Proposer(second),)))
        team = Mixture(layers=layers, aggregator=Aggregator(Scripted("chief", ["Because."])))
        answer = run(team.complete(ask("Why?")))

    assert answer.degraded == ()
    assert len(upstream.records) == 2


def test_a_window_is_not_believed_where_what_was_sent_fits_in_anyway():
    with running() as upstream:
        upstream.scripts["m"] = bounded(0, "prompt is too long: 300000 tokens > 200000 maximum")
        model = OpenAI("m", upstream.base_url("openai"))
        with pytest.raises(ContextOverflowError):
            run(model.complete(ask("Why?", sampling=Sampling(max_tokens=10))))

    assert model.info.context_window is None


def test_a_window_that_the_file_gives_only_becomes_smaller():
    long = ask("word " * 9000)
    said = "This model's maximum context length is {} tokens."
    for told, kept in ((8000, 8000), (64_000, 32_000)):
        with running() as upstream:
            upstream.scripts["m"] = bounded(0, said.format(told))
            model = OpenAI("m", upstream.base_url("openai"), context_window=32_000)
            with pytest.raises(ContextOverflowError):
                run(model.complete(long))
        assert model.info.context_window == kept


# ---- what an account can pay


def test_what_an_account_can_afford_is_tried_once_and_is_no_model_s_limit():
    said = cases("affordable")[0]["said"]

    async def play(wire: Wire) -> None:
        poor = wire.record.call <= 2 and wire.voice.body.get("max_tokens", HUGE) > 2666
        await (wire.reply(402, error(said, code=402)) if poor else honest(wire))

    with running() as upstream:
        upstream.scripts["m"] = Script("Because.", ever=play)
        model = Limited(OpenAI("m", upstream.base_url("openai")), RateLimiter(RateLimits()))

        async def twice():
            return [await model.complete(LONG) for _ in range(2)]

        run(twice())
        asked = bounds(upstream.records)

    assert asked == [HUGE, 2666, HUGE]


@pytest.mark.parametrize("most", [0, 3])
def test_what_affords_no_answer_is_a_quota_that_is_spent(most):
    said = f"You requested up to {HUGE} tokens, but can only afford {most}."
    with running() as upstream:
        upstream.scripts["m"] = bounded(0, said, status=402)
        with pytest.raises(QuotaError):
            run(OpenAI("m", upstream.base_url("openai")).complete(LONG))

    assert len(upstream.records) == 1


# ---- quotas of a day


@pytest.mark.parametrize("said", words("day"))
def test_a_quota_of_the_day_is_not_tried_again_closes_its_model_and_others_answer(said):
    with running() as upstream:
        upstream.scripts["m"] = Script(ever=lambda wire: wire.reply(429, error(said)))
        upstream.scripts["spare"] = Script("All is well.")
        model = OpenAI("m", upstream.base_url("openai"))
        chief = Retrying(Limited(model, RateLimiter(RateLimits())))
        spare = OpenAI("spare", upstream.base_url("openai"))
        team = Mixture(
            layers=(Layer((Proposer(Scripted("p", ["a draft"] * 2)),)),),
            aggregator=Aggregator(chief, fallbacks=(spare,)),
        )

        async def twice():
            return [await team.complete(ask("Why?")) for _ in range(2)]

        answers = run(twice())

    assert [len(upstream.of(name)) for name in ("m", "spare")] == [1, 2]
    assert all(a.text == "All is well." for a in answers)


def test_a_quota_stays_closed_for_the_time_that_was_stated_and_no_longer():
    now = [0.0]
    with running() as upstream:
        upstream.scripts["m"] = Script(
            "Because.", plays=[lambda wire: wire.reply(429, error(words("day")[0]))]
        )
        model = Limited(
            OpenAI("m", upstream.base_url("openai")),
            RateLimiter(RateLimits(), clock=lambda: now[0]),
        )

        async def loop():
            for when in (0.0, 570.0):
                now[0] = when
                with pytest.raises(QuotaError) as caught:
                    await model.complete(ask("Why?"))
                assert caught.value.retry_after == pytest.approx(578 - when)
            now[0] = 579.0
            assert (await model.complete(ask("Why?"))).text == "Because."

        run(loop())

    assert len(upstream.records) == 2


@pytest.mark.parametrize("said", words("minute"))
def test_a_limit_of_a_minute_is_no_quota(said):
    assert type(error_from_response(429, {}, json.dumps(error(said)).encode())) is RateLimitedError


# ---- a begun answer


BEGUN = Request((Message("user", "Why?"), Message("assistant", "Because of")))


@pytest.mark.parametrize("said", words("prefill"))
@pytest.mark.parametrize("adapter", [OpenAI, Anthropic])
def test_a_begun_answer_that_is_refused_is_asked_for_in_a_form_that_is_taken(adapter, said):
    async def play(wire: Wire) -> None:
        last = wire.voice.body["messages"][-1]["role"]
        await (wire.reply(400, error(said)) if last == "assistant" else honest(wire))

    events = []
    with running() as upstream:
        upstream.scripts["m"] = Script("this.", ever=play)
        dialect = "anthropic" if adapter is Anthropic else "openai"
        model = adapter("m", upstream.base_url(dialect))

        async def twice():
            for _ in range(2):
                assert (await model.complete(BEGUN, events.append)).text == "this."

        run(twice())
        sent = [r.body["messages"] for r in upstream.records]

    assert [len(messages) for messages in sent] == [2, 3, 3]
    assert "Because of" in json.dumps(sent[1][1])
    assert sent[1][2]["role"] == "user"
    assert len([e for e in events if isinstance(e, Notice) and "prefilled answer" in e.notice]) == 1


@pytest.mark.parametrize(
    "said",
    [
        "messages: final assistant content cannot end with trailing whitespace",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "The last message is too long for this model",
        "the last message has an unknown role",
        "This model is not the last model of its kind",
        "Please use a valid role: user, model.",
        "Assistant messages are not supported",
    ],
)
def test_other_words_about_roles_and_ends_do_not_change_the_end(said):
    with running() as upstream:
        upstream.scripts["m"] = bounded(0, said)
        with pytest.raises(RejectedError):
            run(OpenAI("m", upstream.base_url("openai")).complete(BEGUN))
        sent = [r.body["messages"] for r in upstream.records]

    assert {len(messages) for messages in sent} == {2}


@pytest.mark.parametrize("mark", ["`", "'", '"', "“", "«", ""])
@pytest.mark.parametrize(
    "said",
    [
        "This model does not support the {} parameter",
        "{} is not a parameter that this model does support: we don't accept it",
        "该模型不支持{}参数",
    ],
)
def test_a_parameter_that_is_not_taken_is_left_out_whatever_marks_its_name(said, mark):
    async def play(wire: Wire) -> None:
        refused = "seed" in wire.voice.body
        name = f"{mark}seed{mark}"
        await (wire.reply(400, error(said.format(name))) if refused else honest(wire))

    with running() as upstream:
        upstream.scripts["m"] = Script("Because.", ever=play)
        model = OpenAI("m", upstream.base_url("openai"))
        answer = run(model.complete(ask("Why?", sampling=Sampling(seed=1))))

    assert answer.text == "Because."
    assert len(upstream.records) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("presence_penalty", "Argument not supported on this model: presencePenalty"),
        ("presence_penalty", "Model m does not support parameter presencePenalty."),
        ("reasoning_effort", "This model does not support reasoning effort"),
        ("top_k", 'Unknown name "topK": Cannot find field.'),
    ],
)
def test_a_parameter_that_is_not_taken_is_left_out_however_it_is_spelled(name, said):
    async def play(wire: Wire) -> None:
        await (wire.reply(400, error(said)) if name in wire.voice.body else honest(wire))

    with running() as upstream:
        upstream.scripts["m"] = Script("Because.", ever=play)
        model = OpenAI("m", upstream.base_url("openai"))
        question = Request(ask("Why?").messages, extra={name: 1, "min_p": 0.1})
        assert run(model.complete(question)).text == "Because."

    assert upstream.records[-1].body["min_p"] == 0.1


def test_instructions_in_front_are_asked_for_in_chinese_too():
    async def play(wire: Wire) -> None:
        later = any(m["role"] == "system" for m in wire.voice.body["messages"][1:])
        await (wire.reply(400, error("system消息只能在第一条")) if later else honest(wire))

    with running() as upstream:
        upstream.scripts["m"] = Script("Because.", ever=play)
        model = OpenAI("m", upstream.base_url("openai"))
        asked = Request((Message("user", "Why?"), Message("system", "Be brief.")))
        assert run(model.complete(asked)).text == "Because."

    assert len(upstream.records) == 2
    assert "Be brief." in json.dumps(upstream.records[1].body["messages"])


@pytest.mark.parametrize(("adapter", "tries"), [(OpenAI, 2), (Anthropic, 1)])
def test_a_tier_that_a_model_does_not_have_is_left_out_and_named(adapter, tries):
    async def play(wire: Wire) -> None:
        tier = wire.voice.body.get("service_tier")
        said = "Unknown parameter: 'service_tier'."
        await (wire.reply(400, error(said)) if tier else honest(wire))

    events = []
    with running() as upstream:
        upstream.scripts["m"] = Script("Because.", ever=play)
        dialect = "anthropic" if adapter is Anthropic else "openai"
        model = adapter("m", upstream.base_url(dialect))
        asked = Request((Message("user", "Why?"),), extra={"service_tier": "flex"})
        assert run(model.complete(asked, events.append)).text == "Because."

    assert len(upstream.records) == tries
    assert [e.notice for e in events if isinstance(e, Notice)] == [
        "does not accept service_tier: it was left out"
    ]


def test_the_same_words_about_another_conversation_teach_nothing():
    with running() as upstream:
        upstream.scripts["m"] = bounded(0, words("prefill")[0])
        with pytest.raises(RejectedError):
            run(OpenAI("m", upstream.base_url("openai")).complete(ask("Why?")))

    assert len(upstream.records) == 1


@pytest.mark.parametrize(
    "said",
    [
        "invalid message content type: <nil>",  # Ollama
        "Invalid 'content': 'content' field must be a string or an array of objects.",  # LM Studio
        "messages[1]: content is required",
        "messages[1]: missing field `content` at line 1 column 90",
        "Invalid value for 'content': expected a string, got null.",
    ],
)
def test_a_model_that_takes_no_message_without_a_text_gets_an_empty_one(said):
    call = ToolCall("c1", "look", "{}")
    talk = (
        Message("user", "Where?"), Message("assistant", "", (call,)),
        Message("tool", "there", tool_call_id="c1"),
    )  # fmt: skip

    async def play(wire):
        if any(message["content"] is None for message in wire.voice.body["messages"]):
            await wire.reply(400, error(said))
        else:
            await honest(wire)

    with running() as upstream:
        upstream.scripts["m"] = Script("It is there.", ever=play)
        model = OpenAI("m", upstream.base_url("openai"))
        answers = [run(model.complete(Request(talk))).text for _ in range(2)]
        contents = [r.body["messages"][1]["content"] for r in upstream.records]

    assert answers == ["It is there."] * 2
    assert contents == [None, "", ""]
