"""Every fault an upstream can have, at every place in a mixture, ends as it was declared."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from mixtura import (
    Aggregator,
    CallRestarted,
    Charge,
    Completion,
    ContentFilterError,
    Event,
    Failure,
    Layer,
    Mixture,
    ModelError,
    Notice,
    Proposer,
    QuorumNotMetError,
    Sampling,
    Token,
    ask,
)
from mixtura.core.call_ledger import open_ledger
from mixtura.models.openai import OpenAI
from mixtura.models.wrappers.hedge import Hedged
from mixtura.models.wrappers.retry import Retrying
from mixtura.transport.client import CallTimeouts, Secret
from tests.conftest import run
from tests.support.loopback import nobody
from tests.support.upstream import CANARY, Record, Script, Upstream, pieces, running, seeded
from tests.support.upstream.faults import BY_NAME, FAULTS, Fault, filters

ADAPTERS: dict[str, Any] = {"openai": OpenAI, "llamacpp": OpenAI}
if find_spec("mixtura.models.anthropic"):
    ADAPTERS["anthropic"] = import_module("mixtura.models.anthropic").Anthropic

SEATS = ("first", "second", "third", "chief")
PLACES: dict[str, tuple[str, ...]] = {
    "one proposer": ("first",),
    "all but one": ("first", "second"),
    "all": ("first", "second", "third"),
    "aggregator before": ("chief",),
    "aggregator after": ("chief",),
}
ATTEMPTS = {"first": 2, "second": 2, "third": 2, "chief": 3}
ASK = ask("Why is the sky blue?", system="Be brief.")
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=256)
PATIENT = CallTimeouts(connect=5.0, first_token=8.0, progress=8.0, total=15.0)
KEY = "sk-a-key-that-nobody-may-see"
SLACK = 4.0
"""Seconds a busy machine may take on top of what timeouts and waits add up to."""


@dataclass(frozen=True)
class Cell:
    """One fault at one place, met once or ever, watched or not."""

    fault: Fault
    dialect: str
    place: str
    streamed: bool
    ever: bool

    def __str__(self) -> str:
        how = "streamed" if self.streamed else "not streamed"
        return f"{self.dialect} · {self.place} · {how} · {'ever' if self.ever else 'once'}"

    @property
    def faulty(self) -> tuple[str, ...]:
        return PLACES[self.place]

    def model(self, seat: str) -> str:
        return f"{seat} of {self.fault.name} · {self}"

    def said(self) -> int:
        """How many words have been answered when the fault comes."""
        if self.place == "aggregator after":
            return 2
        return 2 if self.fault.where == "stream" and "first" in self.faulty else 0

    @property
    def seen(self) -> bool:
        """Whether a person has seen a part of the answer when the fault comes."""
        late = self.place == "aggregator after" or self.fault.shows
        return late and self.streamed and "chief" in self.faulty

    @property
    def bisects(self) -> bool:
        """Whether the aggregator is asked again without some of the proposals."""
        filtered = ContentFilterError in self.fault.errors
        return filtered and "chief" in self.faulty and not self.seen

    def good(self, seat: str) -> bool:
        """Whether this seat has to answer."""
        if seat not in self.faulty or self.fault.ends_well:
            return True
        return not self.ever and not self.seen

    def deadline(self) -> float:
        first, progress, total = self.fault.timeouts
        clock = 0.0 if total is None else min(total, (first or 0) + (progress or 0) + 1.0)
        return ATTEMPTS["chief"] * (clock + 1.1 * self.fault.wait + 1.0) + SLACK


def cells(fault: Fault) -> list[Cell]:
    """Every cell of a fault that makes sense."""
    times = (False, True) if fault.retried and not fault.address else (True,)
    return [
        Cell(fault, dialect, place, streamed, ever)
        for dialect in fault.dialects
        if dialect in ADAPTERS
        for place in PLACES
        if place != "aggregator after" or fault.may_be_late
        for streamed in (True, False)
        for ever in times
    ]


def sample(fault: Fault) -> list[Cell]:
    """Few cells with every dialect, place and way of a fault; others for other faults."""
    every = cells(fault)
    random.Random(fault.name).shuffle(every)
    missing = {feature for cell in every for feature in _features(cell)}
    chosen = []
    while missing:
        best = max(every, key=lambda cell: len(missing & _features(cell)))
        chosen.append(best)
        missing -= _features(best)
    return chosen


def _features(cell: Cell) -> set[tuple[int, Any]]:
    return set(enumerate((cell.dialect, cell.place, cell.streamed, cell.ever)))


@dataclass
class Outcome:
    """What became of a cell."""

    answer: Completion | None = None
    error: BaseException | None = None
    events: list[Event] = field(default_factory=list)

    charges: Sequence[Charge] = ()


# ---------------------------------------------------------------- playing a cell


def words(seat: str) -> list[str]:
    """What a seat says: words that no one else says, some with more than one byte a letter."""
    return pieces(f"Grüße-{seat} {seat}-zwei ✓{seat}-drei {seat}-vier 👩‍🚀{seat}-fünf {seat}-Ende.")


def prepare(cell: Cell, upstream: Upstream) -> Mixture:
    """Scripts for the upstream, and the mixture that will ask it."""
    play = cell.fault.play(cell.said())
    for seat in SEATS:
        script = Script("".join(words(seat)))
        if seat in cell.faulty:
            script = replace(script, plays=(play,), ever=play if cell.ever else None)
        upstream.scripts[cell.model(seat)] = script
    proposers = tuple(Proposer(member(cell, seat, upstream), SAMPLING) for seat in SEATS[:3])
    chief = Aggregator(member(cell, "chief", upstream), SAMPLING)
    return Mixture(layers=(Layer(proposers),), aggregator=chief)


def member(cell: Cell, seat: str, upstream: Upstream) -> Retrying:
    timeouts, base_url = PATIENT, upstream.base_url(cell.dialect)
    if seat in cell.faulty:
        first, progress, total = cell.fault.timeouts
        if total is not None:
            if cell.said():  # it comes after the first words, however late those are
                first = PATIENT.first_token
            timeouts = CallTimeouts(connect=5.0, first_token=first, progress=progress, total=total)
        if cell.fault.address == "nobody":
            base_url = f"http://{NOBODY}/v1"
        elif cell.fault.address == "tls":
            base_url = upstream.base_url(cell.dialect, "https")
    model = ADAPTERS[cell.dialect](
        cell.model(seat), base_url, api_key=Secret(KEY), timeouts=timeouts
    )
    return Retrying(model, attempts=ATTEMPTS[seat], first_wait=0.01)


NOBODY = nobody()


async def played(cell: Cell, upstream: Upstream) -> list[str]:
    """Run the cell; everything that was not as declared."""
    mixture, outcome = prepare(cell, upstream), Outcome()
    try:
        async with asyncio.timeout(cell.deadline()):
            emit = outcome.events.append if cell.streamed else None
            with open_ledger() as ledger:
                outcome.answer = await mixture.complete(ASK, emit)
    except TimeoutError:
        return [f"not over after {cell.deadline():.1f} s"]
    except Exception as error:  # noqa: BLE001 - a bug is one of the outcomes to report
        outcome.error = error
    outcome.charges = outcome.answer.charges if outcome.answer else ledger.charges
    models = [cell.model(seat) for seat in SEATS]
    end = time.monotonic() + 2
    while upstream.open(*models) and time.monotonic() < end:
        await asyncio.sleep(0.005)
    return [*verdict(cell, outcome, upstream)]


async def all_played(chosen: Sequence[Cell], upstream: Upstream) -> list[str]:
    """Run cells side by side: many of those that wait, few of those that work."""
    fault = chosen[0].fault
    waits = fault.timeouts[2] or fault.wait
    gate = asyncio.Semaphore(64 if waits else 2 if fault.heavy else 8)
    turns = {cell: number * 0.008 for number, cell in enumerate(chosen)}

    async def one(cell: Cell) -> list[str]:
        if fault.timeouts[2]:  # all at once would wait for each other, and the timeouts are short
            await asyncio.sleep(turns[cell])
        async with gate:
            return [f"{cell}: {wrong}" for wrong in await played(cell, upstream)]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(cell)) for cell in chosen]
    return [wrong for task in tasks for wrong in task.result()]


# ---------------------------------------------------------------- what has to be true


def verdict(cell: Cell, outcome: Outcome, upstream: Upstream) -> Iterator[str]:
    yield from _end(cell, outcome)
    yield from _words_shown(cell, upstream)
    yield from _words_streamed(cell, outcome)
    yield from _reports(cell, outcome)
    for seat in SEATS:
        records = upstream.of(cell.model(seat))
        yield from _calls(cell, seat, records)
        yield from _bill(cell, seat, outcome, records)
        if open_ := [record for record in records if record.status == "open"]:
            yield f"{seat}: {len(open_)} connections left open"


def _end(cell: Cell, outcome: Outcome) -> Iterator[str]:
    """The answer, exact; the best proposal, said to be one; or the right error."""
    error, answer, errors = outcome.error, outcome.answer, cell.fault.errors
    if not any(cell.good(seat) for seat in SEATS[:3]):
        if not isinstance(error, QuorumNotMetError):
            yield f"all proposers failed and it ended in {error!r}, {answer!r}"
        elif wrong := [e for e in error.causes if not isinstance(e, errors)]:
            yield f"the causes have {wrong}, not {errors}"
    elif not cell.good("chief") and cell.seen:
        if not isinstance(error, errors) or isinstance(error, QuorumNotMetError):
            yield f"ended in {error!r}, not in {errors}: {answer and answer.text!r}"
    elif answer is None:
        yield f"no answer but {error!r}"
    elif not cell.good("chief"):
        if answer.text not in ["".join(words(seat)) for seat in SEATS[:3]]:
            yield f"the aggregator failed and the answer is {answer.text[:80]!r}, no proposal"
        if not any("proposal" in said for said in answer.degraded):
            yield f"a proposal as the answer, and told only {answer.degraded}"
    else:
        yield from _whole(cell, answer)
    if error is not None and not isinstance(error, ModelError):
        yield f"a bug: {error!r}"
    if KEY in f"{error!r} {outcome.events!r}":
        yield "the key can be read"


def _whole(cell: Cell, answer: Completion) -> Iterator[str]:
    """The aggregator's answer is what it sent, and what was left out is told."""
    odd = "chief" in cell.faulty and cell.ever
    text = cell.fault.text(words("chief")) if odd else "".join(words("chief"))
    if answer.text != text:
        yield f"the answer is {answer.text[:80]!r}, not {text[:80]!r}"
    if answer.finish_reason != (cell.fault.finish if odd else "stop"):
        yield f"the finish reason is {answer.finish_reason!r}"
    lost = sum(not cell.good(seat) for seat in SEATS[:3])
    if len(answer.degraded) != lost:
        yield f"{lost} proposals lost, told: {answer.degraded}"


