"""The simulation behind the plan of a large batch: it agrees with arithmetic where that is easy."""

from dataclasses import replace

import pytest
from bench.cluster_plan import Endpoint, Plan, describe, read_figures, simulate

QUIET = Plan(
    prompts=1e5,
    endpoints=(Endpoint("only", 1, concurrency=100, seconds=2.0, dollars=0.01, throttled=0.0),),
    workers=4,
    shards=1,
    worker_deaths=0.0,
    owner_deaths=0.0,
)


def test_where_nothing_fails_an_endpoint_takes_its_calls_one_after_the_other():
    figures, _ = read_figures()

    course = simulate(QUIET, figures)

    assert course.seconds == pytest.approx(1e5 / 50, rel=0.05)
    assert course.dollars == pytest.approx(1000.0)
    assert course.repeated == 0
    assert set(course.held_by) == {"only"}


def test_deaths_are_paid_with_calls_made_again_and_a_slow_worker_holds_the_batch_back():
    figures, _ = read_figures()
    figures = replace(figures, worker_call=0.5)
    plan = replace(QUIET, worker_deaths=2.0)

    course = simulate(plan, figures)

    assert course.worker_deaths > 0
    assert course.repeated > 0
    assert course.dollars > 1000.0
    assert max(course.held_by, key=course.held_by.get) == "workers"


def test_each_plan_of_the_file_ends_and_a_billion_prompts_fit_its_shards():
    figures, plans = read_figures()

    told = describe(plans["billion"], figures, simulate(plans["billion"], figures))

    assert told["calls"] == 3e9
    assert told["hours"] < 48
    assert told["limit_owner_core"] < 1
    assert "owners" not in told["held_back_by"]
