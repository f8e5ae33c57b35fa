"""Never worse: what is admitted and proved, by figures, and whole tunings on loopback."""

from __future__ import annotations

import json
import math
import re
import tomllib
from types import SimpleNamespace

import numpy as np
import pytest

from mixtura.core.errors import ConfigError
from mixtura.evals.statistics.repeated_looks import look_alphas
from mixtura.evals.tasks.dataset import load_rows
from mixtura.selection.measurements import SelectionTerms, list_prompts
from mixtura.selection.prompts import split_rows, write_split
from mixtura.selection.proof import (
    admit_members,
    choose_mixture,
    gate_threshold,
    prove_gain,
)
from mixtura.selection.proof_looks import LookTerms, record_look
from mixtura.selection.tuned import TuneResult
from tests.support import shell
from tests.support.evaluations import written
from tests.support.upstream import Script, running

# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")


# ---- the figures


def test_members_more_than_ten_points_weaker_are_scouts_and_the_best_one_aggregates():
    roles = admit_members({"near": 0.7, "weak": 0.699, "best": 0.8})

    assert roles == {"best": "aggregator", "near": "proposer", "weak": "scout"}
    assert next(iter(roles)) == "best"


def test_of_two_gains_the_surer_one_is_chosen_and_a_missing_score_counts_for_neither():
    best = np.array([1.0, 0, 1, 0, 1, 0, 1, 0])
    sure = np.array([1.0, 0.5, 1, 0.5, 1, 0.5, 1, 0.5])
    lucky = np.array([0.0, 1, 1, 1, 0, 1, 1, 1.1])
    unknown = np.array([math.nan] * 8)

    assert choose_mixture({"unknown": unknown, "lucky": lucky, "sure": sure}, best) == "sure"


def test_a_proof_holds_only_where_the_lower_bound_is_not_below_minus_one_point():
    rng = np.random.default_rng(0)
    best = (rng.random(300) < 0.5).astype(float)
    better = np.where(rng.random(300) < 0.3, 1.0, best)
    even = rng.permutation(best)

    assert prove_gain(better, best).holds
    unproved = prove_gain(even, best)
    assert unproved.low < -0.01
    assert not unproved.holds
    same = prove_gain(best, best)
    # Equal scores everywhere are no sign that the mixture is worse: more of them would do.
    assert (same.difference, same.needed) == (0.0, 368)
    assert "needs about 370 prompts" in TuneResult.power_line(SimpleNamespace(proof=same))
    assert not prove_gain(np.ones(366), np.ones(366)).holds
    assert prove_gain(np.ones(368), np.ones(368)).holds
    assert "worse" in TuneResult.power_line(SimpleNamespace(proof=prove_gain(best * 0.5, best)))


@pytest.mark.parametrize(("count", "wins", "loses"), [(12, 0.1, 0.15), (50, 0.01, 0.03)])
def test_where_few_prompts_differ_a_mixture_that_is_worse_is_no_proof(count, wins, loses):
    rng = np.random.default_rng(count)
    luck = rng.random((60, count))
    best, ours = np.where(luck < wins, 0.0, 1.0), np.where(luck > 1 - loses, 0.0, 1.0)

    # By the bootstrap alone it is one in ten: what is rare is not among what is resampled.
    assert sum(prove_gain(*pair).holds for pair in zip(ours, best, strict=True)) <= 1
    assert not prove_gain(np.array([1.0, 1.0]), np.array([0.0, 1.0])).holds


def test_a_prompt_without_a_score_is_left_out_and_said():
    best = np.array([0.0, 1.0] * 10)
    ours = np.array([math.nan, math.nan, 0.0, *[1.0] * 17])
    best[-1] = math.nan

    proof = prove_gain(ours, best)

    assert (proof.n, proof.missing, proof.unscored) == (17, 3, (2, 1))
    told = SimpleNamespace(proof=proof, best_member="a")
    assert TuneResult.missing_lines(told) == [
        "3 further prompts of the test left out: the mixture has no score on 2, a on 1"
    ]


