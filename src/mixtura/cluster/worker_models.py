"""The mixture of a worker, built from what the owner of its batch has sent."""

from __future__ import annotations

import os
from contextlib import suppress

from mixtura.batch.journaled_models import JournaledModels
from mixtura.cluster.messages import MachineSetup, WorkerSetup
from mixtura.config.config import Config, read_presets
from mixtura.config.model_builder import AnswerKeeper
from mixtura.config.paths import config_folder, models_folder, state_folder
from mixtura.config.saved_keys import KEYS_FILE
from mixtura.config.saved_mixtures_file import remove_taken_mixtures
from mixtura.config.toml_document import TomlDocument
from mixtura.models.wrappers.rate_limit import RateLimiter


def read_sent_config(
    setup: MachineSetup,
    *,
    cache: bool | None = None,
    keep_answers: AnswerKeeper | None = None,
    waits_for_all: bool = False,
) -> Config:
    """
    The owner's configuration with this machine's keys: those of its environment, and those that a
    person saved here. Raises ConfigError.
    """
    # Only some folders are on every machine.
    with suppress(OSError):
        os.chdir(setup.working_folder)
    documents = [read_presets()]
    for text, name in setup.documents:
        document = TomlDocument(text, name)
        # The text of what was saved on the page has them all.
        remove_taken_mixtures(document, documents)
        documents.append(document)
    return Config(
        documents,
        environ=os.environ,
        models_folder=models_folder(os.environ),
        store_folder=state_folder(os.environ),
        cache=cache,
        keep_answers=keep_answers,
        waits_for_all=waits_for_all,
        keys_file=config_folder(os.environ) / KEYS_FILE,
    )


def read_worker_config(setup: WorkerSetup, keep_answers: AnswerKeeper | None = None) -> Config:
    """The configuration of a worker. Raises ConfigError."""
    return read_sent_config(setup, keep_answers=keep_answers, waits_for_all=True)


def describe_documents(config: Config) -> tuple[tuple[str, str], ...]:
    """The files of a configuration, without what comes with the program."""
    return tuple((one.text, one.source) for one in config.documents if not one.packaged)


def name_limiters(models: JournaledModels) -> dict[str, RateLimiter]:
    """The limiters that workers share, by names that are the same in every worker."""
    # Built from the same plan, they come in the same order everywhere.
    named = enumerate(models.limiters.items())
    return {
        f"{number} {name}": limiter
        for number, (limiter, name) in named
        if not limiter.of_one_process
    }
