"""What a model says of itself in its `info`, ours or a stranger's, and what is done with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixtura import (
    BudgetedPerAttempt,
    BudgetedPerRun,
    BudgetExceededError,
    Cached,
    Charge,
    Completion,
    ConfigError,
    ContextOverflowError,
    Deadlined,
    Failure,
    Hedged,
    ImagePart,
    Limited,
    Message,
    Mixture,
    ModelInfo,
    Notice,
    OpenAI,
    Price,
    RateLimiter,
    RateLimits,
    Request,
    Retrying,
    RunCap,
    TextPart,
    Usage,
    Wrapper,
    answer_cost,
    ask,
    get_model_info,
)
from mixtura.billing.answer_cost import price_models
from mixtura.config.config import load
from mixtura.models.fake import Scripted, echo
from mixtura.models.wrappers.private_items import Pseudonymized
from mixtura.models.wrappers.web_search import ProviderSearch
from tests.conftest import run

PRICE = Price(input=1.0, output=10.0)
USAGE = Usage(1000, 100)
DOLLARS = 0.002
"""What USAGE costs at PRICE."""
PICTURE = ImagePart("data:image/png;base64,AAAA")
SEEN = Request((Message("user", (TextPart("What is this?"), PICTURE)),))


class Bare:
    """A stranger's model: a name and `complete`, nothing else."""

    def __init__(self, name: str = "theirs", text: str = "fine") -> None:
        self.name = name
        self.text = text
        self.asked: list[Request] = []

    async def complete(self, request: Request, emit: object = None) -> Completion:
        self.asked.append(request)
        charges = (Charge(self.name, USAGE),)
        return Completion(Message("assistant", self.text), self.name, charges=charges)


class Described(Bare):
    """A stranger's model with an info of its own."""

    def __init__(self, name: str = "theirs", text: str = "fine", **known: object) -> None:
        super().__init__(name, text)
        self.info = ModelInfo(name, **known)  # pyright: ignore[reportArgumentType]


def images_shown(model: Bare) -> list[bool]:
    """For each request that *model* got, whether a picture was in it."""
    return [
        any(isinstance(part, ImagePart) for m in r.messages for part in m.content)
        for r in model.asked
    ]


# ---- strangers


def test_a_model_with_a_name_and_complete_alone_is_asked_as_before():
    theirs, chief = Bare(), Bare("chief", "done")
    long = "word " * 20_000

    answer = run(Mixture.of([theirs], chief).complete(SEEN))
    run(Mixture.of([Bare(text=long)], chief).complete(ask("Why?")))

    assert answer.text == "done"
    assert images_shown(theirs) == [True]
    assert long.strip() in str(chief.asked[1].messages)
    assert get_model_info(theirs) == ModelInfo("theirs")
    assert answer_cost(answer, Mixture.of([theirs], chief)) is None  # not known, not zero


def test_a_stranger_s_model_is_shown_drafts_that_fit_its_own_window():
    long = "word " * 5000
    narrow = Described("narrow", context_window=900)
    run(Mixture.of([Bare(text=long)], narrow).complete(ask("Why?")))

    assert 0 < sum(len(m.text) for m in narrow.asked[0].messages) < 900 * 4
    assert "left out here" in str(narrow.asked[0].messages)


def test_a_conversation_larger_than_a_stranger_s_window_is_not_sent_to_it():
    narrow, events = Described("narrow", context_window=900), []
    run(Mixture.of([narrow, echo("b")], Bare()).complete(ask("word " * 2000), events.append))

    assert narrow.asked == []
    failures = [e.error for e in events if isinstance(e, Failure)]
    assert [type(error) for error in failures] == [ContextOverflowError]


@pytest.mark.parametrize(("supports", "shown"), [(False, False), (True, True), (None, True)])
def test_a_stranger_s_model_keeps_pictures_unless_it_says_that_it_sees_none(supports, shown):
    theirs, events = Described(supports_images=supports), []
    run(Mixture.of([theirs], echo("chief")).complete(SEEN, events.append))

    assert images_shown(theirs) == [shown]
    assert any(isinstance(e, Notice) and "pictures" in e.notice for e in events) is not shown