def _words_shown(cell: Cell, upstream: Upstream) -> Iterator[str]:
    """The aggregator saw the whole proposals and the marked ones, nothing cut, no errors."""
    expected = [
        {
            "complete": seat not in cell.faulty or not cell.ever or cell.fault.finish == "stop",
            "text": cell.fault.text(words(seat))
            if seat in cell.faulty and cell.ever
            else "".join(words(seat)),
        }
        for seat in SEATS[:3]
        if cell.good(seat)
    ]
    for record in upstream.of(cell.model("chief")):
        shown = proposals(record)
        fewer = cell.bisects and all(row in expected for row in shown)
        if shown != expected and not fewer:
            yield f"shown: {str(shown)[:300]}, not {str(expected)[:300]}"
        if CANARY in record.prompt:
            yield "the aggregator was shown an error's text"


def proposals(record: Record) -> list[dict[str, Any]]:
    """The drafts in a prompt, as it was sent."""
    found = re.search(
        r"^(=====drafts-\w+=====)\n(.*?)\n\1$", record.prompt, re.MULTILINE | re.DOTALL
    )
    rows = json.loads(found[2]) if found else []
    return [{key: row[key] for key in ("complete", "text")} for row in rows]


def _words_streamed(cell: Cell, outcome: Outcome) -> Iterator[str]:
    """What a person saw is the answer, or its beginning; nothing seen was ever begun again."""
    seen: list[str] = []
    for event in outcome.events:
        if not event.at or event.at[0].role != "aggregator":
            continue
        if isinstance(event, Token) and not event.reasoning:
            seen.append(event.text)
        elif isinstance(event, CallRestarted):
            if text := "".join(seen).strip():
                yield f"begun again after {text!r} had been seen"
            seen = []
    text = "".join(seen)
    if CANARY in text or (outcome.answer and CANARY in outcome.answer.text):
        yield "an error's text in the answer"
    if cell.streamed and cell.good("chief") and outcome.answer and text != outcome.answer.text:
        yield f"seen {text[:80]!r}, answered {outcome.answer.text[:80]!r}"
    if (
        text
        and isinstance(outcome.error, ModelError)
        and not isinstance(outcome.error, QuorumNotMetError)
        and not outcome.error.shown
    ):
        yield "a part of the answer was seen, and the error does not say so"


