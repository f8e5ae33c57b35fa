"""The proof on real models: answers that are kept, patterns over them, and a page made of both."""

from __future__ import annotations

import asyncio
import itertools
import lzma
import random
import re
import shlex
from statistics import mean

import pytest
from bench.proof import __main__ as command
from bench.proof.arms import arms_of
from bench.proof.draw import draw_all, draw_arms
from bench.proof.evaluations import evaluations_of
from bench.proof.figures import auroc, auroc_interval, oracle_share, row_of, wilson_interval
from bench.proof.kept import KeptAnswers, KeptModel, read_log
from bench.proof.labels import SETS as LABELS
from bench.proof.members import LARGE, MEMBERS, SMALL, kept_model
from bench.proof.page import FOLDER, PAGE, ROOT, Look, build_page, describe_set, results_file
from bench.proof.programs import ProgramRuns
from bench.proof.questions import SETS, Item
from bench.proof.results import Outcome, read_outcomes, run_arms, write_outcomes
from bench.proof.server import AwaitedServer, ServerGoneError

from mixtura import RejectedError, Sampling, ask
from mixtura.evals.statistics.repeated_looks import look_alphas
from mixtura.models.fake import Scripted
from mixtura.models.openai import OpenAI
from mixtura.programs.examples import read_examples
from mixtura.reports.quality import best_model_rows
from mixtura.reports.runs import group_by_task
from tests.support.paths import DATA
from tests.support.upstream import Script, honest, running

pytestmark = pytest.mark.filterwarnings("ignore")

QUESTION = '```python\ndef double(x):\n    """\n    >>> double(2)\n    4\n    """\n\n```'
ROW = {
    "prompt": 'def double(x):\n    """\n    >>> double(2)\n    4\n    """\n',
    "entry_point": "double",
    "test": "def check(candidate):\n    assert candidate(21) == 42, 'hidden'\n",
}
RIGHT = "```python\ndef double(x):\n    return 2 * x\n```"
WRONG = "```python\ndef double(x):\n    return x + 1\n```"


def make_item(number=0):
    sampling = Sampling(temperature=0.6, max_tokens=400)
    return Item(f"item/{number}", ask(f"{number}. {QUESTION}", sampling=sampling), ROW)


def make_member(member, log, *texts):
    return KeptModel(member.name, log, Scripted(member.name, itertools.cycle(texts)))


@pytest.fixture
def log(tmp_path):
    return KeptAnswers(tmp_path / "log.jsonl")


def draw(model, items, draws, at_once=2):
    asyncio.run(draw_all(model, items, draws, at_once))


# ---- answers that are kept


def test_an_answer_that_is_kept_is_never_asked_for_again(tmp_path, log):
    draw(make_member(LARGE, log, "one", "two"), [make_item()], [0, 1])

    again = Scripted(LARGE.name, [])
    draw(KeptModel(LARGE.name, KeptAnswers(tmp_path / "log.jsonl"), again), [make_item()], [0, 1])

    assert again.asked == []
    assert [(k.item, k.draw, k.text) for k in read_log(tmp_path / "log.jsonl")] == [
        ("item/0", 0, "one"), ("item/0", 1, "two"),
    ]  # fmt: skip


def test_each_draw_has_a_seed_of_its_own_and_the_same_one_in_every_run(log, tmp_path):
    asked = []
    for folder in ("first", "second"):
        model = Scripted(LARGE.name, ["a", "b", "c"])
        draw(KeptModel(LARGE.name, KeptAnswers(tmp_path / folder), model), [make_item()], [0, 1, 2])
        asked.append([request.sampling.seed for request in model.asked])

    assert asked[0] == asked[1]
    assert len(set(asked[0])) == 3


def test_a_log_whose_last_line_was_cut_off_is_read_and_goes_on(tmp_path, log):
    draw(make_member(LARGE, log, "one", "two"), [make_item()], [0, 1])
    file = tmp_path / "log.jsonl"
    file.write_bytes(file.read_bytes()[:-30])

    draw(make_member(LARGE, KeptAnswers(file), "two again"), [make_item()], [0, 1])

    assert [kept.text for kept in KeptAnswers(file).answers.values()] == ["one", "two again"]


def test_a_request_without_a_kept_answer_is_refused_and_nothing_is_made_up(log):
    with pytest.raises(RejectedError, match="no answer is kept"):
        asyncio.run(kept_model(LARGE, log).complete(ask("What?")))


# ---- a server that draws


