"""Run an evaluation: resumed where it stopped, within its cap, with the result as data."""

from __future__ import annotations

import time
from pathlib import Path

from mixtura.batch.call_journal import remove_journal
from mixtura.billing.spending_caps import RunCap, Spend
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.config.spending_caps import check_caps
from mixtura.core.errors import ConfigError, MixturaError
from mixtura.core.missing_packages import missing_package_text
from mixtura.evals.eval_request import EvalRequest
from mixtura.models.wrappers.budget_queue import BudgetQueued, InFlight

try:
    import inspect_ai
    from inspect_ai.log import EvalLog
    from inspect_ai.model import GenerateConfig, get_model
    from inspect_ai.model import Model as InspectModel

    from mixtura.evals import forecast, inspect_provider, log_reader
    from mixtura.evals.forecast import EvalModels
    from mixtura.evals.inspect_private import PrerequisiteError
    from mixtura.evals.kept_calls import (
        RequestTally,
        earlier_amount,
        keep_calls,
        read_tally,
        wrap_models,
    )
    from mixtura.evals.prepare import PreparedEval, prepare_eval
    from mixtura.evals.result import EvalContext, EvalResult, build_result, log_usage
    from mixtura.evals.sample_progress import OnProgress, SampleCounter
    from mixtura.evals.tasks import grader
except ModuleNotFoundError as error:
    if error.name is None or error.name.startswith("mixtura"):
        raise
    raise ConfigError(missing_package_text("evaluation", error.name, "eval")) from None


def evaluate(
    config: Config,
    plan: MixtureSpec | None,
    asked: EvalRequest,
    *,
    logs: Path = Path("logs"),
    max_cost: float | None = None,
    deadline: float | None = None,
    connections: int = inspect_provider.DEFAULT_CONNECTIONS,
    fresh: bool = False,
    watch: OnProgress | None = None,
) -> EvalResult:
    """
    Evaluate *plan*. What an earlier run of the same evaluation answered is not asked again.

    That run's log is looked for in *logs*, unless *fresh*. *max_cost* dollars are for
    the whole evaluation, earlier runs included, *deadline* seconds for each answer;
    *connections* samples are under way at once. Raises ConfigError before anything is asked,
    MixturaError when the evaluation itself breaks, KeyboardInterrupt when a person stops it.
    """
    ready = prepare_eval(config, plan, asked, logs=logs, capped=max_cost is not None, fresh=fresh)
    return execute(
        ready, max_cost=max_cost, deadline=deadline, connections=connections, watch=watch
    )


def execute(
    ready: PreparedEval,
    *,
    max_cost: float | None = None,
    deadline: float | None = None,
    connections: int = inspect_provider.DEFAULT_CONNECTIONS,
    watch: OnProgress | None = None,
) -> EvalResult:
    """Ask what no earlier run answered. Options and errors are those of `evaluate`."""
    check_caps(max_cost, deadline)
    began = time.monotonic()
    config, asked = ready.config, ready.asked
    already = _earlier_tally(ready)
    wrap_models(config)
    spent = Spend(already.cost_usd)
    caps = [RunCap("this evaluation", max_cost, spent=spent)] if max_cost is not None else []
    in_flight = InFlight()
    models = {
        plan.name: BudgetQueued(
            config.build_runnable(
                plan,
                deadline=deadline,
                caps=caps,
                agreement=asked.agreement and plan is ready.players.candidate,
            ),
            in_flight,
        )
        # The candidate last: where another has its name, the answers are the candidate's.
        for plan in reversed(ready.players.all_plans)
    }
    count = SampleCounter(ready, watch)
    log = ready.earlier
    if log is None or len(ready.kept) < ready.total:
        with (
            keep_calls(ready.journal_path, config),
            inspect_provider.use_models(config, models, count.record_call),
        ):
            log = _run_inspect(ready, connections)
    context = EvalContext(
        task=asked.task,
        model=ready.name,
        judge=asked.judge,
        seconds=time.monotonic() - began,
        reused=len(ready.kept),
        total=ready.total,
        priced=not forecast.unpriced_models(config, ready.players.all_plans),
    )
    findings = ready.task_spec.collect_findings(log.samples or [], ready.judge_context)
    tally = read_tally(ready.journal_path, config.usage_cost) or already
    return build_result(log, context, findings, tally, ready.kinship.warnings)


def _earlier_tally(ready: PreparedEval) -> RequestTally:
    """What earlier runs asked and paid; read from the log where they left no journal."""
    # Begun anew, the calls of earlier runs are no part of what this one took.
    if ready.fresh:
        remove_journal(ready.journal_path)
    if (tally := read_tally(ready.journal_path, ready.config.usage_cost)) is not None:
        return tally
    if ready.earlier is None:
        return RequestTally()
    usage = log_usage(ready.earlier.samples or ())
    tally = RequestTally(
        usage.cost_usd or 0.0, usage.prompt_tokens, usage.completion_tokens, usage.calls
    )
    with keep_calls(ready.journal_path, ready.config) as calls:
        calls.record_earlier(earlier_amount(tally))
    return tally


def _run_inspect(ready: PreparedEval, connections: int) -> EvalLog:
    """Inspect's log. Raises ConfigError, MixturaError, KeyboardInterrupt where it is stopped."""
    logs, asked, players = str(ready.logs), ready.asked, ready.players
    try:
        if ready.earlier is not None:
            logged = inspect_ai.eval_retry(  # pyright: ignore[reportUnknownMemberType]
                ready.earlier, log_dir=logs, display="none", max_samples=connections,
                max_connections=connections, ctl_server=False, log_realtime=False,
                log_level="critical",
            )  # fmt: skip
        else:
            about = players.candidate and log_reader.describe_plan(players.candidate)
            logged = inspect_ai.eval(  # pyright: ignore[reportUnknownMemberType]
                ready.task, model=_inspect_model(players.candidate, asked.seed),
                model_roles=_model_roles(players),
                # Each sample is on disk as soon as it is done, and one that fails ends no other.
                display="none", log_dir=logs, log_format="eval", log_buffer=1,
                # Only a viewer that looks on reads these tables: 20 writes to disk for each call.
                log_realtime=False,
                limit=asked.limit, epochs=asked.epochs, fail_on_error=False,
                max_samples=connections, max_connections=connections, ctl_server=False,
                metadata={"identity": ready.identity} | ({"contender": about} if about else {}),
                log_level="critical",
            )  # fmt: skip
    except PrerequisiteError as error:
        raise ConfigError(str(error.message)) from None
    if not logged or logged[0].status == "cancelled":
        raise KeyboardInterrupt  # Inspect has written down what there is
    log = logged[0]
    if log.status == "error":
        raise MixturaError(log.error.message if log.error else "the evaluation failed")
    return log


def _inspect_model(plan: MixtureSpec | None, seed: int | None = None) -> InspectModel | None:
    config = GenerateConfig(seed=seed)
    # Not kept by its name: in one process two evaluations may mean different models by it.
    return get_model(f"mixtura/{plan.name}", config=config, memoize=False) if plan else None


def _model_roles(players: EvalModels) -> dict[str, str | InspectModel] | None:
    """Inspect's models by role."""
    models = {
        grader.JUDGE_ROLE: _inspect_model(players.judge),
        grader.OPPONENT_ROLE: _inspect_model(players.other),
    }
    return {role: model for role, model in models.items() if model} or None
