"""Calls as their provider's batches: half the price, and none of them paid twice."""

import json
import signal
import time

import pytest

from tests.support.batch_provider import provider_fake
from tests.support.batches import PRICE, read_lines, write_rows
from tests.support.command_line import desk  # noqa: F401 - a fixture

WORDS = ("batch", "in.jsonl", "out.jsonl", "-m", "team", "--json", "--provider-batch")
ROWS = 4


def team_of(provider, fake):
    """Two proposers and an aggregator of one provider, at the fake."""
    models = "".join(
        f'[models.{name}]\nprovider = "{provider}"\nbase_url = "{fake.url}"\nmodel = "{name}"\n'
        f'api_key_env = "KEY_OF_TEST"\nretries = 0\n{PRICE}'
        for name in ("a", "b", "last")
    )
    return models + '[mixtures.team]\naggregator = "last"\nlayers = [["a", "b"]]\n'


@pytest.fixture
def folder(desk):  # noqa: F811
    desk.env["KEY_OF_TEST"] = "k"
    write_rows(desk.folder / "in.jsonl", ROWS)
    return desk


def finish(ran):
    return json.loads(ran.out.splitlines()[-1])


def answers(desk):  # noqa: F811
    return [line["answer"] for line in read_lines(desk.folder / "out.jsonl")]


def kill_and_finish(desk, dice, mode="auto"):  # noqa: F811
    """The command killed at a random moment, and then whole; whether there was a kill."""
    process = desk.start(*WORDS, mode)
    time.sleep(dice.uniform(0.3, 5.0))
    killed = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return killed


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_each_layer_goes_out_as_a_batch_at_half_the_price(folder, provider):
    with provider_fake() as fake:
        folder.write(team_of(provider, fake))

        done = folder.run(*WORDS, "only")

        assert done.code == 0, done.err
        assert len(answers(folder)) == ROWS
        assert not fake.live
        assert not fake.paid_twice
        assert sum(fake.paid.values()) == 3 * ROWS
        assert len(fake.batches) == 2, "a batch for each layer"
        assert finish(done)["cost_usd"] == pytest.approx(3 * ROWS * (20 + 2 * 10) / 1e6 / 2)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_kill_between_submission_and_download_pays_nothing_twice(folder, provider):
    with provider_fake(seconds=600) as fake:
        folder.write(team_of(provider, fake))
        process = folder.start(*WORDS, "auto")
        while not fake.batches:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        fake.seconds = 0.1

        done = folder.run(*WORDS, "auto")

        assert done.code == 0, done.err
        assert finish(done)["lost_calls"] == 0
        assert len(answers(folder)) == ROWS
        assert not fake.paid_twice
        assert not fake.live
        assert sum(fake.paid.values()) == 3 * ROWS
