"""The program as a person runs it: a real process, a real terminal, a real server on loopback."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from mixtura.catalog import local_models
from mixtura.core.events import (
    Aggregation,
    CallStarted,
    Position,
    Proposal,
    RunCompleted,
    RunStarted,
)
from mixtura.core.types import Charge, Completion, Message, Usage, ask
from mixtura.engine.streaming import Recorder
from mixtura.storage.runs import RunStore
from mixtura.storage.spending import DailySpendLedger
from mixtura.storage.sqlite import Store
from mixtura.terminal import PlainLogView, answer_notes
from tests.loopback import Answer, Json, Loopback, loopback, nobody

MIXTURA = (sys.executable, "-m", "mixtura")


@dataclass
class Desk:
    """A person's folder, home and environment, and a server with their models."""

    folder: Path
    server: Loopback
    env: dict[str, str]
    started: ExitStack

    def write(self, text: str, name: str = "mixtura.toml") -> Path:
        (self.folder / name).write_text(text, encoding="utf-8")
        return self.folder / name

    def model(self, name: str, more: str = "") -> str:
        """A model's table: the server answers under the model's own name."""
        address = f'base_url = "{self.server.base_url}"\nmodel = "{name}"\nretries = 0\n'
        return f"[models.{json.dumps(name)}]\n{address}{more}\n"

    def start(self, *words: str | bytes, **streams: object) -> subprocess.Popen[bytes]:
        usual = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "cwd": self.folder,
            "env": self.env,
        }
        process = subprocess.Popen([*MIXTURA, *words], **{**usual, **streams})
        self.started.enter_context(process)
        self.started.callback(process.kill)  # a test that failed may have left it running
        return process

    def run(
        self, *words: str | bytes, stdin: bytes | None = None, env: Mapping[str, str] | None = None
    ) -> Ran:
        source = {"stdin": subprocess.PIPE} if stdin is not None else {}
        process = self.start(*words, **source, env={**self.env, **(env or {})})
        out, err = process.communicate(stdin, timeout=60)
        return Ran(process.returncode, out.decode(), err.decode())


