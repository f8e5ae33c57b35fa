"""What answers in files cost, in dollars and in work, as the paper's figure of budgets reckons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from mixtura.billing.price import CallWork, Pricer, tflops
from mixtura.catalog import providers
from mixtura.catalog.providers import PaperCosts
from mixtura.config.plan import MixtureSpec
from mixtura.core.errors import ConfigError
from mixtura.core.types import Usage
from mixtura.reports.files import AnswerFile, Question, shared_questions
from mixtura.reports.rows import Interval, Row, mean_interval


class AnswerCost(NamedTuple):
    """What an answer takes; None where a price, or a size, is unknown."""

    name: str
    cost_usd: Interval | None
    tflops_paper: Interval | None
    tflops_with_prefill: Interval | None
    prompt_tokens: Interval
    completion_tokens: Interval

    def to_json(self) -> Row:
        figures = self._asdict()
        del figures["name"]
        return {name: found and found.mean for name, found in figures.items()} | {
            f"{name}_{end}": getattr(found, end)
            for name, found in figures.items()
            for end in ("low", "high")
            if found
        }


class CallTokens(NamedTuple):
    """A call: who was asked, tokens read and written."""

    model: str
    read: int
    written: int


@dataclass(frozen=True, slots=True)
class CostCalculator:
    """
    Counts what answers take: lengths of texts to tokens, tokens to dollars and to work.

    Prices and sizes are the paper's where it has the model, else *pricer*'s, and what the
    model's name says.
    """

    pricer: Pricer
    reckoning: PaperCosts

    def answer_cost(
        self, answers: AnswerFile, plan: MixtureSpec | None, proposals: Mapping[str, AnswerFile]
    ) -> AnswerCost:
        """
        Of one mixture or, without a *plan*, of a model alone.

        A proposer without a file wrote as much as the others did on average.
        """
        members = self._member_names(plan) if plan else set[str]()
        every = {self.paper_name(name): one for name, one in proposals.items()}
        heard = {name: one for name, one in every.items() if name in members}
        if members and not heard:
            raise ConfigError(
                f"{answers.name} is a mixture: --proposals MODEL=FILE says what its proposers"
                f" wrote, of at least one of {', '.join(sorted(members))}"
            )
        runs = [
            list(self._layer_calls(answers, plan, heard, question))
            for question in shared_questions([answers, *heard.values()])
        ]
        return AnswerCost(
            answers.name,
            _complete_interval([self._run_dollars(run) for run in runs]),
            _complete_interval([answer_tflops(run, prefill=False) for run in runs]),
            _complete_interval([answer_tflops(run, prefill=True) for run in runs]),
            _required_interval([sum(call.read for layer in run for call in layer) for run in runs]),
            _required_interval(
                [sum(call.written for layer in run for call in layer) for run in runs]
            ),
        )

    def unused_proposals(
        self, plans: Iterable[MixtureSpec | None], proposals: Iterable[str]
    ) -> list[str]:
        """Those of *proposals* that no mixture has a proposer for."""
        members = set[str]().union(*(self._member_names(plan) for plan in plans if plan))
        return [name for name in proposals if self.paper_name(name) not in members]

    def paper_name(self, model: str) -> str:
        """A model by the paper's name for it; by its own where the paper has it not."""
        return self.reckoning.paper_name(model) or model.rpartition("/")[2]

    def _member_names(self, plan: MixtureSpec) -> set[str]:
        return {self.paper_name(seat.model) for layer in plan.layers for seat in layer}

    def _layer_calls(
        self,
        answers: AnswerFile,
        plan: MixtureSpec | None,
        heard: Mapping[str, AnswerFile],
        question: Question,
    ) -> Iterator[Sequence[CallTokens]]:
        """The calls of one answer, layer by layer."""
        asked = self._estimate_tokens(question[0])
        lengths = {name: self._estimate_tokens(one.texts[question]) for name, one in heard.items()}
        usual = round(fmean(lengths.values())) if lengths else 0
        before = 0
        for layer in plan.layers if plan else ():
            names = [seat.model for seat in layer for _ in range(seat.samples)]
            calls = [
                CallTokens(name, asked + before, lengths.get(self.paper_name(name), usual))
                for name in names
            ]
            before = self.reckoning.instruction_tokens + sum(call.written for call in calls)
            yield calls
        last = plan.aggregator if plan else answers.name
        yield [CallTokens(last, asked + before, self._estimate_tokens(answers.texts[question]))]

    def _estimate_tokens(self, text: str) -> int:
        return round(len(text) / self.reckoning.characters_per_token)

    def _run_dollars(self, run: Sequence[Sequence[CallTokens]]) -> float | None:
        paid = [self._call_dollars(call) for layer in run for call in layer]
        return None if None in paid else sum(dollars for dollars in paid if dollars)

    def _call_dollars(self, call: CallTokens) -> float | None:
        usage = Usage(call.read, call.written)
        published = self.reckoning.find_model(call.model)
        return published.price(usage) if published else self.pricer(call.model, usage)


def answer_tflops(run: Sequence[Sequence[CallTokens]], *, prefill: bool) -> float | None:
    """TFLOPs of an answer's calls, layer by layer; None where a model's size is unknown."""
    layers: list[list[CallWork]] = []
    for layer in run:
        sizes = [providers.active_parameters(call.model) for call in layer]
        if None in sizes:
            return None
        layers.append(
            [
                CallWork(size or 0.0, call.read, call.written)
                for size, call in zip(sizes, layer, strict=True)
            ]
        )
    return tflops(layers, prefill=prefill)


def _complete_interval(values: Sequence[float | None]) -> Interval | None:
    return None if None in values else mean_interval(values)


def _required_interval(values: Sequence[int]) -> Interval:
    found = mean_interval(values)
    assert found
    return found