def test_it_says_how_many_prompts_a_bound_of_minus_one_point_needs():
    rng = np.random.default_rng(1)
    best = (rng.random(100) < 0.5).astype(float)
    ours = np.where(rng.random(100) < 0.1, 1.0, np.where(rng.random(100) < 0.06, 0.0, best))

    proof = prove_gain(ours, best)

    spread = float((ours - best).std(ddof=1))
    wanted = ((1.959964 + 0.841621) * spread / (proof.difference + 0.01)) ** 2
    assert proof.needed == math.ceil(wanted)
    assert prove_gain(best * 0.5, best).needed is None


def test_a_gate_opens_only_on_a_hundred_prompts_and_where_what_passes_is_right_enough():
    agreement = np.array([1.0] * 100 + [2 / 3] * 100)
    right = np.array([1.0] * 100 + [0.0, 1.0] * 50)

    assert gate_threshold(agreement, right, error=0.1) == 1.0
    assert gate_threshold(agreement, right, error=0.4) == pytest.approx(2 / 3)
    assert gate_threshold(agreement[-50:], right[-50:], error=1.0) == 1.0


# ---- several looks at the same prompts

PROMPTS = [str(number) for number in range(6)]


def look(folder, members=("a", "b"), asked=PROMPTS, mixture="vote", difference=0.1, planned=1):
    return record_look(folder, members, asked, mixture=mixture, against="a", difference=difference,
                       planned=planned)  # fmt: skip


def test_looks_at_the_same_prompts_have_five_per_cent_together_and_each_is_counted_once(tmp_path):
    assert look(tmp_path) == LookTerms(1, 1, pytest.approx(0.05))
    assert look(tmp_path) == LookTerms(1, 1, pytest.approx(0.05))
    assert look(tmp_path, mixture="mux").is_spent
    # Another outcome of the same mixture is another look; other prompts, or members, are none.
    assert look(tmp_path, difference=0.2).number == 3
    assert look(tmp_path, asked=["new"]).alpha == pytest.approx(0.05)
    assert look(tmp_path, members=("c", "d")).alpha == pytest.approx(0.05)


def test_looks_that_are_planned_share_what_there_is(tmp_path):
    spent = [look(tmp_path, mixture=name, planned=3).alpha for name in ("vote", "mux", "gate")]

    assert spent == pytest.approx(look_alphas([1 / 3, 2 / 3, 1]))
    assert sum(spent) == pytest.approx(0.05)
    assert look(tmp_path, mixture="switch", planned=3).is_spent


def test_a_record_of_looks_that_is_damaged_is_an_error_and_never_no_look(tmp_path):
    look(tmp_path)
    file = tmp_path / "tune-looks.jsonl"
    file.write_text(file.read_text() + "{}\n")

    with pytest.raises(ConfigError, match=r"tune-looks.jsonl, line 2: this is not the record"):
        look(tmp_path, mixture="mux")


def test_a_later_look_has_the_wider_interval_that_it_costs():
    rng = np.random.default_rng(0)
    best = (rng.random(300) < 0.5).astype(float)
    better = np.where(rng.random(300) < 0.3, 1.0, best)

    plain, late, none = (
        prove_gain(better, best, lambda _, alpha=alpha: LookTerms(2, 2, alpha))
        for alpha in (0.05, 0.01, 0.0)
    )
    assert late.low < plain.low < plain.difference == late.difference
    assert (none.low, plain.holds, late.holds, none.holds) == (plain.low, True, True, False)


# ---- whole tunings

NAMES = ("a", "b", "c")
CONFIG = "".join(
    f'[models.{name}]\nbase_url = "{{url}}"\nmodel = "{name}"\nretries = 0\n'
    "price = {{ input = 1.0, output = 2.0 }}\n"
    for name in (*NAMES, "judge")
)
SUMS = [{"question": f"What is {n} plus {n}?", "answer": f"#### {2 * n}"} for n in range(10, 46)]
APART = {"a": 0, "b": 1, "c": 2}
"""The rest of a number on which each errs when it is divided by three: two of three are right."""


