"""What a program passes in: wrong kinds and values are told in words, where the object is made."""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import dataclass
from fractions import Fraction

import pytest

import mixtura
from mixtura import (
    Aggregator,
    BestOf,
    BudgetedPerAttempt,
    BudgetedPerRun,
    Cached,
    CallTimeouts,
    Chosen,
    Completion,
    Deadlined,
    Hedged,
    Http1Transport,
    ImagePart,
    KeptDrafts,
    Layer,
    LearnedPatience,
    Limited,
    Message,
    Mixture,
    ModelInfo,
    OtherPart,
    Price,
    PrivateItems,
    Proposer,
    Pseudonymized,
    Ranker,
    RateLimiter,
    RateLimits,
    Recorder,
    Replay,
    Request,
    Retrying,
    RunCap,
    Sampling,
    Sequential,
    TextPart,
    ToolCall,
    Usage,
    Vote,
    Wrapper,
    answer_cost,
    answer_sync,
    ask,
    control_run,
    get_model_info,
    record_charge,
    reuse_drafts,
    self_moa,
    streamed,
)
from mixtura.core.types import seed_of_draw
from mixtura.models.fake import Scripted, echo

ONE = echo("one")
LAYER = Layer((Proposer(ONE),))
LIMITER = RateLimiter(RateLimits(concurrency=1))
TEAM = Mixture.of([ONE], ONE)


class Store:
    def get(self, key):
        return None

    def put(self, key, body):
        return None


class Nameless:
    name = None

    async def complete(self, request, emit=None):
        return Completion(Message("assistant", "x"), "x")


class Yielding:
    name = "yielding"

    async def complete(self, request, emit=None):
        yield "x"


