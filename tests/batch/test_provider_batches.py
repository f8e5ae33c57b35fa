"""Calls as their provider's batches: half the price, and none of them paid twice."""

import json
import random
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
    url = f"{fake.url}/openai" if provider == "google" else fake.url
    models = "".join(
        f'[models.{name}]\nprovider = "{provider}"\nbase_url = "{url}"\nmodel = "{name}"\n'
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


def kill_at_random(desk, dice):  # noqa: F811
    """Start the command and kill it at a random moment; whether it was not done by then."""
    process = desk.start(*WORDS, "auto")
    time.sleep(dice.uniform(0.3, 5.0))
    killed = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return killed


PROVIDERS = ["openai", "anthropic", "mistral", "together", "google"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_layer_goes_out_as_a_batch_at_half_the_price(folder, provider):
    with provider_fake(together=provider == "together") as fake:
        folder.write(team_of(provider, fake))

        done = folder.run(*WORDS, "only")

        assert done.code == 0, done.err
        assert len(answers(folder)) == ROWS
        assert not fake.live
        assert not fake.paid_twice
        assert sum(fake.paid.values()) == 3 * ROWS
        assert len(fake.batches) == 3, "a batch for each model"
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


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_lost_reply_to_a_batch_that_was_made_makes_no_second_one(folder, provider):
    with provider_fake(lost_replies=1, together=provider == "together") as fake:
        folder.write(team_of(provider, fake))

        done = folder.run(*WORDS, "only")

        assert done.code == 0, done.err
        assert (len(fake.batches), fake.paid_twice) == (3, [])


def test_a_batch_that_is_not_yet_in_its_providers_list_is_not_made_again(folder):
    with provider_fake(lost_replies=1, lag=6.0, seconds=7.0) as fake:
        folder.write(team_of("openai", fake))

        done = folder.run(*WORDS, "only")

        assert done.code == 0, done.err
        assert (len(fake.batches), fake.paid_twice) == (3, [])


@pytest.mark.parametrize("lost_replies", [0, 1])
def test_a_large_batch_goes_to_google_as_a_file(folder, lost_replies):
    with provider_fake(lost_replies=lost_replies) as fake:
        folder.write(team_of("google", fake))
        prompts = [f"Question {number}? " + "word " * 1_100_000 for number in range(3)]
        rows = "".join(json.dumps({"prompt": one}) + "\n" for one in prompts)
        (folder.folder / "in.jsonl").write_text(rows)

        done = folder.run("batch", "in.jsonl", "out.jsonl", "-m", "a", *WORDS[5:], "only")

        assert done.code == 0, done.err
        assert len(answers(folder)) == 3
        assert (len(fake.batches), len(fake.files), fake.paid_twice) == (1, 1, [])
        assert [one["asked"]["in_file"] for one in fake.batches.values()] == [True]


def test_what_googles_batches_have_no_form_for_is_asked_live(folder):
    with provider_fake() as fake:
        folder.write(team_of("google", fake).replace(PRICE, PRICE + "extra = { top_k = 3 }\n"))

        done = folder.run(*WORDS, "auto")

        assert done.code == 0, done.err
        assert sum(fake.live.values()) == 3 * ROWS
        assert not fake.batches


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google"])
def test_rows_that_a_batch_failed_or_left_out_are_asked_live(folder, provider):
    with provider_fake(row_error="Question 0?", left_out="Question 1?") as fake:
        folder.write(team_of(provider, fake))

        done = folder.run(*WORDS, "auto")

        assert done.code == 0, done.err
        assert sum(fake.live.values()) == 6, "both models of the layer, and the last"
        assert not fake.paid_twice


def test_what_is_not_answered_in_time_is_asked_live(folder):
    with provider_fake(seconds=600, row_error="Question", left_out="Question") as fake:
        folder.write(team_of("openai", fake))

        done = folder.run(*WORDS, "auto", "--within", "3s")

        assert done.code == 0, done.err
        assert all(one["cancelled"] for one in fake.batches.values())
        assert sum(fake.live.values()) == 3 * ROWS


def test_only_ends_when_its_time_is_up_and_goes_on_with_more(folder):
    with provider_fake(seconds=600) as fake:
        folder.write(team_of("openai", fake))

        late = folder.run(*WORDS, "only", "--within", "3s")

        assert late.code == 4, late.err
        assert "--within is up" in finish(late)["reason"]
        fake.seconds = 0.1
        done = folder.run(*WORDS, "only", "--within", "2h")
        assert done.code == 0, done.err
        assert (len(fake.batches), fake.paid_twice, len(fake.live)) == (3, [], 0)


def test_a_model_without_batches_is_refused_where_nothing_may_go_live(folder):
    done = folder.run(*WORDS, "only")

    assert "knows no batch API of the provider of ann" in done.complaint
    assert not folder.server.requests


def test_the_dry_run_says_both_prices(folder):
    with provider_fake() as fake:
        folder.write(team_of("openai", fake))

        said = folder.run("batch", "in.jsonl", "out.jsonl", "-m", "team", "--dry-run", "--json")

        forecast = said.json
        assert forecast["max_batch_cost_usd"] == pytest.approx(forecast["max_cost_usd"] / 2)


def test_ctrl_c_leaves_a_batch_at_its_provider_and_says_so(folder):
    with provider_fake(seconds=600) as fake:
        folder.write(team_of("openai", fake))
        words = [word for word in WORDS if word != "--json"]
        process = folder.start(*words, "auto")
        said = b""
        while b"provider batches under way" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)

        assert process.returncode == 130, rest
        assert b"run the same command again to download" in rest
        fake.seconds = 0.1
        done = folder.run(*WORDS, "auto")
        assert done.code == 0, done.err
        assert (len(fake.batches), fake.paid_twice, len(fake.live)) == (3, [], 0)


@pytest.mark.soak
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_fifty_kills_around_batches_pay_nothing_twice(folder, provider):
    dice, kills, rounds = random.Random(5), 0, 0
    while kills < 50:
        for path in folder.folder.glob("out.*"):
            path.unlink()
        with provider_fake(seconds=dice.uniform(0.1, 2), lost_replies=rounds % 2) as fake:
            folder.write(team_of(provider, fake))
            while kill_at_random(folder, dice):
                kills += bool(fake.files or fake.batches)  # not where nothing was sent by then
            done = folder.run(*WORDS, "auto")
            assert done.code == 0, done.err
            assert len(answers(folder)) == ROWS
            assert (fake.paid_twice, len(fake.live)) == ([], 0)
            assert sum(fake.paid.values()) == 3 * ROWS
        rounds += 1
    print(f"{kills} kills in {rounds} batches of {provider}, nothing paid twice")