def errs_apart(record):
    number = int(re.findall(r"What is (\d+) plus", record.prompt)[0])
    right = number % 3 != APART[record.model]
    return Script(f"#### {2 * number if right else number + APART[record.model]}")


def errs_together(record):
    number = int(re.findall(r"What is (\d+) plus", record.prompt)[0])
    right = number % 3 > (0 if record.model == "a" else 1)
    return Script(f"#### {2 * number if right else number}")


typed_command = shell.typed_command


@pytest.fixture
def typed(tmp_path, typed_command):
    """A command as a person types it in a folder with rows."""
    written(tmp_path / "rows.jsonl", SUMS)
    return typed_command


COMMAND = ("tune", "--models", *NAMES, "--on", "rows.jsonl", "--task", "gsm8k", "--draws", "2")
COUNTING = (*COMMAND, "--size", "1", "--patterns", "vote", "mux", "switch")


def start(tmp_path, upstream):
    (tmp_path / "mixtura.toml").write_text("# mine\n" + CONFIG.format(url=upstream.base_url()))


def test_members_that_err_apart_are_written_as_a_mixture_with_its_proof_and_it_answers(
    tmp_path, typed
):
    with running(errs_apart) as upstream:
        start(tmp_path, upstream)
        code, out, _ = typed(*COUNTING, "--json", "--out", "mixtura.toml")
        calls = len(upstream.records)
        found = json.loads(out)

        assert code == 0
        keys = {"written", "best_member", "difference", "low", "high", "n", "price_ratio", "proof"}
        assert keys <= set(found)
        assert (found["pattern"], found["n"]) == ("vote", 18)
        assert sorted(found["members"]) == sorted(NAMES)
        assert found["written"] != found["best_member"]
        assert found["low"] >= -0.01
        assert found["price_ratio"] == pytest.approx(3, rel=0.05)
        # Every draw is asked once, for all mixtures together.
        assert calls == found["calls"] == len(SUMS) * 2 * len(NAMES)
        text = (tmp_path / "mixtura.toml").read_text()
        assert text.startswith("# mine\n")
        assert "# chosen by mixtura tune: a mixture" in text
        kept_apart = "on 18 prompts that had no part in the choice"
        for said in ("95 % interval", kept_apart, "times the price"):
            assert said in text
        assert re.search(r"seconds; chosen from \d+ on 18 prompts; \d{4}-\d\d-\d\d", text)
        assert tomllib.loads(text)["mixtures"]["tuned"]["pattern"] == "vote"
        code, out, _ = typed("ask", "-m", "tuned", "What is 12 plus 12?")
        assert (code, "24" in out) == (0, True)

        # Again: nothing is asked, the same is found, and its own table is replaced.
        before = len(upstream.records)
        again = json.loads(typed(*COUNTING, "--json", "--out", "mixtura.toml")[1])
        assert len(upstream.records) == before
        assert again == found
        assert (tmp_path / "mixtura.toml").read_text().count("[mixtures.tuned]") == 1


def test_a_second_try_on_the_same_prompts_is_told_before_it_is_paid_and_proves_nothing(
    tmp_path, typed
):
    with running(errs_apart) as upstream:
        start(tmp_path, upstream)
        assert json.loads(typed(*COUNTING, "--json")[1])["is_mixture"]
        words = (*COMMAND, "--size", "1", "--patterns", "mux", "--seed", "1")
        code, out, err = typed(*words, "--dry-run")
        assert "1 earlier tuning looked at the same held-out prompts" in err
        code, out, err = typed(*words, "--json")
        found = json.loads(out)
        assert (code, found["is_mixture"], found["look"]["alpha"]) == (0, False, 0.0)
        assert "the 5 % error probability that all looks share is used up" in found["proof"]
        assert "the interval proves nothing" in found["preset"]