def _reports(cell: Cell, outcome: Outcome) -> Iterator[str]:
    """Whoever failed is reported as failed, with the right error, and no one else."""
    if not cell.streamed:
        return
    failed = {e.model: e.error for e in outcome.events if isinstance(e, Failure)}
    reached = any(cell.good(seat) for seat in SEATS[:3])
    expected = {cell.model(s) for s in SEATS if not cell.good(s) and (reached or s != "chief")}
    if set(failed) != expected:
        yield f"reported as failed: {sorted(failed)}, not {sorted(expected)}"
    for error in failed.values():
        if not isinstance(error, cell.fault.errors):
            yield f"reported {error!r}, not {cell.fault.errors}"
    if cell.fault.learns and not any(isinstance(e, Notice) for e in outcome.events):
        yield "nobody was told that a parameter was left out"


def _calls(cell: Cell, seat: str, records: Sequence[Record]) -> Iterator[str]:
    """How often a model was asked, and how soon again."""
    fault, calls = cell.fault, len(records)
    if seat not in cell.faulty:
        reached = seat != "chief" or any(cell.good(s) for s in SEATS[:3])
        if calls != reached:
            yield f"{seat}: asked {calls} times, not {int(reached)}"
        return
    if fault.address:
        return
    most = ATTEMPTS[seat]
    fewest = 1 if cell.ever or cell.seen else 2
    if fault.learns:
        fewest = most = 2
        if calls == 2 and fault.learns in records[1].body:
            yield f"{seat}: {fault.learns} was sent again"
    elif cell.bisects:
        most = 4
    elif fault.ends_well or fault.retried is False or cell.seen:
        most = 1
    if not fewest <= calls <= most:
        yield f"{seat}: asked {calls} times, not {fewest} to {most}"
    if fault.wait and calls > 1 and cell.place != "aggregator after":
        waited = records[1].arrived - records[0].sends[-1]
        if waited < fault.wait:
            yield f"{seat}: asked again after {waited:.3f} s, not {fault.wait}"


