"""A mixture and what it has to beat, on the same prompts: who wins is known beforehand here."""

from __future__ import annotations

import io
import json
import math
import re
from contextlib import contextmanager
from html import escape

import pytest
from rich.console import Console

from mixtura.config.config import load
from mixtura.core.errors import ConfigError
from mixtura.core.token_estimate import DEFAULT_ANSWER_TOKENS
from mixtura.core.types import Sampling
from mixtura.evals.comparison import baselines
from mixtura.evals.comparison.baselines import VOTE
from mixtura.evals.comparison.forecast import forecast_comparison
from mixtura.evals.comparison.run import JUDGE_PROGRESS_NAME, run_comparison
from mixtura.evals.comparison.settings import ComparisonSettings
from mixtura.evals.eval_request import EvalRequest
from mixtura.reports.comparison_page import comparison_page
from mixtura.terminal.comparison import render_comparison as rendered
from tests.support import shell
from tests.support.evaluations import REFUSED, written
from tests.support.upstream import Script, running

# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")

MODELS = "".join(
    f'[models.{name}]\nbase_url = "{{url}}"\nmodel = "{name}"\nretries = 0\n'
    "price = {{ input = 1.0, output = 2.0 }}\n"
    for name in ("a", "b", "judge")
)
CONFIG = MODELS + '[mixtures.team]\nlayers = [["a", "b"]]\naggregator = "b"\n'
SUMS = [{"question": f"What is {n} plus {n}?", "answer": f"#### {2 * n}"} for n in range(10, 14)]
OPEN = [{"question": f"What is the number {n}?"} for n in range(10, 14)]


def asked_for(record):
    """The number that the question is about."""
    return int(re.findall(r"(?:What is|the number) (\d+)", record.prompt)[0])


def synthesis(record):
    """Whether it is shown proposals."""
    return '"answer"' in record.prompt or "draft" in record.prompt.lower()