@dataclass(frozen=True)
class Ran:
    """What a process said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Json:
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """What was said of wrong use: exit code 2, no answer, no traceback."""
        assert self.code == 2, (self.out, self.err)
        assert self.out == ""
        assert "Traceback" not in self.err, self.err
        return self.err


@pytest.fixture
def desk(tmp_path) -> Iterator[Desk]:
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    env = {k: v for k, v in os.environ.items() if k in ("PATH", "SYSTEMROOT", "VIRTUAL_ENV")}
    env |= {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "OLLAMA_HOST": nobody(),
        "LANG": "C.UTF-8",
    }
    with loopback() as server, ExitStack() as started:
        server.answers = {
            "ann": Answer.text("Air scatters blue light.", prompt_tokens=11),
            "ben": Answer.text("It is Rayleigh scattering.", prompt_tokens=12),
            "chief": Answer.text("Because air scatters blue light most.", prompt_tokens=50),
        }
        desk = Desk(folder, server, env, started)
        price = "price = { input = 1.0, output = 10.0 }"
        models = "".join(desk.model(name, price) for name in server.answers)
        team = '[mixtures.team]\nlayers = [["ann", "ben"]]\naggregator = "chief"\n'
        desk.write(f'default = "team"\n{models}{team}')
        yield desk


ANSWER = "Because air scatters blue light most.\n"


def last_message(request: Json) -> str:
    return request["messages"][-1]["content"]


# ---------------------------------------------------------------- asking


def test_ask_answers_on_standard_output_and_tells_the_rest_on_standard_error(desk):
    ran = desk.run("ask", "Why is the sky blue?")

    assert (ran.code, ran.out) == (0, ANSWER)
    for said in ("Air scatters blue light.", "It is Rayleigh scattering.", "total", "ann", "chief"):
        assert said in ran.err
    assert ran.err.count("Air scatters") == 1
    assert "Because" not in ran.err
    assert "embedded" not in ran.err


def test_every_proposal_reaches_the_aggregator_once_with_the_question(desk):
    desk.run("ask", "--quiet", "Why is the sky blue?")
    (shown,) = desk.server.asked("chief")

    assert [last_message(r) for r in desk.server.asked("ann")] == ["Why is the sky blue?"]
    assert last_message(shown).startswith("Why is the sky blue?")
    assert last_message(shown).count("Air scatters blue light.") == 1
    assert last_message(shown).count("It is Rayleigh scattering.") == 1


def test_a_single_model_answers_alone(desk):
    ran = desk.run("ask", "-m", "ann", "Why?")

    assert (ran.code, ran.out) == (0, "Air scatters blue light.\n")
    assert [r["model"] for r in desk.server.requests] == ["ann"]


def test_a_mixture_can_be_made_on_the_command_line(desk):
    ran = desk.run("ask", "-p", "ann", "-p", "ben*2", "-a", "chief", "--layers", "3", "--json", "Q")

    places = [(c["layer"], c["index"], c["role"], c["model"]) for c in ran.json["calls"]]
    layer = [(0, "proposer", "ann"), (1, "proposer", "ben"), (2, "proposer", "ben")]
    assert sorted(places) == [
        *((1, *place) for place in layer),
        *((2, *place) for place in layer),
        (3, 0, "aggregator", "chief"),
    ]
    assert len(desk.server.requests) == 7


def test_without_an_aggregator_the_first_proposer_brings_them_together(desk):
    ran = desk.run("ask", "-p", "ben", "-p", "ann", "--json", "Why?")

    assert [c["model"] for c in ran.json["calls"] if c["role"] == "aggregator"] == ["ben"]
    assert len(ran.json["calls"]) == 3


def test_another_aggregator_can_be_put_in_place(desk):
    ran = desk.run("ask", "-m", "team", "-a", "ben", "--quiet", "Why?")

    assert ran.out == "It is Rayleigh scattering.\n"
    assert desk.server.asked("chief") == []


def test_quiet_says_the_answer_and_nothing_else(desk):
    assert desk.run("ask", "--quiet", "Why?") == Ran(0, ANSWER, "")


def test_the_system_prompt_reaches_every_model(desk):
    desk.run("ask", "--quiet", "--system", "Speak as a pirate.", "Why?")

    assert len(desk.server.requests) == 3
    for request in desk.server.requests:
        assert request["messages"][0] == {"role": "system", "content": "Speak as a pirate."}


def test_the_callers_sampling_is_for_the_answer_and_the_seed_for_everyone(desk):
    wanted = ("--temperature", "0.1", "--max-tokens", "99", "--seed", "7")
    desk.run("ask", "--quiet", "-p", "ann*2", "-a", "chief", *wanted, "Why?")
    (chief,) = desk.server.asked("chief")

    assert (chief["temperature"], chief["max_tokens"], chief["seed"]) == (0.1, 99, 7)
    assert sorted(r["seed"] for r in desk.server.asked("ann")) == [7, 8]
    assert all(r["temperature"] == 0.7 for r in desk.server.asked("ann"))
    assert not any("max_tokens" in r for r in desk.server.asked("ann"))


@pytest.mark.parametrize(
    ("words", "piped", "asked"),
    [
        (("-",), "Why blue?\n", "Why blue?"),
        ((), "Why blue?\n", "Why blue?"),
        (("Sum this up.",), "A long text.\n", "A long text.\n\nSum this up."),
        (("-", "Sum this up."), "A long text.", "A long text.\n\nSum this up."),
        (("Why", "is", "it", "blue?"), "", "Why is it blue?"),
        (("--", "-m", "is", "what?"), "", "-m is what?"),
        (("Sum this up:", "-"), "\ufeffA long text.", "A long text.\n\nSum this up:"),
        (("what", "is", "5", "-", "3?"), "", "what is 5 - 3?"),
    ],
)
def test_the_question_comes_from_the_words_and_from_what_is_piped_in(words, piped, asked, desk):
    ran = desk.run("ask", "-m", "ann", "--quiet", *words, stdin=piped.encode())

    assert ran.code == 0, ran.err
    assert last_message(desk.server.requests[0]) == asked


def test_a_question_does_not_wait_for_a_pipe_that_says_nothing(desk):
    process = desk.start("ask", "-m", "ann", "Why?", stdin=subprocess.PIPE)

    assert process.wait(20) == 0
    assert last_message(desk.server.requests[0]) == "Why?"
    assert b"`-` waits for it" in process.stderr.read()


def test_a_dash_waits_for_what_is_piped_in(desk):
    process = desk.start("ask", "-m", "ann", "-", "Sum this up.", stdin=subprocess.PIPE)
    time.sleep(1.5)
    process.communicate(b"A long text.", timeout=20)

    assert last_message(desk.server.requests[0]) == "A long text.\n\nSum this up."


def test_another_file_is_read_when_it_is_named(desk):
    path = desk.write('default = "ben"\n' + desk.model("ben"), "other.toml")

    assert "Rayleigh" in desk.run("ask", "--quiet", "--config", str(path), "Why?").out
    assert "Rayleigh" in desk.run("ask", "--quiet", "Why?", env={"MIXTURA_CONFIG": str(path)}).out


def test_the_json_is_one_object_of_the_documented_shape(desk):
    ran = desk.run("ask", "--json", "Why?")
    told = ran.json

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("\n") == 1
    assert told["answer"] == ANSWER.strip()
    assert told["degraded"] is False
    assert told["seconds"] > 0
    assert [(c["role"], c["layer"], c["index"], c["model"]) for c in told["calls"]] == [
        ("proposer", 1, 0, "ann"),
        ("proposer", 1, 1, "ben"),
        ("aggregator", 2, 0, "chief"),
    ]
    for call in told["calls"]:
        assert 0 < call["first_token_seconds"] <= call["seconds"] <= told["seconds"]
        assert call["error"] is None
    assert [c["usage"]["prompt_tokens"] for c in told["calls"]] == [11, 12, 50]
    assert [c["usage"]["completion_tokens"] for c in told["calls"]] == [4, 4, 6]
    assert told["usage"]["prompt_tokens"] == 73
    assert told["usage"]["completion_tokens"] == 14
    assert told["calls"][0]["cost_usd"] == pytest.approx((11 + 4 * 10) / 1e6)
    assert told["cost_usd"] == pytest.approx((73 + 14 * 10) / 1e6)


def test_a_price_that_no_one_knows_is_null_not_zero(desk):
    desk.write(desk.model("ann"))
    told = desk.run("ask", "--json", "-m", "ann", "Why?").json

    assert told["cost_usd"] is None
    assert told["calls"][0]["cost_usd"] is None


def test_a_proposer_that_fails_is_left_out_and_named(desk):
    desk.server.answers["ann"] = Answer.refused(401, "the key is wrong")
    told = desk.run("ask", "--json", "Why?").json
    ran = desk.run("ask", "Why?")

    assert told["degraded"] is True
    assert "the key is wrong" in told["calls"][0]["error"]
    assert told["answer"] == ANSWER.strip()
    assert (ran.code, ran.out) == (0, ANSWER)
    assert "1.1 ann failed: HTTP 401: the key is wrong" in ran.err
    assert "the key is wrong" not in last_message(desk.server.asked("chief")[0])


# ---------------------------------------------------------------- no answer


def test_too_few_proposals_end_with_three_and_every_cause(desk):
    desk.server.answers["ann"] = Answer.refused(401, "the key is wrong")
    desk.server.answers["ben"] = Answer(("half an ans",), breaks_off=True)
    ran = desk.run("ask", "Why?")

    assert (ran.code, ran.out) == (3, "")
    assert "No answer" in ran.err
    assert "the key is wrong" in ran.err
    assert "cut off" in ran.err
    assert desk.server.asked("chief") == []
    assert "Traceback" not in ran.err


def test_a_failure_is_told_to_a_program_as_json_too(desk):
    desk.server.answers["chief"] = Answer(("Because ", "air"), breaks_off=True)
    ran = desk.run("ask", "--json", "Why?")

    assert ran.code == 3
    assert ran.json["answer"] is None
    assert "cut off" in ran.json["error"]
    assert [bool(c["error"]) for c in ran.json["calls"]] == [False, False, True]
    assert ran.json["usage"]["prompt_tokens"] > 23


@pytest.mark.parametrize("form", [(), ("--quiet",)])
def test_where_no_aggregator_answers_a_proposal_does_and_that_is_said(form, desk):
    desk.server.answers["chief"] = Answer.refused(400, "no such model")
    told = desk.run("ask", "--json", "Why?").json
    ran = desk.run("ask", *form, "Why?")

    assert told["degraded"] is True
    assert told["answer"] in ("Air scatters blue light.", "It is Rayleigh scattering.")
    assert "no such model" in told["calls"][2]["error"]
    assert (ran.code, ran.out) == (0, f"{told['answer']}\n")
    if not form:
        assert "no such model" in ran.err
        assert "closest to the others" in ran.err


def test_quiet_still_says_why_there_is_no_answer(desk):
    desk.server.answers["ann"] = Answer.refused(401, "the key is wrong")
    ran = desk.run("ask", "--quiet", "-m", "ann", "Why?")

    assert (ran.code, ran.out) == (3, "")
    assert "the key is wrong" in ran.err


def test_a_failure_is_told_once_and_marked_in_the_table(desk):
    desk.server.answers["ann"] = Answer.refused(401, "the key is wrong")
    desk.server.answers["chief"] = Answer.refused(400, "no such model")
    ran = desk.run("ask", "Why?")
    table = ran.err.partition("tokens/s")[2]

    assert ran.err.count("the key is wrong") == ran.err.count("no such model") == 1
    assert "ann failed" in table
    assert "chief failed" in table
    assert "closest to the others" in table


def test_one_line_is_all_that_quiet_says_of_a_failure(desk):
    desk.server.answers["ann"] = Answer.refused(400, "many words " * 30 + "\n\non two lines")
    ran = desk.run("ask", "--quiet", "-m", "ann", "Why?", env={"COLUMNS": "40"})

    assert len(ran.err.splitlines()) == 1


def test_a_failure_inside_a_mixture_shows_every_seat_on_the_way(desk):
    desk.server.answers["ben"] = Answer.refused(401, "the key is wrong")
    ran = desk.run("ask", "-p", "ann", "-p", "team", "-a", "chief", "Why?")

    assert ran.code == 0
    assert "1.2 › 1.2 ben failed: HTTP 401: the key is wrong" in ran.err
    assert "1.2 › answer" in ran.err.partition("tokens/s")[2]


def test_what_was_cut_off_is_said():
    bill = (Charge("ann", Usage(9, 5), "retried"), Charge("ann", Usage(9, 1)))
    cut = Completion(Message("assistant", "A long"), "ann", "length", bill)
    said = io.StringIO()
    recorder = Recorder(PlainLogView(io.StringIO(), Console(file=said)))
    for event in (
        RunStarted("m", ask("Why?"), (("ann",), ("ann",))),
        CallStarted("ann", ask("Why?"), (Position(1, 0, "proposer"),)),
        Proposal(cut, (Position(1, 0, "proposer"),)),
        CallStarted("ann", ask("Why?"), (Position(2, 0, "aggregator"),)),
        Aggregation(cut, (Position(2, 0, "aggregator"),)),
        RunCompleted(cut),
    ):
        recorder(event)

    assert "1 proposal, then ann" in said.getvalue()
    assert "(cut off at 1 token)" in said.getvalue()
    assert answer_notes(recorder.build_trace()) == ["The answer was cut off at 1 token."]


def test_a_fallback_answers_where_the_aggregator_cannot(desk):
    desk.server.answers["chief"] = Answer.refused(500, "on fire")
    file = desk.folder / "mixtura.toml"
    file.write_text(file.read_text() + 'fallbacks = ["ben"]\n')
    ran = desk.run("ask", "--json", "Why?")

    assert ran.code == 0
    assert ran.json["answer"] == "It is Rayleigh scattering."
    assert ran.json["degraded"] is True


# ---------------------------------------------------------------- beforehand


def test_a_dry_run_asks_no_one_and_tells_calls_and_the_most_they_may_cost(desk):
    ran = desk.run("ask", "--dry-run", "--json", "--max-tokens", "100", "Why?")

    assert set(ran.json) == {"calls", "max_cost_usd", "unknown_prices"}
    assert (ran.code, ran.json["calls"], ran.json["unknown_prices"]) == (0, 3, [])
    assert 0.08 < ran.json["max_cost_usd"] < 0.2  # two drafts of 4,096 at $10 a million, read again
    assert desk.server.requests == []


def test_a_dry_run_with_an_unknown_price_knows_no_most(desk):
    file = desk.folder / "mixtura.toml"
    file.write_text(file.read_text().replace("price", "# price", 1))
    ran = desk.run("ask", "--dry-run", "--json", "Why?")

    assert ran.json == {"calls": 3, "max_cost_usd": None, "unknown_prices": ["ann"]}
    assert "No price is known for ann." in desk.run("ask", "--dry-run", "Why?").out


# ---------------------------------------------------------------- interrupted


@pytest.mark.parametrize("form", [(), ("--quiet",), ("--json",)])
def test_an_interrupt_ends_at_once_says_what_was_spent_and_hangs_up(form, desk):
    desk.server.answers["ann"] = Answer(delay=60)
    desk.server.answers["ben"] = Answer(("one ", "two ", "three "), pace=20, prompt_tokens=12)
    process = desk.start("ask", *form, "-p", "ann", "-p", "ben", "-p", "chief", "-a", "chief", "Q")
    desk.server.wait_until_asked(3)
    time.sleep(0.3)  # so that the first words have come

    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    out, err = process.communicate(timeout=20)
    took = time.monotonic() - sent

    assert process.returncode == 130
    assert took < 2
    assert b"Traceback" not in err
    assert re.search(rb"Interrupted\. Spent until now: about [56]\d tokens read, \d+ written", err)
    desk.server.wait_until_left(["ann", "ben"])
    if form == ("--json",):
        told = json.loads(out)
        assert told["answer"] is None
        assert [c["model"] for c in told["calls"]] == ["ann", "ben", "chief"]
    else:
        assert out == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_what_a_run_spent_that_was_told_to_end_is_written_down(number, desk):
    file = desk.folder / "mixtura.toml"
    file.write_text(file.read_text() + "[budget]\nday_usd = 1.0\n")
    desk.server.answers["ben"] = Answer(delay=60)
    process = desk.start("ask", "Why?")
    desk.server.wait_until_asked(2)

    process.send_signal(number)
    out, _ = process.communicate(timeout=20)

    assert (process.returncode, out) == (-number, b"")
    store = Store(desk.folder.parent / "home" / ".local" / "state" / "mixtura" / "mixtura.sqlite")
    spent, tokens = DailySpendLedger(store, "day").used_today()
    assert spent < 0.01
    if number == signal.SIGKILL:  # what its finished calls cost counts, the rest is free again
        assert [run["state"] for run in RunStore(store).list_runs()] == ["unfinished"]
    else:
        assert spent > 0
        assert tokens > 0
        assert [run["state"] for run in RunStore(store).list_runs()] == ["stopped"]
    store.close()


# ---------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("aks", "Why?"), "'ask'"),
        (("Why is the sky blue?",), 'mixtura ask "Why is the sky blue?"'),
        (("ask", "--qiet", "Why?"), "--quiet"),
        (("ask", "--layers", "none", "Why?"), "--layers"),
        (("ask", "--layers", "0", "-p", "ann", "Why?"), "--layers"),
        (("ask", "--layers", "3", "Why?"), "-p"),
        (("ask", "--layers", "1", "-p", "ann", "Why?"), "-m"),
        (("ask", "-m", "team", "-p", "ann", "Why?"), "-m"),
        (("ask", "-m", "teem", "Why?"), "'team'"),
        (("ask", "-p", "anm", "Why?"), "'ann'"),
        (("ask", "-p", "ann", "-a", "cheif", "Why?"), "'chief'"),
        (("ask", "-p", "ann*x", "Why?"), "'ann*3'"),
        (("ask", "-m", "", "Why?"), "-m"),
        (("ask", "-m", "opnai/gpt-5.4", "Why?"), "'openai/gpt-5.4'"),
        (("ask", "-m", "gone.gguf", "Why?"), "gone.gguf"),
        (("ask", ""), "question"),
        (("ask",), "question"),
        (("ask", "-"), "question"),
        (("ask", "-m", "openai/gpt-5.4", "Why?"), "OPENAI_API_KEY"),
        (("ask", "-m", "lite", "Why?"), "TOGETHER_API_KEY"),
        (("ask", "--config", "gone.toml", "Why?"), "gone.toml"),
        (("ask", "--config", ".", "Why?"), "--config"),
        (("show", "papper"), "'paper'"),
        (("show", "--config", "~nobody-of-that-name/x.toml"), "--config"),
        (("pull", "qwen2.5"), "qwen2.5-0.5b"),
        (("pull",), "NAME"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_use_ends_with_two_and_what_would_be_right(words, said, desk):
    assert said in desk.run(*words).complaint
    assert desk.server.requests == []


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_what_is_piped_in_must_be_text(locale, desk):
    ran = desk.run("ask", "-m", "ann", stdin=b"caf\xe9", env={"LANG": locale})

    assert "UTF-8" in ran.complaint
    assert desk.server.requests == []


@pytest.mark.parametrize("words", [(b"caf\xe9",), (b"--system", b"caf\xe9", b"Why?")])
def test_what_is_asked_must_be_text(words, desk):
    assert "UTF-8" in desk.run("ask", "-m", "ann", *words).complaint
    assert desk.server.requests == []


def test_a_wrong_file_is_refused_by_every_command_with_its_line(desk):
    desk.write("[models.m]\nbase_ulr = 1\n")

    for words in (("ask", "Why?"), ("show",), ("show", "lite"), ("models",), ("pull", "qwen3-4b")):
        assert "mixtura.toml, line 2: unknown key 'base_ulr'" in desk.run(*words).complaint


def test_what_is_wrong_is_said_before_a_model_is_brought(desk):
    """A team of the embedded model and of one without its key: nothing is fetched in vain."""
    away = {"PIP_INDEX_URL": f"http://{nobody()}/", "PIP_RETRIES": "0", "PIP_NO_INDEX": "1"}
    ran = desk.run("ask", "-p", "smollm2-135m", "-a", "openai/gpt-5.4", "Why?", env=away)

    assert "OPENAI_API_KEY" in ran.complaint
    assert "bringing" not in ran.err


def test_a_model_that_is_not_here_says_how_to_bring_it(desk):
    ran = desk.run("ask", "-m", "qwen2.5-0.5b", "Why?", env={"HF_HOME": str(desk.folder)})

    assert "mixtura pull qwen2.5-0.5b" in ran.complaint


# ---------------------------------------------------------------- hostile models, odd outputs


STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")
HOSTILE = (
    "\x1b[2J\x1b[31mred\x1b[0m \x1b]8;;http://bad.example\x07link\x1b]8;;\x07 "
    "\x1b]52;c;aGk=\x07\x1b]0;owned\x07 [bold]b[/bold] [/b] [link=x] "
    "\u202egnp.exe\u202c \rover \x9b31m \x07\x08 {{proposals}} end."
)


@pytest.mark.parametrize("form", [(), ("--quiet",)])
def test_a_hostile_answer_steers_no_terminal(form, desk):
    cut = tuple(HOSTILE[i : i + 3] for i in range(0, len(HOSTILE), 3))  # inside sequences too
    for name in ("ann", "chief"):
        desk.server.answers[name] = Answer(cut)
    desk.server.answers["ben"] = Answer.refused(400, f"refused: {HOSTILE}")
    ran = desk.run("ask", *form, "Why?")

    assert ran.code == 0
    assert not STEERING.search(ran.out + ran.err)
    for kept in ("[bold]b[/bold] [/b] [link=x]", "over", "end."):
        assert kept in ran.out
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("form", [(), ("--quiet",)])
def test_a_hostile_refusal_steers_no_terminal(form, desk):
    desk.server.answers["ann"] = Answer.refused(400, f"refused: {HOSTILE}")
    ran = desk.run("ask", *form, "-m", "ann", "Why?")

    assert (ran.code, ran.out) == (3, "")
    assert "refused: " in ran.err
    assert not STEERING.search(ran.err)


def test_the_json_keeps_a_hostile_answer_as_it_was_and_safe_to_print(desk):
    desk.server.answers["ann"] = Answer((HOSTILE,))
    ran = desk.run("ask", "--json", "-m", "ann", "Why?")

    assert ran.json["answer"] == HOSTILE
    assert not STEERING.search(ran.out.rstrip("\n"))


def test_half_a_character_in_an_answer_does_not_lose_the_answer(desk):
    """Some servers cut a stream between the two halves of an emoji."""
    desk.server.answers["ann"] = Answer(("Blue \ud83d", "\ude00 sky."))
    ran = desk.run("ask", "--quiet", "-m", "ann", "Why?")

    assert ran.code == 0, ran.err
    assert ran.out.startswith("Blue ")
    assert ran.out.endswith(" sky.\n")


def test_a_model_with_markup_for_a_name_is_only_a_name(desk):
    name = "[/b] [red]x"
    desk.server.answers[name] = Answer.text("fine")
    desk.write(f'default = "t"\n{desk.model(name)}[mixtures.t]\nlayers = [["{name}"]]\n'
               f'aggregator = "{name}"\n')  # fmt: skip

    for words in (("ask", "Why?"), ("show", "t"), ("show",), ("models",)):
        ran = desk.run(*words)
        assert ran.code == 0, ran.err
        assert name in ran.out + ran.err


def test_a_terminal_without_unicode_gets_what_it_can_show(desk):
    desk.server.answers["ann"] = Answer.text("Größe: 5 µm")
    ascii_only = {"PYTHONIOENCODING": "ascii"}

    for words in (("ask", "-m", "ann", "Why?"), ("show", "lite"), ("models",)):
        ran = desk.run(*words, env=ascii_only)
        assert ran.code == 0, ran.err


def closed_pipe() -> int:
    """Where a process writes whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize(
    "words",
    [("show",), ("show", "lite"), ("models",), ("ask", "--quiet", "Q"), ("ask", "--json", "Q")],
    ids=" ".join,
)
def test_a_reader_who_leaves_hears_no_complaint(words, desk):
    pipe = closed_pipe()
    process = desk.start(*words, stdout=pipe)
    os.close(pipe)
    _, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (0, b"")