async def loads(wire):
    await wire.reply(503, {"error": {"message": "Loading model", "code": 503}})


async def breaks_off(wire):
    await wire.head()
    await wire.say("half")


async def refuses(wire):
    await wire.reply(400, {"error": {"message": "the request is too long", "code": 400}})


def served_member(log, upstream, retry_window):
    asked = OpenAI(LARGE.name, upstream.base_url())
    server = AwaitedServer(asked, upstream.base_url(), retry_window, first_pause=0.01)
    return KeptModel(LARGE.name, log, server)


def test_a_server_that_loads_or_breaks_off_is_waited_for_and_the_draw_goes_on(log, capsys):
    script = Script("four", plays=[loads, loads, honest, breaks_off, honest, loads])
    with running(lambda _: script) as upstream:
        items = [make_item(number) for number in range(3)]
        draw(served_member(log, upstream, 60), items, [0], at_once=1)

    assert [(kept.item, kept.text) for kept in log.answers.values()] == [
        (item.id, "four") for item in items
    ]
    told = capsys.readouterr().err
    assert told.count("it is tried again") == 3  # once for each time that it is away
    assert told.count("answers again") == 3


def test_an_item_that_is_refused_does_not_end_the_others_but_three_in_a_row_do(log, capsys):
    with running(lambda _: Script("four", plays=[refuses])) as upstream:
        items = [make_item(number) for number in range(3)]
        lost = asyncio.run(draw_all(served_member(log, upstream, 0), items, [0], 1))

    assert [line.partition(" has no answer: ")[0] for line in lost] == ["item/0"]
    assert "the request is too long" in lost[0]
    assert [kept.item for kept in log.answers.values()] == ["item/1", "item/2"]
    assert "2 of 3 items" in capsys.readouterr().err
    with running(lambda _: Script("four", ever=refuses)) as upstream:
        items = [make_item(number) for number in range(3, 9)]
        with pytest.raises(ExceptionGroup) as ended:
            draw(served_member(log, upstream, 0), items, [0], at_once=1)
        assert "too long" in str(ended.value.exceptions[0])
        assert len(upstream.records) == 3


def test_without_a_server_no_call_of_a_pattern_rests_on_fewer_proposals(log):
    with running(lambda _: Script("four", plays=[honest, honest], ever=loads)) as upstream:
        member = served_member(log, upstream, 0)
        arms = arms_of("humaneval", member, kept_model(SMALL, log), ProgramRuns(None))
        with pytest.raises(ExceptionGroup) as ended:
            asyncio.run(draw_arms([a for a in arms if a.name == "self-4"], [make_item()], 1))

    assert ended.value.subgroup(ServerGoneError)
    assert len(log.answers) == 2


def test_an_item_has_all_its_arms_before_the_next_one_begins(log):
    items = [make_item(0), make_item(1)]
    large = make_member(LARGE, log, RIGHT)
    draw(large, items, [0, 1, 2, 3], at_once=1)
    arms = arms_of("humaneval", large, kept_model(SMALL, log), ProgramRuns(None))

    asyncio.run(draw_arms([arm for arm in arms if arm.name in {"self-4", "rank-4"}], items, 1))

    own = [(kept.item, kept.part) for kept in log.answers.values() if kept.part != "draw"]
    assert [item for item, _ in own] == sorted(item for item, _ in own)
    assert {part for item, part in own if item == "item/0"} == {"rank-4", "self-4"}


def test_a_draw_without_a_server_ends_in_one_line_that_says_where_its_answers_are(
    tmp_path, monkeypatch
):
    if not (DATA / "humaneval").exists():
        pytest.skip(f"{DATA / 'humaneval'} is missing")
    monkeypatch.setattr(command, "unpack_draws", lambda folder: folder.mkdir())
    words = ["draw", "humaneval", "--member", "large", "--large", "http://127.0.0.1:9/v1",
             "--wait", "0", "--folder", str(tmp_path / "kept")]  # fmt: skip

    with pytest.raises(SystemExit) as ended:
        command.main(words)

    said = str(ended.value)
    assert "has not answered: no connection to 127.0.0.1" in said
    assert said.endswith("humaneval-large.jsonl: the same command continues from there")
    assert "\n" not in said


# ---- patterns over kept answers


def score(items, log, tmp_path, names):
    runs = ProgramRuns(tmp_path / "runs")
    arms = [
        arm for arm in arms_of("humaneval", kept_model(LARGE, log), kept_model(SMALL, log), runs)
        if arm.name in names
    ]  # fmt: skip
    return asyncio.run(run_arms("humaneval", arms, items, runs))