def together(record):
    """Alone, a is right on every second prompt and b never; shown proposals, everyone is right."""
    number = asked_for(record)
    right = synthesis(record) or (record.model == "a" and number % 2)
    return Script(f"#### {2 * number if right else 1}")


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    for kind in ("DATA", "CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))


@contextmanager
def comparing(tmp_path, otherwise, text=CONFIG):
    """An upstream, and a function that compares on it."""
    with running(otherwise) as upstream:
        file = tmp_path / "mixtura.toml"
        file.write_text(text.format(url=upstream.base_url()))

        def compared(*names, rows=SUMS, judge=None, watch=None, fresh=False, max_cost=None):
            environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
            config = load(str(file), environ=environ, folder=tmp_path, home=tmp_path, cache=True)
            data = written(tmp_path / "rows.jsonl", rows)
            task, scoring = ("jsonl", "none") if judge else ("gsm8k", None)
            terms = ComparisonSettings(
                asked=EvalRequest(task=task, data=data, seed=0, scoring=scoring),
                judge=judge, logs=tmp_path / "logs", fresh=fresh, max_cost=max_cost,
            )  # fmt: skip
            try:
                return run_comparison(config, names or ["team"], terms, watch=watch)
            finally:
                config.store.close()

        yield upstream, compared


typed_command = shell.typed_command


@pytest.fixture
def typed(tmp_path, typed_command):
    """A command as a person types it; *folder* puts a configuration and rows where it is typed."""

    def folder(text):
        (tmp_path / "mixtura.toml").write_text(text)
        written(tmp_path / "rows.jsonl", SUMS)
        written(tmp_path / "open.jsonl", OPEN)

    typed_command.folder = folder
    return typed_command


def by_name(found):
    return {row.name: row for row in found.contenders}


def pairs_of(found):
    return {pair.theirs: pair for pair in found.pairs}


def matches_of(found):
    return [(pair.ours, pair.theirs) for pair in found.pairs]


# ---- who takes part


def plan_of(tmp_path, text):
    file = tmp_path / "mixtura.toml"
    file.write_text(text.format(url="http://127.0.0.1:9"))
    return load(str(file), environ={}, folder=tmp_path, home=tmp_path)


def test_the_opponents_have_the_mixtures_own_shape_and_proposals(tmp_path):
    text = f'{MODELS}[mixtures.deep]\nlayers = [["a*2", "b"], ["b", "a"]]\naggregator = "judge"\n'
    config = plan_of(tmp_path, text)
    plan = config.mixture_spec("deep")

    drawn = baselines.self_moa_baseline(plan, "a").plan
    ranked, voted = (one.plan for one in baselines.choice_baselines(plan, "number"))

    assert [one.name for one in baselines.member_baselines(config, plan)] == ["a", "b", "judge"]
    assert config.count_calls(drawn) == config.count_calls(plan) == 6
    assert drawn.member_names() == {"a"}
    assert ranked.layers == voted.layers == plan.layers
    assert (ranked.aggregator, voted.aggregator) == ("judge", VOTE)
    assert (config.count_calls(ranked), config.count_calls(voted)) == (6, 5)


def test_a_mixture_of_one_models_draws_is_not_compared_with_itself(tmp_path):
    config = plan_of(tmp_path, MODELS + '[mixtures.s]\nlayers = [["a*3"]]\naggregator = "a"\n')

    assert baselines.self_moa_baseline(config.mixture_spec("s"), "a") is None
    assert baselines.self_moa_baseline(config.mixture_spec("s"), "b") is not None


def test_the_money_buys_draws_that_are_counted_or_else_brought_together(tmp_path):
    plan = plan_of(tmp_path, CONFIG).mixture_spec("team")

    counted = baselines.equal_cost_baseline(plan, "a", 4.6, "number", 0.5).plan
    written_up = baselines.equal_cost_baseline(plan, "a", 4.6, "text", 0.5).plan

    assert (counted.layers[0][0].samples, counted.aggregator) == (5, VOTE)
    # two draws, what they wrote once more, and an answer: 2 + 2 * 0.5 + 1 of 4.6
    assert (written_up.layers[0][0].samples, written_up.aggregator) == (2, "a")
    assert baselines.equal_cost_baseline(plan, "a", 1.2, "number", 0.5) is None
    assert (
        baselines.equal_cost_baseline(plan, "a", 1e9, "number", 0.5).plan.layers[0][0].samples == 64
    )


def test_a_member_is_drawn_alone_as_it_is_in_its_seat(tmp_path):
    text = (
        MODELS
        + """[mixtures.team]
layers = [[{{ model = "a", sampling = {{ temperature = 0.1 }} }}, "b"]]
aggregator = "judge"
sampling = {{ temperature = 0.9, max_tokens = 50 }}
"""
    )
    config = plan_of(tmp_path, text)
    plan = config.mixture_spec("team")
    alone = {one.name: one.plan.sampling for one in baselines.member_baselines(config, plan)}
    bought = baselines.equal_cost_baseline(plan, "a", 4.0, "number", 1.0).plan.layers[0][0].sampling

    assert alone["a"] == bought == Sampling(temperature=0.1, max_tokens=50)
    assert alone["b"].temperature == alone["judge"].temperature == 0.9


def test_the_models_of_a_nested_mixture_are_members_too(tmp_path):
    text = CONFIG + '[mixtures.outer]\nlayers = [["team", "judge"]]\naggregator = "judge"\n'
    config = plan_of(tmp_path, text)

    members = baselines.member_baselines(config, config.mixture_spec("outer"))
    assert [one.name for one in members] == ["a", "b", "judge"]


# ---- checked answers


def test_a_mixture_that_is_right_where_its_members_are_wrong_is_better(tmp_path):
    with comparing(tmp_path, together) as (_, compared):
        found = compared()
    rows, pairs = by_name(found), pairs_of(found)

    assert {name: row.score for name, row in rows.items()} == {
        "team": 1.0, "a": 0.5, "b": 0.0, "team/self": 1.0, "team/rank": 0.5, "team/vote": 0.5,
        "team/money": 0.5,
    }  # fmt: skip
    assert found.pairs[0].theirs == "a"
    assert (pairs["b"].wins, pairs["b"].losses, pairs["b"].difference) == (4, 0, 1.0)
    assert (pairs["a"].wins, pairs["a"].draws, pairs["a"].difference) == (2, 2, 0.5)
    assert found.verdict.startswith("team against a, its best member: ")
    assert rows["team"].cost_usd == pytest.approx(pairs["a"].times * rows["a"].cost_usd)
    assert [one.by for one in found.told if one.theirs == "a"] == [1.0, 1.0]


def test_the_proposals_are_made_once_and_a_second_run_makes_none(tmp_path):
    seen = []
    with comparing(tmp_path, together) as (upstream, compared):
        first = compared(watch=lambda name, progress: seen.append((name, progress.done)))
        calls = len(upstream.records)
        again = compared()

        proposals = [r for r in upstream.records if r.model == "b" and not synthesis(r)]
        assert len(proposals) == len(SUMS)  # b alone, in the mixture, ranked and voted
        assert len(upstream.records) == calls
        assert again.verdict == first.verdict
        paid = upstream.ledger()
    assert first.spent_usd == again.spent_usd == pytest.approx(
        (paid.prompt + 2 * paid.completion) / 1e6
    )  # fmt: skip
    assert ("team/vote", 4) in seen


def test_what_a_contender_takes_is_counted_as_if_nothing_had_been_shared(tmp_path):
    with comparing(tmp_path, together) as (_, compared):
        rows = by_name(compared())

    voted = rows["a"].tokens + rows["b"].tokens
    assert rows["team/vote"].tokens == voted
    assert rows["team"].tokens > voted
    assert all(row.seconds > 0 for row in rows.values())


def test_the_same_answers_on_both_sides_are_no_difference(tmp_path):
    with comparing(tmp_path, lambda record: Script("#### 20")) as (_, compared):
        found = compared()

    assert {pair.difference for pair in found.pairs} == {0.0}
    assert "no difference seen with 4 prompts" in found.verdict
    assert found.told == ()


def test_a_failed_answer_is_missing_on_its_side_and_no_zero(tmp_path):
    def failing_once(record):
        script = together(record)
        return (
            Script("", ever=REFUSED) if record.model == "a" and asked_for(record) == 10 else script
        )

    with comparing(tmp_path, failing_once) as (_, compared):
        found = compared()
    rows, pairs = by_name(found), pairs_of(found)

    assert (rows["a"].n, rows["a"].missing, rows["a"].score) == (3, 1, pytest.approx(2 / 3))
    assert (rows["team"].n, pairs["a"].n) == (4, 3)
    assert any(said.startswith("a: 1 of 4 answers missing") for said in found.warnings)


def test_a_member_that_hardly_ever_answers_is_not_the_best(tmp_path):
    def rarely(record):
        if record.model == "b" and not synthesis(record):
            return Script("#### 22", ever=REFUSED if asked_for(record) != 11 else None)
        return together(record)

    with comparing(tmp_path, rarely) as (_, compared):
        found = compared()

    assert (by_name(found)["b"].score, by_name(found)["b"].missing) == (1.0, 3)
    assert "team against a, its best member" in found.verdict
    assert not any("Error('" in said for said in found.warnings)


def test_a_model_that_is_named_before_its_mixture_is_compared_with_it_once(tmp_path):
    with comparing(tmp_path, together) as (_, compared):
        found = compared("a", "team")

    assert [set(match) for match in matches_of(found)].count({"a", "team"}) == 1


def test_mixtures_are_compared_with_each_other_too(tmp_path):
    text = CONFIG + '[mixtures.other]\nlayers = [["a"]]\naggregator = "a"\n'
    with comparing(tmp_path, together, text) as (_, compared):
        found = compared("team", "other")

    matches = matches_of(found)
    assert ("team", "other") in matches
    assert ("other", "a") in matches
    assert matches[0] == ("team", "a")
    assert len(set(matches)) == len(matches)


def test_several_models_are_compared_without_any_mixture(tmp_path):
    with comparing(tmp_path, together) as (_, compared):
        found = compared("a", "b")

    assert [(pair.ours, pair.theirs, pair.difference) for pair in found.pairs] == [("a", "b", 0.5)]


def test_the_cap_is_for_everyone_together(tmp_path):
    with comparing(tmp_path, together) as (upstream, compared):
        with_cap = compared(max_cost=0.02)
        spent = upstream.ledger()

    assert (spent.prompt + 2 * spent.completion) / 1e6 <= 0.02
    assert any("could cost up to" in said for said in with_cap.warnings), with_cap.warnings


# ---- a judge


def judged_by(verdict):
    """The judge says *verdict* of the texts of A and B; the mixture answers at more length."""

    def otherwise(record):
        if record.model == "judge":
            shown = json.loads(
                record.prompt[record.prompt.index("{") : record.prompt.rindex("}") + 1]
            )
            return Script(f"Because.\nVerdict: {verdict(shown['A'], shown['B'])}")
        return Script(
            f"good {record.model} answer" if synthesis(record) else f"{record.model} says"
        )

    return otherwise


def good(a, b):
    better = ("good" in a) - ("good" in b)
    return "tie" if not better else "A" if better > 0 else "B"


def test_a_judge_reads_both_orders_and_the_best_answers_win(tmp_path):
    with comparing(tmp_path, judged_by(good)) as (upstream, compared):
        found = compared(rows=OPEN, judge="judge")
        games = [r for r in upstream.records if r.model == "judge"]
    rows, pairs = by_name(found), pairs_of(found)

    assert found.measure == "win rate"
    assert (pairs["a"].difference, pairs["a"].wins) == (0.5, 4)
    assert (rows["team"].score, rows["a"].score, rows["team/self"].score) == (0.5, 0.0, 0.5)
    assert len({r.prompt for r in games}) == len(games)
    assert (found.bias.consistent, found.bias.position_shift) == (1.0, 0.0)


def test_a_judge_that_prefers_a_place_finds_no_difference_and_is_told_of(tmp_path):
    with comparing(tmp_path, judged_by(lambda a, b: "A")) as (_, compared):
        found = compared(rows=OPEN, judge="judge")

    assert {pair.difference for pair in found.pairs} == {0.0}
    assert (found.bias.consistent, found.bias.first) == (0.0, 1.0)


def test_a_win_rate_is_no_further_from_one_half_than_it_can_be(tmp_path):
    with comparing(tmp_path, judged_by(good)) as (_, compared):
        pair = pairs_of(compared(rows=OPEN, judge="judge"))["a"]

    assert pair.difference == pair.high == 0.5
    assert pair.low == pytest.approx(0.5 - (1 - 0.025**0.25))


def test_a_mixture_that_failed_has_no_win_rate_there(tmp_path):
    def failing(record):
        bad = record.model == "b" and synthesis(record) and asked_for(record) == 10
        return Script("", ever=REFUSED) if bad else judged_by(good)(record)

    with comparing(tmp_path, failing) as (_, compared):
        team = by_name(compared(rows=OPEN, judge="judge"))["team"]

    assert (team.score, team.n, team.missing) == (0.5, 3, 1)


def test_verdicts_that_an_earlier_run_paid_for_count_before_the_cap(tmp_path):
    with comparing(tmp_path, judged_by(good)) as (upstream, compared):
        first = compared(rows=OPEN, judge="judge")
        calls = len(upstream.records)
        again = compared(rows=OPEN, judge="judge")
        assert len(upstream.records) == calls
        paid = upstream.ledger()

    ledger = (paid.prompt + 2 * paid.completion) / 1e6
    assert first.spent_usd == pytest.approx(ledger)
    assert again.spent_usd == pytest.approx(ledger)


def test_a_cap_with_room_for_one_verdict_at_a_time_has_them_all_read(tmp_path):
    with comparing(tmp_path, judged_by(good)) as (_, compared):
        found = compared(rows=OPEN, judge="judge", max_cost=0.06)

    assert (pairs_of(found)["a"].n, pairs_of(found)["b"].n) == (4, 4)
    assert not any("unjudged" in said for said in found.warnings)


def test_a_judge_without_a_price_is_refused_under_a_cap_before_anyone_is_asked(tmp_path):
    unpriced = CONFIG.replace('"judge"\nretries = 0\nprice', '"judge"\nretries = 0\n#')
    with comparing(tmp_path, judged_by(good), unpriced) as (upstream, compared):
        with pytest.raises(ConfigError, match="that of judge is unknown"):
            compared(rows=OPEN, judge="judge", max_cost=1.0)

        assert upstream.records == []


def test_equal_prompts_are_told_of(tmp_path):
    with comparing(tmp_path, lambda record: Script("#### 1")) as (_, compared):
        found = compared(rows=[*SUMS[:2], SUMS[0]])

    assert any("1 of 3 prompts ask the same as an earlier one" in said for said in found.warnings)


def test_a_judge_that_takes_part_is_told_of(tmp_path):
    with comparing(tmp_path, lambda record: Script("Verdict: tie")) as (_, compared):
        found = compared(rows=OPEN[:2], judge="a")
        other = compared(rows=OPEN[:2], judge="judge")

    assert any("the judge a may be biased" in said for said in found.warnings)
    assert other.warnings == ()


def test_a_verdict_that_cannot_be_read_is_missing_and_said(tmp_path):
    with comparing(tmp_path, judged_by(lambda a, b: "perhaps")) as (_, compared):
        found = compared(rows=OPEN, judge="judge")

    assert found.pairs == ()
    assert by_name(found)["a"].score is None
    assert "No result: " in found.verdict
    assert any("4 of 4 pairs have no verdict: " in said for said in found.warnings)


# ---- before anything is paid, and the command


def test_the_estimate_bounds_what_it_takes_and_asks_no_one(tmp_path):
    with running(together) as upstream:
        config = plan_of(tmp_path, CONFIG.replace("{url}", upstream.base_url()))
        asked = EvalRequest(task="gsm8k", data=written(tmp_path / "rows.jsonl", SUMS))
        before = forecast_comparison(config, ["team"], ComparisonSettings(asked=asked))
        assert upstream.records == []
    with comparing(tmp_path, together) as (upstream, compared):
        found = compared()
        assert len(upstream.records) <= before.calls

    assert before.prompts == 4
    assert found.spent_usd < before.max_cost_usd
    assert before.shows == pytest.approx(2.8016 * 0.5 / math.sqrt(4), rel=1e-3)


def test_the_estimate_knows_how_much_of_a_cheap_member_a_dear_mixture_buys(tmp_path):
    dear = 'aggregator = "judge"\n'
    text = CONFIG.replace('aggregator = "b"\n', dear).replace(
        '"judge"\nretries = 0\nprice = {{ input = 1.0',
        '"judge"\nretries = 0\nprice = {{ input = 99.0',
    )
    config = plan_of(tmp_path, text)
    asked = EvalRequest(task="gsm8k", data=written(tmp_path / "rows.jsonl", SUMS))

    assert forecast_comparison(
        config, ["team"], ComparisonSettings(asked=asked)
    ).calls > baselines.MOST_DRAWS * len(SUMS)


def test_the_estimate_has_the_judge_of_models_and_all_that_it_reads(tmp_path):
    config = plan_of(tmp_path, CONFIG)
    asked = EvalRequest(task="jsonl", scoring="none", data=written(tmp_path / "rows.jsonl", OPEN))
    alone = forecast_comparison(config, ["a", "b"], ComparisonSettings(asked=asked))
    judged = forecast_comparison(config, ["a", "b"], ComparisonSettings(asked=asked, judge="judge"))

    readings = judged.calls - alone.calls
    assert readings >= 2 * len(OPEN)
    assert judged.max_cost_usd - alone.max_cost_usd > readings * 2 * DEFAULT_ANSWER_TOKENS * 1e-6


def test_what_cannot_be_compared_is_said_at_once(tmp_path):
    config = plan_of(tmp_path, CONFIG)
    terms = ComparisonSettings(
        asked=EvalRequest(task="gsm8k", data=written(tmp_path / "rows.jsonl", SUMS))
    )

    with pytest.raises(ConfigError, match="a is a single model"):
        forecast_comparison(config, ["a"], terms)
    with pytest.raises(ConfigError, match="unknown"):
        forecast_comparison(config, ["teem"], terms)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Which mixture?"),
        (["team"], "--on is missing"),
        (["team", "--on", "rows.jsonl", "--task", "gsm8k", "--judge", "judge"], "one of the two"),
        (["team", "--on", "nowhere.jsonl", "--task", "gsm8k"], "nowhere.jsonl cannot be read"),
        (["team", "--on", "rows.jsonl", "--task", "poetry"], "no task is called 'poetry'"),
        (["team", "--on", "rows.jsonl", "--task", "math"], "line 1"),
        (["team", "--on", "rows.jsonl", "--task", "gsm8k", "--html", "."], "is a folder"),
        (["team", "--on", "rows.jsonl", "--scoring", "none"], "--judge NAME"),
        (["team", "--on", "open.jsonl"], "compare --judge NAME"),
        (["team", "--on", "rows.jsonl", "--task", "flask"], "is for mixtura eval"),
    ],
)
def test_a_wrong_command_says_what_would_be_right(typed, words, said):
    typed.folder(CONFIG.format(url="http://127.0.0.1:9"))

    code, out, err = typed("compare", *words)

    assert (code, out) == (2, "")
    assert said in err