WRONG_NUMBERS = {
    "3": (TypeError, "a number, not str"),
    True: (TypeError, "a number, not bool"),
    math.nan: (ValueError, "nan is out of range"),
    math.inf: (ValueError, "inf is out of range"),
    -1: (ValueError, "-1 is out of range"),
}
WRONG_COUNTS = {
    "3": (TypeError, "a whole number, not str"),
    True: (TypeError, "a whole number, not bool"),
    2.5: (TypeError, "a whole number, not float"),
    -1: (ValueError, "-1 "),
}
NUMBERS = {
    "patience": lambda v: Layer((Proposer(ONE),), patience=v),
    "deadline": lambda v: Layer((Proposer(ONE),), deadline=v),
    "multiple": lambda v: LearnedPatience(multiple=v),
    "quorum_share": lambda v: LearnedPatience(quorum_share=v),
    "temperature": lambda v: Sampling(temperature=v),
    "top_p": lambda v: Sampling(top_p=v),
    "input": lambda v: Price(input=v, output=1),
    "cached": lambda v: Price(input=1, output=1, cached=v),
    "dollars": lambda v: RunCap("cap", dollars=v),
    "first_wait": lambda v: Retrying(ONE, first_wait=v),
    "share": lambda v: Hedged(ONE, share=v),
    "quantile": lambda v: Hedged(ONE, quantile=v),
    "after": lambda v: Hedged(ONE, after=v),
    "seconds": lambda v: Deadlined(ONE, v),
    "first_token": lambda v: CallTimeouts(first_token=v),
}
COUNTS = {
    "samples": lambda v: Proposer(ONE, samples=v),
    "quorum": lambda v: Layer((Proposer(ONE),), quorum=v),
    "depth": lambda v: Mixture.of([ONE], ONE, depth=v),
    "draws": lambda v: self_moa(ONE, v),
    "width": lambda v: Sequential.of(ONE, 3, width=v),
    "max_tokens": lambda v: Sampling(max_tokens=v),
    "tokens": lambda v: RunCap("cap", tokens=v),
    "attempts": lambda v: Retrying(ONE, attempts=v),
    "concurrency": lambda v: RateLimits(concurrency=v),
    "tokens_per_minute": lambda v: RateLimits(tokens_per_minute=v),
    "prompt_tokens": lambda v: Usage(prompt_tokens=v),
}
MODELS = {
    "proposer": Proposer,
    "aggregator": Aggregator,
    "fallback": lambda v: Aggregator(ONE, fallbacks=(v,)),
    "chosen": lambda v: Chosen.of([v], Vote()),
    "ranker": Ranker,
    "self_moa": self_moa,
    "self_moa's aggregator": lambda v: self_moa(ONE, aggregator=v),
    "sequential": lambda v: Sequential.of(v, 3),
    "wrapper": Wrapper,
    "retrying": Retrying,
    "limited": lambda v: Limited(v, LIMITER),
    "hedged": Hedged,
    "hedged's copy": lambda v: Hedged(ONE, elsewhere=v),
    "cached": lambda v: Cached(v, Store(), identity="x"),
    "budgeted": BudgetedPerAttempt,
    "deadlined": lambda v: Deadlined(v, 1),
    "pseudonymized": Pseudonymized,
    "streamed": lambda v: streamed(v, ask("x")),
    "info": get_model_info,
}
OTHERS = [
    (lambda: Proposer(ONE, {"temperature": 1}), "sampling: a Sampling, not dict"),
    (lambda: Proposer(ONE, persona=3), "persona: a text, or None, not int"),
    (lambda: Layer(ONE), "proposers: a tuple of Proposer"),
    (lambda: Layer((ONE,)), "item 0 is Scripted"),
    (lambda: Layer((Proposer(ONE),), learned=3), "learned: a LearnedPatience, or None, not int"),
    (lambda: Aggregator(ONE, fallbacks=ONE), "fallbacks: a tuple of models, not Scripted"),
    (lambda: Mixture(layers=LAYER, aggregator=Aggregator(ONE)), "layers: a tuple of Layer"),
    (lambda: Mixture(layers=(ONE,), aggregator=Aggregator(ONE)), "item 0 is Scripted"),
    (lambda: Mixture(layers=(LAYER,), aggregator=ONE), "aggregator: an Aggregator(model), not"),
    (lambda: Mixture.of([ONE], ONE, name=3), "name: a text, not int"),
    (lambda: Mixture.of([ONE], ONE, patience="3"), "patience: a number, not str"),
    (lambda: Chosen(layers=(LAYER,), chooser=ONE), "chooser: a chooser, such as Vote()"),
    (lambda: Chosen.of([ONE], Vote), "chooser: a chooser, such as Vote()"),
    (lambda: Chosen.of(ONE, Vote()), "proposers: a list of models, not Scripted"),
    (lambda: BestOf(3), "by: a model, or a function of a request and a proposal, not int"),
    (lambda: Ranker(ONE, 3), "sampling: a Sampling, not int"),
    (lambda: Limited(ONE, RateLimits()), "limiter: a RateLimiter(RateLimits(…)), not RateLimits"),
    (lambda: RateLimiter(None), "limits: a RateLimits, not None"),
    (lambda: RateLimits(one_model="yes"), "one_model: True or False, not str"),
    (lambda: Retrying(ONE, sleep=3), "sleep: an async function of seconds, not int"),
    (lambda: Cached(ONE, {}, identity="x"), "answers: a store with `get(key)`"),
    (lambda: Cached(ONE, Store(), identity=3), "identity: a text, not int"),
    (lambda: BudgetedPerRun(ONE, list), "mixture: a Mixture or another pattern, not Scripted"),
    (lambda: BudgetedPerRun(TEAM, [RunCap("x")]), "caps: a function that returns caps"),
    (lambda: Pseudonymized(ONE, ["email"]), "items: a PrivateItems, or None, not list"),
    (lambda: PrivateItems(words="Smith"), "words: a list of texts, not str"),
    (lambda: PrivateItems(kinds="email"), "kinds: a list of texts, not str"),
    (lambda: PrivateItems(patterns=["x"]), "patterns: a dict of regular expressions, not list"),
    (lambda: PrivateItems(recognizers=[3]), "recognizers[0]: a function of a text, not int"),
    (lambda: Http1Transport(client_certificate=3), "client_certificate: the path of a file"),
    (lambda: ask("x", system=3), "system: a text, or None, not int"),
    (lambda: ask("x", sampling={"seed": 1}), "sampling: a Sampling, or None, not dict"),
    (lambda: Request("Why?"), "messages: a tuple of Message"),
    (lambda: Request(({"role": "user"},)), "messages: a tuple of Message"),
    (lambda: Request((), None), "sampling: a Sampling, not None"),
    (lambda: Request((), extra=None), "extra: a dict, not None"),
    (lambda: Request((), tools="f"), "tools: a tuple of dicts, not str"),
    (lambda: Message("user", None), "content: a text (it may be empty), or a tuple of TextPart"),
    (lambda: Message("user", ({"type": "text"},)), "item 0 is dict"),
    (lambda: TextPart(3), "text: a text, not int"),
    (lambda: ImagePart(b"x"), "url: a text, not bytes"),
    (lambda: OtherPart("x"), "raw: the part as a dict, not str"),
    (lambda: ToolCall("1", "f", {"x": 1}), "arguments: JSON text"),
    (lambda: Sampling(stop="END"), "stop: a tuple of texts"),
    (lambda: Completion("x", "m"), "message: a Message, as in"),
    (lambda: Completion(Message("assistant"), "m", charges=(3,)), "charges: a tuple of Charge"),
    (lambda: ModelInfo(3), "name: a text, not int"),
    (lambda: ModelInfo("m", supports_images="no"), "supports_images: True, False or None, not str"),
    (lambda: Recorder(3), "then: a function of an event, not int"),
    (lambda: streamed(ONE, "Why?"), "request: a Request"),
    (lambda: control_run(3), "control: a RunControl(), or None, not int"),
    (lambda: reuse_drafts({}), "drafts: a KeptDrafts, or None, not dict"),
    (lambda: KeptDrafts({"a": 1}), "proposals: a dict of answers by Position"),
    (lambda: record_charge(3), "charge: a Charge(model, Usage(…)), not int"),
    (lambda: answer_cost("x", ONE), "answer: a Completion, not str"),
    (lambda: Replay("x", None), "recordings: a dict, not None"),
    (lambda: Replay.from_json("x", 3), "data: what `mixtura ask --json` printed"),
    (lambda: Replay.from_trace("x", {}), "trace: a Trace"),
]
VALUES = [
    (
        lambda: Message("bot", "x"),
        "role: one of system, developer, user, assistant, tool, not 'bot'",
    ),
    (lambda: Message(None, "x"), "role: one of system"),
    (lambda: Completion(Message("assistant"), "m", "done"), "finish_reason: one of stop"),
    (
        lambda: Mixture.of([ONE], ONE, depth=10**12),
        "depth: 1000000000000 is out of range: use 2 to",
    ),
    (lambda: Mixture.of([ONE], ONE, name=""), "name: the text is empty"),
    (lambda: Vote("nothing"), "extract: one of"),
    (lambda: BudgetedPerRun(TEAM, list, at_the_cap="x"), "at_the_cap: one of refuse, degrade"),
    (lambda: Sampling(seed=2**70), "seed: "),
    (lambda: Layer((Proposer(ONE),), quorum=3), "a quorum of 3 does not fit"),
    (lambda: Replay.from_json("x", {}), "`calls` is missing"),
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", WRONG_NUMBERS, ids=str)
def test_what_is_no_number_in_range_is_told_with_its_name(name, value):
    error, words = WRONG_NUMBERS[value]
    with pytest.raises(error, match=re.escape(f"{name}: {words}")):
        NUMBERS[name](value)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", WRONG_COUNTS, ids=str)
def test_what_is_no_whole_number_is_told_with_its_name(name, value):
    error, words = WRONG_COUNTS[value]
    with pytest.raises(error, match=f"{name}.*{re.escape(words)}|a quorum of -1"):
        COUNTS[name](value)


@pytest.mark.parametrize("place", MODELS)
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "not int: a model has a `name` and an `async complete(request, emit=None)`"),
        ("openai/x", "not its name: `mixtura.model('openai/x')` is the model"),
        (Scripted, "not the class Scripted"),
        (Nameless(), "the `name` of a model: a text, not None"),
        (Yielding(), "`complete` of the model yielding returns a Completion; with `yield`"),
    ],
    ids=["number", "name", "class", "nameless", "generator"],
)
def test_what_is_no_model_is_told_where_it_is_passed(place, value, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        MODELS[place](value)


@pytest.mark.parametrize(("wrong", "words"), OTHERS, ids=[words for _, words in OTHERS])
def test_what_is_of_another_kind_is_a_type_error_that_names_the_argument(wrong, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        wrong()


@pytest.mark.parametrize(("wrong", "words"), VALUES, ids=[words for _, words in VALUES])
def test_what_makes_no_sense_is_a_value_error_that_names_the_argument(wrong, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        wrong()


def test_an_error_does_not_show_what_may_be_a_key():
    with pytest.raises(TypeError) as raised:
        Proposer(ONE, persona=b"sk-0123456789abcdefgh")

    assert "sk-" not in str(raised.value)


def test_lists_and_numbers_of_other_libraries_become_ours():
    """NumPy's numbers are registered in the same way as a fraction."""
    layer = Layer([Proposer(ONE, Sampling(temperature=Fraction(1, 2)))])
    request = Request([Message("user", [TextPart("Why?")])], Sampling(stop=["END"]))

    assert layer.proposers[0].sampling.temperature == 0.5
    assert type(layer.proposers[0].sampling.temperature) is float
    assert hash(layer) == hash(Layer((Proposer(ONE, Sampling(temperature=0.5)),)))
    assert request.messages == (Message("user", (TextPart("Why?"),)),)
    assert request.sampling.stop == ("END",)
    assert answer_sync(ONE, request).text == "Why?"


def test_the_seeds_of_draws_stay_within_64_bits():
    assert seed_of_draw(2**63 - 1, 1) == -(2**63)
    assert seed_of_draw(5, 2) == 7
    team = self_moa(ONE, 3, aggregator=Scripted("chief", ["done"]))
    assert answer_sync(team, ask("x", sampling=Sampling(seed=2**63 - 1))).text == "done"


class NotAsync:
    name = "not-async"

    def complete(self, request, emit=None):
        return Completion(Message("assistant", "x"), self.name)


class GivesText:
    name = "gives-text"

    async def complete(self, request, emit=None):
        return "x"


class GivesNothing:
    name = "gives-nothing"

    async def complete(self, request, emit=None):
        self.asked = request


WRAPPERS = [
    lambda model: model,
    Retrying,
    Hedged,
    lambda model: Limited(model, LIMITER),
    lambda model: Deadlined(model, 60),
    lambda model: Cached(model, Store(), identity="x"),
    BudgetedPerAttempt,
    Pseudonymized,
]


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (NotAsync, "`complete` of the model not-async must be an `async def`"),
        (GivesText, "`complete` of the model gives-text must return a Completion"),
        (GivesNothing, "it returned None"),
    ],
)
def test_a_model_that_is_not_async_or_gives_no_completion_is_named(kind, words, wrap):
    bad = wrap(kind())
    for model in (
        bad,
        Mixture.of([bad], ONE),
        Mixture.of([ONE], bad),
        self_moa(ONE, aggregator=bad),
    ):
        with pytest.raises(TypeError, match=re.escape(words)):
            answer_sync(model, "2 + 2?")

    async def watch():
        async with streamed(bad, ask("2 + 2?")) as run:
            return await run.wait_for_answer()

    with pytest.raises(TypeError, match=re.escape(words)):
        asyncio.run(watch())


def test_a_model_may_hand_on_the_coroutine_of_another():
    class HandsOn:
        name = "hands-on"

        def complete(self, request, emit=None):
            return ONE.complete(request, emit)

    assert answer_sync(Mixture.of([HandsOn()], Scripted("chief", ["done"])), "x").text == "done"


def test_an_own_pattern_is_held_to_the_same_parts():
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Own(mixtura.Pattern):
        name: str = "own"

        def final_calls(self, reads):
            return []

        async def write_answer(self, step):
            return step.choose(0, "the first")

    assert answer_sync(Own(layers=[LAYER]), "x").text == "x"
    with pytest.raises(TypeError, match="layers: a tuple of Layer"):
        Own(layers=(Proposer(ONE),))


@pytest.mark.parametrize(
    "make", [lambda key: Aggregator(key), lambda key: Message(key, "x")], ids=["model", "role"]
)
def test_a_key_in_the_place_of_a_name_is_not_shown(make):
    with pytest.raises((TypeError, ValueError)) as told:
        make("sk-proj-canary0123456789abcdefghij")

    assert "canary" not in str(told.value)
