"""Recorded evaluations of a small made-up world, for the tests of the report."""

from __future__ import annotations

import random

from mixtura.evals.log_reader import LoggedEvaluation, RecordedCall, SampleAnswer

QUALITY = {"small": 0.35, "middle": 0.5, "large-7b": 0.65}
SECONDS = {"small": 0.6, "middle": 1.1, "large-7b": 2.5}
TEXTS = ("the answer is four", "it is five, I think", "four", "no idea at all here", "five it is")


class World:
    """Prompts that models answer right as often as they are good; the same every time."""

    def __init__(self, prompts=40, seed=0, price=1.0):
        self.prompts = [f"q{i}" for i in range(prompts)]
        self._seed = seed
        self._price = price

    def call(self, model, prompt, layer, index, role="proposer", read=100, draw=0):
        chance = random.Random(f"{self._seed}{model}{prompt}{draw}")
        written = chance.randint(40, 120)
        cost = None if self._price is None else (read + written) * self._price / 1e6
        return RecordedCall(
            role, layer, index, model, chance.choice(TEXTS), read, written, cost,
            SECONDS[model] * chance.uniform(0.7, 1.6), 0.2, failed=False,
        )  # fmt: skip

    def right(self, quality, *words):
        return float(random.Random(f"{self._seed}{words}").random() < quality)

    def alone(self, model):
        return self._contender(model, (), None, "model", QUALITY[model], model)

    def mixture(self, rows, aggregator, pattern="mixture"):
        best = max(QUALITY[name] for name in rows[0])
        gain = 0.03 * len(set(rows[0])) + 0.02 * len(rows) - (0.08 if pattern == "rank" else 0)
        quality = (best + QUALITY[aggregator]) / 2 + gain
        name = ">".join([*(",".join(row) for row in rows), aggregator])
        return self._contender(
            name, tuple(map(tuple, rows)), aggregator, pattern, quality, aggregator
        )

    def _contender(self, name, rows, aggregator, pattern, quality, last):
        answers = []
        for prompt in self.prompts:
            calls = []
            read = 100
            for layer, row in enumerate(rows, 1):
                calls += [
                    self.call(model, prompt, layer, i, read=read, draw=row[:i].count(model))
                    for i, model in enumerate(row)
                ]
                read = 100 + sum(call.completion_tokens for call in calls if call.layer == layer)
            if pattern != "vote":
                role = "aggregator"
                calls.append(self.call(last, prompt, len(rows) + 1, 0, role=role, read=read))
            answers.append(
                SampleAnswer(
                    prompt, 1, prompt, "4", calls[-1].text,
                    self.right(quality, name, prompt), "", tuple(calls),
                )
            )  # fmt: skip
        return LoggedEvaluation(name, "gsm8k", rows, aggregator, pattern, tuple(answers))

    def everything(self):
        """Every contender that the eight analyses ask for."""
        models = list(QUALITY)
        team = tuple(models)
        return [
            *(self.alone(model) for model in models),
            *(self.mixture([team], model) for model in models),
            *(self.mixture([team] * 2, model) for model in models),
            *(self.mixture([team] * depth, "large-7b", "rank") for depth in (1, 2)),
            *(self.mixture([(model,) * 3], "large-7b") for model in models),
            *(self.mixture([("large-7b",) * n], "large-7b") for n in (1, 2, 6)),
            self.mixture([("large-7b", "middle")], "large-7b"),
            self.mixture([team * 2], "large-7b"),
        ]
