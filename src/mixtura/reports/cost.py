"""What answers in files cost, in dollars and in work, as the paper's figure of budgets reckons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from mixtura import catalog
from mixtura.catalog import Reckoning
from mixtura.errors import ConfigError
from mixtura.plan import Plan
from mixtura.price import Pricer, Work, tflops
from mixtura.reports.files import Answers, Question, shared
from mixtura.reports.rows import Interval, Row, interval
from mixtura.types import Usage


class Budget(NamedTuple):
    """What an answer takes; None where a price, or a size, is unknown."""

    name: str
    cost_usd: Interval | None
    tflops_paper: Interval | None
    tflops_with_prefill: Interval | None
    prompt_tokens: Interval
    completion_tokens: Interval

    def json(self) -> Row:
        figures = self._asdict()
        del figures["name"]
        return {name: found and found.mean for name, found in figures.items()} | {
            f"{name}_{end}": getattr(found, end)
            for name, found in figures.items()
            for end in ("low", "high")
            if found
        }


class Spoken(NamedTuple):
    """A call: who was asked, tokens read and written."""

    model: str
    read: int
    written: int


@dataclass(frozen=True, slots=True)
class Teller:
    """
    Counts what answers take: lengths of texts to tokens, tokens to dollars and to work.

    Prices and sizes are the paper's where it has the model, else *pricer*'s, and what the
    model's name says.
    """

    pricer: Pricer
    reckoning: Reckoning

    def budget(
        self, answers: Answers, plan: Plan | None, proposals: Mapping[str, Answers]
    ) -> Budget:
        """
        Of one mixture or, without a *plan*, of a model alone.

        A proposer without a file wrote as much as the others did on average.
        """
        members = self._members(plan) if plan else set[str]()
        every = {self.called(name): one for name, one in proposals.items()}
        heard = {name: one for name, one in every.items() if name in members}
        if members and not heard:
            raise ConfigError(
                f"{answers.name} is a mixture: --proposals MODEL=FILE says what its proposers"
                f" wrote, of at least one of {', '.join(sorted(members))}"
            )
        runs = [
            list(self._run(answers, plan, heard, question))
            for question in shared([answers, *heard.values()])
        ]
        return Budget(
            answers.name,
            _over([self._dollars(run) for run in runs]),
            _over([work(run, prefill=False) for run in runs]),
            _over([work(run, prefill=True) for run in runs]),
            _known([sum(call.read for layer in run for call in layer) for run in runs]),
            _known([sum(call.written for layer in run for call in layer) for run in runs]),
        )

    def idle(self, plans: Iterable[Plan | None], proposals: Iterable[str]) -> list[str]:
        """Those of *proposals* that no mixture has a proposer for."""
        members = set[str]().union(*(self._members(plan) for plan in plans if plan))
        return [name for name in proposals if self.called(name) not in members]

    def called(self, model: str) -> str:
        """A model by the paper's name for it; by its own where the paper has it not."""
        return self.reckoning.called(model) or model.rpartition("/")[2]

    def _members(self, plan: Plan) -> set[str]:
        return {self.called(seat.model) for layer in plan.layers for seat in layer}

    def _run(
        self, answers: Answers, plan: Plan | None, heard: Mapping[str, Answers], question: Question
    ) -> Iterator[Sequence[Spoken]]:
        """The calls of one answer, layer by layer."""
        asked = self._tokens(question[0])
        lengths = {name: self._tokens(one.texts[question]) for name, one in heard.items()}
        usual = round(fmean(lengths.values())) if lengths else 0
        before = 0
        for layer in plan.layers if plan else ():
            names = [seat.model for seat in layer for _ in range(seat.samples)]
            calls = [
                Spoken(name, asked + before, lengths.get(self.called(name), usual))
                for name in names
            ]
            before = self.reckoning.instruction_tokens + sum(call.written for call in calls)
            yield calls
        last = plan.aggregator if plan else answers.name
        yield [Spoken(last, asked + before, self._tokens(answers.texts[question]))]

    def _tokens(self, text: str) -> int:
        return round(len(text) / self.reckoning.characters_per_token)

    def _dollars(self, run: Sequence[Sequence[Spoken]]) -> float | None:
        paid = [self._paid(call) for layer in run for call in layer]
        return None if None in paid else sum(dollars for dollars in paid if dollars)

    def _paid(self, call: Spoken) -> float | None:
        usage = Usage(call.read, call.written)
        published = self.reckoning.find(call.model)
        return published.price(usage) if published else self.pricer(call.model, usage)


def work(run: Sequence[Sequence[Spoken]], *, prefill: bool) -> float | None:
    """TFLOPs of an answer's calls, layer by layer; None where a model's size is unknown."""
    layers: list[list[Work]] = []
    for layer in run:
        sizes = [catalog.active(call.model) for call in layer]
        if None in sizes:
            return None
        layers.append(
            [
                Work(size or 0.0, call.read, call.written)
                for size, call in zip(sizes, layer, strict=True)
            ]
        )
    return tflops(layers, prefill=prefill)


def _over(values: Sequence[float | None]) -> Interval | None:
    return None if None in values else interval(values)


def _known(values: Sequence[int]) -> Interval:
    found = interval(values)
    assert found
    return found
