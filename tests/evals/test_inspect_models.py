"""Every mixture as one of Inspect's models: messages, tools, usage, failures."""

from __future__ import annotations

import asyncio
import base64
import contextlib

import inspect_ai
import pytest
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentImage,
    ContentText,
    GenerateConfig,
    get_model,
)
from inspect_ai.tool import ToolInfo

from mixtura import Aggregator, Completion, Layer, Message, Mixture, Proposer, RejectedError
from mixtura.core.types import Charge, ImagePart, ToolCall, Usage
from mixtura.evals import inspect_outputs, inspect_provider
from mixtura.models.fake import Scripted, failing_model, slow_model
from tests.support import evaluations
from tests.support.evaluations import config_of

_own_folders = evaluations._own_folders


# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")


def team(*proposers, chief):
    layers = (Layer(tuple(map(Proposer, proposers))),)
    return Mixture(layers=layers, aggregator=Aggregator(chief), name="team")


def asked_through_inspect(tmp_path, model, said, **words):
    async def ask():
        return await get_model("mixtura/team", memoize=False).generate(said, **words)

    with inspect_provider.use_models(config_of(tmp_path), {"team": model}):
        return asyncio.run(ask())


def test_every_sort_of_message_reaches_the_mixture(tmp_path):
    dot = "data:image/png;base64," + base64.b64encode(b"dot").decode()
    chief = Scripted("chief", ["Red."])

    asked_through_inspect(
        tmp_path,
        team(Scripted("a", ["A red dot."]), chief=chief),
        [
            ChatMessageSystem(content="Be short."),
            ChatMessageUser(content=[ContentText(text="What is it?"), ContentImage(image=dot)]),
        ],
        config=GenerateConfig(temperature=0.3, top_p=0.9, max_tokens=7, stop_seqs=["x"], seed=5),
    )

    (request,) = chief.asked
    assert request.messages[0] == Message("system", "Be short.")
    assert ImagePart(dot) in request.messages[1].content
    drawn = request.sampling
    assert (drawn.temperature, drawn.top_p, drawn.max_tokens) == (0.3, 0.9, 7)
    assert (drawn.stop, drawn.seed) == (("x",), 5)


def test_the_tools_are_the_aggregators_and_its_calls_come_back(tmp_path):
    call = ToolCall("c1", "weather", '{"town": "Rome"}')
    wish = Completion(Message("assistant", "", (call,)), "chief", "tool_calls")
    proposer, chief = Scripted("a", ["Look."]), Scripted("chief", [wish])

    output = asked_through_inspect(
        tmp_path,
        team(proposer, chief=chief),
        "Will it rain in Rome?",
        tools=[ToolInfo(name="weather", description="Of a town")],
        tool_choice="any",
    )

    assert proposer.asked[0].tools == ()
    assert chief.asked[0].tools[0]["function"]["name"] == "weather"
    assert chief.asked[0].tool_choice == "required"
    assert output.stop_reason == "tool_calls"
    (asked,) = output.message.tool_calls
    assert (asked.id, asked.function, asked.arguments) == ("c1", "weather", {"town": "Rome"})


def test_what_a_tool_said_goes_back_to_the_mixture_with_its_call(tmp_path):
    chief = Scripted("chief", ["Yes."])
    wish = ToolCall("c1", "weather", '{"town": "Rome"}')
    called = inspect_outputs._build_choice(
        Completion(Message("assistant", "", (wish,)), "chief"), []
    ).message
    said = [ChatMessageUser(content="Rain?"), called]
    said.append(ChatMessageTool(content="noon", tool_call_id="c1", function="weather"))

    asked_through_inspect(tmp_path, team(Scripted("a", ["?"]), chief=chief), said)

    assert chief.asked[0].messages[1].tool_calls == (wish,)
    assert chief.asked[0].messages[2].tool_call_id == "c1"
    assert chief.asked[0].messages[2].text.startswith("noon")


