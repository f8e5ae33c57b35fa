"""Other providers' APIs through one optional library: real calls to a server on loopback."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib.util import find_spec

import pytest

from mixtura import (
    ConfigError,
    MalformedError,
    Message,
    RateLimitedError,
    RejectedError,
    Request,
    Sampling,
    TimedOutError,
    Token,
    ToolCall,
    UnavailableError,
    ask,
)
from mixtura.catalog import providers
from mixtura.transport.client import CallTimeouts, Secret
from tests.support.strict_upstream import REDACTED, THOUGHT, asked, play_claude, second, strict
from tests.support.upstream import Script, Wire, running

run = asyncio.run  # their stream closes itself in a task of its own, a moment after the answer
ASK = ask("Why?", system="Be brief.", sampling=Sampling(temperature=0.5, max_tokens=100))
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}

bridged = pytest.mark.skipif(
    not (find_spec("pydantic_ai") and find_spec("openai")),
    reason='the extra "providers" is not installed',
)


def bridge(upstream, **options):
    from mixtura.models.pydantic_ai import PydanticAI

    url = upstream.base_url()
    return PydanticAI("openai-chat", "m", base_url=url, api_key=Secret("a-key"), **options)


@bridged
def test_an_answer_streams_through_with_its_tokens_and_its_thoughts():
    events = []
    with running() as upstream:
        upstream.scripts["m"] = Script("Because of the light.", thoughts="hm, well", cached=2)
        answer = run(bridge(upstream).complete(ASK, events.append))
        record = upstream.records[0]

    assert (answer.text, answer.reasoning) == ("Because of the light.", "hm, well")
    assert answer.model == "bridge:openai-chat/m"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == record.reported[:2]
    assert (answer.usage.cached_tokens, answer.usage.reasoning_tokens) == record.reported[2:]
    shown = [e.text for e in events if isinstance(e, Token) and not e.reasoning]
    assert len(shown) > 1
    assert "".join(shown) == answer.text
    assert record.headers["authorization"] == "Bearer a-key"
    assert [m["role"] for m in record.body["messages"]] == ["system", "user"]
    assert record.body["temperature"] == 0.5


@bridged
def test_an_answer_that_is_larger_than_it_may_be_ends_as_a_named_error():
    with running() as upstream:
        upstream.scripts["m"] = Script("Because of the light. " * 200)
        with pytest.raises(MalformedError, match="more than 1000 bytes"):
            run(bridge(upstream, largest=1000).complete(ASK))


@bridged
def test_tools_go_there_and_calls_come_back():
    conversation = (
        Message("user", "Look."), Message("assistant", "", (ToolCall("1", "look", "{}"),)),
        Message("tool", "a cat", tool_call_id="1"),
    )  # fmt: skip
    with running() as upstream:
        upstream.scripts["m"] = Script("", tool=("look", '{"at": "it"}'), finish="tool_calls")
        answer = run(bridge(upstream).complete(Request(conversation, tools=(TOOL,))))
        body = upstream.records[0].body

    (call,) = answer.message.tool_calls
    assert (call.name, call.arguments, answer.finish_reason) == (
        "look",
        '{"at": "it"}',
        "tool_calls",
    )
    assert body["messages"][2]["tool_call_id"] == "1"
    assert body["tools"][0]["function"]["name"] == "look"


@bridged
@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, RateLimitedError), (500, UnavailableError), (401, RejectedError)],
)
def test_their_errors_are_ours_and_are_not_tried_again_in_there(status, kind):
    async def refuse(wire: Wire) -> None:
        await wire.reply(status, {"error": {"message": "no"}}, {"retry-after": "7"})

    with running() as upstream:
        upstream.scripts["m"] = Script(ever=refuse)
        with pytest.raises(kind) as error:
            run(bridge(upstream).complete(ASK))
        assert len(upstream.records) == 1
    assert error.value.model == "bridge:openai-chat/m"
    if kind is RateLimitedError:
        assert error.value.retry_after == 7


@bridged
def test_a_hung_provider_is_left_after_its_clock():
    async def hang(wire: Wire) -> None:
        await wire.hang()

    with running() as upstream:
        upstream.scripts["m"] = Script(ever=hang)
        with pytest.raises(TimedOutError, match="first token"):
            run(bridge(upstream, timeouts=CallTimeouts(first_token=0.2)).complete(ASK))


@bridged
def test_calls_at_once_and_in_one_loop_after_another():
    with running() as upstream:
        upstream.scripts["m"] = Script("Because.")
        model = bridge(upstream)

        async def several():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(model.complete(ASK)) for _ in range(4)]
            return [task.result().text for task in tasks]

        assert run(several()) == ["Because."] * 4
        assert run(several()) == ["Because."] * 4


@bridged
def test_a_name_that_the_library_does_not_know_is_said():
    from mixtura.models.pydantic_ai import PydanticAI

    with pytest.raises(ConfigError, match="bridge:nobody"):
        PydanticAI("nobody", "m")


@bridged
def test_a_plain_key_is_sent_and_never_shown():
    from mixtura import PydanticAI

    with running(lambda _: Script("Because.")) as upstream:
        key = "sk-test-0123456789abcdef"
        model = PydanticAI("openai-chat", "m", base_url=upstream.base_url(), api_key=key)

        assert run(model.complete(ASK)).text == "Because."

        assert upstream.records[-1].headers["authorization"] == f"Bearer {key}"
        assert key not in repr(vars(model)["_redactor"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"provider": 3}, "provider: a text, not int"),
        ({"model": None}, "model: a text, not None"),
        ({"api_key": 3}, "api_key: a key as a text, or None, not int"),
        ({"timeouts": 30}, "timeouts: a CallTimeouts, or None, not int"),
        ({"headers": ["a"]}, "headers: a dict of texts, or None, not list"),
        ({"largest": "3"}, "largest: a whole number, not str"),
    ],
)
def test_wrong_arguments_are_told_before_the_library_is_looked_for(given, words):
    from mixtura import PydanticAI

    with pytest.raises(TypeError, match=words):
        PydanticAI(**{"provider": "nobody", "model": "m"} | given)


def test_a_bridged_name_is_a_model_s_name():
    assert providers.split_model_name("bridge:cohere/command-a") == ("bridge:cohere", "command-a")
    assert providers.split_model_name("bridge:/x") is None


def test_without_the_extra_the_extra_is_named():
    code = (
        "import sys; sys.modules['pydantic_ai'] = None\n"
        "from mixtura.models.pydantic_ai import PydanticAI\n"
        "from mixtura import ConfigError\n"
        "try:\n    PydanticAI('cohere', 'command-a')\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "-m pip install 'pydantic-ai-slim<" in done.stdout


@bridged
@pytest.mark.parametrize("kind", ["deepseek", "claude"])
def test_what_a_provider_wants_back_goes_back_to_it_and_to_no_other(kind):
    from mixtura.models.pydantic_ai import PydanticAI

    anthropic = kind == "claude"
    needs = "anthropic" if anthropic else "openai"
    pytest.importorskip(needs, reason=f"the package {needs} is not installed")
    with running() as upstream:
        provider = "anthropic" if anthropic else "openai-chat"
        url = upstream.base_url("openai")
        url = url.removesuffix("/v1") if anthropic else url  # that library has it in its path
        upstream.scripts[kind] = Script(ever=play_claude) if anthropic else strict(kind)
        model = PydanticAI(provider, kind, base_url=url, api_key=Secret("a-key"))
        first = run(model.complete(asked())).message
        upstream.scripts[kind] = Script("It is there.") if anthropic else strict(kind)
        assert run(model.complete(second(asked(), first))).text == "It is there."
        said = upstream.records[-1].body["messages"][1]
        other = PydanticAI(provider, "other", base_url=url, api_key=Secret("a-key"))
        run(other.complete(second(asked(), first)))
        told = upstream.records[-1].body["messages"][1]

    if anthropic:  # of a signature in pieces, the library keeps the last
        kept = [THOUGHT | {"signature": "bmVk"}, REDACTED]
        assert said["content"][:2] == kept
    assert "I should look." not in str(told)
    assert REDACTED["data"] not in str(told)
