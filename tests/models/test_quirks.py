"""What a model refuses: known by its name, learned from its 400s, said once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mixtura import Message, Notice, RejectedError, Request, Sampling, ask
from mixtura.catalog import providers
from mixtura.config.config import load
from mixtura.core.types import OtherPart, TextPart
from mixtura.models.anthropic import Anthropic
from mixtura.models.openai import OpenAI
from mixtura.transport.client import error_from_response
from tests.conftest import run
from tests.support.upstream import Script, Wire, honest, running

FULL = Sampling(temperature=0.7, top_p=0.9, max_tokens=100, stop=("END",), seed=1)
ASK = ask("Why?", system="Be brief.", sampling=FULL)


def said(message, param=None):
    return {"error": {"message": message, "type": "invalid_request_error", "param": param}}


def refusing(when: Callable[[dict], object], status=400):
    """A model that refuses while *when* finds something wrong with the request."""

    async def play(wire: Wire) -> None:
        wrong = when(wire.voice.body)
        if wrong:
            await wire.reply(status, wrong)
        else:
            await honest(wire)

    return Script("Because.", ever=play)


def asked(script, *, model="m", request=ASK, times=1, adapter=OpenAI, **options):
    """The bodies that were sent, and what was noticed."""
    events = []
    with running() as upstream:
        upstream.scripts[model] = script
        dialect = "anthropic" if adapter is Anthropic else "openai"
        one = adapter(model, upstream.base_url(dialect), **options)

        async def ask_it():
            for _ in range(times):
                assert (await one.complete(request, events.append)).text == "Because."

        run(ask_it())
        bodies = [record.body for record in upstream.records]
    return bodies, [e.notice for e in events if isinstance(e, Notice)]


def no(name, message, param=None):
    return refusing(lambda body: said(message, param) if name in body else None)


@pytest.mark.parametrize(
    ("name", "message", "param"),
    [
        ("temperature", "Only the default (1) 'temperature' is supported.", "temperature"),
        ("top_p", "top_p is not supported by this model", None),
        ("stop", "Unsupported parameter: 'stop' is not supported with this model.", "stop"),
        ("seed", "body.seed: property 'seed' is unsupported", None),
        ("stream_options", "Extra inputs are not permitted, field: 'stream_options'", None),
        ("temperature", "`temperature` is deprecated for this model.", None),
    ],
)  # fmt: skip
def test_a_parameter_that_a_400_names_is_left_out_from_then_on(name, message, param):
    bodies, notices = asked(no(name, message, param), times=3)

    assert [name in body for body in bodies] == [True, False, False, False]
    assert len(notices) == 1


def test_a_400_that_names_it_in_fastapis_way_is_understood():
    detail = {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra"}]}
    bodies, _ = asked(refusing(lambda body: detail if "seed" in body else None, status=422))

    assert ["seed" in body for body in bodies] == [True, False]


def test_max_tokens_gets_its_other_name():
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model."
        " Use 'max_completion_tokens' instead."
    )
    bodies, notices = asked(no("max_tokens", message, "max_tokens"))

    assert bodies[1]["max_completion_tokens"] == 100
    assert notices == ["takes max_completion_tokens instead of max_tokens"]


def test_one_that_takes_neither_name_is_asked_without():
    def wrong(body):
        for name in ("max_tokens", "max_completion_tokens"):
            if name in body:
                return said(f"Unsupported parameter: '{name}'", name)
        return None

    bodies, notices = asked(refusing(wrong))

    assert len(bodies) == 3
    assert len(notices) == 2


def test_several_refusals_are_learned_one_after_another():
    def wrong(body):
        for name in ("stop", "temperature", "top_p"):
            if name in body:
                return said(f"'{name}' is not supported", name)
        return None

    bodies, notices = asked(refusing(wrong))

    assert len(bodies) == 4
    assert len(notices) == 3


def test_a_bound_that_is_told_is_kept():
    def wrong(body):
        message = "max_tokens is too large: 100. This model supports at most 64 completion tokens."
        return said(message, "max_tokens") if body["max_tokens"] > 64 else None

    bodies, notices = asked(refusing(wrong), times=2)

    assert [body["max_tokens"] for body in bodies] == [100, 64, 64]
    assert notices == ["writes at most 64 tokens, not 100"]


def test_a_bound_that_shrinks_with_every_call_is_not_followed_for_ever():
    bodies = []

    def less(body):
        bodies.append(body)
        return said(f"max_tokens: at most {body['max_tokens'] - 1} are allowed", "max_tokens")

    with pytest.raises(RejectedError):
        asked(refusing(less))
    assert len(bodies) < 20


@pytest.mark.parametrize(
    "message",
    [
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 7.",
        "Incorrect something",
        "tools: temperature was fine, but tool 3 has no name",
    ],
)
def test_what_is_the_callers_mistake_is_not_smoothed_over(message):
    with pytest.raises(RejectedError):
        asked(refusing(lambda body: said(message)))


def test_what_the_file_puts_into_a_request_is_never_left_out():
    with pytest.raises(RejectedError):
        asked(no("top_k", "'top_k' is not supported", "top_k"), extra={"top_k": 4})


def test_a_model_without_a_system_role_gets_its_text_with_the_question():
    def wrong(body):
        roles = [m["role"] for m in body["messages"]]
        return said("System role not supported") if "system" in roles else None

    bodies, notices = asked(refusing(wrong), times=2)

    assert bodies[1]["messages"] == [{"role": "user", "content": "Be brief.\n\nWhy?"}]
    assert len(bodies) == 3
    assert len(notices) == 1


def test_a_developers_message_becomes_the_systems_first():
    def wrong(body):
        roles = [m["role"] for m in body["messages"]]
        return said("the developer role is not supported") if "developer" in roles else None

    request = Request((Message("developer", "Be brief."), Message("user", "Why?")))
    bodies, _ = asked(refusing(wrong), request=request)

    assert [m["role"] for m in bodies[1]["messages"]] == ["system", "user"]


def test_an_endpoint_that_does_not_stream_is_asked_for_its_answer_in_one_piece():
    def wrong(body):
        message = "Your organization must be verified to stream this model."
        return said(message, "stream") if body.get("stream") else None

    bodies, notices = asked(refusing(wrong))

    assert "stream" not in bodies[1]
    assert "stream_options" not in bodies[1]
    assert len(notices) == 1


def test_calls_that_run_at_once_learn_together():
    events = []
    with running() as upstream:
        upstream.scripts["m"] = no("temperature", "'temperature' is unsupported", "temperature")
        model = OpenAI("m", upstream.base_url())

        async def together():
            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(model.complete(ASK, events.append))

        run(together())
    assert len([e for e in events if isinstance(e, Notice)]) == 1


@pytest.mark.parametrize("model", ["gpt-5", "gpt-6-sol", "o3", "openai/gpt-5.6-luna"])
def test_openais_reasoning_models_are_known_by_name(model):
    bodies, notices = asked(Script("Because."), model=model)

    assert len(bodies) == 1
    assert not bodies[0].keys() & {"temperature", "top_p", "stop", "max_tokens"}
    assert bodies[0]["max_completion_tokens"] == 100
    assert notices == [
        "does not accept stop: it was left out",
        "does not accept temperature: it was left out",
        "does not accept top_p: it was left out",
    ]


def test_those_that_reason_only_when_told_to_keep_their_temperature():
    bodies, _ = asked(Script("Because."), model="gpt-5.4-mini")

    assert bodies[0]["temperature"] == 0.7


def test_claudes_of_today_take_no_temperature_and_their_answers_have_a_bound():
    sampling = Sampling(temperature=0.7, top_p=0.9, max_tokens=500_000)
    bodies, _ = asked(
        Script("Because."), model="claude-sonnet-5-5", request=ask("Why?", sampling=sampling),
        adapter=Anthropic,
    )  # fmt: skip

    assert not bodies[0].keys() & {"temperature", "top_p"}
    assert bodies[0]["max_tokens"] == 128_000


def anthropic_error(message):
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}


def test_of_two_that_exclude_each_other_the_temperature_stays():
    message = "`temperature` and `top_p` cannot both be specified for this model."
    bodies, _ = asked(
        refusing(lambda body: anthropic_error(message) if "top_p" in body else None),
        adapter=Anthropic,
    )

    assert "temperature" in bodies[1]


def test_max_tokens_stays_where_it_is_needed_and_shrinks_to_what_is_allowed():
    message = "max_tokens: 100 > 64, which is the maximum allowed number of output tokens for m"
    bodies, _ = asked(
        refusing(lambda body: anthropic_error(message) if body["max_tokens"] > 64 else None),
        adapter=Anthropic,
    )

    assert [body["max_tokens"] for body in bodies] == [100, 64]


def test_an_error_says_which_parameter_it_is_about():
    error = error_from_response(400, {}, json.dumps(said("no", "temperature")).encode())

    assert isinstance(error, RejectedError)
    assert error.parameter == "temperature"


def test_reasoning_models_get_longer_clocks_unless_the_file_says():
    assert providers.default_timeouts("o3") == providers.REASONING_TIMEOUTS
    assert providers.default_timeouts("gpt-4.1-mini") != providers.REASONING_TIMEOUTS


def test_the_file_s_timeouts_count_and_the_rest_depends_on_the_model(tmp_path: Path):
    file = tmp_path / "mixtura.toml"
    file.write_text(
        '[models.a]\nprovider = "openai"\nmodel = "o3"\ntimeouts = { first_token = 5 }\n'
        '[models.b]\nprovider = "openai"\nmodel = "gpt-4.1"\n'
    )
    config = load(str(file), environ={"OPENAI_API_KEY": "k"}, folder=tmp_path, home=tmp_path)

    def timeouts_of(name):
        model = config.model(name)
        while not isinstance(model, OpenAI):
            model = model.inner_model
        return model._timeouts

    assert timeouts_of("a").first_token == 5
    assert timeouts_of("a").progress == providers.REASONING_TIMEOUTS.progress
    assert timeouts_of("b").progress == 60


def test_every_pattern_in_the_presets_says_something():
    for known in providers._load_quirks():
        assert known.models
        assert known.refuses or known.reasoning or known.inside or known.most_tokens


@pytest.mark.parametrize(
    "message",
    [
        "Invalid value: 'thinking'. Supported values are: 'text', 'image_url', 'input_audio'.",
        "content.0: Input tag 'thinking' found using 'type' does not match any of: 'text', 'file'",
        "unknown variant `thinking`, expected `text`",
        "Input should be a valid string, messages[1].content",
    ],
)
def test_thoughts_among_the_parts_of_a_message_are_left_out_where_they_are_refused(message):
    parts = ({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},)
    held = (OtherPart(parts[0]), TextPart("Hello."))
    request = Request(
        (Message("user", "Hi."), Message("assistant", held), Message("user", "Why?")),
    )
    script = refusing(lambda body: said(message) if "thinking" in json.dumps(body) else None)

    bodies, notices = asked(script, request=request, times=2)

    assert [b["messages"][1]["content"] for b in bodies[1:]] == ["Hello.", "Hello."]
    assert len(notices) == 1