def test_checked_takes_the_program_that_passes_the_examples_and_sees_no_scoring_test(log, tmp_path):
    large = make_member(LARGE, log, WRONG)
    small = make_member(SMALL, log, WRONG, RIGHT)
    draw(large, [make_item()], [0, 1])
    draw(small, [make_item()], [0, 1])

    done = {one.arm: one for one in score([make_item()], log, tmp_path, {"checked-2+2", "large"})}

    assert done["checked-2+2"].right
    assert not done["large"].right
    assert done["checked-2+2"].confidence["passed"] == 1.0
    assert done["checked-2+2"].confidence["agreeing"] == 0.25
    assert len(done["checked-2+2"].calls) == 4
    asked = [request for model in (large, small) for request in model._live.asked]
    assert not any("hidden" in message.text for request in asked for message in request.messages)


def test_an_arm_has_no_outcome_for_an_item_whose_answers_are_not_all_kept(log, tmp_path):
    draw(make_member(LARGE, log, RIGHT), [make_item(0), make_item(1)], [0, 1])
    draw(make_member(SMALL, log, WRONG), [make_item(0)], [0, 1])

    done = score([make_item(0), make_item(1)], log, tmp_path, {"checked-2+2", "checked-2"})

    assert {(one.arm, one.item) for one in done} == {
        ("checked-2+2", "item/0"), ("checked-2", "item/0"), ("checked-2", "item/1"),
    }  # fmt: skip


def test_an_item_counts_only_when_all_items_in_front_of_it_have_their_answers(log, tmp_path):
    items = [make_item(number) for number in range(4)]
    draw(make_member(LARGE, log, RIGHT), [items[0], items[1], items[3]], [0])

    done = score(items, log, tmp_path, {"large"})

    assert [one.item for one in done] == ["item/0", "item/1"]


def test_calls_of_a_pattern_itself_are_drawn_once_and_kept_with_its_name(log, tmp_path):
    item = make_item()
    large = make_member(LARGE, log, RIGHT, WRONG, RIGHT, WRONG, "The answer that it wrote")
    draw(large, [item], [0, 1, 2, 3])
    arms = arms_of("humaneval", large, kept_model(SMALL, log), ProgramRuns(None))

    asyncio.run(draw_arms([arm for arm in arms if arm.name == "self-4"], [item], 1))

    assert [kept.part for kept in log.answers.values()] == ["draw"] * 4 + ["self-4"]
    (done,) = score([item], log, tmp_path, {"self-4"})
    assert [call[0] for call in done.calls] == [LARGE.name] * 5


def test_every_arm_has_words_on_the_page_and_every_word_an_arm(log):
    if not DATA.exists():
        pytest.skip(f"{DATA} is missing")
    for name in SETS:
        arms = arms_of(name, kept_model(LARGE, log), kept_model(SMALL, log), ProgramRuns(None))
        built = {arm.name for arm in arms}
        assert built <= LABELS[name].arms.keys()
        assert LABELS[name].arms.keys() - built <= {"robust"}


# ---- figures


def outcome(arm, item, right, draw=0):
    return Outcome(arm, str(item), draw, right, ((LARGE.name, 100, 50, 2.0, "stop"),), 0, {})


