"""The agreement report of a finished run: who writes it, what it costs, where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mixtura.billing.forecast import ExpectedCall, forecast_calls
from mixtura.billing.spending_caps import SpendingCap
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.core.model import Model
from mixtura.core.types import Completion, Request
from mixtura.engine.streaming import Recorder
from mixtura.storage.run_record import (
    Record,
    recorded_proposals,
    restore_agreement,
    restore_request,
    with_agreement,
)


class PlannedReport(NamedTuple):
    """A report that can be made: who makes it, what is asked, and the most that it takes."""

    by: str
    model: Model
    asked: Request
    calls: list[ExpectedCall]


def has_agreement_report(run: Record) -> bool:
    """Whether a report is kept with the run."""
    kept = restore_agreement(run.get("agreement"))
    return kept is not None and kept.report is not None


async def prepare_agreement_report(
    config: Config, run: Record, *, max_cost: float | None = None, caps: Sequence[SpendingCap] = ()
) -> PlannedReport:
    """
    The report on a run's proposals before it is made. Raises ConfigError for a run without
    several, ContextOverflowError where they do not fit.
    """
    proposals = recorded_proposals(run)
    request = restore_request(run["request"])
    if len(proposals) < 2 or request is None:
        raise ConfigError(
            f"the run {run['id']} has fewer than two proposals: there is nothing to compare"
        )
    name = _reporter_name(config, run, proposals)
    reporter, model = config.build_reporter(name, proposals, max_cost=max_cost, caps=caps)
    asked = await reporter.show_proposals(request)
    return PlannedReport(reporter.name, model, asked, forecast_calls(reporter, asked))


async def make_agreement_report(config: Config, run: Record, report: PlannedReport) -> Record:
    """The run with its report, without a secret. Raises MixturaError where the model fails."""
    recorder = Recorder()
    await report.model.complete(report.asked, recorder)
    whole = with_agreement(run, recorder.build_trace(), config.usage_cost)
    return config.runs.redact_run(whole)


def _reporter_name(config: Config, run: Record, proposals: list[Completion]) -> str:
    """As configured, else who wrote the run's answer, else its first member."""
    if config.settings.agreement.model is not None:
        return config.settings.agreement.model
    last = [row["model"] for row in run["calls"] if row["role"] == "aggregator"]
    # The last step of a vote is no model.
    names = [*reversed(last), *(proposal.model for proposal in proposals)]
    named = [name for name in names if config.registry.name_exists(name)]
    known = next((name for name in named if name not in config.registry.mixtures), None)
    if known is None:
        raise ConfigError(
            f"none of the run's models is known any more ({', '.join(dict.fromkeys(names))}):"
            " name a model to compare them, `model` in [agreement]"
        )
    return known