@pytest.mark.soak
def test_tries_that_are_planned_each_have_their_part_and_the_file_says_so(tmp_path, typed):
    with running(errs_apart) as upstream:
        start(tmp_path, upstream)
        planned = ("--looks", "2", "--out", "mixtura.toml")
        assert typed(*COUNTING, *planned)[0] == 0
        assert "96.9 % interval" in (tmp_path / "mixtura.toml").read_text()
        err = typed(*COMMAND, "--size", "1", "--patterns", "mux", *planned)[2]
        assert "this one may spend 0.0190 of the 0.05" in err
        said = (tmp_path / "mixtura.toml").read_text()
        assert "look 2 of 2 at these prompts: its interval has 0.0190 of the error" in said


@pytest.mark.soak
def test_a_learned_combiner_is_written_with_its_weights_and_answers(tmp_path, typed):
    written(
        tmp_path / "many.jsonl",
        [{"question": f"What is {n} plus {n}?", "answer": f"#### {2 * n}"} for n in range(10, 130)],
    )
    words = [*COMMAND, "--size", "1", "--patterns", "combine", "--json", "--out", "mixtura.toml"]
    words[words.index("rows.jsonl")] = "many.jsonl"
    with running(errs_apart) as upstream:
        start(tmp_path, upstream)
        code, out, err = typed(*words)
        assert code == 0, err
        assert json.loads(out)["pattern"] == "combine"
        table = tomllib.loads((tmp_path / "mixtura.toml").read_text())["mixtures"]["tuned"]
        assert table["weights"]["votes"] > 0
        assert set(table["accuracy"]) == set(NAMES)
        code, out, _ = typed("ask", "-m", "tuned", "What is 12 plus 12?")
        assert (code, "24" in out) == (0, True)


def test_members_that_err_together_are_refused_and_the_single_model_is_written(tmp_path, typed):
    with running(errs_together) as upstream:
        start(tmp_path, upstream)
        config = (tmp_path / "mixtura.toml").read_text()
        free = config.replace("input = 1.0, output = 2.0", "input = 0, output = 0")
        (tmp_path / "mixtura.toml").write_text(free)
        code, out, _ = typed(*COUNTING, "--out", "mixtura.toml")

        assert code == 0
        assert "a alone: no mixture is proved" in out
        assert "so the single model a was written" in out
        # A price that is known to be nothing is not unknown.
        assert "a costs nothing" in out
        assert "price unknown" not in out
        table = tomllib.loads((tmp_path / "mixtura.toml").read_text())["mixtures"]["tuned"]
        assert (table["layers"], table["aggregator"]) == ([], "a")
        assert typed("ask", "-m", "tuned", "What is 13 plus 13?")[1].strip().endswith("26")


def test_gate_and_synthesis_are_measured_too_and_scouts_are_read_by_no_one(tmp_path, typed):
    def answers(record):
        # c is never right; the aggregators copy the first draft.
        if record.model == "c":
            return Script("#### 1")
        return errs_apart(record)

    with running(answers) as upstream:
        start(tmp_path, upstream)
        code, out, _ = typed(*COMMAND, "--size", "2", "--limit", "8", "--json")
        found = json.loads(out)
        synthesis = [one for one in upstream.records if "#### 1" in one.prompt]

    assert code == 0
    assert found["roles"]["c"]["role"] == "scout"
    patterns = {name.split(" of ")[0] for name in found["tried"]}
    assert {"vote", "mux", "switch", "gate"} <= patterns
    assert any(">" in name for name in found["tried"])
    # The gate's strong model reads its scouts' drafts; no team has c among its own.
    assert all(
        "c" not in name.partition(">")[0].split(",") for name in found["tried"] if ">" in name
    )
    assert synthesis


def test_the_cap_keeps_enough_for_the_proof_or_says_where_it_ended(tmp_path, typed):
    with running(errs_apart) as upstream:
        start(tmp_path, upstream)
        code, _, err = typed(*COUNTING, "--max-cost", "0.001")
        assert (code, "before every member had answered" in err) == (4, True)
        spent = upstream.ledger()
        assert (spent.prompt + 2 * spent.completion) / 1e6 <= 0.001
        code, out, _ = typed(*COUNTING, "--max-cost", "10", "--json")
        found = json.loads(out)
        assert (code, found["pattern"], found["capped"]) == (0, "vote", False)
        # Enough for an answer of a member at a time, and for no mixture that is asked itself.
        code, out, _ = typed(*COMMAND, "--max-cost", "0.05", "--json")
        assert (code, json.loads(out)["capped"]) == (4, True), out