def test_an_info_that_changes_counts_from_the_next_call():
    theirs = Described()
    team = Mixture.of([theirs], echo("chief"))
    run(team.complete(SEEN))
    theirs.info = ModelInfo("theirs", supports_images=False)
    run(team.complete(SEEN))

    assert images_shown(theirs) == [True, False]


# ---- prices


def test_an_answer_costs_what_the_infos_of_its_models_say():
    team = Mixture.of(
        [Described("a", price=PRICE), Retrying(Described("b", price=lambda _: 0.5))],
        Described("chief", price=PRICE),
    )
    answer = run(team.complete(ask("Why?")))

    assert answer_cost(answer, team) == pytest.approx(2 * DOLLARS + 0.5)
    assert answer_cost(answer, Mixture.of([team], Described("top", price=PRICE))) is not None


def test_the_price_of_two_models_of_one_name_is_known_only_where_it_is_the_same():
    same = Mixture.of([Described(price=PRICE), Described(price=Price(input=1, output=10))], echo())
    other = Mixture.of([Described(price=PRICE), Described(price=Price(input=2, output=9))], echo())
    half = Mixture.of([Described(price=PRICE), Bare()], echo())

    assert price_models(same)("theirs", USAGE) == pytest.approx(DOLLARS)
    assert price_models(other)("theirs", USAGE) is None
    assert price_models(half)("theirs", USAGE) is None
    assert price_models(same)("unknown", USAGE) is None


def test_a_cap_in_dollars_holds_a_stranger_s_model_to_its_own_price():
    theirs = BudgetedPerAttempt(Described(price=PRICE))
    team, events = Mixture.of([theirs], BudgetedPerAttempt(Described("chief", price=PRICE))), []
    cap = RunCap("this run", 1.0)

    run(BudgetedPerRun(team, lambda: [cap]).complete(ask("Why?"), events.append))

    assert cap.spent.dollars == pytest.approx(2 * DOLLARS)
    with pytest.raises(BudgetExceededError, match="Nothing was sent"):
        run(BudgetedPerRun(team, lambda: [RunCap("this run", 0.001)]).complete(ask("Why?")))
    unpriced = Mixture.of([theirs], Bare("chief"))
    with pytest.raises(ConfigError, match=r"that of chief is unknown: .* in its info.*run_tokens"):
        run(BudgetedPerRun(unpriced, lambda: [cap]).complete(ask("Why?")))


# ---- wrappers and mixtures


class Store:
    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, body: bytes) -> None: ...


class Theirs(Wrapper):
    """A stranger's wrapper."""

    async def complete(self, request: Request, emit: object = None) -> Completion:
        return await self._model.complete(request, emit)  # pyright: ignore[reportArgumentType]


