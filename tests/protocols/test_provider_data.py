"""What an upstream wants back with its messages comes back to it, and to no one else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mixtura import Aggregator, Layer, Message, Mixture, Proposer, Request, ToolCall
from mixtura.billing.forecast import forecast_calls
from mixtura.core.redaction import Redactor
from mixtura.core.types import ProviderData
from mixtura.models.anthropic import Anthropic
from mixtura.models.fake import echo
from mixtura.models.openai import OpenAI
from mixtura.models.wrappers.cache import Cached
from mixtura.protocols.openai.completion_json import completion_from_json, completion_json
from mixtura.protocols.provider_data.packing import pack_provider_data, unpack_provider_data
from mixtura.protocols.usage_estimates import estimate_usage
from tests.conftest import run
from tests.support.strict_upstream import (
    DEEP,
    DETAILS,
    KINDS,
    SIGNED,
    THOUGHT,
    TOOLS,
    adapter,
    asked,
    call_delta,
    play_chat,
    second,
    strict,
)
from tests.support.upstream import Script, Wire, running


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_over_tools_gives_a_model_back_what_it_wants(kind):
    with running() as upstream:
        upstream.scripts[kind] = strict(kind)
        proposer = echo("p")
        team = Mixture(
            layers=(Layer((Proposer(proposer), Proposer(adapter(upstream, kind, name="twin")))),),
            aggregator=Aggregator(adapter(upstream, kind)),
        )

        async def loop():
            first = await adapter(upstream, kind).complete(asked())
            again = await team.complete(second(asked(), first.message))
            return first, again

        first, again = run(loop())
        bodies = [r.body for r in upstream.records if "tools" not in r.body]

    assert first.finish_reason == "tool_calls"
    assert again.text == "It is there."
    assert again.degraded == ()
    told = json.dumps([repr(proposer.asked), bodies])
    for secret in ("c2ln", "I should", "abc", "aGlk", "ZW5j"):
        assert secret not in told


@pytest.mark.parametrize("kind", KINDS)
def test_another_model_gets_nothing_of_it(kind):
    with running() as upstream:
        upstream.scripts[kind] = strict(kind)
        others = [
            OpenAI(kind, upstream.base_url("openai") + "/"),  # the same place
            OpenAI("other", upstream.base_url("openai")),
            Anthropic("other", upstream.base_url("anthropic")),
        ]

        async def loop():
            first = await adapter(upstream, kind).complete(asked())
            for other in others[1:]:
                await other.complete(second(asked(), first.message))

        run(loop())
        told = json.dumps([r.body for r in upstream.records if r.model == "other"])

    assert len(upstream.records) == 3
    for secret in ("c2ln", "I should", "abc", "aGlk", "ZW5j"):
        assert secret not in told


def test_a_fallback_gets_nothing_of_what_a_client_holds():
    holds = ToolCall("t1", "look", "{}", {"extra_content": SIGNED})
    said = Message("assistant", "", (holds,), provider_data=ProviderData("", DEEP))
    with running() as upstream:
        upstream.scripts["down"] = Script(ever=lambda wire: wire.reply(500, {"error": "down"}))
        team = Mixture(
            layers=(Layer((Proposer(echo("p")),)),),
            aggregator=Aggregator(
                OpenAI("down", upstream.base_url("openai")),
                fallbacks=(OpenAI("spare", upstream.base_url("openai")),),
            ),
        )
        run(team.complete(second(asked(), said)))
        bodies = {r.model: json.dumps(r.body) for r in upstream.records}

    assert "I should" in bodies["down"]
    assert "c2ln" in bodies["down"]
    assert "I should" not in bodies["spare"]
    assert "c2ln" not in bodies["spare"]


def test_plain_thoughts_go_back_while_tools_are_called_and_signed_ones_always():
    thinks = {"reasoning_content": "Hm.", "reasoning_details": DETAILS}

    async def play(wire: Wire) -> None:
        await play_chat(wire, [thinks, {"content": "Yes."}], "stop")

    with running() as upstream:
        upstream.scripts["m"] = Script(ever=play)
        model = OpenAI("m", upstream.base_url("openai"))

        async def loop():
            plain = await model.complete(Request((Message("user", "Hi."),)))
            called = Message("assistant", "", (ToolCall("t1", "look", "{}"),))
            after = await model.complete(second(asked(), called))
            for answer in (plain, after):
                more = (*asked().messages, answer.message, Message("user", "And?"))
                await model.complete(Request(more))
            turn = (*second(asked(), called).messages, after.message, Message("user", "And?"))
            await model.complete(Request(turn, tools=TOOLS))

        run(loop())
        sent = [r.body["messages"] for r in upstream.records[2:]]

    found = [[m for m in body if m["role"] == "assistant"][-1] for body in sent]
    assert ["reasoning_content" in m for m in found] == [False, False, True]
    assert all(m["reasoning_details"] == DETAILS for m in found)


def test_an_answer_from_the_cache_still_has_it():
    kept = {}

    class Answers:
        get = staticmethod(kept.get)
        put = staticmethod(kept.__setitem__)

    with running() as upstream:
        upstream.scripts["gemini"] = strict("gemini")
        for _ in range(2):
            model = Cached(adapter(upstream, "gemini"), Answers(), identity="x")
            first = run(model.complete(asked()))
            again = run(model.complete(second(asked(), first.message)))

    assert again.text == "It is there."
    assert len(upstream.records) == 2


def test_no_secret_comes_out_in_it():
    key = "wQ7-hidden-value-9981"
    leaky = [
        {"reasoning_content": f"The key is {key[:9]}"},
        {"reasoning_content": f"{key[9:]}."},
        call_delta(0, extra_content={"google": {"thought_signature": key}}),
    ]
    with running() as upstream:
        upstream.scripts["m"] = Script(ever=lambda wire: play_chat(wire, leaky))
        model = OpenAI("m", upstream.base_url("openai"), redactor=Redactor([key]))
        answer = run(model.complete(asked()))

    assert key not in repr(answer)
    assert key not in pack_provider_data(answer.message)
    assert answer.message.provider_data.fields["reasoning_content"] == "The key is ***."


def test_who_counts_a_request_counts_it_too():
    heavy = ProviderData("", {"reasoning_content": "word " * 20_000})
    said = Message("assistant", "", (ToolCall("t1", "look", "{}"),), provider_data=heavy)
    light, whole = second(asked(), replace(said, provider_data=None)), second(asked(), said)

    def forecasts(request):
        (row,) = forecast_calls(echo("m"), request)
        return row.usage.prompt_tokens

    assert (
        estimate_usage(whole, "").prompt_tokens - estimate_usage(light, "").prompt_tokens >= 20_000
    )
    assert forecasts(whole) - forecasts(light) >= 50_000


def test_what_is_packed_comes_out_again_and_what_others_packed_is_passed_over():
    calls = (ToolCall("t1", "look", "{}", {"extra_content": SIGNED}), ToolCall("t2", "look", "{}"))
    data = ProviderData("o", DEEP, (THOUGHT, {"type": "text"}))
    message = Message("assistant", "x", calls, provider_data=data)
    bare = tuple(replace(call, provider_fields={}) for call in calls)

    found = unpack_provider_data(pack_provider_data(message), bare)

    assert found.provider_data == data
    assert [c.provider_fields for c in found.tool_calls] == [{"extra_content": SIGNED}, {}]
    for text in ("gAAAA", "mixtura1.", "mixtura1.e30", "mixtura1.%%%", "mixtura1.W10=", None, 3):
        assert (
            unpack_provider_data(text, bare) is None
            or unpack_provider_data(text, bare).provider_data == ProviderData()
        )


def test_a_completion_is_the_same_after_it_was_written_down():
    calls = (ToolCall("t1", "look", "{}", {"extra_content": SIGNED}),)
    message = Message("assistant", "", calls, provider_data=ProviderData("o", DEEP, (THOUGHT,)))
    answer = run(echo("m").complete(asked()))
    whole = replace(answer, message=message)

    found = completion_from_json(json.loads(json.dumps(completion_json(whole)))).message

    assert found.provider_data == message.provider_data
    assert found.tool_calls[0].provider_fields == calls[0].provider_fields