def test_a_dry_run_says_what_it_takes_at_most_and_asks_no_one(tmp_path, typed):
    with running(errs_apart) as upstream:
        start(tmp_path, upstream)
        code, out, _ = typed(*COUNTING, "--dry-run", "--json")
        less = json.loads(out)
        more = json.loads(typed(*COMMAND, "--dry-run", "--json")[1])
        assert (code, upstream.records) == (0, [])
    assert (less["prompts"], less["held_out"]) == (18, 18)
    assert less["calls"] == len(SUMS) * 2 * len(NAMES)
    assert less["max_cost_usd"] > 0
    assert more["calls"] > less["calls"]


def test_where_answers_give_no_mixture_that_is_said_and_no_cap_is_named(tmp_path, typed):
    with running(errs_apart) as upstream:
        start(tmp_path, upstream)
        code, _, err = typed(*COMMAND, "--size", "1", "--patterns", "combine")

    assert code not in (0, 4)
    assert "these answers give no combine to test" in err
    assert "50 prompts on which they differ" in " ".join(err.split())
    assert "cap" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tune", "--on", "rows.jsonl"], "Which members?"),
        (["tune", "--models", "a", "b"], "--on is missing"),
        ([*COMMAND, "--patterns", "vot"], "'vot' is not one of vote, mux, switch, combine, gate"),
        (
            ["tune", "--models", "a", "b", "--on", "rows.jsonl", "--judge", "judge",
             "--patterns", "vote"],
            "need final answers that can be checked",
        ),
        (["tune", "--models", "a", "--on", "rows.jsonl"], "at least two models are needed"),
        ([*COUNTING, "--limit", "3"], "3 different prompts, but at least 4 are needed"),
        (
            ["tune", "--models", "a", "b", "--on", "rows.jsonl", "--task", "gsm8k", "--patterns",
             "gate"],
            "no gate of 2 members, 4 answers each: vote needs three answers",
        ),
        (
            [*COMMAND, "--draws", "1", "--size", "1", "--patterns", "mux", "switch"],
            "no mux or switch of 3 members, 1 answer each",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_said_before_anything_is_asked(tmp_path, typed, words, said):
    with running(errs_apart) as upstream:
        start(tmp_path, upstream)
        code, _, err = typed(*words)
        assert (code, said in " ".join(err.split())) == (2, True), err
        assert upstream.records == []


def test_equal_prompts_count_once_and_so_stand_on_one_side_of_the_split(tmp_path):
    # Each row has an id of its own, and is no other prompt for that.
    rows = [{"id": n, "input": f"question {n % 50}", "target": "1"} for n in range(100)]
    file = written(tmp_path / "twice.jsonl", rows)
    terms = SelectionTerms(data=str(file), scoring="exact")

    rows_apart = split_rows(str(file), questions=list_prompts(terms), share=0.5)
    parts = write_split(rows_apart, tmp_path / "logs")
    held_out, searched = (
        [row["input"] for part in some for row in load_rows(str(part.file))]
        for some in ([parts.held_out], parts.slices)
    )

    assert sorted(held_out + searched) == sorted({row["input"] for row in rows})
    assert len(held_out) == 25
    assert parts.notes == ["50 rows of the file left out: they ask the same as an earlier row"]


def test_earlier_turns_are_part_of_what_is_asked(tmp_path):
    turns = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}]
    rows = [
        {"messages": [*before, {"role": "user", "content": "And?"}], "target": "1"}
        for before in ([], turns, turns[:1])
    ]
    file = written(tmp_path / "turns.jsonl", [*rows, rows[1]])

    asked = list_prompts(SelectionTerms(data=str(file), scoring="exact"))

    assert len(set(asked)) == 3
