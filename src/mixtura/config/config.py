"""The configuration: files and environment, read into models and mixtures by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

from mixtura.billing.spending_caps import SpendingCap
from mixtura.config import model_prices
from mixtura.config.builder import HostedAddress, MixtureBuilder
from mixtura.config.model_factory import ModelFactory
from mixtura.config.paths import find_config_file, models_folder, state_folder
from mixtura.config.plan import AutoDefaults, Environment, MixtureSpec
from mixtura.config.registry import NameRegistry
from mixtura.config.schema import ModelTable
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
from mixtura.storage.responses import ResponseStore
from mixtura.storage.runs import RunStore
from mixtura.storage.sqlite import DAY_SECONDS, Store

PRESETS_SOURCE = "the presets"
"""What errors call the mixtures that come with the package."""
LONG_STORE_PATIENCE_SECONDS = 5.0
"""That runs and responses wait for the store: in threads, never in an event loop."""


class Config:
    """
    Everything that is configured; builds models and mixtures by name.

    ``settings`` holds what the files say, ``registry`` what names mean, ``builder`` the objects
    that were built; the methods here pass on to them.
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
        self.store = Store(self.settings.store_path)
        answers = self._open_answer_cache(cache)
        factory = ModelFactory(environ, models_folder, answers, self.redactor)
        self.builder = MixtureBuilder(self.registry, factory)
        self._caps = ConfiguredCaps(self.settings.budget, self.store, self.registry)
        self.runs = self._open_run_store(keep)
        self.responses = self._open_response_store(keep)

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
            Store(self.settings.store_path, patience=LONG_STORE_PATIENCE_SECONDS),
            keep=table.keep if keep is None else keep,
            days=table.days,
            megabytes=table.megabytes,
            hidden=self.redactor,
        )

    def _open_response_store(self, keep: bool | None) -> ResponseStore:
        """Where the server keeps responses; *keep* False: nothing at all is kept."""
        table = self.serve.responses
        return ResponseStore(
            Store(self.settings.store_path, patience=LONG_STORE_PATIENCE_SECONDS),
            keep=self.runs.keeps if table.keep is None or keep is False else table.keep,
            days=table.days,
            megabytes=table.megabytes,
            hidden=self.redactor,
        )

    # ---- names

    def known_names(self) -> list[str]:
        """Every name that can be listed: configured models and mixtures, presets, local models."""
        return self.registry.known_names()

    def configured_mixtures(self) -> Mapping[str, MixtureSpec]:
        """The mixtures of the files and the presets, by name; `auto` is not resolved in them."""
        return self.registry.mixtures

    def configured_models(self) -> Sequence[str]:
        """The names of the models in the files."""
        return list(self.registry.models)

    def model_tables(self) -> Mapping[str, ModelTable]:
        """The settings of every configured model."""
        return self.registry.model_tables()

    def raw_table(self, name: str) -> Mapping[str, object] | None:
        """A model's table as it stands in its file; None for a model of no file."""
        entry = self.registry.models.get(name)
        return entry.document.data["models"][name] if entry else None

    def key_variables(self) -> list[str]:
        """The environment variables that may hold an API key."""
        return self.registry.key_variables()

    def known_secrets(self) -> set[str]:
        """Values in the environment and in the models' tables that must never be shown."""
        return self.registry.known_secrets()

    def auto_defaults(self) -> AutoDefaults:
        """The models that `auto` stands for on this machine, and why."""
        return self.registry.auto_defaults()

    def is_model_path(self, name: str) -> bool:
        """Whether *name* is a file on this machine and nothing that is configured or served."""
        return self.registry.is_model_path(name)

    def is_known_name(self, name: str) -> bool:
        """Whether *name* is a model or a mixture. Raises ConfigError."""
        return self.registry.is_known_name(name)

    def mixture_spec(self, name: str) -> MixtureSpec:
        """
        A mixture by name, with `auto` resolved; a model's name is a mixture of one layer.

        Raises ConfigError where the name means nothing.
        """
        return self.registry.mixture_spec(name)

    # ---- objects

    def model(self, name: str) -> Model:
        """A model by name, the same object each time. Raises ConfigError."""
        return self.builder.model(name)

    def build_mixture(self, plan: MixtureSpec) -> Pattern:
        """
        A mixture with its models, the same object each time for the same plan.

        Raises ConfigError before any call is made.
        """
        return self.builder.build_mixture(plan)

    def build_outline(self, plan: MixtureSpec) -> Pattern:
        """The same mixture of echoes, for counting calls: it needs no key and calls no model."""
        return self.builder.build_outline(plan)

    def count_calls(self, plan: MixtureSpec) -> int:
        """Model calls of one answer when nothing fails, those of mixtures inside it included."""
        return self.build_outline(plan).call_count

    def hosted_address(self, name: str) -> HostedAddress | None:
        """Where a model is served over HTTP; None where it is not, or its key is missing."""
        return self.builder.hosted_address(name)

    def usage_cost(self, name: str, usage: Usage) -> float | None:
        """Dollars for *usage* of the model called *name*; None where its price is unknown."""
        return model_prices.usage_cost(self.registry, name, usage)

    def build_runnable(
        self,
        plan: MixtureSpec,
        *,
        max_cost: float | None = None,
        deadline: float | None = None,
        purses: Sequence[SpendingCap] = (),
        turns: ProposalCache | None = None,
    ) -> Model:
        """
        A mixture under the configured caps, those of *purses*, and for each run under
        *max_cost* dollars and *deadline* seconds. *turns*: see ``Pattern``.

        Raises ConfigError, also for caps that are negative, infinite or not a number.
        """
        check_caps(max_cost, deadline)
        mixture = replace(self.build_mixture(plan), turns=turns)
        if deadline is not None:
            mixture = with_layer_deadlines(mixture, deadline)
        capped = self._caps.apply_caps(
            mixture, plan, self.usage_cost, max_cost=max_cost, more_caps=purses
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
    presets = (resources.files("mixtura") / "presets" / "mixtures.toml").read_text("utf-8")
    documents = [TomlDocument(presets, PRESETS_SOURCE)]
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


def _read_text_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # Windows' editors begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
