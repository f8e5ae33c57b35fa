"""The mixture of a worker, built from what the owner of its batch has sent."""

from __future__ import annotations

import os
from contextlib import suppress

from mixtura.batch.journaled_models import JournaledModels
from mixtura.cluster.messages import WorkerSetup
from mixtura.config.config import Config, read_presets
from mixtura.config.model_builder import AnswerKeeper
from mixtura.config.paths import models_folder, state_folder
from mixtura.config.toml_document import TomlDocument
from mixtura.models.wrappers.rate_limit import RateLimiter


def read_worker_config(setup: WorkerSetup, keep_answers: AnswerKeeper | None = None) -> Config:
    """The owner's configuration with the keys of this machine's environment. Raises ConfigError."""
    # Only some folders are on every machine.
    with suppress(OSError):
        os.chdir(setup.working_folder)
    documents = [read_presets(), *(TomlDocument(text, name) for text, name in setup.documents)]
    return Config(
        documents,
        environ=os.environ,
        models_folder=models_folder(os.environ),
        store_folder=state_folder(os.environ),
        keep_answers=keep_answers,
        waits_for_all=True,
    )


def describe_documents(config: Config) -> tuple[tuple[str, str], ...]:
    """The files of a configuration, without what comes with the program."""
    return tuple((one.text, one.source) for one in config.documents if not one.packaged)


def name_limiters(models: JournaledModels) -> dict[str, RateLimiter]:
    """The limiters of the endpoints, by names that are the same in every worker."""
    # Built from the same plan, they come in the same order everywhere.
    named = enumerate(models.limiters.items())
    return {f"{number} {name}": limiter for number, (limiter, name) in named}