def test_wilsons_interval_is_the_one_of_the_books():
    assert wilson_interval(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_all_looks_together_may_spend_no_more_than_one_look_alone():
    assert look_alphas([1.0]) == pytest.approx([0.05])
    half, rest = look_alphas([0.5, 1.0])
    assert half == pytest.approx(0.0310, abs=1e-4)
    assert half + rest == pytest.approx(0.05)


def test_the_draws_of_an_item_count_as_one_item():
    rows = [outcome("large", i, i % 2 == 0, d) for i in range(10) for d in range(4)]

    row = row_of(rows, "large", "large")

    assert (row.right, row.items, row.answers) == (0.5, 10, 40)
    assert (row.low, row.high) == wilson_interval(0.5, 10)
    assert row.tokens == 150
    assert row.work == pytest.approx(2 * LARGE.parameters * 150 / 1000)


def test_an_oracle_counts_items_that_have_all_their_seats():
    rows = [outcome("large", 0, False), outcome("large", 0, True, 1), outcome("large", 1, True)]

    assert oracle_share(rows, {"large": 2}) == (1.0, 1)


def test_auroc_counts_ties_half():
    assert auroc([(0.9, True), (0.1, False)]) == 1.0
    assert auroc([(0.5, True), (0.5, False)]) == 0.5
    assert auroc([(0.5, True)]) is None


def test_several_answers_to_an_item_make_no_interval_of_auroc_narrower():
    rng = random.Random(0)
    items = [[(rng.random() + right, right > 0.3)] for right in (rng.random() for _ in range(40))]
    often = [one * 4 for one in items]

    assert auroc_interval(often, 200) == pytest.approx(auroc_interval(items, 200))
    low, high = auroc_interval(items, 200)
    assert high - low > 0.1


# ---- the page


def test_a_mixture_that_loses_is_named_under_a_heading_of_its_own():
    rows = [outcome("large", i, True) for i in range(20)]
    rows += [outcome("checked-2+2", i, True) for i in range(20)]
    rows += [outcome("self-4", i, i > 9) for i in range(20)]

    text = "\n".join(describe_set(LABELS["humaneval"], rows, []))

    lost = text.partition("### Where a mixture loses")[2]
    assert "`self`, 1.5B×4: −50.0" in lost
    assert "checked" not in lost
    assert "| `self`, 1.5B×4 | 50.0 |" in text


def test_a_look_before_the_end_is_told_with_the_wider_interval_that_it_costs():
    rows = [outcome("large", i, i % 3 > 0) for i in range(60)]
    rows += [outcome("checked-2+2", i, i % 5 > 0) for i in range(60)]

    text = "\n".join(describe_set(LABELS["humaneval"], rows, [Look(0.5, "2026-11-28")]))

    assert "96.90 % interval" in text
    assert "look 1, at 50% of the answers that are planned" in text


def test_outcomes_are_read_as_they_were_written(tmp_path):
    rows = [
        replace_confidence(outcome("large", 1, True), {"alike": 0.5}),
        outcome("small", 2, False),
    ]
    write_outcomes(tmp_path / "x.xz", rows)

    assert read_outcomes(tmp_path / "x.xz") == rows


def replace_confidence(one, confidence):
    return one._replace(confidence=confidence)


def test_figures_in_the_words_of_the_page_are_those_of_the_results():
    words, programs = (
        [one for one in read_outcomes(results_file(name)) if one.arm == "large"]
        for name in ("gsm8k", "gsm8k-programs")
    )
    probed = {one.item for one in programs}
    shares = [
        mean(one.right for one in rows if one.item in probed)
        for rows in ([one for one in words if one.draw == 0], programs, words)
    ]
    page = " ".join(PAGE.read_text("utf-8").split())
    first, as_programs, later = (f"{100 * share:.1f} %" for share in shares)

    assert f"they did not: {first} in words, {as_programs} as programs" in page
    assert f"these 40 problems come to {later} in words, which is within five points" in page
    assert 100 * abs(shares[2] - shares[1]) <= 5 < 100 * abs(shares[0] - shares[1])
    rows = [one.row for one in SETS["humaneval"]()]
    without = sum(not read_examples(row["prompt"], row["entry_point"]) for row in rows)
    assert (without, "Ten of the prompts have no example" in page) == (10, True)


def test_figures_in_the_page_of_modes_are_those_of_the_results():
    rows = [one for one in read_outcomes(results_file("gsm8k")) if one.arm == "modes-4"]
    agreed = [one for one in rows if not one.degraded]
    others = [one for one in rows if one.degraded]
    page = " ".join((ROOT / "docs/patterns/modes.md").read_text("utf-8").split())

    stopped = mean(len(one.calls) == 2 for one in rows)
    right, wrong = (mean(one.right for one in some) for some in (agreed, others))
    assert f"{stopped:.0%} stopped".replace("%", " %") in page
    assert f"{100 * right:.0f} % of the answers were right ({len(agreed)} problems)" in page
    assert f"did not, {100 * wrong:.0f} % ({len(others)} problems)" in page


def test_the_commands_of_the_page_draw_all_that_the_table_has():
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if "bench.proof draw h" in line]
    given = [command._parser().parse_args(shlex.split(line)[3:]) for line in lines]
    results = read_outcomes(results_file("humaneval"))
    # The name of an arm has its seats: what takes more calls has calls of its own.
    own = {
        one.arm
        for one in results
        if one.arm not in ("large", "small")
        and len(one.calls) > sum(map(int, re.findall(r"\d+", one.arm)))
    }

    assert {(one.member, *one.draws) for one in given if one.member} == {
        (arm, *sorted({one.draw for one in results if one.arm == arm}))
        for arm in ("large", "small")
    }
    assert {name for one in given for name in one.arms or ()} == own