def test_the_command_says_the_verdict_in_a_table_and_the_same_as_json(typed):
    with running(together) as upstream:
        typed.folder(CONFIG.format(url=upstream.base_url()))
        how = ["compare", "team", "--on", "rows.jsonl", "--task", "gsm8k"]
        _, before, _ = typed(*how, "--dry-run", "--json")
        assert upstream.records == []
        code, out, err = typed(*how)
        data = json.loads(typed(*how, "--json")[1])

    assert json.loads(before)["prompts"] == 4
    assert code == 0
    assert "team against a, its best member" in out
    assert "Largest wins against a" in out
    assert "at most" in err
    assert {"name", "score", "low", "high", "cost_usd", "seconds", "tokens"} <= set(
        data["contenders"][0]
    )
    assert {"difference", "low", "high"} <= set(data["pairs"][0])
    assert data["verdict"] in out.replace("\n", " ")


def test_the_page_has_the_verdict_and_both_answers_and_trusts_none_of_them(tmp_path):
    hostile = "<script>alert(1)</script><img src=x>"

    def otherwise(record):
        script = together(record)
        return Script(f"{hostile} {''.join(script.text)}")

    with comparing(tmp_path, otherwise) as (_, compared):
        found = compared()
    html = comparison_page(found, "mixtura compare \x1b[31m<team>")

    assert escape(found.verdict[1:]) in html
    assert html.count("<script") == html.count("<img") == 0
    assert escape(hostile) in html
    assert "&lt;team&gt;" in html
    assert "\x1b" not in html
    assert "default-src 'none'" in html
    assert html.count("<figure") == 2


def test_a_page_that_cannot_be_written_is_said_before_anything_is_asked(typed):
    with running(together) as upstream:
        typed.folder(CONFIG.format(url=upstream.base_url()))
        how = ["compare", "team", "--on", "rows.jsonl", "--task", "gsm8k", "--html", "no/p.html"]
        code, _, err = typed(*how)

        assert code == 2
        assert "there is no folder no" in err
        assert upstream.records == []


def test_every_contender_is_named_with_its_figures_however_narrow_it_is(tmp_path):
    with comparing(tmp_path, together) as (_, compared):
        found = compared()
    for width in (60, 80, 120):
        screen = Console(width=width, file=io.StringIO())
        screen.print(rendered(found, width))
        said = screen.file.getvalue()

        assert all(name in said for name in by_name(found))
        assert "(+0 to +100)" in said
        assert "…" not in said


def test_progress_tells_of_the_judge_by_name(tmp_path):
    seen = []
    with comparing(tmp_path, judged_by(good)) as (_, compared):
        compared(rows=OPEN[:2], judge="judge", watch=lambda name, _: seen.append(name))

    assert JUDGE_PROGRESS_NAME in seen
