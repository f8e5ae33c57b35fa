"""The server as replicas of Ray Serve: one address, one limit, one quota for each key."""

import json
import signal
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from tests.support.batches import steady, team_toml
from tests.support.command_line import desk  # noqa: F401 - a fixture
from tests.support.ray_workers import find_workers
from tests.support.upstream import running


@pytest.fixture(autouse=True)
def with_ray():
    pytest.importorskip("ray", reason="the package ray is not installed")


def ask(url, question, key):
    """The status of an answer, and its text."""
    body = {"model": "team", "messages": [{"role": "user", "content": question}]}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    address = f"{url}/v1/chat/completions"
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, json.load(answer)["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def key_toml(name, more=""):
    digest = sha256(f"mx-{name}".encode()).hexdigest()
    return f'[serve.keys.{name}]\nsha256 = "{digest}"\n{more}'


def test_replicas_share_the_limits_of_endpoints_and_of_keys(desk):  # noqa: F811
    steps, lock = [], threading.Lock()
    calm = steady((0.05, 0.1))

    def counted(record):
        with lock:
            steps.append(record)
        return calm(record)

    with running(counted) as upstream:
        limited = key_toml("ben", "requests_per_minute = 6\n")
        keys = key_toml("ann") + limited
        desk.write(team_toml(upstream.base_url(), concurrency=3) + keys)
        words = ("serve", "--engine", "ray", "--replicas", "2", "--least-replicas", "2")
        process = desk.start(*words, "--port", "0")
        url = process.stdout.readline().decode().split(" at ")[1].split()[0]
        while len(find_workers(process.pid, "ray::ServeReplica")) < 2:
            time.sleep(0.05)
        began = time.monotonic()
        with ThreadPoolExecutor(16) as many:
            free = [*many.map(lambda n: ask(url, f"Question {n}?", "mx-ann"), range(40))]
            held = [*many.map(lambda n: ask(url, f"Question {n}?", "mx-ben"), range(30))]
        minutes = (time.monotonic() - began) / 60

        assert {status for status, _ in free} == {200}
        assert len({text for _, text in free}) == 40
        answered = sum(status == 200 for status, _ in held)
        assert 6 <= answered <= 6 + 6 * minutes + 1
        assert {status for status, _ in held} == {200, 429}
        assert ask(url, "Why?", "mx-nobody")[0] == 401
        assert most_at_once(upstream.records) <= 3 + 3  # until the first lease, each its own
        assert most_at_once(upstream.records[60:]) <= 3
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert err.count(b" INFO    POST /v1/chat/completions 200 ") == 40 + answered
        assert b"mx-ann" not in err


def most_at_once(records):
    """Calls that were open at the same time."""
    ends = [(one.arrived, 1) for one in records]
    ends += [(one.over, -1) for one in records if one.over is not None]
    now = most = 0
    for _, step in sorted(ends):
        now += step
        most = max(most, now)
    return most