@pytest.mark.parametrize("name", ["humaneval", "gsm8k"])
def test_the_report_of_the_results_has_the_rows_of_the_page(name, tmp_path):
    outcomes = read_outcomes(results_file(name))
    (task,) = group_by_task(evaluations_of(name, outcomes, tmp_path))
    said = sorted(
        (round(row["score"], 9), row["prompts"], row["answers"], round(row["calls"], 9),
         round(row["tokens"], 6), round(row["gain"], 9), round(row["gain_low"], 9))
        for row in best_model_rows(task)[:-1]
    )  # fmt: skip
    rows = [row_of(outcomes, arm, "large") for arm in LABELS[name].arms if arm not in MEMBERS]

    assert len(said) == len(rows)
    assert said == sorted(
        (round(row.right, 9), row.items, row.answers, round(row.calls, 9), round(row.tokens, 6),
         round(row.difference.value, 9), round(row.difference.low, 9))
        for row in rows
    )  # fmt: skip


def test_the_readme_has_rows_of_the_page():
    sections = {part.split("\n")[0]: part for part in PAGE.read_text().split("\n## ")}
    sections["GSM8K"] = sections["GSM8K, in words"]
    answers = {
        "two from each model": "1.5B×2 + 0.5B×2", "four from the 1.5B": "1.5B×4",
        "two or four from the 1.5B": "1.5B: 2 or 4 answers", "one": "alone",
    }  # fmt: skip
    task, seen = "", 0
    for line in (ROOT / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5 or not re.match(r"[\d.]+$", cells[3]):
            continue
        task = cells[0].split("*")[2] if cells[0] else task
        name = cells[1].partition(":")[0].partition(" by its own")[0]
        name = name.replace("*the ", "").removesuffix(" alone*")
        found = [
            [row[1], row[3].replace("–", "")]
            for row in map(split_row, sections[task].splitlines())
            if len(row) > 9 and row[0].startswith(name) and answers[cells[2]] in row[0]
        ]
        assert cells[3:] in found, line
        seen += 1
    assert seen == 15


def split_row(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_says_what_the_results_say_and_nothing_else():
    assert PAGE.read_text("utf-8") == build_page(), "`python -m bench.proof table` writes it anew"


def test_the_results_are_what_the_kept_answers_give(tmp_path):
    file = results_file("humaneval")
    if not file.exists():
        pytest.skip("no HumanEval answers are drawn yet (docs/explanation/proof.md)")
    if not (DATA / "humaneval").exists():
        pytest.skip(f"{DATA / 'humaneval'} is missing")
    for name in ("humaneval.jsonl", "humaneval.runs"):
        packed = FOLDER / f"{name.replace('.runs', '.runs.jsonl')}.xz"
        (tmp_path / name).write_bytes(lzma.decompress(packed.read_bytes()))
    log = KeptAnswers(tmp_path / "humaneval.jsonl")
    runs = ProgramRuns(tmp_path / "humaneval.runs")
    arms = arms_of("humaneval", kept_model(LARGE, log), kept_model(SMALL, log), runs)
    items = SETS["humaneval"]()[:8]

    done = asyncio.run(run_arms("humaneval", arms, items, runs))

    names = {item.id for item in items}
    kept = [one for one in read_outcomes(file) if one.item in names]
    assert sorted(done, key=repr) == sorted(kept, key=repr)


# ---- wrong input


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["score", "humaneval"], "no answers are kept in .*: `draw` comes first"),
        (["draw", "humaneval", "--member", "large", "--large", "nowhere"], "gguf is missing"),
        (["draw", "humaneval", "--arms", "fourth"], "is missing|no arm is called fourth"),
        (["draw", "humaneval", "--member", "large", "--large", "http://"], "not the address"),
        (["score", "humaneval", "--folder", "others"], r"x.jsonl, line 1: it is no answer"),
        (["look", "deception"], "no results of deception are there: `score deception` comes"),
        (["draw", "humaneval", "--member", "large", "--folder", "a file"], "a file: File exists"),
    ],
)
def test_wrong_words_are_answered_with_what_would_be_right(words, said, tmp_path, monkeypatch):
    if not DATA.exists():
        pytest.skip(f"{DATA} is missing")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").touch()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "x.jsonl").write_text('{"a": 1}\n')
    # The same in a checkout where it has been measured.
    monkeypatch.setattr(command, "results_file", lambda name: tmp_path / name)
    with pytest.raises(SystemExit, match=said):
        command.main(words)
