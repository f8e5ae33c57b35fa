"""A stranger's pattern, the docs' cascade: streamed, billed, capped, traced, shown like ours."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import types

import pytest

from mixtura import (
    Aggregation,
    BudgetExceededError,
    CallStarted,
    Charge,
    Completion,
    Layer,
    Message,
    ModelError,
    Proposer,
    Recorder,
    RunCompleted,
    RunStarted,
    Token,
    UnavailableError,
    Usage,
    ask,
)
from mixtura.billing.forecast import forecast_calls
from mixtura.billing.price import Price
from mixtura.billing.spending_caps import RunCap
from mixtura.catalog.patterns import all_patterns
from mixtura.core.call_ledger import open_ledger
from mixtura.models.fake import FailedCall, Scripted, slow_model
from mixtura.models.wrappers.budget_per_run import BudgetedPerRun
from tests.conftest import run
from tests.support.forked_program import run_mixtura
from tests.support.loopback import Answer, loopback
from tests.support.other_packages import ROOT, docs_block, install_package, program
from tests.support.serving import serving

CODE = docs_block("guides/own-pattern.md", "class Cascade")
ASK = ask("6 x 7?")


@pytest.fixture(scope="module")
def stranger():
    """The module that the docs show."""
    module = types.ModuleType("stranger")
    sys.modules["stranger"] = module
    exec(compile(CODE, "stranger", "exec"), module.__dict__)
    yield module
    del sys.modules["stranger"]


def said(text, model, tokens=(3, 2)):
    return Completion(Message("assistant", text), model, "stop", (Charge(model, Usage(*tokens)),))


def cascade(stranger, cheap, strong):
    layers = (Layer((Proposer(cheap),)),)
    return stranger.Cascade(layers=layers, strong=strong, check=lambda text: "42" in text)


def test_the_pattern_of_the_docs_takes_at_most_thirty_lines():
    begins = CODE.index("@dataclass")
    code = CODE[begins : CODE.index("class CascadeSettings")]

    assert len(code.strip().splitlines()) <= 30


def test_it_is_streamed_as_the_answer_of_its_strong_model_comes(stranger):
    strong = Scripted("strong", ["It is 42, as ever."])
    events = []

    answer = run(cascade(stranger, Scripted("cheap", ["41"]), strong).complete(ASK, events.append))

    pieces = [e.text for e in events if isinstance(e, Token) and e.at[0].role == "aggregator"]
    assert len(pieces) > 1
    assert "".join(pieces) == answer.text == "It is 42, as ever."
    assert [type(e) for e in (events[0], events[-2], events[-1])] == [
        RunStarted, Aggregation, RunCompleted,
    ]  # fmt: skip
    assert events[0].shape == (("cheap",), ("strong",))


def test_what_it_chooses_is_shown_as_the_answer_and_its_reason_is_told(stranger):
    strong = Scripted("strong", ["never"])
    events = []

    answer = run(cascade(stranger, Scripted("cheap", ["42"]), strong).complete(ASK, events.append))

    assert answer.text == "42"
    assert strong.asked == []
    last = [e for e in events if e.at and e.at[0].role == "aggregator"]
    assert [type(e).__name__ for e in last] == ["CallStarted", "Notice", "Token", "Aggregation"]
    assert "it passes the check" in last[1].notice


def test_every_call_is_billed_also_where_the_strong_model_fails_or_is_left(stranger):
    cheap, strong = said("41", "cheap"), said("42", "strong", (5, 7))
    both = run(
        cascade(stranger, Scripted("cheap", [cheap]), Scripted("strong", [strong])).complete(ASK)
    )
    assert both.charges == (*cheap.charges, *strong.charges)

    lost = FailedCall(UnavailableError("down"), (Charge("strong", Usage(1, 0)),))
    failing = cascade(stranger, Scripted("cheap", [cheap]), Scripted("strong", [lost]))
    with open_ledger() as ledger, pytest.raises(ModelError):
        run(failing.complete(ASK))
    assert [(c.model, c.usage) for c in ledger.charges] == [
        ("cheap", cheap.usage), ("strong", Usage(1, 0)),
    ]  # fmt: skip

    async def leave():
        slow = cascade(stranger, Scripted("cheap", [cheap]), slow_model(60, name="strong"))
        begun = asyncio.Event()

        def emit(event):
            if isinstance(event, CallStarted) and event.model == "strong":
                begun.set()

        task = asyncio.create_task(slow.complete(ASK, emit))
        await asyncio.wait_for(begun.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with open_ledger() as ledger:
        run(leave())
    assert ledger.charges[:1] == cheap.charges


def test_it_is_capped_before_anything_is_asked_by_what_it_may_take_at_most(stranger):
    cheap, strong = Scripted("cheap", ["41"]), Scripted("strong", ["42"])
    team = cascade(stranger, cheap, strong)
    price = Price(input=1.0, output=2.0)

    assert [call.model.name for call in team.planned_calls()] == ["cheap", "strong"]
    assert len(forecast_calls(team, ASK)) == team.call_count == 2
    capped = BudgetedPerRun(
        team, lambda: [RunCap("this run", 0.0001)], lambda model, usage: price(usage)
    )
    with pytest.raises(BudgetExceededError, match="Nothing was sent"):
        run(capped.complete(ASK))
    assert (cheap.asked, strong.asked) == ([], [])


def test_it_is_traced_call_by_call(stranger):
    team = cascade(stranger, Scripted("cheap", ["41"]), Scripted("strong", ["42"]))

    recorder = Recorder()
    run(team.complete(ASK, recorder))
    trace = recorder.build_trace()

    assert [(call.seat.role, call.model) for call in trace.calls] == [
        ("proposer", "cheap"), ("aggregator", "strong"),
    ]  # fmt: skip
    assert trace.completion.text == "42"


# ---- as a package that is installed beside ours


@pytest.fixture
def world(tmp_path):
    site = install_package(
        tmp_path / "site", "frugal_team", CODE, "mixtura.patterns", cascade="frugal_team:PATTERN"
    )
    with loopback() as server:
        server.answers |= {"small": Answer.text("It is 41."), "big": Answer.text("It is 42.")}
        models = "".join(
            f'[models.{name}]\nbase_url = "{server.base_url}"\nmodel = "{name}"\nretries = 0\n'
            "price = { input = 1.0, output = 2.0 }\n"
            for name in ("small", "big")
        )
        file = (
            f'default = "frugal"\ncache = {{ use = false }}\n{models}[mixtures.frugal]\n'
            'pattern = "cascade"\nlayers = [["small"]]\nstrong = "big"\ncontains = "42"\n'
        )
        (tmp_path / "mixtura.toml").write_text(file)
        yield tmp_path, site, server, file


def test_a_file_names_a_pattern_of_another_package_and_it_is_asked_and_shown(world):
    folder, site, server, _ = world

    asked = program(folder, site, "ask", "--json", "6 x 7?")
    shown = program(folder, site, "show", "frugal")
    kept = program(folder, site, "show", "last")
    listed = program(folder, site, "show", "--patterns")

    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["answer"] == "It is 42."
    assert [body["model"] for body in server.requests] == ["small", "big"]
    assert "asked where no '42' is in the answer" in shown.stdout
    assert "2 layers, at most 2 calls per answer" in shown.stdout
    assert "It is 42." in kept.stdout
    assert "cascade     a cheap model's, or a strong one's" in listed.stdout


def test_its_cap_and_its_dry_run_count_the_strong_model(world):
    folder, site, server, _ = world

    tight = program(folder, site, "ask", "--max-cost", "0.000001", "6 x 7?")
    dry = program(folder, site, "ask", "--dry-run", "--json", "6 x 7?")

    assert tight.returncode != 0
    assert "Nothing was sent" in tight.stderr
    assert json.loads(dry.stdout)["calls"] == 2
    assert server.requests == []


def test_the_server_streams_it_and_tells_the_page_what_its_last_seat_does(world):
    folder, site, _, file = world

    with serving(folder / "served", file, environ={"PYTHONPATH": str(site)}) as server:
        reply = server.chat("6 x 7?", model="frugal", stream=True)
        setup = server.get("/api/setup").json

    lines = [line[6:] for line in reply.body.decode().splitlines() if line.startswith("data: {")]
    texts = [
        c["choices"][0]["delta"].get("content") for c in map(json.loads, lines) if c["choices"]
    ]
    assert "".join(filter(None, texts)) == "It is 42."
    (mixture,) = (one for one in setup["mixtures"] if one["name"] == "frugal")
    assert mixture["pattern"] == "cascade"
    assert setup["patterns"]["cascade"]["does"] == "aggregator"
    assert setup["patterns"]["rank"]["said"] == "picks the answer"


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        (
            'pattern = "cascade"\nlayers = [["small"]]\ncontains = "x"',
            1,
            "`strong` is missing: who",
        ),
        ('pattern = "cascade"\nlayers = [["small"]]\nstrong = "big"', 1, "`contains` is missing"),
        (
            'pattern = "cascade"\nlayers = [["small"]]\nstrong = "big"\ncontains = 7',
            5,
            "expected a string",
        ),
        ('pattern = "cascade"\nlayers = []\nstrong = "big"\ncontains = "x"', 3, "needs proposers"),
        (
            'pattern = "cascade"\nlayers = [["small"]]\njudge = "big"\nstrong = "big"',
            4,
            "belongs to 'sparse', 'adaptive', 'guard', 'rank', 'knockout', 'best-of' or 'weighted'",
        ),
        ('layers = [["small"]]\naggregator = "big"\nstrong = "big"', 4, "belongs to 'cascade'"),
        ('pattern = "cascades"\nlayers = [["small"]]', 2, "did you mean 'cascade'"),
        ('pattern = "cascade"\nlayers = [["small"]]\nstrong = "bog"\ncontains = "x"', 4, "'big'"),
    ],
)
def test_what_is_wrong_in_its_table_is_said_with_the_line(world, body, line, words):
    folder, site, _, file = world
    head = file[: file.index("[mixtures.frugal]")]
    (folder / "mixtura.toml").write_text(f"{head}[mixtures.frugal]\n{body}\n")

    done = program(folder, site, "show", "frugal")

    assert done.returncode != 0
    told = " ".join(done.stderr.split())
    assert words in told
    assert f":{head.count(chr(10)) + line}:" in told


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("PATTERN = 7", "is not a PatternSpec"),
    ],
)
def test_a_package_that_is_broken_is_named_and_hurts_no_one_else(tmp_path, code, words):
    site = install_package(
        tmp_path / "site", "broken_team", code, "mixtura.patterns", odd="broken_team:PATTERN"
    )
    (tmp_path / "mixtura.toml").write_text('[mixtures.t]\npattern = "odd"\nlayers = []\n')

    used = program(tmp_path, site, "show", "t")
    (tmp_path / "mixtura.toml").write_text("")
    unused = program(tmp_path, site, "show", "rank")

    assert "mixtura.toml:2: pattern: " in used.stderr
    assert "broken-team" in used.stderr
    assert words in used.stderr
    assert unused.returncode == 0


# ---- ours stand in the docs as the registry has them


def test_the_docs_name_every_pattern_of_the_registry():
    listed = run_mixtura(["show", "--patterns", "--json"], text=True, check=True).stdout
    table = (ROOT / "docs" / "reference" / "configuration.md").read_text()

    assert [row["pattern"] for row in json.loads(listed)] == [s.name for s in all_patterns()]
    assert all(f"`{spec.name}`" in table for spec in all_patterns())


def test_a_pattern_has_no_complete_of_its_own():
    for spec in all_patterns():
        assert "complete" not in vars(spec.kind), spec.name
        assert inspect.iscoroutinefunction(spec.kind.complete)
