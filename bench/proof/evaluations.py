"""The results of the proof as recorded evaluations, of which `mixtura report` makes its page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from bench.proof.arms import Arm, arms_of
from bench.proof.kept import KeptAnswers
from bench.proof.members import LARGE, SMALL, kept_model
from bench.proof.programs import ProgramRuns
from bench.proof.results import Outcome

from mixtura import Chosen, Mixture
from mixtura.core.agreement import Support
from mixtura.engine.pattern import Pattern
from mixtura.evals.log_reader import SINGLE_MODEL, LoggedEvaluation, RecordedCall, SampleAnswer
from mixtura.patterns.choosing import JudgingChooser

_PATTERNS = {"judged": "best-of", "tested": "checked"}
"""By the first word of an arm's name, where that is not the pattern's own name."""


def evaluations_of(name: str, outcomes: Sequence[Outcome], folder: Path) -> list[LoggedEvaluation]:
    """
    Each arm of the set *name* that has outcomes, as an evaluation. *folder*: any; nothing is read
    from it, and nothing is written.
    """
    answers = KeptAnswers(folder / "unused.jsonl")
    large, small = (kept_model(member, answers) for member in (LARGE, SMALL))
    arms = arms_of(name, large, small, ProgramRuns(folder / "unused.runs"))
    by_arm = {arm.name: [one for one in outcomes if one.arm == arm.name] for arm in arms}
    return [_evaluation_of(name, arm, by_arm[arm.name]) for arm in arms if by_arm[arm.name]]


def _evaluation_of(name: str, arm: Arm, outcomes: Sequence[Outcome]) -> LoggedEvaluation:
    layers = arm.model.layers if isinstance(arm.model, Pattern) else ()
    rows = tuple(tuple(call.model.name for call in layer.proposer_calls) for layer in layers)
    first = arm.name.partition("-")[0]
    if not layers:
        pattern, who = SINGLE_MODEL, "liar" if first == "liar" else arm.model.name
    else:
        written = isinstance(arm.model, Mixture)
        pattern, who = "mixture" if written else _PATTERNS.get(first, first), arm.name
    return LoggedEvaluation(
        who, name, rows, _last_model(arm), pattern,
        tuple(_answer_of(one, [len(row) for row in rows]) for one in outcomes),
        settings={"tester": LARGE.name} if first == "tested" else {},
    )  # fmt: skip


def _last_model(arm: Arm) -> str | None:
    """Who writes the answer or judges the proposals; None where no model does."""
    model = arm.model
    if isinstance(model, Chosen):
        return model.chooser.name if isinstance(model.chooser, JudgingChooser) else None
    aggregator = getattr(model, "aggregator", None)
    return aggregator.model.name if aggregator is not None else None


def _answer_of(one: Outcome, sizes: Sequence[int]) -> SampleAnswer:
    counted = _counted_support(one)
    return SampleAnswer(
        sample=one.item, epoch=one.draw + 1, question=one.item, target="", text="",
        score=float(one.right), missing="", calls=tuple(_calls_of(one, sizes)), support=counted,
    )  # fmt: skip


def _counted_support(one: Outcome) -> Support | None:
    """The share of the proposals that a vote chose; None of what does not count."""
    share = one.confidence.get("agreeing")
    return Support("votes", share) if one.arm.startswith("vote") and share is not None else None


def _calls_of(one: Outcome, sizes: Sequence[int]) -> Iterator[RecordedCall]:
    """The calls in their order: first those of the layers, of *sizes*, then the last step's."""
    layer_of = [layer for layer, size in enumerate(sizes, 1) for _ in range(size)]
    layer_of += [len(sizes) + 1] * len(one.calls)
    numbered = zip(layer_of, one.calls, strict=False)
    for layer, calls in groupby(numbered, key=lambda pair: pair[0]):
        role = "proposer" if layer <= len(sizes) else "aggregator"
        for index, (_, (model, read, written, seconds, _)) in enumerate(calls):
            yield RecordedCall(
                role, layer, index, model, "", read, written, None, seconds, None, failed=False
            )