def test_a_reader_who_leaves_during_the_answer_ends_the_call(desk):
    desk.server.answers["ann"] = Answer(("word " * 100,) * 200, pace=0.1)
    process = desk.start("ask", "--quiet", "-m", "ann", "Why?")
    assert process.stdout is not None
    assert process.stdout.read(5) == b"word "
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (0, b"")
    desk.server.wait_until_left(["ann"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk here")
@pytest.mark.parametrize("words", [("ask", "Q"), ("ask", "--json", "Q"), ("show",), ("--help",)])
def test_a_disk_that_is_full_is_one_line(words, desk):
    with Path("/dev/full").open("wb") as full:
        process = desk.start(*words, stdout=full)
        _, err = process.communicate(timeout=20)

    assert process.returncode == 1
    last = err.decode().splitlines()[-1]
    assert last == "mixtura: the output cannot be written: No space left on device"
    assert b"Traceback" not in err


def test_an_answer_does_not_need_anyone_who_reads_the_rest(desk):
    pipe = closed_pipe()
    process = desk.start("ask", "Why?", stderr=pipe)
    os.close(pipe)
    out, _ = process.communicate(timeout=20)

    assert (process.returncode, out.decode()) == (0, ANSWER)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_stream_that_is_closed_from_the_start_is_no_crash(closed, desk):
    ran = subprocess.run(
        ["sh", "-c", f'"$0" -m mixtura ask -m ann "Why?" {closed}', sys.executable],
        capture_output=True, text=True, cwd=desk.folder, env=desk.env, timeout=20,
    )  # fmt: skip

    assert "Traceback" not in ran.stderr
    assert ran.returncode in (0, 2)


# ---------------------------------------------------------------- show, models, version


@pytest.mark.parametrize(
    ("name", "shape", "calls"),
    [
        ("paper", [6, 6], 13),
        ("paper-gpt-4o", [6, 6], 13),
        ("lite", [6], 7),
        ("paper-today", [6, 6], 13),
        ("self", [6], 7),
        ("default", [3], 4),
    ],
)
def test_show_draws_a_preset_and_counts_its_calls(name, shape, calls, desk):
    drawn, told = desk.run("show", name), desk.run("show", name, "--json").json

    assert drawn.code == 0
    assert f"{len(shape) + 1} layers, {calls} calls" in drawn.out
    assert f"layer {len(shape) + 1} (the aggregator)" in drawn.out
    assert set(told) == {"name", "layers", "aggregator", "calls"}
    assert told["name"] == name
    assert [len(layer) for layer in told["layers"]] == shape
    assert told["calls"] == calls
    for model in (*told["layers"][0], told["aggregator"]):
        assert model in drawn.out


def test_show_lists_the_mixtures_there_are(desk):
    ran = desk.run("show")
    told = {row["name"]: row["calls"] for row in desk.run("show", "--json").json}

    assert told["team"] == 3
    assert told["paper"] == 13
    assert all(name in ran.out for name in told)


@pytest.mark.parametrize("name", ["default", "self"])
def test_show_says_what_auto_is_here_and_why(name, desk):
    desk.server.tags = [{"name": "llama3.2:3b", "size": 3}, {"name": "qwen3:8b", "size": 8}]
    ran = desk.run("show", name, env={"OLLAMA_HOST": desk.server.host})

    assert "ollama/qwen3:8b" in ran.out
    assert "Ollama answers" in ran.out


def test_show_uses_the_starter_team_once_it_was_pulled(desk):
    """A hub's cache as huggingface_hub lays it out; the models themselves are not needed here."""
    for name in local_models.model_groups()["starter"]:
        source = local_models.known_models()[name].source
        assert isinstance(source, local_models.HubSource)
        repo = desk.folder / "hub" / f"models--{source.repo.replace('/', '--')}"
        (repo / "refs").mkdir(parents=True)
        (repo / "refs" / source.revision).write_text("c" * 40)
        (repo / "snapshots" / ("c" * 40)).mkdir(parents=True)
        (repo / "snapshots" / ("c" * 40) / source.file).write_bytes(b"GGUF")
    here = {"HF_HOME": str(desk.folder)}

    assert desk.run("show", "default", "--json", env=here).json["layers"] == [
        list(local_models.model_groups()["starter"])
    ]
    rows = desk.run("models", "--json", env=here).json["local"]
    assert {row["name"] for row in rows if row["path"]} == set(
        local_models.model_groups()["starter"]
    )


def test_ask_says_which_it_chose_and_why_where_it_chose(desk):
    desk.server.tags = [{"name": "llama3.2:3b", "size": 3}, {"name": "qwen3:8b", "size": 8}]
    desk.write("")
    ran = desk.run("ask", "Why?", env={"OLLAMA_HOST": desk.server.host})

    assert ran.code == 0, ran.err
    first = ran.err.splitlines()[0]
    assert "ollama/llama3.2:3b" in first
    assert "ollama/qwen3:8b" in first
    assert "Ollama answers" in first


def test_ask_claims_no_choice_that_was_not_its_own(desk):
    """A `default` of one's own, or another aggregator: what is said must be what is used."""
    desk.server.tags = [{"name": "llama3.2:3b", "size": 3}]
    ollama = {"OLLAMA_HOST": desk.server.host}
    one = '[mixtures.default]\nlayers = [["ann"]]\naggregator = "chief"\n'
    desk.write(desk.model("ann") + desk.model("chief") + one)
    mine = desk.run("ask", "Why?", env=ollama)
    desk.write(desk.model("chief"))
    other = desk.run("ask", "-a", "chief", "Why?", env=ollama)

    assert mine.code == other.code == 0
    assert "llama3.2" not in mine.err
    assert "then ollama/llama3.2" not in other.err


def test_models_lists_every_name_whole_however_narrow_the_output(desk):
    ran = desk.run("models")
    narrow = desk.run("models", env={"COLUMNS": "60"})

    for name in local_models.known_models():
        assert name in ran.out
        assert name in narrow.out
    assert max(map(len, narrow.out.splitlines())) <= 60
    assert "…" not in narrow.out
    for word in ("mixtura pull starter", "ann", "openai", "ollama", ".gguf"):
        assert word in ran.out


def test_models_as_json_has_what_is_known_what_is_here_and_what_is_configured(desk):
    told = desk.run("models", "--json").json

    assert [row["name"] for row in told["local"]] == list(local_models.known_models())
    assert all(row["path"] is None for row in told["local"])
    assert told["configured"] == ["ann", "ben", "chief"]
    assert "openai" in told["providers"]
    assert told["groups"]["starter"]


def test_the_version_is_the_packages(desk):
    from importlib.metadata import version

    assert desk.run("--version") == Ran(0, f"mixtura {version('mixtura')}\n", "")


def test_help_names_every_command_and_the_exit_codes(desk):
    ran = desk.run("--help")

    assert ran.code == 0
    for word in ("ask", "show", "models", "pull", "--version", "130 interrupted"):
        assert word in ran.out
    for command in ("ask", "show", "models", "pull"):
        assert desk.run(command, "--help").code == 0


def test_the_installed_command_is_the_same_program(desk):
    command = Path(sys.executable).parent / "mixtura"
    ran = subprocess.run(
        [command, "--version"], capture_output=True, text=True, env=desk.env, check=True
    )

    assert ran.stdout == desk.run("--version").out


HEAVY = {"httptools", "rich", "click", "xllamacpp", "genai_prices", "huggingface_hub"}
RUN = "from mixtura import cli\ntry: cli.main({})\nexcept SystemExit: pass"


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import mixtura", HEAVY),
        (RUN.format(["--help"]), HEAVY - {"click"}),
        (RUN.format(["show", "lite", "--json"]), {"httptools", "xllamacpp", "huggingface_hub"}),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code, heavy, desk):
    show = "\nimport sys; print(*sys.modules, file=sys.stderr)"
    ran = subprocess.run(
        [sys.executable, "-c", code + show],
        capture_output=True, text=True, env=desk.env, check=True,
    )  # fmt: skip

    assert not heavy & set(ran.stderr.split())


# ---------------------------------------------------------------- at a terminal


CSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
MOVED = re.compile(r"\x1b\[\d*[A-HJK]|\r\n?")
"""The cursor goes elsewhere: what follows is another line."""


@dataclass
class Terminal:
    """A real pseudo-terminal with the program at work in it."""

    process: subprocess.Popen[bytes]
    master: int
    drawn: bytes = b""

    @property
    def raw(self) -> str:
        """All it sent; the last character may be half there."""
        return self.drawn.decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        """Every line ever drawn, without its colours."""
        return CSI.sub("", MOVED.sub("\n", self.raw)).split("\n")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def read(self, until: str | None = None) -> None:
        """Take in what it draws: to its end, or until *until* has been drawn."""
        while until is None or until not in self.text:
            try:
                piece = os.read(self.master, 65536)
            except OSError:  # how a terminal says that its program has left
                piece = b""
            if not piece:
                assert until is None, f"it ended before it said {until!r}: {self.text}"
                return
            self.drawn += piece

    def close(self) -> int:
        self.read()
        return self.process.wait(20)


def terminal(
    desk: Desk, *words: str, width: int = 100, height: int = 30, kind: str = "xterm-256color"
) -> Terminal:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    desk.env["TERM"] = kind
    process = desk.start(
        *words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that ^C is a signal
    )  # fmt: skip
    os.close(slave)
    desk.started.callback(os.close, master)
    return Terminal(process, master)


def test_proposers_write_side_by_side_then_the_answer_then_the_table(desk):
    for name in ("ann", "ben"):
        desk.server.answers[name] = Answer((f"{name} began ", f"{name} ended"), pace=0.5)
    screen = terminal(desk, "ask", "Why?")

    screen.read(until="ann ended")
    while_writing = screen.text.partition("ann ended")[0]
    assert "ann began" in while_writing
    assert "ben began" in while_writing
    assert any("1.1 ann" in line and "1.2 ben" in line for line in while_writing.splitlines())
    assert screen.close() == 0

    end = screen.text[screen.text.rindex("1.1 ann", 0, screen.text.index("Because")) :]
    order = ["ann ended", "chief", "Because air scatters blue light most.", "tokens/s", "total"]
    assert sorted(order, key=end.index) == order
    assert "\x1b[?25l" in screen.raw
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l"), "the cursor is hidden"


def test_three_proposers_fit_side_by_side_in_an_ordinary_terminal(desk):
    """The team that `make ask` shows first, in a window of the usual eighty columns."""
    screen = terminal(desk, "ask", "-p", "ann*3", "-a", "chief", "Why?", width=80, height=24)

    assert screen.close() == 0
    assert any(all(f"1.{n} ann" in line for n in (1, 2, 3)) for line in screen.lines)


@pytest.mark.parametrize(("width", "height"), [(40, 24), (20, 10)])
def test_six_proposers_in_a_narrow_terminal_crash_nothing(width, height, desk):
    desk.server.answers["ann"] = Answer(("many words " * 50,) * 3, pace=0.1)
    desk.server.answers["ben"] = Answer.refused(400, "no " * 60)
    asked = ("ask", "-p", "ann*3", "-p", "ben*2", "-p", "chief", "-a", "chief", "--layers", "3")
    screen = terminal(desk, *asked, "Why?", width=width, height=height)

    assert screen.close() == 0, screen.text
    assert "Traceback" not in screen.text
    assert "2.6 chief" in screen.text
    cards = [line for line in screen.lines if line.startswith(("╭", "│", "╰"))]
    assert cards
    assert max(map(cell_len, cards)) <= width


def test_a_table_in_a_narrow_terminal_still_says_who(desk):
    screen = terminal(desk, "ask", "Why?", width=40)

    assert screen.close() == 0
    table = screen.text.partition("most.")[2]
    for told in ("ann", "ben", "chief", "total"):
        assert told in table


def test_a_terminal_that_can_do_nothing_is_written_to_in_its_own_width(desk):
    screen = terminal(desk, "ask", "Why?", width=50, kind="dumb")

    assert screen.close() == 0
    assert "total" in screen.text
    assert max(len(line.rstrip()) for line in screen.text.splitlines()) <= 50


def test_a_table_with_long_names_keeps_its_numbers(desk):
    """The names that providers give, in a window of the usual eighty columns."""
    name = "together/deepseek-ai/DeepSeek-V4-Pro-0813"
    desk.server.answers[name] = Answer(completion_tokens=1234, prompt_tokens=56789)
    desk.write(desk.model(name, "price = { input = 1.0, output = 10.0 }"))
    ran = desk.run("ask", "-m", name, "Why?", env={"COLUMNS": "80"})

    for told in ("read", "wrote", "cost", "answer", "56,789", "1,234", "$0.0691"):
        assert told in ran.err.partition("[answer]")[2], ran.err
    assert all(cell_len(line) <= 80 for line in ran.err.splitlines())


def test_what_is_said_around_an_answer_fits_the_terminal(desk):
    desk.server.tags = [{"name": f"a-model-with-a-long-name-{n}:8b", "size": n} for n in (1, 2, 3)]
    desk.server.answers["a-model-with-a-long-name-1:8b"] = Answer.refused(400, "no " * 40)
    desk.env["OLLAMA_HOST"] = desk.server.host
    desk.write("")
    screen = terminal(desk, "ask", "Why?", width=80)

    assert screen.close() == 0
    assert "Ollama answers on its port" in " ".join(screen.text.split())
    assert max(map(cell_len, screen.lines)) <= 80


def test_the_answer_is_broken_between_words_however_its_pieces_come(desk):
    words = "physicists call this effect Rayleigh scattering after the baron who explained it"
    desk.server.answers["ann"] = Answer(tuple(words[i : i + 3] for i in range(0, len(words), 3)))
    screen = terminal(desk, "ask", "-m", "ann", "Why?", width=40)

    assert screen.close() == 0
    answer = re.search(r"physicists.*?explained\s+it", screen.text, re.DOTALL)
    assert answer, screen.text
    assert answer[0].split() == words.split()
    assert all(len(line) <= 40 for line in answer[0].splitlines())


@pytest.mark.parametrize("form", [(), ("--quiet",)])
def test_an_answer_in_a_pipe_has_not_a_byte_of_ours(form, desk):
    text = "a  word " * 30 + "\n\n  and\tits end \n"
    desk.server.answers["ann"] = Answer(tuple(text[i : i + 3] for i in range(0, len(text), 3)))

    assert desk.run("ask", *form, "-m", "ann", "Why?", env={"COLUMNS": "40"}).out == text


def test_a_hostile_stream_on_the_screen_stays_text(desk):
    cut = tuple(HOSTILE[i : i + 5] for i in range(0, len(HOSTILE), 5))
    for name in ("ann", "chief"):
        desk.server.answers[name] = Answer(cut, pace=0.02)
    desk.server.answers["ben"] = Answer.refused(400, HOSTILE)
    screen = terminal(desk, "ask", "Why?")

    assert screen.close() == 0, screen.text
    drawn = CSI.sub("", screen.raw)
    assert "\x1b" not in drawn
    assert "\x1b[2J" not in screen.raw
    assert "\x1b[31mred" not in screen.raw
    assert not re.search("[\x07\x08\x9b\u202e]", drawn)
    assert "[bold]b[/bold] [/b]" in drawn


def test_control_c_at_a_terminal_leaves_it_as_it_was(desk):
    desk.server.answers["ann"] = Answer(("ann began ",) * 2, pace=60)
    screen = terminal(desk, "ask", "Why?")
    screen.read(until="ann began")

    os.write(screen.master, b"\x03")

    assert screen.close() == 130
    assert "Interrupted. Spent until now" in screen.text
    assert "Traceback" not in screen.text
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l")


def test_a_person_who_asks_nothing_is_told_how_to_ask(desk):
    screen = terminal(desk, "ask")

    assert screen.close() == 2
    assert 'mixtura ask "Why is the sky blue?"' in screen.text


def test_a_dash_among_the_words_of_a_question_is_a_word(desk):
    screen = terminal(desk, "ask", "-m", "ann", "what", "is", "5", "-", "3", "?")
    os.write(screen.master, b"\x04")  # so that a program that waits for input ends

    assert screen.close() == 0, screen.text
    assert last_message(desk.server.requests[0]) == "what is 5 - 3 ?"
