"""Benchmarks that need a judge: what it is asked, what its verdicts make, how far it is trusted."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from pathlib import Path

import inspect_ai
import numpy as np
import pytest
from inspect_ai import Task
from inspect_ai.dataset import Sample
from inspect_ai.log import read_eval_log
from inspect_ai.model import get_model
from inspect_ai.scorer import Score, mean, scorer

from mixtura import Message, RejectedError
from mixtura.catalog.providers import model_family
from mixtura.core.errors import ConfigError
from mixtura.core.types import Completion, Sampling, ask
from mixtura.evals import alpaca_leaderboard as official
from mixtura.evals import inspect_provider
from mixtura.evals.eval_request import EvalRequest
from mixtura.evals.judges import families
from mixtura.evals.judges.judge_material import REMINDER, ask_for_verdict
from mixtura.evals.judges.pairwise import AnswerPair
from mixtura.evals.prepare import prepare_eval
from mixtura.evals.registry import TASK_SPECS
from mixtura.evals.run import evaluate
from mixtura.evals.statistics import style
from mixtura.evals.tasks import TASK_NAMES, alpaca_eval, arena_hard, flask, mt_bench
from mixtura.evals.tasks.grader import GraderModel
from mixtura.models.fake import Scripted
from tests.support import evaluations
from tests.support.evaluations import REFUSED, evaluating, written
from tests.support.paths import DATA
from tests.support.upstream import Script, running

_own_folders = evaluations._own_folders
pytestmark = pytest.mark.filterwarnings("ignore")


def material(prompt):
    """What a judge was shown, out of what it was asked."""
    return json.JSONDecoder().raw_decode(prompt[prompt.index("{\n") :])[0]


def players(*, says, judges):
    """Model `judge` judges; every other model says something."""

    def otherwise(record):
        if record.model == "judge":
            return Script(judges(material(record.prompt)))
        return Script(says(record))

    return otherwise


def judged(tmp_path, config, task, rows, *, model="a", **words):
    data = written(tmp_path / "rows.jsonl", rows)
    asked = EvalRequest(task=task, data=data, judge="judge", **words)
    return evaluate(config, config.mixture_spec(model), asked, logs=tmp_path / "logs")


# ---- MT-Bench

QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["Write one.", "Write another."]},
    {"question_id": 111, "category": "math", "turns": ["1 + 1?", "And 2 + 2?"]},
]
REFERENCES = [{"question_id": 111, "choices": [{"turns": ["It is 2.", "It is 4."]}]}]


def said_last(record):
    return f"answer to: {record.body['messages'][-1]['content']}"


def eight_then_six(shown):
    return f"Good.\nGrade: {8 if len(shown['conversation']) == 2 else 6}"


def mt(tmp_path, judges, rows=QUESTIONS, **words):
    words = {"references": written(tmp_path / "references.jsonl", REFERENCES)} | words
    with evaluating(tmp_path, players(says=said_last, judges=judges)) as (upstream, config):
        return judged(tmp_path, config, "mt-bench", rows, **words), upstream.records


def test_mt_bench_grades_each_turn_and_gives_the_mean_by_turn_and_category(tmp_path):
    result, records = mt(tmp_path, eight_then_six)

    assert (result.score, result.n, result.most) == (0.7, 2, 10)
    assert result.figures == {"turn_1": 8.0, "turn_2": 6.0}
    by_category = {line.name: line.value for line in result.tables["category"]}
    assert by_category == {"writing": 7.0, "math": 7.0}
    assert Counter(record.model for record in records) == {"a": 4, "judge": 4}
    assert result.calls == 8


def test_mt_bench_asks_the_second_turn_after_the_first_and_as_the_category_wants_it(tmp_path):
    _, records = mt(tmp_path, eight_then_six)

    answers = [record.body for record in records if record.model == "a"]
    drawn = {body["messages"][0]["content"]: body["temperature"] for body in answers}
    assert drawn == {"Write one.": 0.7, "1 + 1?": 0.0}
    second = [body["messages"] for body in answers if len(body["messages"]) == 3]
    assert [one[1]["content"] for one in second if "Write" in one[0]["content"]] == [
        "answer to: Write one."
    ]
    assert {record.body["temperature"] for record in records if record.model == "judge"} == {0.0}


def test_mt_bench_shows_references_where_answers_are_right_or_wrong_and_nowhere_else(tmp_path):
    _, records = mt(tmp_path, eight_then_six)

    shown = [material(record.prompt) for record in records if record.model == "judge"]
    seen = {
        (s["conversation"][0]["text"], len(s["conversation"])): s.get("reference") for s in shown
    }
    assert seen == {
        ("Write one.", 2): None, ("Write one.", 4): None,
        ("1 + 1?", 2): ["It is 2."], ("1 + 1?", 4): ["It is 2.", "It is 4."],
    }  # fmt: skip


def test_a_rating_that_cannot_be_read_is_missing_and_the_other_turn_still_counts_as_a_turn(
    tmp_path,
):
    def judges(shown):
        return "Grade: 9" if len(shown["conversation"]) == 2 else "It is a solid 9 or so."

    result, records = mt(tmp_path, judges)

    assert (result.score, result.n) == (None, 0)
    assert "turn 2: the judge gave no verdict" in result.missing[0].error
    assert result.figures == {"turn_1": 9.0}
    assert sum(record.model == "judge" for record in records) == 2 + 2 * 2


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("Grade: 7", 7), ("…\n**Grade: 7.5/10**", 7.5), ("Grade: 1\nNo: \ngrade: 10", None),
        ("Grade: 11", None), ("Grade: 0", None), ("[[7]]", 7), ("Grade: 7 or 8", None),
    ],
)  # fmt: skip
def test_a_rating_is_read_strictly(said, read):
    assert mt_bench.parse_rating(Completion(Message("assistant", said), "j")) == read
    assert mt_bench.parse_rating(Completion(Message("assistant", said), "j", "length")) is None


def test_mt_bench_without_references_says_so(tmp_path):
    result, _ = mt(tmp_path, eight_then_six, references=None)

    assert "1 questions of math" in result.notes[0]


OTHERS = [
    {"question_id": n, "model_id": "gpt-4", "choices": [{"turns": ["bad one", "bad two"]}]}
    for n in (81, 111)
]  # fmt: skip


def test_mt_bench_compares_with_a_file_of_answers_in_both_orders(tmp_path):
    def fair(shown):
        return f"Verdict: {'B' if 'bad' in shown['A'] else 'A'}"

    result, records = mt(tmp_path, fair, against=written(tmp_path / "gpt.jsonl", OTHERS))

    assert (result.score, result.figures) == (1.0, {"turn_1": 1.0, "turn_2": 1.0})
    assert sum(record.model == "judge" for record in records) == 2 * 2 * 2
    assert (result.bias.position.consistent, result.bias.position.shift.value) == (1.0, 0.0)


def test_orders_that_disagree_are_a_tie_and_the_bias_is_told(tmp_path):
    result, _ = mt(tmp_path, lambda _: "Verdict: A", against=written(tmp_path / "g.jsonl", OTHERS))

    assert result.score == 0.5
    assert (result.bias.position.first, result.bias.position.shift.value) == (1.0, 1.0)
    assert json.loads(json.dumps(result.to_json()))["bias"]["position"]["shift"]["value"] == 1.0


def test_mt_bench_compares_with_another_model_that_is_asked_the_same(tmp_path):
    result, records = mt(tmp_path, lambda _: "Verdict: tie", against="c", model="b")

    assert result.score == 0.5
    asked = Counter(record.model for record in records)
    assert asked == {"b": 4, "c": 4, "judge": 8}
    assert {r.body["temperature"] for r in records if r.model == "c"} == {0.0, 0.7}


def test_a_judge_that_failed_is_asked_again_by_the_next_run_and_no_verdict_is_not(tmp_path):
    def otherwise(record):
        if record.model != "judge":
            return Script("good")
        bad = broken and "1 + 1?" in record.prompt
        return Script("Grade: 5", ever=REFUSED if bad else None)

    broken = True
    with evaluating(tmp_path, otherwise) as (upstream, config):
        first = judged(tmp_path, config, "mt-bench", QUESTIONS)
        broken = False
        before = len(upstream.records)
        again = judged(tmp_path, config, "mt-bench", QUESTIONS)

    assert (first.n, first.missing[0].sample) == (1, "111")
    assert "HTTP 400" in first.missing[0].error
    assert (again.n, again.reused, again.score) == (2, 1, 0.5)
    assert len(upstream.records) - before == 2  # its answers to both turns are kept


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data is not here: {DATA}")
def test_the_real_mt_bench_has_a_reference_for_every_question_of_three_categories():
    task = mt_bench.mt_bench(
        data=str(DATA / "mt_bench/question.jsonl"),
        references=str(DATA / "mt_bench/reference_answer_gpt-4.jsonl"),
    )

    referred = [s for s in task.dataset if len(s.metadata["reference"]) == 2]
    assert (len(task.dataset), len(referred)) == (80, 30)
    assert {s.metadata["category"] for s in referred} == set(mt_bench.REFERENCE_CATEGORIES)
    assert {s.metadata["category"] for s in task.dataset} == set(mt_bench.TEMPERATURES)


# ---- FLASK

SKILLS = [
    {"Skill": name, "Criteria": f"Is it {name}?", "Scoring": {str(n): f"{n}." for n in range(1, 6)}}
    for name in ("Readability", "Factuality", "Conciseness")
]  # fmt: skip
INSTANCES = [
    {"idx": 1, "instruction": "Name a sea.", "answer": "The Baltic.",
     "domain": ["Nature", "Culture"], "skill": ["Factuality", "Conciseness"],
     "difficulty": "simple lifestyle knowledge"},
    {"idx": 2, "instruction": "Name a lake.", "answer": "Ladoga.", "domain": ["Nature"],
     "skill": ["Readability", "Factuality"], "difficulty": "expert level knowledge"},
]  # fmt: skip


def grading(tmp_path, judges, rows=INSTANCES, **words):
    skills = written(tmp_path / "skills.json", SKILLS)
    with evaluating(tmp_path, players(says=lambda _: "The sea.", judges=judges)) as (up, config):
        return judged(tmp_path, config, "flask", rows, skills=skills, **words), up.records


def factual_five(shown):
    return "Fine.\n" + json.dumps({s: 5 if s == "Factuality" else 2 for s in shown["skills"]})


def test_flask_grades_each_skill_and_tells_them_by_skill_domain_and_difficulty(tmp_path):
    result, _ = grading(tmp_path, factual_five)

    assert (result.score, result.most) == (0.7, 5)
    tables = {
        name: {line.name: line.value for line in rows} for name, rows in result.tables.items()
    }
    assert tables["skill"] == {"Factuality": 5.0, "Conciseness": 2.0, "Readability": 2.0}
    assert tables["domain"] == {"Nature": 3.5, "Culture": 3.5}
    assert tables["difficulty"] == {
        "simple lifestyle knowledge": 3.5, "expert level knowledge": 3.5,
    }  # fmt: skip


def test_flasks_judge_is_really_asked_at_temperature_zero_with_the_rubrics_of_these_skills(
    tmp_path,
):
    _, records = grading(tmp_path, factual_five)

    asked = [record for record in records if record.model == "judge"]
    assert [record.body["temperature"] for record in asked] == [0.0, 0.0]
    shown = material(asked[0].prompt)
    assert shown["reference"] in ("The Baltic.", "Ladoga.")
    assert shown["skills"]["Factuality"]["scoring"]["1"] == "1."
    assert len(shown["skills"]) == 2


def test_a_skill_that_does_not_apply_counts_nowhere(tmp_path):
    def judges(shown):
        return json.dumps(dict.fromkeys(shown["skills"], "N/A") | {"Factuality": 4})

    result, _ = grading(tmp_path, judges)

    assert result.score == 0.8
    lines = {line.name: (line.value, line.n) for line in result.tables["skill"]}
    assert lines == {"Factuality": (4.0, 2), "Conciseness": (None, 0), "Readability": (None, 0)}


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ('{"Good Logic": 1, "Clear": "5"}', (1, 5)),
        ("**Good Logic**: 4/5\n- clear: N/A.", (4, None)),
        ("Good Logic: sound.\nGood Logic: 4 (it is)\nClear: n/a", (4, None)),
        ("Good Logic: 5\nClear: 2\nClear: 3.", None), ("Good Logic: 5", None), ("5\n5", None),
        ("Good Logic: 6\nClear: 1", None), ("Good Logic: 0\nClear: 1", None), ("", None),
        ("Good Logic: 4/10\nClear: 1", None), ("Good Logic: 4.5\nClear: 1", None),
        ("Good Logic: 4\nClear: 1\nClear: very", None), ("Good Logic: true\nClear: 1", None),
    ],
)  # fmt: skip
def test_grades_are_read_strictly_all_of_them_or_none(said, read):
    found = flask.parse_grades(Completion(Message("assistant", said), "j"), ["Good Logic", "Clear"])

    assert (found and tuple(found.values())) == read
    cut = Completion(Message("assistant", said), "j", "length")
    assert flask.parse_grades(cut, ["Good Logic", "Clear"]) is None


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data is not here: {DATA}")
def test_every_instance_of_the_real_flask_has_rubrics_for_its_skills():
    task = flask.flask(
        data=str(DATA / "flask/flask_evaluation.jsonl"),
        skills=str(DATA / "flask/skillset_description.json"),
    )

    assert len(task.dataset) == 1740
    assert len({name for s in task.dataset for name in s.metadata["rubrics"]}) == 12


# ---- AlpacaEval

INSTRUCTIONS = [
    {"dataset": "d", "instruction": f"No. {n}?", "output": "bad", "generator": "gpt4_1106_preview"}
    for n in range(6)
]  # fmt: skip


def prefers_good(shown):
    return "m" if "good" in shown["m"] else "M"


def alpaca(tmp_path, judges, rows=INSTRUCTIONS, says="good", **words):
    tmp_path.mkdir(exist_ok=True)
    against = written(tmp_path / "baseline.json", rows)
    with evaluating(tmp_path, players(says=lambda _: says, judges=judges)) as (up, config):
        return judged(tmp_path, config, "alpaca-eval", rows, against=against, **words), up.records


def test_alpaca_eval_gives_the_leaderboards_figures_wherever_the_answer_stands(tmp_path):
    result, records = alpaca(tmp_path, prefers_good, seed=3)

    assert result.score == 1.0
    assert result.figures["win_rate"] == result.figures["discrete_win_rate"] == 100
    assert (result.figures["n_wins"], result.figures["n_total"]) == (6, 6)
    assert result.figures["length_controlled_winrate"] > 50
    shown = [material(r.prompt)["m"] for r in records if r.model == "judge"]
    assert set(shown) == {"good", "bad"}
    assert any("one token in 6" in note for note in result.notes)
    assert any("Mixtura's own" in note for note in result.notes)


def test_the_order_of_alpaca_eval_is_the_seeds(tmp_path):
    pair = [alpaca_eval._is_swapped(row["instruction"], 3) for row in INSTRUCTIONS]

    assert pair == [alpaca_eval._is_swapped(row["instruction"], 3) for row in INSTRUCTIONS]
    many = [alpaca_eval._is_swapped(f"{n}", 0) for n in range(1000)]
    assert 440 < sum(many) < 560


def test_a_judge_of_places_is_found_out_by_the_order_of_the_seed(tmp_path):
    rows = [row | {"instruction": f"{n}?"} for n in range(12) for row in INSTRUCTIONS[:1]]
    result, _ = alpaca(tmp_path, lambda _: "m", rows)

    assert result.bias.first_place.value == 1.0


def test_what_alpaca_eval_writes_is_what_its_own_reader_and_score_take(tmp_path):
    against = written(tmp_path / "baseline.json", INSTRUCTIONS)
    with evaluating(tmp_path, players(says=lambda _: "good", judges=prefers_good)) as (_, config):
        asked = EvalRequest(task="alpaca-eval", judge="judge", against=against)
        ready = prepare_eval(config, config.mixture_spec("a"), asked, logs=tmp_path / "logs")
        result = evaluate(config, config.mixture_spec("a"), asked, logs=tmp_path / "logs")
    told = read_eval_log(result.log).samples
    side = ready.judge_context
    official.write_outputs(tmp_path / "o.json", alpaca_eval.model_outputs(told, side))
    official.write_annotations(tmp_path / "a.json", alpaca_eval.verdict_annotations(told, side))

    outputs = official.read_outputs(tmp_path / "o.json")
    assert [(o.instruction, o.output, o.generator, o.dataset) for o in outputs][:1] == [
        ("No. 0?", "good", "a", "d")
    ]
    rows = official.read_annotations(tmp_path / "a.json")
    assert [row.preference for row in rows] == [2.0] * 6
    assert [row.index for row in rows] == list(range(6))
    assert rows[0].generator_1 == "gpt4_1106_preview"
    assert official.score_annotations(rows).win_rate == result.figures["win_rate"]


def test_answers_that_are_there_are_judged_and_no_model_is_asked_for_them(tmp_path):
    mine = [row | {"output": "good", "generator": "mine"} for row in INSTRUCTIONS]
    against = written(tmp_path / "baseline.json", INSTRUCTIONS)
    outputs = written(tmp_path / "model_outputs.json", mine)
    official.write_outputs(Path(outputs), [official.OutputRow(**row) for row in mine])
    with evaluating(tmp_path, players(says=lambda _: "?", judges=prefers_good)) as (up, config):
        asked = EvalRequest(task="alpaca-eval", judge="judge", against=against, outputs=outputs)
        result = evaluate(config, None, asked, logs=tmp_path / "logs")

    assert (result.model, result.score) == ("mine", 1.0)
    assert {record.model for record in up.records} == {"judge"}


def weighed(*steps):
    judge = Scripted("judge", steps)
    found = asyncio.run(alpaca_eval.ask_preference(judge, ask("m or M?")))
    return found, judge.asked


def logprobs(**chances):
    rows = [{"token": t, "logprob": math.log(p)} for t, p in chances.items()]
    first = max(chances, key=chances.get)
    top = {"token": first, "logprob": 0.0, "top_logprobs": rows}
    return Completion(Message("assistant", first), "judge", "length", logprobs=(top,))


def test_a_verdict_is_weighed_by_log_probabilities_where_there_are_some():
    found, asked = weighed(logprobs(m=0.6, M=0.2, x=0.2))

    assert (found.first, found.how) == (pytest.approx(0.75), alpaca_eval.WEIGHED)
    assert asked[0].sampling.max_tokens == 1
    assert asked[0].extra == {"logprobs": True, "top_logprobs": 5}


def test_without_them_one_token_counts_and_without_that_what_is_written():
    assert weighed("M")[0][:2] == (0.0, alpaca_eval.TOKEN)
    assert weighed(RejectedError("no logprobs here"), "I say:\n**m**")[0][:2] == (
        1.0, alpaca_eval.WRITTEN,
    )  # fmt: skip
    assert weighed("Th", "The better one is M, I think.")[0].first is None
    assert weighed(logprobs(x=0.9), "M")[0][:2] == (0.0, alpaca_eval.WRITTEN)


def graded_by(tmp_path, judge, asking):
    """One sample of Inspect, whose score is what *asking* makes of the judge in its role."""

    @scorer(metrics=[mean()])
    def probe():
        async def score(state, target):
            return await asking(GraderModel())

        return score

    models = {"a": Scripted("a", ["x"]), "judge": judge}
    with inspect_provider.use_models(evaluations.config_of(tmp_path), models):
        (log,) = inspect_ai.eval(
            Task(dataset=[Sample(input="?")], scorer=probe()), model=get_model("mixtura/a"),
            model_roles={"grader": get_model("mixtura/judge")}, display="none", ctl_server=False,
            log_dir=str(tmp_path / "logs"),
        )  # fmt: skip
    return log.samples[0].scores["probe"]


def test_the_judges_log_probabilities_come_through_inspect(tmp_path):
    async def asking(grader):
        found = await alpaca_eval.ask_preference(grader, ask("?", sampling=Sampling(seed=1)))
        return Score(value=found.first, metadata={"how": found.how})

    judge = Scripted("judge", [logprobs(m=0.5, M=0.5)])
    score = graded_by(tmp_path, judge, asking)

    assert (score.value, score.metadata["how"]) == (0.5, alpaca_eval.WEIGHED)
    assert judge.asked[0].extra["top_logprobs"] == 5


def test_a_judge_without_a_verdict_is_reminded_of_it_through_inspect_too(tmp_path):
    async def asking(grader):
        found = await ask_for_verdict(grader, ask("?"), mt_bench.parse_rating)
        return Score(value=found.verdict)

    judge = Scripted("judge", ["I liked it.", "Grade: 4"])

    assert graded_by(tmp_path, judge, asking).value == 4
    assert [m.role for m in judge.asked[1].messages] == ["user", "assistant", "user"]
    assert judge.asked[1].messages[1].text == "I liked it."
    assert judge.asked[1].messages[2].text == REMINDER


TEMPLATE = """<|im_start|>system
You compare.<|im_end|>
<|im_start|>user
{"instruction": "{instruction}", "m": "{output_1}", "M": "{output_2}"}<|im_end|>
"""


def test_a_template_is_filled_in_one_pass_and_spoken_as_it_says(tmp_path):
    file = tmp_path / "clf.txt"
    file.write_text(TEMPLATE)
    words, whose = alpaca_eval._load_template(str(file))
    request = alpaca_eval.judge_request(AnswerPair("Q {output_1}", "one", "two"), words)

    assert whose == "clf.txt"
    assert [m.role for m in request.messages] == ["system", "user"]
    assert request.messages[1].text == '{"instruction": "Q {output_1}", "m": "one", "M": "two"}'
    file.write_text("{instruction} {output_1}")
    with pytest.raises(ConfigError, match=r"the placeholder \{output_2\} is missing"):
        alpaca_eval._load_template(str(file))


# ---- Arena-Hard

HARD = [
    {"uid": f"u{n}", "category": "hard_prompt" if n % 2 else "creative_writing", "prompt": f"{n}?"}
    for n in range(4)
]  # fmt: skip
BASELINE = [
    {"uid": f"u{n}", "model": "o3-mini", "messages": [
        {"role": "user", "content": "?"}, {"role": "assistant", "content": {"answer": "bad " * 9}},
    ]}
    for n in range(4)
]  # fmt: skip


def arena(tmp_path, judges, says="good"):
    against = written(tmp_path / "o3.jsonl", BASELINE)
    with evaluating(tmp_path, players(says=lambda _: says, judges=judges)) as (up, config):
        return judged(tmp_path, config, "arena-hard", HARD, against=against), up.records


def test_arena_hard_plays_two_games_and_reads_the_last_of_five_verdicts(tmp_path):
    def judges(shown):
        return f"My own: 4. [[B>A]]? No.\n{'[[A>>B]]' if 'good' in shown['A'] else '[[B>A]]'}"

    result, records = arena(tmp_path, judges)

    assert (result.score, result.figures["win_rate"]) == (1.0, 100.0)
    assert sum(record.model == "judge" for record in records) == 8
    assert {line.name for line in result.tables["category"]} == {"hard_prompt", "creative_writing"}
    assert result.bias.position.consistent == 1.0


def test_a_strong_verdict_counts_three_times(tmp_path):
    result, _ = arena(tmp_path, lambda shown: "[[A>>B]]" if "good" in shown["A"] else "[[A>B]]")

    assert result.score == pytest.approx(3 / 4)
    assert result.figures["win_rate"] == pytest.approx(75)


@pytest.mark.parametrize("said", ["A>B", "[[A]]", "[[C>B]]", "[[A>A]]", ""])
def test_what_is_none_of_the_five_is_no_verdict(said):
    assert arena_hard.parse_preference(Completion(Message("assistant", said), "j")) is None


def test_style_control_finds_what_an_answer_is_worth_at_equal_style():
    rng = np.random.default_rng(7)
    count, worth, taste = 1500, 0.4, 1.5
    styles = rng.normal(0.5, 1, (count, 1))  # its answers are longer
    chances = 1 / (1 + np.exp(-(worth + taste * styles[:, 0])))
    outcomes = (rng.random(count) < chances).astype(float)
    fought = style.build_battles(
        [(n, outcomes[n], 1.0, [styles[n, 0], 0, 0, 0]) for n in range(count)]
    )

    raw, controlled = style.raw_win_rate(fought), style.style_controlled_rate(fought)
    fair = 1 / (1 + math.exp(-worth))
    assert raw.value > fair + 0.05
    assert controlled.low < fair < controlled.high
    assert controlled.value == pytest.approx(fair, abs=0.04)


def test_style_is_length_headings_lists_and_bold_outside_of_code():
    text = "# One\n\n- a\n- **b**\n1. c\n\n```\n# no\n- no\n```\n"

    assert style.measure_style(text) == (len(text), 1, 3, 1)
    assert style.style_difference(style.measure_style(""), style.measure_style("")) == [
        0.0,
        0.0,
        0.0,
        0.0,
    ]
    assert style.style_difference(style.measure_style("long text"), style.measure_style("x"))[
        0
    ] == pytest.approx(0.8)


# ---- the judge itself


@pytest.mark.parametrize(
    ("name", "made_by"),
    [
        ("openai/gpt-5.4", "openai"), ("gpt4_1106_preview", "openai"),
        ("o3-mini-2025-01-31", "openai"), ("groq/llama-3.3-70b-versatile", "meta"),
        ("together/Qwen/Qwen2.5-72B-Instruct", "qwen"), ("/my/qwen2.5-coder-0.5b.gguf", "qwen"),
        ("openrouter/anthropic/claude-opus-5", "anthropic"), ("ollama/gemma3", "google"),
        ("google/gemini-2.0-flash-001", "google"), ("smollm2-135m", "huggingface"),
        ("nvidia/llama-3.1-nemotron-70b", "nvidia"), ("deepseek-r1-distill-qwen-7b", "deepseek"),
        ("house", None), ("team", None), ("commander", None),
    ],
)  # fmt: skip
def test_a_models_family_is_told_by_its_name(name, made_by):
    assert model_family(name) == made_by


def test_a_judge_of_a_family_that_takes_part_is_warned_of_and_what_that_gains_is_told(tmp_path):
    text = evaluations.CONFIG.replace('model = "judge"', 'model = "gpt-4.1"')
    assert text != evaluations.CONFIG
    config = evaluations.config_of(tmp_path, text.format(url="http://127.0.0.1:1/v1"))
    judge = families.plan_model_names(config, config.mixture_spec("judge"))

    assert judge == {"/gpt-4.1"}
    ours = families.find_family_overlap(
        judge, families.plan_model_names(config, config.mixture_spec("team")), {"gpt4_turbo"}
    )
    assert ours.side == -1
    assert "gpt4_turbo, of its own family (openai)" in ours.warnings[0]
    assert (
        "at least in part, by the judge itself"
        in families.find_family_overlap({"x/y"}, {"x/y"}, set()).warnings[0]
    )
    assert families.find_family_overlap(judge, {"qwen3"}, {"llama-3"}) == families.FamilyOverlap()


def test_a_judge_that_favours_its_own_family_is_measured(tmp_path):
    rows = [row | {"generator": "b-of-qwen"} for row in INSTRUCTIONS]
    config_text = evaluations.CONFIG.replace('model = "judge"', 'model = "qwen-judge"')

    def otherwise(record):
        if record.model != "qwen-judge":
            return Script("good")
        return Script("m" if material(record.prompt)["m"] == "bad" else "M")

    with running(otherwise) as upstream:
        config = evaluations.config_of(tmp_path, config_text.format(url=upstream.base_url()))
        against = written(tmp_path / "b.json", rows)
        result = judged(tmp_path, config, "alpaca-eval", rows, against=against)

    assert result.score == 0.0
    assert "qwen" in result.notes[0]
    assert result.bias.own_family.value == 0.5


def test_agreement_with_peoples_labels_is_measured(tmp_path):
    labels = [{"id": n + 1, "label": "model" if n else "other"} for n in range(6)]
    file = written(tmp_path / "labels.jsonl", labels)
    result, _ = alpaca(tmp_path, prefers_good, labels=file)

    assert result.bias.agreement.accuracy.value == pytest.approx(5 / 6)
    wrong = written(tmp_path / "wrong.jsonl", [{"id": 1, "label": "mine"}])
    with pytest.raises(ConfigError, match="the label 'mine' is not one of model, other, tie"):
        alpaca(tmp_path / "anew", prefers_good, labels=wrong)
    assert not (tmp_path / "anew" / "logs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"task": "mt-bench", "judge": None}, "mt-bench needs a judge: give --judge MODEL"),
        ({"task": "flask", "against": "b"}, "--against is for mt-bench, alpaca-eval, arena-hard"),
        ({"task": "mt-bench", "against": "nowhere"}, "nowhere"),
        ({"task": "mt-bench", "against": "nowhere.jsonl"}, "nowhere.jsonl cannot be read"),
        ({"task": "mt-bench", "rows": [{"question_id": 1}]}, "line 1: `turns` is missing"),
        ({"task": "arena-hard", "against": "rows.jsonl"}, "line 1: it has no id, or no answer"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_said_before_anything_is_asked(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    rows = {"rows": QUESTIONS, "judge": "judge", "references": None} | words
    data = written(tmp_path / "rows.jsonl", rows.pop("rows"))
    with evaluating(tmp_path) as (upstream, config):
        with pytest.raises(ConfigError, match=said):
            evaluate(
                config,
                config.mixture_spec("a"),
                EvalRequest(data=data, **rows),
                logs=tmp_path / "logs",
            )
        assert upstream.records == []


def test_a_local_models_file_stands_beside_as_a_model_and_not_as_answers(tmp_path):
    (tmp_path / "tiny.gguf").touch()
    with evaluating(tmp_path) as (_, config):
        data = written(tmp_path / "rows.jsonl", QUESTIONS)
        asked = EvalRequest(
            task="mt-bench", data=data, judge="b", against=str(tmp_path / "tiny.gguf")
        )
        ready = prepare_eval(config, config.mixture_spec("a"), asked, logs=tmp_path / "logs")

    assert ready.players.other.name.endswith("tiny.gguf")


def test_every_task_that_is_named_can_be_run():
    assert tuple(TASK_SPECS) == TASK_NAMES


def test_the_forecast_counts_every_answer_and_verdict_and_their_price(tmp_path):
    with evaluating(tmp_path) as (_, config):
        data = written(tmp_path / "rows.jsonl", QUESTIONS)
        asked = EvalRequest(task="mt-bench", data=data, judge="b", against="c")
        found = prepare_eval(
            config, config.mixture_spec("team"), asked, logs=tmp_path / "logs"
        ).forecast_remaining()

    assert (found.samples, found.calls) == (2, 2 * (2 * 3 + 2 * 1 + 4))
    assert found.dollars > 0
