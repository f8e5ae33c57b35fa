"""
What every pattern does when something fails, and a provider whose models fail so.

A pattern that is added is held to what holds for all; what its last step says stands in `SAID`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from mixtura import ask
from mixtura.catalog.patterns import find_pattern
from tests.support.loopback import Answer, loopback
from tests.support.pattern_teams import MEMBERS, NAMES, answer_whatever, model_names, team_table
from tests.support.serving import serving

LOST, ALL_LOST = "a proposer is lost", "all proposers are lost"
LAST_DOWN, UNREADABLE = "the last step's model is down", "no verdict can be read"
CHECKER_DOWN = "the checker is down"

SAID = {
    ("mixture", LAST_DOWN): "the aggregator aggregator failed: .*the closest to the others",
    ("sequential", LAST_DOWN): "layer 2: aggregator failed: .*stands in for it.*the aggregator",
    ("tree", LAST_DOWN): "layer 2: aggregator failed: .*stands in for it.*the closest to",
    ("sparse", LAST_DOWN): "the aggregator aggregator failed: .*the closest to the others",
    ("sparse", CHECKER_DOWN): "the judge judge failed: .*most different from each other are passed",
    ("sparse", UNREADABLE): "the judge judge made no choice: the proposals most different",
    ("adaptive", LAST_DOWN): "the aggregator aggregator failed: .*the closest to the others",
    ("adaptive", CHECKER_DOWN): "layer 2: the judge judge failed: .*it goes on",
    ("adaptive", UNREADABLE): "layer 2: the judge judge gave no verdict: it goes on",
    ("residual", LAST_DOWN): "of its changes failed: .*the drafts alone.*the closest to the others",
    ("residual", UNREADABLE): "of its changes cannot be read: the drafts alone are read",
    ("robust", LAST_DOWN): "the aggregator aggregator failed: .*agrees most with the others",
    ("recursive", LAST_DOWN): "step 1: aggregator failed: .*the vote is over the texts before it",
    ("analyse", LAST_DOWN): "the analysis of aggregator failed: .*the closest to the others",
    ("analyse", UNREADABLE): "the analysis of aggregator cannot be read: the drafts alone",
    ("gate", LAST_DOWN): "no verdict on 3 of 3 pairs of drafts: .*failed alone: .*the closest to",
    ("gate", UNREADABLE): "aggregator gave no verdict on 3 of 3 pairs of drafts",
    ("guard", LAST_DOWN): "aggregator failed: ",
    ("guard", CHECKER_DOWN): "the judge judge gave no verdict in 2 of 2 comparisons: ",
    ("guard", UNREADABLE): "the judge judge gave no verdict in 2 of 2 comparisons",
    ("rank", LAST_DOWN): "the ranker judge failed: .*the closest to the others",
    ("rank", UNREADABLE): "named none of the 3 proposals.*the closest to the others",
    ("knockout", LAST_DOWN): "the judge judge gave no verdict in 4 of 4 comparisons: ",
    ("knockout", UNREADABLE): "the judge judge gave no verdict in 4 of 4 comparisons",
    ("best-of", LAST_DOWN): "no proposal has a score: the judge judge failed: ",
    ("best-of", UNREADABLE): "no proposal has a score: the judge judge gave none from 0 to 10",
    ("weighted", LAST_DOWN): "judge gave no verdict on 3 proposals: .*the closest to the others",
    ("weighted", UNREADABLE): "judge gave no verdict on 3 proposals.*the closest to the others",
    ("checked", CHECKER_DOWN): "the tester tester failed: ",
    ("checked", UNREADABLE): "the tester tester wrote no test that can be used",
}
"""What `degraded` says of a failure of the last step."""

CHECKED_PROPOSALS = ("guard", "checked")
"""Patterns that answer with a proposal where their checker is down; others write all the same."""


def is_broken(pattern, failure, name, said):
    """Whether model *name* fails when it would have said *said*."""
    spec = find_pattern(pattern)
    last = spec.final_model.key if spec.final_model else None
    return {
        LOST: name == "b",
        ALL_LOST: name in MEMBERS,
        LAST_DOWN: name == last,
        UNREADABLE: not said.startswith("Text "),
        CHECKER_DOWN: name in spec.model_settings,
    }[failure]


CASES = [(name, failure) for name in NAMES for failure in (LOST, ALL_LOST)] + [
    case for case in SAID if case[0] in NAMES
]


class Ended(NamedTuple):
    """How a run ended: its answer, or its error."""

    text: str | None
    degraded: str
    error: str | None = None


def check_outcome(pattern, failure, ended):
    """What holds for a failure of every pattern, and what is declared for this one."""
    if failure == ALL_LOST:
        assert (ended.text, ended.error) == (None, "QuorumNotMetError")
        return
    assert ended.error is None
    assert ended.text
    said = r"\bb failed: " if failure == LOST else SAID[pattern, failure]
    assert re.search(said, ended.degraded), ended.degraded
    if failure == LAST_DOWN or (failure == CHECKER_DOWN and pattern in CHECKED_PROPOSALS):
        assert re.match(r"Text \d of [abc]\b", ended.text)


# ---- a server of all patterns


class Provider:
    """A provider whose models fail as the case says."""

    def __init__(self, loopback):
        self.loopback = loopback
        self.case = (NAMES[0], LOST)
        self.asked = {}

    def answer(self, body):
        pattern, failure = self.case
        name = body["model"]
        self.asked[name] = self.asked.get(name, 0) + 1
        said = answer_whatever(name, self.asked[name], ask(body["messages"][-1]["content"]))
        if failure is None or not is_broken(pattern, failure, name, said):
            return Answer.text(said)
        return Answer.text("Hm.") if failure == UNREADABLE else Answer.refused(503, "down")

    def begin(self, pattern, failure, server):
        """Play that case, after an answer of every model: several failures rest a model."""
        self.case = (pattern, None)
        for name in model_names(pattern):
            assert server.chat("Well?", model=name).status == 200
        self.case, self.asked = (pattern, failure), {}


@pytest.fixture(scope="module", name="provider")
def provider_fixture():
    with loopback() as server:
        provider = Provider(server)
        names = {name for pattern in NAMES for name in model_names(pattern)}
        server.answers |= dict.fromkeys(names, provider.answer)
        yield provider


@pytest.fixture(scope="module", name="server")
def server_fixture(provider, tmp_path_factory):
    models = "".join(
        f'[models.{name}]\nbase_url = "{provider.loopback.base_url}"\nmodel = "{name}"\n'
        "retries = 0\n"
        for name in provider.loopback.answers
    )
    teams = "".join(f"[mixtures.t-{name}]\n{team_table(name)}" for name in NAMES)
    file = f"cache = {{ use = false }}\n{models}{teams}"
    with serving(tmp_path_factory.mktemp("failures"), file) as found:
        yield found
