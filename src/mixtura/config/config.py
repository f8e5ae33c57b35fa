"""The configuration: files and environment, read into models and mixtures by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

from mixtura.billing.spending_caps import SpendingCap
from mixtura.config import model_prices
from mixtura.config.builder import MixtureBuilder
from mixtura.config.model_factory import ModelFactory
from mixtura.config.paths import find_config_file, models_folder, state_folder
from mixtura.config.plan import Environment, MixtureSpec
from mixtura.config.registry import DEFAULT, PRESETS_SOURCE, NameRegistry
from mixtura.config.settings import Settings
from mixtura.config.spending_caps import ConfiguredCaps, check_caps
from mixtura.config.toml_document import TomlDocument
from mixtura.core.errors import ConfigError
from mixtura.core.model import Model
from mixtura.core.redaction import register_secrets
from mixtura.core.types import Usage
from mixtura.engine.pattern import Pattern
from mixtura.engine.proposal_cache import ProposalCache
from mixtura.models.wrappers.deadline import Deadlined, with_layer_deadlines
from mixtura.storage.answer_cache import AnswerCache
from mixtura.storage.interfaces import DAY_SECONDS, Store
from mixtura.storage.responses import ResponseStore
from mixtura.storage.runs import RunStore
from mixtura.storage.store_address import open_store

STORE_PATIENCE_SECONDS = 30.0
"""That the ledger of a day and the cache wait, where they say nothing else."""
LONG_STORE_PATIENCE_SECONDS = 5.0
"""That runs and responses wait for the store: in threads, never in an event loop."""


class Config:
    """
    Everything that is configured; builds models and mixtures by name.

    ``settings`` holds what the files say, ``registry`` what names mean, ``builder`` the objects
    that were built. The methods here are what most callers need of them.
    """

    def __init__(
        self,
        documents: Sequence[TomlDocument],
        *,
        environ: Environment,
        models_folder: Path,
        store_folder: Path,
        cache: bool | None = None,
        keep: bool | None = None,
    ) -> None:
        self.documents = tuple(documents)
        self.models_folder = models_folder
        self.registry = NameRegistry(environ, models_folder)
        self.settings = Settings(store_folder / "mixtura.sqlite")
        for document in documents:
            self.settings.read_document(document, self.registry)
        self.registry.learn_secrets()
        self.redactor = self.registry.redactor
        """Knows what is never to be shown: keys in the environment, logins, secret headers."""
        register_secrets(self.redactor.values)
        self.serve = self.settings.serve
        self.default = self.settings.default
        own = self.registry.mixtures.get(DEFAULT)
        ours = own is None or own.where is None or own.where.source == PRESETS_SOURCE
        self.default_names = {DEFAULT: self.default} if ours else {}
        """What `default` means: the configured default, unless someone made a mixture of it."""
        self.store = self._open_store()
        answers = self._open_answer_cache(cache)
        factory = ModelFactory(
            environ, models_folder, answers, self.redactor, self.settings.transport
        )
        self.builder = MixtureBuilder(self.registry, factory)
        self._caps = ConfiguredCaps(self.settings.budget, self.store, self.registry)
        self.runs = self._open_run_store(keep)
        self.responses = self._open_response_store(keep)

    def _open_store(self, patience: float = STORE_PATIENCE_SECONDS) -> Store:
        # None: libpq looks for a password itself, in its file or where its own environment says.
        password = self.registry.environ.get("PGPASSWORD")
        return open_store(self.settings.store_address, password=password, patience=patience)

    def _open_answer_cache(self, cache: bool | None) -> AnswerCache | None:
        """The cache of answers; *cache*: whether there is one, None for what the files say."""
        table = self.settings.cache
        if not (table.use if cache is None else cache):
            return None
        return AnswerCache(
            self.store, age=table.days * DAY_SECONDS, size=int(table.megabytes * 1024**2)
        )

    def _open_run_store(self, keep: bool | None) -> RunStore:
        """Where runs are kept; *keep*: whether they are, None for what the files say."""
        table = self.settings.runs
        return RunStore(
            self._open_store(LONG_STORE_PATIENCE_SECONDS),
            keep=table.keep if keep is None else keep,
            days=table.days,
            megabytes=table.megabytes,
            hidden=self.redactor,
        )

    def _open_response_store(self, keep: bool | None) -> ResponseStore:
        """Where the server keeps responses; *keep* False: nothing at all is kept."""
        table = self.serve.responses
        return ResponseStore(
            self._open_store(LONG_STORE_PATIENCE_SECONDS),
            keep=self.runs.keeps if table.keep is None or keep is False else table.keep,
            days=table.days,
            megabytes=table.megabytes,
            hidden=self.redactor,
        )

    def mixture_spec(self, name: str) -> MixtureSpec:
        """
        A mixture by name, with `auto` resolved; a model's name is a mixture of one layer.

        Raises ConfigError where the name means nothing.
        """
        return self.registry.mixture_spec(name)

    def model(self, name: str) -> Model:
        """A model by name, the same object each time. Raises ConfigError."""
        return self.builder.model(name)

    def build_mixture(self, plan: MixtureSpec) -> Pattern:
        """
        A mixture with its models, the same object each time for the same plan.

        Raises ConfigError before any call is made.
        """
        return self.builder.build_mixture(plan)

    def count_calls(self, plan: MixtureSpec) -> int:
        """Model calls of one answer when nothing fails, those of mixtures inside it included."""
        return self.builder.build_outline(plan).call_count

    def usage_cost(self, name: str, usage: Usage) -> float | None:
        """Dollars for *usage* of the model called *name*; None where its price is unknown."""
        return model_prices.usage_cost(self.registry, name, usage)

    def build_runnable(
        self,
        plan: MixtureSpec,
        *,
        max_cost: float | None = None,
        deadline: float | None = None,
        caps: Sequence[SpendingCap] = (),
        turns: ProposalCache | None = None,
    ) -> Model:
        """
        A mixture under the configured caps, those of *caps*, and for each run under
        *max_cost* dollars and *deadline* seconds. *turns*: see ``Pattern``.

        Raises ConfigError, also for caps that are negative, infinite or not a number.
        """
        check_caps(max_cost, deadline)
        mixture = replace(self.build_mixture(plan), turns=turns)
        if deadline is not None:
            mixture = with_layer_deadlines(mixture, deadline)
        capped = self._caps.apply_caps(
            mixture, plan, self.usage_cost, max_cost=max_cost, more_caps=caps
        )
        return capped if deadline is None else Deadlined(capped, deadline)


def load(
    file: str | None,
    *,
    environ: Environment,
    folder: Path,
    home: Path | None = None,
    cache: bool | None = None,
    keep: bool | None = None,
) -> Config:
    """
    The presets, and the user's file over them.

    *file*, else ``MIXTURA_CONFIG``, else ``mixtura.toml`` in *folder*, else the one in the
    user's configuration folder. *cache*, *keep*: whether answers, and runs, are kept, whatever
    the file says.
    Raises ConfigError with the file and the line.
    """
    documents = [read_presets()]
    if path := find_config_file(file, environ=environ, folder=folder, home=home):
        documents.append(TomlDocument(_read_text_file(path), str(path)))
    return Config(
        documents,
        environ=environ,
        models_folder=models_folder(environ, home),
        store_folder=state_folder(environ, home),
        cache=cache,
        keep=keep,
    )


def read_presets() -> TomlDocument:
    """The mixtures that come with the package."""
    text = (resources.files("mixtura") / "presets" / "mixtures.toml").read_text("utf-8")
    return TomlDocument(text, PRESETS_SOURCE, packaged=True)


def _read_text_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # Windows' editors begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigError(f"{path} cannot be read: {reason}") from None