def _bill(cell: Cell, seat: str, outcome: Outcome, records: Sequence[Record]) -> Iterator[str]:
    """What the upstream would charge is on the bill, to the token where it told the tokens."""
    mine = [charge for charge in outcome.charges if charge.model == cell.model(seat)]
    billed = [record for record in records if record.billed]
    if not len(billed) <= len(mine) <= len(records):
        yield f"{seat}: {len(mine)} charges for {len(billed)} of {len(records)} calls"
    told = Counter(record.reported for record in records if record.reported)
    exact = Counter(
        (u.prompt_tokens, u.completion_tokens, u.cached_tokens, u.reasoning_tokens)
        for u in (charge.usage for charge in mine)
        if not u.estimated
    )
    if exact != told:
        yield f"{seat}: the upstream told {dict(told)}, the bill has {dict(exact)}"
    if any(not charge.usage.prompt_tokens for charge in mine):
        yield f"{seat}: a call without prompt tokens on the bill: {mine}"


# ---------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running() as server:
        yield server


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_ends_as_declared_in_every_dialect_and_place(fault, upstream):
    _ends_as_declared(sample(fault), upstream)


@pytest.mark.soak  # 4,250 cells
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_ends_as_declared_wherever_it_happens(fault, upstream):
    _ends_as_declared(cells(fault), upstream)


