"""What answers the rows of a batch: this process, or workers of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import click

from mixtura.batch.call_journal import CallJournal
from mixtura.batch.journaled_models import JournaledModels
from mixtura.batch.part_file import BatchFiles
from mixtura.batch.provider_batches import ProviderBatches
from mixtura.catalog.user_files import expand_home
from mixtura.cli.common import needed_models
from mixtura.cluster.cluster_models import ClusterModel, ClusterModels
from mixtura.cluster.leases import lease_seconds
from mixtura.cluster.messages import WorkerSetup
from mixtura.cluster.model_engines import APP_NAME, start_model_engines
from mixtura.cluster.ray_cluster import open_cluster, stop_serving
from mixtura.cluster.worker_journals import (
    MergedJournal,
    known_folders,
    merge_left_journals,
    remember_folder,
    workers_folder,
)
from mixtura.cluster.worker_models import describe_documents
from mixtura.cluster.worker_pool import WorkerPool
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.errors import ConfigError
from mixtura.core.model import Model
from mixtura.core.text import pluralize_count
from mixtura.models.wrappers.budget_queue import BudgetQueued, InFlight

T = TypeVar("T")

LOCAL_MODEL_CORES = 4
"""Cores of a worker whose models run on its machine, by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """The options of ``mixtura batch`` that say where the rows are answered, and how."""

    engine: str
    address: str | None
    workers: int | None
    worker_cores: int | None
    worker_folder: str | None
    start_vllm: bool
    concurrency: int
    deadline: float | None
    max_cost: float | None
    dedupe: bool


class LocalEngine:
    """This process answers."""

    def __init__(self, model: Model) -> None:
        self.model: Model = BudgetQueued(model, InFlight())

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        return await work


class ClusterEngine:
    """Workers of a cluster answer."""

    def __init__(self, name: str, pool: WorkerPool) -> None:
        self._pool = pool
        self.model: Model = ClusterModel(name, pool)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What *work* returns; the workers start before it and end with it."""
        try:
            await self._pool.start()
            done = await work
            await self._pool.finish()
        except BaseException:
            work.close()
            await self._pool.end()
            raise
        return done


def create_models(options: EngineOptions, batches: ProviderBatches | None) -> JournaledModels:
    """What wraps each model. Raises click.UsageError for options that do not go together."""
    if options.engine == "ray":
        if batches is not None:
            raise click.UsageError(
                "--provider-batch and --engine ray do not go together: a provider works for as many"
                " rows as one process sends it. Leave one of them out."
            )
        return ClusterModels(options.concurrency)
    for name in ("address", "workers", "worker_cores", "start_vllm"):
        if getattr(options, name) not in (None, False):
            given = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{given} is for --engine ray: give that, too.")
    return JournaledModels(options.concurrency, batches)


def merge_left_calls(
    config: Config, calls: CallJournal, files: BatchFiles, options: EngineOptions
) -> None:
    """Take in what killed workers left on this machine, whatever answers now. Raises StoreError."""
    own = find_journals_folder(files.journal, options.worker_folder)
    for folder in dict.fromkeys((own, *map(Path, known_folders(calls)))):
        if folder.is_dir():
            merge_left_journals(MergedJournal(calls), folder, config.usage_cost)


@contextmanager
def open_pool(
    config: Config,
    plan: MixtureSpec,
    models: ClusterModels,
    calls: CallJournal,
    files: BatchFiles,
    options: EngineOptions,
) -> Generator[ClusterEngine]:
    """Workers that answer for the length of the block. Raises ConfigError."""
    _check_caps(config, options)
    if any(one.limits.one_model for one in models.limiters) and options.workers != 1:
        raise ConfigError(
            "`one_model` in `limits` holds within one process only: leave --engine ray out, or give"
            " --workers 1"
        )
    setup = WorkerSetup(
        version=version("mixtura"),
        documents=describe_documents(config),
        plan=plan,
        working_folder=str(Path.cwd()),
        journals=str(find_journals_folder(files.journal, options.worker_folder)),
        concurrency=options.concurrency,
        deadline=options.deadline,
        max_cost=options.max_cost,
        reuses=options.dedupe,
    )
    cores = options.worker_cores or (LOCAL_MODEL_CORES if _has_local_models(config, plan) else 1)
    own = options.workers * cores if options.workers is not None else None
    with open_cluster(options.address, own) as cluster:
        if options.worker_cores is None:
            cores = min(cores, max(1, int(cluster.most_cores)))
        workers = options.workers or max(1, cluster.count_places(cores))
        if workers > cluster.count_places(cores):
            raise ConfigError(
                f"{pluralize_count(workers, 'worker')} with {pluralize_count(cores, 'core')} each"
                f" do not fit on the cluster, which has {cluster.describe_cores()}: give fewer"
                " --workers or --worker-cores"
            )
        if options.start_vllm:
            start_model_engines(cluster, _vllm_models(config, plan))
        try:
            setup = replace(setup, lease_seconds=lease_seconds(workers))
            remember_folder(calls, setup.journals)
            pool = WorkerPool(cluster, calls, setup, workers, cores)
            models.use_pool(pool)
            yield ClusterEngine(plan.name, pool)
        finally:
            if options.start_vllm:
                stop_serving(APP_NAME)


def _check_caps(config: Config, options: EngineOptions) -> None:
    """Raise ConfigError for caps that would not hold for all workers."""
    budget = config.settings.budget
    if options.max_cost is not None and budget.at_the_cap == "degrade":
        raise ConfigError(
            '--max-cost with --engine ray needs at_the_cap = "refuse" in [budget]: which row is'
            " the first without room is known only in one process"
        )
    daily = budget.day_usd is not None or budget.day_tokens is not None or budget.keys
    if options.address is not None and daily and config.store.name.startswith("/"):
        raise ConfigError(
            "daily caps in [budget] apply to all machines only with a PostgreSQL store: set"
            " `store`, or leave --address out"
        )


def find_journals_folder(journal: Path, folder: str | Path | None) -> Path:
    """Where the workers of the batch of *journal* have theirs: beside it, or within *folder*."""
    own = workers_folder(journal)
    if folder is None:
        return own
    # Other batches may be given the same folder: what is left there is merged and removed.
    mark = blake2b(os.fsencode(own), digest_size=6).hexdigest()
    return expand_home(folder).absolute() / f"{own.name}-{mark}"


def _vllm_models(config: Config, plan: MixtureSpec) -> list[str]:
    """What the plan's models of provider vllm are called there."""
    tables = config.registry.model_tables()
    found: dict[str, None] = {}
    for _, _, name in needed_models(config, plan):
        table = tables.get(name)
        if table is None and name.startswith("vllm/"):
            found[name.removeprefix("vllm/")] = None
        elif table is not None and table.provider == "vllm" and not table.base_url:
            found[table.model or name] = None
    return list(found)


def _has_local_models(config: Config, plan: MixtureSpec) -> bool:
    """Whether a model of the plan runs on the machine that asks it."""
    tables = config.registry.model_tables()
    for _, _, name in needed_models(config, plan):
        table = tables.get(name)
        hosted = "/" in name if table is None else (table.provider or table.base_url)
        if not hosted:
            return True
    return False
