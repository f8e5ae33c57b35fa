"""A batch on workers of a Ray cluster: the same as in one process, whoever is killed meanwhile."""

import json
import random
import signal
import time

import pytest

from tests.support.batches import PRICE, read_lines, steady, team_toml, write_rows
from tests.support.command_line import desk  # noqa: F401 - a fixture
from tests.support.paths import DATA
from tests.support.ray_workers import find_workers, kill_worker
from tests.support.upstream import Script, running

CONCURRENCY = 4
LOCAL = ("batch", "in.jsonl", "out.jsonl", "-m", "team", "--json")
RAY = (*LOCAL, "--engine", "ray", "--workers", "2")


@pytest.fixture(autouse=True)
def with_ray():
    pytest.importorskip("ray", reason="the package ray is not installed")


def await_calls(upstream, process, count):
    """Return once *count* calls came in, or the process has ended."""
    while len(upstream.records) < count and process.poll() is None:
        time.sleep(0.002)


def check_whole(desk, names, calm):  # noqa: F811
    assert [line["custom_id"] for line in read_lines(desk.folder / "out.jsonl")] == names
    assert (desk.folder / "out.jsonl").read_bytes() == calm
    assert not list(desk.folder.glob("*-workers"))


def test_after_kills_of_a_worker_and_of_the_batch_one_process_ends_it_with_the_same_output(desk):  # noqa: F811
    with running(steady((0.02, 0.05))) as upstream:
        desk.write(team_toml(upstream.base_url(), concurrency=CONCURRENCY))
        names = write_rows(desk.folder / "in.jsonl", 60, equal=4)
        before = desk.run("batch", "in.jsonl", "calm.jsonl", "-m", "team", "--quiet")
        assert before.code == 0, before.err
        calm, once = (desk.folder / "calm.jsonl").read_bytes(), len(upstream.records)
        process = desk.start(*RAY)
        await_calls(upstream, process, once + 20)
        workers = find_workers(process.pid)
        assert len(workers) == 2, process.poll()
        assert kill_worker(workers[0])
        await_calls(upstream, process, once + 100)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        said, aside = process.communicate()
        assert [json.loads(line)["event"] for line in said.splitlines()]
        assert b"died and is replaced" in aside

        done = desk.run(*LOCAL)

        assert done.code == 0, done.err
        end = json.loads(done.out.splitlines()[-1])
        check_whole(desk, names, calm)
        again = len(upstream.records) - 2 * once
        assert 0 <= again <= end["lost_calls"] <= 2 * 3 * 3 * CONCURRENCY


def kill_until_done(desk, upstream, dice, driver_kills):  # noqa: F811
    """One batch; workers are killed now and then, and itself at most *driver_kills* times."""
    workers = drivers = 0
    while True:
        process = desk.start(*RAY)
        kills_driver = drivers < driver_kills
        for _ in range(3):
            await_calls(upstream, process, len(upstream.records) + dice.randint(5, 40))
            time.sleep(dice.uniform(0, 0.02))
            alive = find_workers(process.pid)
            if alive and process.poll() is None:
                workers += kill_worker(dice.choice(alive))
        if kills_driver:
            await_calls(upstream, process, len(upstream.records) + dice.randint(1, 30))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                drivers += 1
                continue
        out, err = process.communicate()
        if (
            b"cannot be started" in err
        ):  # Ray gives its parts 30 s to start, and the machine is busy
            continue
        assert process.returncode == 0, err
        return workers, drivers, json.loads(out.splitlines()[-1])


@pytest.mark.soak
def test_fifty_kills_of_workers_and_twenty_of_the_driver_lose_nothing(desk):  # noqa: F811
    dice, workers, drivers, lost, repeated, batches = random.Random(5), 0, 0, 0, 0, 0
    with running(steady((0.01, 0.04))) as upstream:
        desk.write(team_toml(upstream.base_url(), concurrency=CONCURRENCY))
        names = write_rows(desk.folder / "in.jsonl", 400, equal=5)
        before = desk.run("batch", "in.jsonl", "calm.jsonl", "-m", "team", "--quiet")
        assert before.code == 0, before.err
        calm = (desk.folder / "calm.jsonl").read_bytes()
        while workers < 50 or drivers < 20:
            for path in desk.folder.glob("out.*"):
                path.unlink()
            asked = len(upstream.records)
            some, ended, end = kill_until_done(desk, upstream, dice, 10)
            workers, drivers, batches = workers + some, drivers + ended, batches + 1
            again = len(upstream.records) - asked - 3 * len(names)
            check_whole(desk, names, calm)
            assert 0 <= again <= end["lost_calls"] <= 4 * CONCURRENCY * (some + ended)
            lost, repeated = lost + end["lost_calls"], repeated + again
            print(
                f"{workers} kills of workers and {drivers} of drivers in {batches} batches,"
                f" {lost} calls lost, {repeated} requests beyond one each",
                flush=True,
            )


PROPOSERS = ("Qwen1.5-72B-Chat", "Mixtral-8x22B-Instruct-v0.1", "Meta-Llama-3-70B-Instruct")
AGGREGATOR = "Together-MoA-Lite"


def replayed_answers():
    """The published answers to the 805 prompts of AlpacaEval, by model and instruction."""
    folder = DATA / "alpaca_eval" / "model_outputs"
    if not folder.is_dir():
        pytest.skip("the published outputs are not here: name their folder in MIXTURA_TEST_DATA")
    return {
        model: {
            one["instruction"].strip(): one["output"].strip()
            for one in json.loads(path.read_text("utf-8"))
        }
        for model in (*PROPOSERS, AGGREGATOR)
        for path in [folder / f"{model}.json"]
    }


@pytest.mark.soak
def test_805_prompts_of_alpaca_eval_give_the_same_results_in_one_process_and_on_two_workers(desk):  # noqa: F811
    answers = replayed_answers()
    longest = sorted(answers[AGGREGATOR], key=len, reverse=True)

    def replay(record):
        # The aggregator reads the question before the drafts, or behind them.
        said = record.body["messages"][-1]["content"].strip()
        last = next(one for one in longest if said.startswith(one) or said.endswith(one))
        return Script(answers[record.model][last], delay=0.01)

    with running(replay) as upstream:
        models = "".join(
            f'[models."{name}"]\nbase_url = "{upstream.base_url()}"\nmodel = "{name}"\n{PRICE}'
            for name in (*PROPOSERS, AGGREGATOR)
        )
        mixture = f"layers = [{json.dumps(PROPOSERS)}]\naggregator = {json.dumps(AGGREGATOR)}\n"
        desk.write(f"{models}[mixtures.team]\n{mixture}")
        rows = [{"id": str(n), "prompt": one} for n, one in enumerate(answers[AGGREGATOR])]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (desk.folder / "in.jsonl").write_text(lines)
        results = {}
        for engine in ("local", "ray"):
            words = ("batch", "in.jsonl", f"{engine}.jsonl", "-m", "team", "--quiet")
            more = ("--engine", "ray", "--workers", "2") if engine == "ray" else ()
            process = desk.start(*words, *more)
            _, err = process.communicate(timeout=1200)
            assert process.returncode == 0, err
            results[engine] = read_lines(desk.folder / f"{engine}.jsonl")

    assert len(upstream.records) == 2 * 4 * 805, "no call was made twice"
    assert results["ray"] == results["local"]
    assert [one["answer"] for one in results["ray"]] == [*answers[AGGREGATOR].values()]