@pytest.mark.parametrize("arguments", ["{", "[1]", "2"])
def test_a_tool_call_that_is_no_json_object_is_told_to_the_model_not_raised(arguments):
    wish = Completion(Message("assistant", "", (ToolCall("c", "f", arguments),)), "chief")

    (call,) = inspect_outputs._build_choice(
        wish, [ToolInfo(name="f", description="")]
    ).message.tool_calls

    assert call.arguments == {}
    assert "JSON" in call.parse_error


def test_the_usage_is_the_bill_of_the_whole_mixture(tmp_path):
    config = config_of(
        tmp_path,
        '[models.a]\nbase_url = "http://127.0.0.1:1/v1"\nmodel = "a"\n'
        "price = { input = 1000000, output = 10000000 }\n",
    )
    a = Scripted("a", ["one"], usage=Usage(10, 2))
    chief = Completion(
        Message("assistant", "two"), "a", charges=(Charge("a", Usage(30, 4, cached_tokens=5)),)
    )

    async def ask():
        return await get_model("mixtura/team", memoize=False).generate("?")

    with inspect_provider.use_models(config, {"team": team(a, chief=Scripted("a", [chief]))}):
        output = asyncio.run(ask())

    assert (output.usage.input_tokens, output.usage.input_tokens_cache_read) == (35, 5)
    assert (output.usage.output_tokens, output.usage.total_tokens) == (6, 46)
    assert output.usage.total_cost == pytest.approx(40 + 60)
    assert output.metadata["calls"] == 2
    assert output.metadata["cost_usd"] == pytest.approx(100)
    assert output.metadata["by_model"]["a"]["completion_tokens"] == 6


def test_a_failed_call_is_the_samples_error_and_never_text(tmp_path):
    mixture = team(failing_model(RejectedError("401 bad key"), "a"), chief=Scripted("chief", []))
    task = inspect_ai.Task(dataset=[Sample(input="?")])

    with inspect_provider.use_models(config_of(tmp_path), {"team": mixture}):
        (log,) = inspect_ai.eval(
            task, model=get_model("mixtura/team", memoize=False), display="none",
            log_dir=str(tmp_path / "logs"), fail_on_error=False, ctl_server=False,
        )  # fmt: skip

    (sample,) = log.samples
    assert "401 bad key" in sample.error.message
    assert sample.output.completion == ""


def test_a_call_that_is_called_off_stops_every_call_of_the_mixture(tmp_path):
    long = [slow_model(60, name=name) for name in "ab"]

    async def ask():
        model = get_model("mixtura/team", memoize=False)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(model.generate("?"), 0.2)
        return [model.in_flight for model in long]

    with inspect_provider.use_models(
        config_of(tmp_path), {"team": team(*long, chief=Scripted("c", []))}
    ):
        assert asyncio.run(ask()) == [0, 0]


def test_two_epochs_are_two_draws_so_that_no_cache_takes_one_for_the_other(tmp_path):
    chief = Scripted("chief", ["1", "2"])
    task = inspect_ai.Task(dataset=[Sample(input="?")])

    with inspect_provider.use_models(config_of(tmp_path), {"team": chief}):
        inspect_ai.eval(
            task, model=get_model("mixtura/team", memoize=False), display="none", epochs=2,
            log_dir=str(tmp_path / "logs"), ctl_server=False,
        )  # fmt: skip

    assert sorted(request.draw for request in chief.asked) == [0, 1]


def test_an_unknown_name_is_one_line_and_says_what_would_be_right(tmp_path):
    config = config_of(tmp_path, '[mixtures.team]\nlayers = [["auto"]]\naggregator = "auto"\n')

    with (
        inspect_provider.use_models(config, {}),
        pytest.raises(inspect_ai._util.error.PrerequisiteError, match="did you mean 'team'"),
    ):
        get_model("mixtura/taem", memoize=False)
