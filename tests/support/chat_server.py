"""A server with a team on loopback, for the tests of its protocol, and what they ask."""

from __future__ import annotations

import time

import pytest

from tests.support.serving import serving, team
from tests.support.upstream import Script, upstream_fixture

QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]


upstream = upstream_fixture(
    {
        "a": Script("Because of scattering."),
        "b": Script("It is Rayleigh's doing."),
        "chief": Script("Light scatters, blue most.", pace=0.01),
    }
)


@pytest.fixture(scope="module")
def server(upstream, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("serve"), team(upstream, "a", "b", "chief")) as found:
        yield found


def seen(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)