def _ends_as_declared(chosen: Sequence[Cell], upstream: Upstream) -> None:
    assert chosen, "a fault that is played nowhere shows nothing"

    wrong = run(all_played(chosen, upstream))

    upstream.wait_until_quiet()
    assert not upstream.visits, "somebody followed a redirect"
    if wrong:
        failed = len({line.split(": ")[0] for line in wrong})
        pytest.fail(f"{failed} of {len(chosen)} cells\n" + "\n".join(wrong), pytrace=False)


def test_there_are_enough_faults_and_cells_and_every_row_about_an_upstream_has_one():
    assert len(FAULTS) == len(BY_NAME) >= 45
    assert {fault.row for fault in FAULTS} == set(range(1, 26))
    assert sum(len(cells(fault)) for fault in FAULTS) >= 1000


def test_a_proposal_that_the_aggregators_filter_refuses_is_left_out_and_the_rest_answered(
    upstream,
):
    fault = replace(BY_NAME["400_filter"], name="a filter of one proposal")
    cell = Cell(fault, "openai", "aggregator before", streamed=True, ever=True)
    mixture, events = prepare(cell, upstream), []
    only = filters("second-zwei")
    upstream.scripts[cell.model("chief")] = Script("".join(words("chief")), ever=only)

    answer = run(mixture.complete(ASK, events.append))

    calls = upstream.of(cell.model("chief"))
    shown = [row["text"] for row in proposals(calls[-1])]
    assert "".join(words("second")) not in shown
    assert shown
    assert answer.text == "".join(words("chief"))
    assert len(calls) <= 4
    assert answer.degraded


LONG = "The sky is blue because air scatters short waves most. " * 12
"""Long enough to be worth reading when its end is missing."""


def broken_off(upstream, script, *, wrap=lambda model: model, timeouts=PATIENT, deadline=None):
    """The answer of a mixture of a proposer that breaks off and a good one, and who read what."""
    upstream.scripts |= {"long": script, "other": Script("Short."), "reader": Script("Done.")}
    long, other, chief = (
        OpenAI(name, upstream.base_url(), timeouts=timeouts) for name in ("long", "other", "reader")
    )
    layer = Layer((Proposer(wrap(long)), Proposer(other)), deadline=deadline)
    team, events = Mixture(layers=(layer,), aggregator=Aggregator(chief)), []
    answer = run(team.complete(ASK, events.append))
    return answer, proposals(upstream.of("reader")[-1]), events


@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize("fault", ["end_unfinished", "stall", "deadline"])
def test_a_long_draft_that_broke_off_is_read_as_incomplete_and_the_answer_says_so(
    fault, hedged, upstream
):
    how = {"deadline": 1.5} if fault == "deadline" else {"timeouts": CallTimeouts(progress=0.5)}
    fault = BY_NAME["stall" if fault == "deadline" else fault]
    script = Script(LONG + "never", ever=fault.play(len(pieces(LONG))))

    answer, shown, events = broken_off(
        upstream, script, wrap=Hedged if hedged else lambda model: model, **how
    )

    (cut,) = (row["text"] for row in shown if not row["complete"])
    assert cut.startswith(LONG[:400])
    assert "broke off" in answer.degraded[0]
    assert [c.outcome for c in answer.charges if c.model == "long"] in (["failed"], ["lost"])
    assert not [e for e in events if isinstance(e, Failure)]


