"""Whether each pattern gains where its publication says that it does, on simulated members.

    python -m bench.pattern_directions [--prompts 200] [--profile usual]

The patterns themselves run, over doubles: members that are right by a Gaussian copula, judges that
are right in three cases of four, and aggregators, strong or weak, that write from what they read. A
line for each claim: what was measured, and whether the direction is the published one. The last
line is one JSON object. The sizes are of these doubles and say nothing of real models.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from bench.simulated_members import SimulatedMembers

from mixtura.core.events import Emit
from mixtura.core.model import Model
from mixtura.core.model_info import ModelInfo
from mixtura.core.roles import Aggregator, Layer, Proposer
from mixtura.core.types import Charge, Completion, Json, Message, Request, Usage, ask
from mixtura.engine.mixture import Mixture
from mixtura.patterns.adaptive import Adaptive
from mixtura.patterns.choosing import Chosen
from mixtura.patterns.gate import Gate
from mixtura.patterns.guard import Guard
from mixtura.patterns.knockout import Knockout
from mixtura.patterns.mux import Mux
from mixtura.patterns.recursive import Recursive
from mixtura.patterns.robust import Robust
from mixtura.patterns.switch import Switch
from mixtura.patterns.vote import Vote
from mixtura.patterns.weighted import Weighted
from mixtura.selection.counting import Labels

WORLD = SimulatedMembers(
    accuracy=(0.65, 0.62, 0.6, 0.6), correlation=0.2, consistency=0.6, shared_error=0.5,
    stubbornness=0.8,
)  # fmt: skip
DRAWS = 4
JUDGE_SKILL = 0.75
SURE = (3.0, 4.0)
"""The mean confidence of a wrong answer's token, and of a right one's; the deviation is 1."""
RIGHT, LIE = "Answer: 0", "Answer: 99"
DRAFTS = re.compile(r"^(=====drafts-\w+=====)\n(\[.*?\])\n\1$", re.MULTILINE | re.DOTALL)


class Double:
    """
    A member, judge and aggregator in one. *labels*: its draws, by prompt; 0 is right. *writing*:
    how often it finds the right draft among those that it reads; else it takes one of them.
    """

    def __init__(self, name: str, labels: Labels, writing: float, seed: int) -> None:
        self.name = name
        self.info = ModelInfo(name)
        self.calls = 0
        self._labels, self._writing = labels, writing
        self._rng = np.random.default_rng(seed)
        self._drawn: Counter[int] = Counter()

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:  # noqa: ARG002
        self.calls += 1
        whole = "\n".join(message.text for message in request.messages)
        found = re.search(
            r"^(=====drafts-\w+=====)\n(\[.*?\])\n\1$", whole, re.MULTILINE | re.DOTALL
        )
        drafts = [row["text"] for row in json.loads(found[2])] if found else []
        text = self._reply(whole, drafts)
        charge = Charge(self.name, Usage(1, 1))
        whole = Completion(Message("assistant", text), self.name, "stop", (charge,))
        return (
            replace(whole, logprobs=self._logprobs(text)) if "logprobs" in request.extra else whole
        )

    def _logprobs(self, text: str) -> tuple[Json, ...]:
        """One token that is surer, on average, where the text is right."""
        sure = max(0.1, self._rng.normal(SURE[text == RIGHT], 1.0))
        places = [{"token": name, "logprob": -sure} for name in ("a", "b")]
        return ({"token": "a", "logprob": -sure, "top_logprobs": places},)

    def _reply(self, whole: str, drafts: list[str]) -> str:
        right = [draft == RIGHT for draft in drafts]
        if not drafts:
            number = int(re.findall(r"prompt (\d+)", whole)[-1])
            draw = self._drawn[number] % self._labels.shape[1]
            self._drawn[number] += 1
            return f"Answer: {self._labels[number, draw]}"
        if '{"better": N}' in whole:
            sees = self._rng.random() < JUDGE_SKILL if right[0] != right[1] else None
            first = self._rng.random() < 0.5 if sees is None else right[0] == sees
            return json.dumps({"better": 1 if first else 2})
        if "Reply with one digit" in whole:
            return "1" if right[0] == (self._rng.random() < JUDGE_SKILL) else "0"
        if any(right) and self._rng.random() < self._writing:
            return RIGHT
        return drafts[int(self._rng.integers(len(drafts)))]


class Liar(Double):
    """Where it reads no drafts it says what is wrong, the same each time."""

    def _reply(self, whole: str, drafts: list[str]) -> str:
        return super()._reply(whole, drafts) if drafts else LIE


class Measured(NamedTuple):
    score: float
    calls: float


class Team:
    """The same draws for every pattern: each gets doubles of its own."""

    def __init__(self, prompts: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.prompts = prompts
        self.labels = WORLD.draw_table(prompts, DRAWS, rng).labels

    def doubles(self, writing: float) -> list[Double]:
        return [
            Double(f"m{i}", self.labels[:, i], writing, seed=i) for i in range(self.labels.shape[1])
        ]

    def measure(self, model: Model, doubles: list[Double]) -> Measured:
        async def score_all() -> float:
            right = 0
            for number in range(self.prompts):
                answer = await model.complete(ask(f"prompt {number}"))
                right += answer.text == RIGHT
            return right / self.prompts

        before = sum(one.calls for one in doubles)
        score = asyncio.run(score_all())
        calls = (sum(one.calls for one in doubles) - before) / self.prompts
        return Measured(score, calls)


STRONG, WEAK = 0.7, 0.05
"""How often a strong and a weak aggregator find the right draft."""


def measure_patterns(team: Team) -> dict[str, Measured]:
    found: dict[str, Measured] = {}

    def run(name: str, writing: float, build: object) -> None:
        doubles = team.doubles(writing)
        found[name] = team.measure(build(doubles), doubles)  # type: ignore[operator]

    def each(doubles: list[Double], samples: int = 1) -> tuple[Proposer, ...]:
        return tuple(Proposer(one, samples=samples) for one in doubles)

    def layer(doubles: list[Double], samples: int = 1) -> tuple[Layer, ...]:
        return (Layer(each(doubles, samples)),)

    def knockout(times: int) -> object:
        return lambda d: Chosen(layers=layer(d), chooser=Knockout(d[0], times))

    def mixture(d: list[Double]) -> Model:
        return Mixture(layers=layer(d), aggregator=Aggregator(d[0]))

    def guard(d: list[Double]) -> Model:
        return Guard(layers=layer(d), aggregator=Aggregator(d[0]), judge=d[1])

    def deceived(kind: type[Mixture | Robust], **more: object) -> object:
        def build(d: list[Double]) -> Model:
            liar = Liar("liar", team.labels[:, 3], 0.0, seed=9)
            d[3:] = [liar]  # in the list, its calls are counted
            members = tuple(map(Proposer, d))
            return kind(layers=(Layer(members),), aggregator=Aggregator(d[0]), **more)

        return build

    def recursive(steps: int) -> object:
        return lambda d: Recursive(
            layers=layer(d), aggregator=Aggregator(d[0]), subset=3, steps=steps, extract="number"
        )

    run("best member", STRONG, lambda d: d[0])
    run("vote", STRONG, lambda d: Chosen(layers=layer(d), chooser=Vote("number")))
    run("weighted", STRONG, lambda d: Chosen(layers=layer(d), chooser=Weighted(d[0], "number")))
    for kind in ("tokens", "self-certainty"):
        run(f"weighted, {kind}", STRONG, lambda d, kind=kind: Chosen(
            layers=layer(d), chooser=Weighted(d[0], "number", confidence=kind)))  # fmt: skip
    run("mux", STRONG, lambda d: Chosen(layers=layer(d, DRAWS), chooser=Mux("number")))
    run("switch", STRONG, lambda d: Switch(
        layers=tuple(Layer((one,)) for one in each(d, DRAWS)), extract="number"))  # fmt: skip
    run("knockout, 2 comparisons", STRONG, knockout(2))
    run("knockout, 6 comparisons", STRONG, knockout(6))
    run("synthesis, strong", STRONG, mixture)
    run("synthesis, weak", WEAK, mixture)
    run("guard, weak", WEAK, guard)
    run("gate, strong", STRONG, lambda d: Gate(
        layers=layer(d[1:]), aggregator=Aggregator(d[0]), extract="number"))  # fmt: skip
    run("synthesis, one lies", STRONG, deceived(Mixture))
    run("robust, one lies", STRONG, deceived(Robust, extract="number"))
    run("synthesis, 4 layers", STRONG, lambda d: Mixture(
        layers=layer(d) * 4, aggregator=Aggregator(d[0])))  # fmt: skip
    run("adaptive, 4 layers", STRONG, lambda d: Adaptive(
        layers=layer(d) * 4, aggregator=Aggregator(d[0]), extract="number"))  # fmt: skip
    run("recursive, 1 step", 0.5, recursive(1))
    run("recursive, 3 steps", 0.5, recursive(3))
    return found


CLAIMS = (
    ("mux", "best member", "mux gains over the best member (arXiv 2510.05077)"),
    ("switch", "best member", "switch gains over the best member (arXiv 2504.00762)"),
    ("weighted", "vote", "weights by P(True) gain over a plain vote (arXiv 2502.06233)"),
    ("weighted, tokens", "vote", "so do those of its tokens (arXiv 2508.15260)"),
    ("weighted, self-certainty", "vote", "and those of ranks by them (arXiv 2502.18581)"),
    ("knockout, 2 comparisons", "best member", "a knockout gains (arXiv 2411.19477)"),
    ("knockout, 6 comparisons", "knockout, 2 comparisons", "more comparisons fail less (same)"),
    ("synthesis, strong", "best member", "a strong aggregator gains (arXiv 2406.04692)"),
    ("best member", "synthesis, weak", "a weak aggregator loses (mesh-llm's experiments)"),
    ("guard, weak", "synthesis, weak", "a guard takes back what a weak aggregator loses"),
    ("gate, strong", "best member", "a gate keeps a mixture's gain (arXiv 2602.19509)"),
    ("robust, one lies", "synthesis, one lies", "robust loses less to a liar (arXiv 2503.05856)"),
    ("recursive, 3 steps", "recursive, 1 step", "more steps gain (arXiv 2509.26626)"),
)


SAVINGS = (
    ("switch", "mux", "switch asks less than mux (arXiv 2504.00762)"),
    ("adaptive, 4 layers", "synthesis, 4 layers",
     "layers that stop when nothing changes ask less (arXiv 2411.03284, 2505.24442)"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = measure_patterns(Team(given.prompts, given.seed))
    for name, measured in found.items():
        print(f"{name:26}{measured.score:8.1%}{measured.calls:8.2f} calls")
    print()
    for better, worse, claim in CLAIMS:
        gain = 100 * (found[better].score - found[worse].score)
        print(f"{'yes' if gain > 0 else 'NO':4}{gain:+6.1f} points  {claim}")
    for less, more, claim in SAVINGS:
        fewer = found[less].calls < found[more].calls
        print(f"{'yes' if fewer else 'NO':4}{'':14}{claim}")
    lost = 100 * (found["synthesis, 4 layers"].score - found["adaptive, 4 layers"].score)
    print(f"{'yes' if lost < 1 else 'NO':4}{-lost:+6.1f} points  and loses less than one point")
    print(json.dumps({name: measured._asdict() for name, measured in found.items()}))


if __name__ == "__main__":
    main()