WRAPPERS = {
    "cache": lambda model: Cached(model, Store(), identity="m"),
    "deadline": lambda model: Deadlined(model, 60.0),
    "hedge": lambda model: Hedged(model, after=60.0),
    "budget_per_attempt": BudgetedPerAttempt,
    "private_items": Pseudonymized,
    "rate_limit": lambda model: Limited(model, RateLimiter(RateLimits())),
    "retry": Retrying,
    "web_search": lambda model: ProviderSearch(model, [{"type": "web_search"}]),
    "a stranger's": Theirs,
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_every_wrapper_passes_on_what_its_model_says(name):
    theirs = Described(context_window=900, supports_images=False, price=PRICE)
    wrapped = WRAPPERS[name](WRAPPERS[name](theirs))
    team = Mixture.of([Bare(text="word " * 5000)], wrapped)

    answer = run(team.complete(SEEN))

    assert get_model_info(wrapped) is theirs.info
    assert get_model_info(WRAPPERS[name](Bare())) == ModelInfo("theirs")
    assert images_shown(theirs) == [False]
    assert sum(len(m.text) for m in theirs.asked[0].messages) < 900 * 4
    assert answer_cost(answer, wrapped) == pytest.approx(2 * DOLLARS)


def test_the_table_of_wrappers_has_each_of_them():
    import mixtura.models.wrappers

    there = {path.stem for path in Path(mixtura.models.wrappers.__path__[0]).glob("[!_]*.py")}
    assert there - {"budget_per_run", "budget_queue"} == WRAPPERS.keys() - {"a stranger's"}


def test_a_mixture_says_what_holds_for_all_of_its_members():
    refusing = frozenset({"logprobs", "seed"})
    inner = Mixture.of(
        [Described("a", context_window=900), Bare("b")],
        Described("c", context_window=700, refused_parameters=refusing),
        name="inner",
    )
    team = Mixture.of([inner], Retrying(inner), name="team")
    capped = BudgetedPerRun(team, list)

    expected = ModelInfo("team", context_window=700, refused_parameters=refusing)
    assert get_model_info(team) == get_model_info(capped) == expected


# ---- ours


def test_a_configured_model_says_what_its_table_or_the_catalogue_says(tmp_path: Path):
    (tmp_path / "mixtura.toml").write_text(
        """
[models.given]
base_url = "http://127.0.0.1:9/v1"
model = "m"
window = 4000
vision = false
price = { input = 1, output = 10 }
[models.bare]
base_url = "http://127.0.0.1:9/v1"
model = "m"
"""
    )
    config = load(str(tmp_path / "mixtura.toml"), environ={"OPENAI_API_KEY": "k"}, folder=tmp_path)
    given, bare, known = (
        get_model_info(config.model(name)) for name in ("given", "bare", "openai/gpt-5.4")
    )

    assert (given.context_window, given.supports_images) == (4000, False)
    assert given.price
    assert given.price(USAGE) == config.usage_cost("given", USAGE) == pytest.approx(DOLLARS)
    assert bare == ModelInfo("bare")
    assert known.context_window
    assert known.context_window > 100_000
    assert known.price
    assert known.price(USAGE) == config.usage_cost("openai/gpt-5.4", USAGE)


def test_a_model_made_with_a_key_says_what_the_catalogue_knows_and_what_is_set_counts_first():
    known = OpenAI("gpt-5.4", api_key="k").info
    own = OpenAI("gpt-5.4", api_key="k", context_window=500, supports_images=False, price=PRICE)
    elsewhere = OpenAI("gpt-5.4", "http://127.0.0.1:9/v1", api_key="k").info

    assert known.price
    assert known.price(USAGE)
    assert own.info == ModelInfo(
        "gpt-5.4",
        context_window=500,
        supports_images=False,
        price=PRICE,
        refused_parameters=known.refused_parameters,
        max_answer_tokens=known.max_answer_tokens,
    )
    assert elsewhere.context_window == known.context_window
    assert elsewhere.price is None  # whoever serves it there has a price of their own


# ---- wrong use


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"context_window": 0}, "context_window: a whole number of tokens, or None, not 0"),
        ({"context_window": "8k"}, "not '8k'"),
        ({"context_window": True}, "not True"),
        ({"max_answer_tokens": -1}, "max_answer_tokens: a whole number"),
        ({"refused_parameters": "seed"}, "refused_parameters: a set of names, as in {'seed'}"),
        ({"price": 0.5}, r"price: a Price, as in Price\(input=1, output=2\), not 0.5"),
    ],
)
def test_an_info_that_makes_no_sense_is_refused_in_words(wrong, said):
    with pytest.raises(ValueError, match=said):
        ModelInfo("m", **wrong)


def test_an_info_of_another_kind_is_refused_before_anything_is_asked():
    theirs = Bare()
    theirs.info = {"context_window": 900}  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError, match=r"`info` of the model theirs is a ModelInfo .* not dict"):
        Mixture.of([theirs], Scripted("chief", ["x"]))