def test_a_short_draft_that_broke_off_is_left_out(upstream):
    script = Script("One two three", ever=BY_NAME["end_unfinished"].play(2))

    answer, shown, _ = broken_off(upstream, script)

    assert [row["text"] for row in shown] == ["Short."]
    assert "failed" in answer.degraded[0]


# ---------------------------------------------------------------- the upstream itself


@pytest.fixture(scope="module")
def talker(upstream) -> str:
    """A model that thinks, speaks and calls a tool."""
    tool = ("look_up", '{"what": "sky"}')
    upstream.scripts["talker"] = Script(
        "It is blue.", thoughts="Hm, hm.", tool=tool, finish="tool_calls", cached=3
    )
    return "talker"


def test_openais_own_library_reads_the_upstream(upstream, talker):
    import openai

    messages = [{"role": "user", "content": "Why is the sky blue?"}]

    with openai.OpenAI(base_url=upstream.base_url(), api_key="none") as client:
        assert talker in [model.id for model in client.models.list()]
        with client.chat.completions.stream(
            model=talker, messages=messages, stream_options={"include_usage": True}
        ) as stream:
            streamed = stream.get_final_completion()
        whole = client.chat.completions.create(model=talker, messages=messages)
    upstream.visits.clear()

    assert streamed.choices[0].message.content == whole.choices[0].message.content == "It is blue."
    assert streamed.choices[0].message.tool_calls[0].function.arguments == '{"what": "sky"}'
    assert streamed.choices[0].finish_reason == "tool_calls"
    for answer, record in zip((streamed, whole), upstream.of(talker)[-2:], strict=True):
        spent = answer.usage
        cached = spent.prompt_tokens_details.cached_tokens
        reasoning = spent.completion_tokens_details.reasoning_tokens
        assert (spent.prompt_tokens, spent.completion_tokens, cached, reasoning) == (5, 5, 3, 2)
        assert record.tally.numbers == record.reported == (5, 5, 3, 2)


def test_anthropics_own_library_reads_the_upstream(upstream, talker):
    import anthropic

    messages = [{"role": "user", "content": "Why is the sky blue?"}]

    with (
        anthropic.Anthropic(
            base_url=upstream.base_url("anthropic").removesuffix("/v1"), api_key="none"
        ) as client,
        client.messages.stream(model=talker, messages=messages, max_tokens=99) as stream,
    ):
        answer = stream.get_final_message()

    assert [block.type for block in answer.content] == ["thinking", "text", "tool_use"]
    assert answer.content[1].text == "It is blue."
    assert answer.content[2].input == {"what": "sky"}
    assert answer.stop_reason == "tool_use"
    spent = answer.usage
    assert (spent.input_tokens, spent.cache_read_input_tokens, spent.output_tokens) == (2, 3, 5)
    assert upstream.of(talker)[-1].reported == (5, 5, 3, 2)


def test_a_caller_who_leaves_is_logged_with_what_was_sent_until_then(upstream):
    upstream.scripts["slow"] = Script("one two three four", pace=0.1)
    model = OpenAI("slow", upstream.base_url())

    async def leave() -> None:
        enough = asyncio.Event()
        task = asyncio.create_task(model.complete(ASK, lambda _: enough.set()))
        await enough.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    run(leave())
    upstream.wait_until_quiet()

    (record,) = upstream.of("slow")
    assert record.status == "left"
    assert record.over is not None
    assert record.arrived <= record.sends[0] <= record.over
    assert 1 <= record.tally.completion < 4
    assert record.reported is None


def test_seeded_answers_depend_on_the_seed_the_model_and_the_request_alone():
    def answers(seed: int, order: Sequence[str]) -> dict[str, str]:
        with running(seeded(seed, cached=0.5, thinking=0.5)) as upstream:
            model = OpenAI("m", upstream.base_url())
            return {question: run(model.complete(ask(question))).text for question in order}

    questions = ["one", "two", "three"]
    assert answers(7, questions) == answers(7, questions[::-1]) != answers(8, questions)
