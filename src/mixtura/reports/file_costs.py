"""What answers in files cost, in dollars and in work, as figure 5 of the paper counts them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from mixtura.billing.price import CallWork, Pricer, estimate_tflops
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
        return {name: interval and interval.mean for name, interval in figures.items()} | {
            f"{name}_{end}": getattr(interval, end)
            for name, interval in figures.items()
            for end in ("low", "high")
            if interval
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

    Prices and sizes are the paper's (Wang et al. 2024, arXiv 2406.04692, section 3.4) where it has
    the model, else *pricer*'s, and what the model's name says.
    """

    pricer: Pricer
    paper_costs: PaperCosts

    def answer_cost(
        self, answers: AnswerFile, plan: MixtureSpec | None, proposals: Mapping[str, AnswerFile]
    ) -> AnswerCost:
        """
        Of one mixture or, without a *plan*, of a model alone; proposals by model.

        A proposer without a file wrote as much as the others did on average. Raises ConfigError
        where no proposer has a file, or the files share fewer than two questions.
        """
        members = self._member_names(plan) if plan else set[str]()
        every = {self.paper_name(name): one for name, one in proposals.items()}
        drafts = {name: one for name, one in every.items() if name in members}
        if members and not drafts:
            raise ConfigError(
                f"{answers.name} is a mixture: give its proposals with --proposals MODEL=FILE, for"
                f" at least one of {', '.join(sorted(members))}"
            )
        runs = [
            list(self._layer_calls(answers, plan, drafts, question))
            for question in shared_questions([answers, *drafts.values()])
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
        return self.paper_costs.paper_name(model) or model.rpartition("/")[2]

    def _member_names(self, plan: MixtureSpec) -> set[str]:
        return {self.paper_name(seat.model) for layer in plan.layers for seat in layer}

    def _layer_calls(
        self,
        answers: AnswerFile,
        plan: MixtureSpec | None,
        drafts: Mapping[str, AnswerFile],
        question: Question,
    ) -> Iterator[Sequence[CallTokens]]:
        """The calls of one answer, layer by layer."""
        question_tokens = self._estimate_tokens(question[0])
        written = {name: self._estimate_tokens(one.texts[question]) for name, one in drafts.items()}
        usual = round(fmean(written.values())) if written else 0
        before = 0
        for layer in plan.layers if plan else ():
            names = [seat.model for seat in layer for _ in range(seat.samples)]
            calls = [
                CallTokens(
                    name, question_tokens + before, written.get(self.paper_name(name), usual)
                )
                for name in names
            ]
            # Each layer reads the question, the instructions and all that the layer before it
            # wrote.
            before = self.paper_costs.instruction_tokens + sum(call.written for call in calls)
            yield calls
        last = plan.aggregator if plan else answers.name
        yield [
            CallTokens(
                last, question_tokens + before, self._estimate_tokens(answers.texts[question])
            )
        ]

    def _estimate_tokens(self, text: str) -> int:
        return round(len(text) / self.paper_costs.characters_per_token)

    def _run_dollars(self, run: Sequence[Sequence[CallTokens]]) -> float | None:
        amounts = [self._call_dollars(call) for layer in run for call in layer]
        return None if None in amounts else sum(amount for amount in amounts if amount)

    def _call_dollars(self, call: CallTokens) -> float | None:
        usage = Usage(call.read, call.written)
        published = self.paper_costs.find_model(call.model)
        return published.price(usage) if published else self.pricer(call.model, usage)


def answer_tflops(run: Sequence[Sequence[CallTokens]], *, prefill: bool) -> float | None:
    """TFLOPs of an answer: the largest call of each layer, summed over layers (figure 5b).

    None where a model's size is unknown; *prefill* counts the tokens that are read, too.
    """
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
    return estimate_tflops(layers, prefill=prefill)


def _complete_interval(values: Sequence[float | None]) -> Interval | None:
    return None if None in values else mean_interval(values)


def _required_interval(values: Sequence[int]) -> Interval:
    interval = mean_interval(values)
    # The caller has shared questions, of which there are two at least.
    assert interval
    return interval
