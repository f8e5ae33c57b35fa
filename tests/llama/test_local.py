"""Real inference: the embedded model run by Mixtura, and llama.cpp's own server over HTTP."""

from __future__ import annotations

import asyncio
import string
import time
from dataclasses import replace

import pytest

from mixtura import (
    Aggregator,
    CallRestarted,
    Charge,
    ConfigError,
    ContextOverflowError,
    EmptyAnswerError,
    Layer,
    Message,
    Mixture,
    Notice,
    Proposal,
    Proposer,
    RejectedError,
    Request,
    Sampling,
    Token,
    ask,
    streamed,
)
from mixtura.config.model_builder import ModelBuilder
from mixtura.config.schema import ModelTable
from mixtura.models.llama_cpp import Local
from mixtura.models.openai import OpenAI
from mixtura.transport.client import Secret
from tests.conftest import run

FEW = Sampling(temperature=0.7, max_tokens=12, seed=1)
ASK = ask("Name three colours.")


@pytest.fixture(scope="module")
def smol(embedded):
    return Local(embedded, name="smollm2-135m", context=4096)


@pytest.fixture(scope="module")
def served(embedded):
    """llama.cpp's own HTTP server on loopback, as a user would run it."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(embedded)
    params.n_ctx = 2048
    params.n_parallel = 2
    params.verbosity = -1
    params.api_keys = ["open sesame"]
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


def test_a_small_mixture_of_real_proposers_streams_and_answers(smol):
    team = Mixture(
        layers=(Layer((Proposer(smol, FEW, samples=2),)),), aggregator=Aggregator(smol, FEW)
    )

    async def watched():
        async with streamed(team, ASK) as under_way:
            events = [event async for event in under_way]
            return events, await under_way.wait_for_answer()

    events, answer = run(watched())
    proposals = [e.completion.text for e in events if isinstance(e, Proposal)]
    assert len(proposals) == 2
    assert proposals[0] != proposals[1], "draws of one model have seeds of their own"
    final = [e for e in events if isinstance(e, Token) and e.at[0].role == "aggregator"]
    assert "".join(e.text for e in final) == answer.text
    assert len(final) > 1
    usage = answer.usage
    assert usage.completion_tokens <= 36
    assert usage.prompt_tokens > 60
    assert not usage.estimated


def test_proposers_of_one_layer_decode_together(smol):
    """Their tokens interleave: neither waits for the other to end."""
    drafts = []
    # Long ones: on a busy machine one may have begun some tokens before the other.
    long = replace(FEW, max_tokens=150)
    team = Mixture(
        layers=(Layer((Proposer(smol, long, samples=2),)),), aggregator=Aggregator(smol, FEW)
    )

    def note(event):
        if isinstance(event, Token) and event.at[0].role == "proposer":
            drafts.append(event.at[-1].index)

    run(team.complete(ASK, note))

    from_the_end = drafts[::-1]
    assert drafts.index(1) < len(drafts) - from_the_end.index(0)
    assert drafts.index(0) < len(drafts) - from_the_end.index(1)


def test_the_same_seed_gives_the_same_words(smol):
    request = Request(ASK.messages, FEW)

    assert run(smol.complete(request)).text == run(smol.complete(request)).text


def test_the_system_prompt_goes_through_the_models_own_template(smol):
    request = Request((Message("system", "x" * 200), *ASK.messages), FEW)

    assert (
        run(smol.complete(request)).usage.prompt_tokens
        > run(smol.complete(Request(ASK.messages, FEW))).usage.prompt_tokens
    )


def test_a_conversation_longer_than_the_window_is_a_clear_error(smol):
    with pytest.raises(
        ContextOverflowError, match=r"has \d+ tokens, more than the model's context window of 4096"
    ):
        run(smol.complete(ask("word " * 5000)))


def test_a_local_model_is_told_of_a_picture_that_it_cannot_see_and_so_is_the_person(smol):
    from mixtura import ImagePart

    events: list[object] = []
    picture = ImagePart("data:image/png;base64,AA==")
    asked = Request((Message("user", (picture,)),), Sampling(max_tokens=1))
    run(smol.complete(asked, events.append))
    assert [event.notice for event in events if isinstance(event, Notice)] == [
        "cannot take a picture: it is replaced by a line of text"
    ]


def test_the_event_loop_is_not_held_up_while_it_reads_and_writes(smol):
    """A task that only wants to wake up gets its turn all the while."""
    wakes = 0

    async def ticking():
        nonlocal wakes
        while True:
            await asyncio.sleep(0.005)
            wakes += 1

    async def both():
        ticker = asyncio.create_task(ticking())
        started = time.monotonic()
        await smol.complete(Request(ask("word " * 300).messages, FEW))
        spent = time.monotonic() - started
        ticker.cancel()
        return spent

    spent = run(both())
    assert wakes > spent / 0.005 * 0.2


def test_leaving_a_local_answer_frees_its_place(smol):
    async def left_often():
        for number in range(6):  # each seconds to read, none of it known from the one before
            long = Request(ask(f"{number} word " * 300).messages, Sampling(max_tokens=1000))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.15):
                    await smol.complete(long)
        return await smol.complete(Request(ASK.messages, replace(FEW, temperature=0.0)))

    assert run(left_often()).text


def test_more_calls_than_places_all_answer(smol):
    async def many():
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    smol.complete(
                        Request(
                            ASK.messages,
                            Sampling(max_tokens=3500 if i % 3 == 0 else 4, stop=(",",)),
                        )
                    )
                )
                for i in range(9)
            ]
        return [t.result().text for t in tasks]

    assert len(run(many())) == 9


def test_a_file_that_is_no_model_is_a_clear_error(tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF and then nothing")

    with pytest.raises(ConfigError, match=r"damaged.*`mixtura pull`"):
        run(Local(path).complete(ASK))
    with pytest.raises(ConfigError, match="no model file"):
        run(Local(tmp_path / "y.gguf").complete(ASK))


def test_llama_cpps_own_server_answers_through_the_openai_adapter(served):
    model = OpenAI("any", served, name="served", api_key=Secret("open sesame"))
    tokens = []

    async def asked():
        return await model.complete(
            Request(ASK.messages, FEW),
            lambda e: tokens.append(e.text) if isinstance(e, Token) else None,
        )

    answer = run(asked())
    assert "".join(tokens) == answer.text
    assert answer.charges[0] == Charge("served", answer.usage)
    assert answer.usage.completion_tokens == 12
    assert answer.finish_reason == "length"


def test_a_wrong_key_at_a_real_server_is_rejected_and_not_shown(served):
    with pytest.raises(RejectedError, match="401") as e:
        run(OpenAI("any", served, api_key=Secret("shut")).complete(ASK))
    assert "shut" not in repr(e.value)


def test_served_and_embedded_models_mix_in_one_run(served, smol):
    far = OpenAI("any", served, name="served", api_key=Secret("open sesame"))
    team = Mixture(
        layers=(Layer((Proposer(far, FEW), Proposer(smol, FEW))),), aggregator=Aggregator(smol, FEW)
    )

    answer = run(team.complete(ASK))

    assert set(answer.usage_by_model) == {"served", "smollm2-135m"}
    assert answer.degraded == ()


def test_a_local_model_that_says_nothing_is_asked_once_more(embedded, tmp_path):
    model = ModelBuilder({}, tmp_path).build_local(
        "tiny", str(embedded), ModelTable(model=str(embedded))
    )
    mute = Request(ASK.messages, Sampling(max_tokens=8, stop=tuple(string.printable)))
    events = []

    with pytest.raises(EmptyAnswerError):
        run(model.complete(mute, events.append))
    assert sum(isinstance(event, CallRestarted) for event in events) == 1
