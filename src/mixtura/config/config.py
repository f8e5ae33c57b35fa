"""The configuration: files and environment, read into models and mixtures by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path

from mixtura.billing.spending_caps import SpendingCap
from mixtura.config import calibrations, model_prices, team_advice
from mixtura.config.mixture_builder import MixtureBuilder
from mixtura.config.model_builder import AnswerKeeper, ModelBuilder
from mixtura.config.paths import config_folder, find_config_file, models_folder, state_folder
from mixtura.config.plan import Environment, MixtureSpec
from mixtura.config.registry import DEFAULT, PRESETS_SOURCE, NameRegistry
from mixtura.config.saved_keys import KEYS_FILE, KeyedEnvironment
from mixtura.config.saved_mixtures_file import read_saved_mixtures, saved_mixtures_file
from mixtura.config.settings import Settings
from mixtura.config.spending_caps import ConfiguredCaps, check_caps
from mixtura.config.telemetry_settings import read_telemetry_settings
from mixtura.config.toml_document import TomlDocument
from mixtura.core.errors import ConfigError
from mixtura.core.model import Model
from mixtura.core.redaction import register_secrets
from mixtura.core.roles import Composite
from mixtura.core.types import Completion, Request, Usage
from mixtura.engine.pattern import Pattern
from mixtura.engine.proposal_cache import ProposalCache
from mixtura.models.wrappers.budget_per_run import BudgetedPerRun
from mixtura.models.wrappers.cache import Cached
from mixtura.models.wrappers.deadline import Deadlined, with_layer_deadlines
from mixtura.patterns.agreement import AgreementReported, AgreementReporter
from mixtura.storage.answer_cache import AnswerCache
from mixtura.storage.interfaces import DAY_SECONDS, Store
from mixtura.storage.open_store import open_store
from mixtura.storage.responses import ResponseStore
from mixtura.storage.runs import RunStore
from mixtura.telemetry.conventions import provider_name
from mixtura.telemetry.setup import load_instruments

LOCK_TIMEOUT = 30.0
"""That the ledger of a day and the cache wait, where they say nothing else."""
BACKGROUND_LOCK_TIMEOUT = 5.0
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
        keep_answers: AnswerKeeper | None = None,
        waits_for_all: bool = False,
        keys_file: Path | None = None,
        saved_file: Path | None = None,
    ) -> None:
        self.keys = KeyedEnvironment(environ, keys_file)
        environ = self.keys.environ
        self.documents = tuple(documents)
        self.saved_file = saved_file
        """Where mixtures are saved on the server's page; None where nothing can be saved."""
        self.models_folder = models_folder
        self.store_folder = store_folder
        self.calibration_folder = store_folder / "calibrations"
        self.registry = NameRegistry(environ, models_folder)
        self.settings = Settings(store_folder / "mixtura.sqlite")
        for document in documents:
            self.settings.read_document(document, self.registry)
        self.registry.learn_secrets()
        self.redactor = self.registry.redactor
        """Knows what is never to be shown: keys in the environment, logins, secret headers."""
        register_secrets(self.redactor.values)
        self.serve = self.settings.serve
        self.default = self.registry.default = self.settings.default
        self.default_names = {DEFAULT: self.default} if _default_is_ours(self.registry) else {}
        """What `default` means: the configured default, unless someone made a mixture of it."""
        self.store = self.open_store()
        keep_answers = keep_answers or self._cache_answers(cache)
        self._model_builder = ModelBuilder(
            environ, models_folder, keep_answers, self.redactor, self.settings.transport,
            self.settings.redact, self.settings.tools.search,
        )  # fmt: skip
        self._learns_patience = not waits_for_all
        self.builder = self._create_builder()
        self._caps = ConfiguredCaps(self.settings.budget, self.store, self.registry)
        self.asks_in_batches = False
        """Every call is one of a provider's batch: its price is a batch's."""
        self.runs = _open_run_store(self, keep)
        self.responses = _open_response_store(self, keep)

    def open_store(self, lock_timeout: float = LOCK_TIMEOUT) -> Store:
        """One more connection to the store; *lock_timeout*: seconds that it waits for others."""
        # None: libpq looks for a password itself, in its file or where its own environment says.
        password = self.registry.environ.get("PGPASSWORD")
        return open_store(self.settings.store_address, password=password, lock_timeout=lock_timeout)

    def _cache_answers(self, cache: bool | None) -> AnswerKeeper | None:
        """What caches answers; *cache*: whether they are, None for what the files say."""
        table = self.settings.cache
        if not (table.use if cache is None else cache):
            return None
        answers = AnswerCache(
            self.store, age=table.days * DAY_SECONDS, size=int(table.megabytes * 1024**2)
        )
        return lambda model, identity: Cached(
            model, answers, identity=identity, redactor=self.redactor
        )

    def _create_builder(self) -> MixtureBuilder:
        return MixtureBuilder(
            self.registry, self._model_builder, learns_patience=self._learns_patience
        )

    def keep_calls(self, keep: AnswerKeeper) -> None:
        """Models that are built from now on are wrapped by *keep*, inside the cache."""
        if self._model_builder.keep_calls is not keep:
            self._model_builder.keep_calls = keep
            self.builder = self._create_builder()  # what it had built is built anew

    def copy_for_batches(self, keep_answers: AnswerKeeper) -> Config:
        """
        The same configuration for models whose answers *keep_answers* keeps instead of the cache;
        caps and the limits of endpoints count for both together.
        """
        copy = Config(
            self.documents,
            environ=self.registry.environ,
            models_folder=self.models_folder,
            store_folder=self.store_folder,
            keep_answers=keep_answers,
            waits_for_all=True,
        )
        copy._model_builder.share_rate_limiters(self._model_builder)
        return copy

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

    def cap_runs(self, plan: MixtureSpec) -> Model:
        """The mixture of *plan* under the configured caps; itself where none are configured."""
        return self._caps.apply_caps(self.build_mixture(plan), plan, self.usage_cost)

    def count_calls(self, plan: MixtureSpec) -> int:
        """Model calls of one answer when nothing fails, those of mixtures inside it included."""
        return self.builder.build_outline(plan).call_count

    def missing_calibration_reason(self, name: str) -> str:
        """Why answers of the mixture *name* have no confidence. Raises ConfigError."""
        plan = self.mixture_spec(name)
        return calibrations.missing_calibration_reason(self.calibration_folder, plan)

    def build_outline(self, plan: MixtureSpec, *, agreement: bool = False) -> Composite:
        """
        A mixture of echoes for counting calls, with the report of *agreement* where it is wanted.
        """
        outline = self.builder.build_outline(plan)
        if not agreement:
            return outline
        reporter = self.builder.outline_member(self.reporter_name(plan))
        return AgreementReported.of(outline, reporter)

    def team_problems(self, plan: MixtureSpec) -> list[str]:
        """What the rules of thumb advise against in a plan's team, by known strengths."""
        return team_advice.find_team_problems(plan, partial(_model_name, self.registry))

    def usage_cost(self, name: str, usage: Usage) -> float | None:
        """Dollars for *usage* of the model called *name*; None where its price is unknown."""
        if self.asks_in_batches:
            usage = replace(usage, batched=True)
        return model_prices.usage_cost(self.registry, name, usage, self.settings.tools.search)

    def reporter_name(self, plan: MixtureSpec) -> str:
        """Who reports where a mixture's proposals agree: as configured, else its last model."""
        if self.settings.agreement.model is not None:
            return self.settings.agreement.model
        return plan.aggregator if plan.has_final_model else plan.layers[-1][0].model

    def build_reporter(
        self,
        name: str,
        proposals: Sequence[Completion],
        *,
        max_cost: float | None = None,
        caps: Sequence[SpendingCap] = (),
    ) -> tuple[AgreementReporter, Model]:
        """
        The model *name* as a reporter on *proposals* of a run that is over; the second under the
        configured caps and *caps*. Raises ConfigError.
        """
        check_caps(max_cost, None)
        reporter = AgreementReporter.of(self.model(name), proposals)
        plan = self.mixture_spec(name)
        capped = self._caps.apply_caps(
            reporter, plan, self.usage_cost, max_cost=max_cost, more_caps=caps
        )
        return reporter, capped

    def build_runnable(
        self,
        plan: MixtureSpec,
        *,
        max_cost: float | None = None,
        deadline: float | None = None,
        caps: Sequence[SpendingCap] = (),
        turns: ProposalCache | None = None,
        agreement: bool = False,
    ) -> Model:
        """
        A mixture under the configured caps, those of *caps*, and for each run under
        *max_cost* dollars and *deadline* seconds. *turns*: see ``Pattern``. *agreement*: a report
        of where the proposals agree comes with the answer.

        Raises ConfigError, also for caps that are negative, infinite or not a number.
        """
        check_caps(max_cost, deadline)
        reporters = [self.reporter_name(plan)] if agreement else []
        pattern = replace(
            self.build_mixture(plan),
            turns=turns,
            calibration=calibrations.find_calibration(self.calibration_folder, plan),
        )
        mixture: Composite = pattern
        for name in reporters:
            mixture = AgreementReported.of(pattern, self.model(name))
        if deadline is not None:
            mixture = with_layer_deadlines(mixture, deadline)
        capped = self._caps.apply_caps(
            mixture, plan, self.usage_cost, max_cost=max_cost, more_caps=caps, also=reporters
        )
        whole = capped if deadline is None else Deadlined(capped, deadline)
        instruments = load_instruments(
            self.registry.environ,
            read_telemetry_settings(self.settings.telemetry, self.registry.environ),
        )
        if instruments is None:
            return whole
        from mixtura.telemetry.run_spans import Traced

        return Traced(whole, plan.name, instruments, partial(_provider_name, self.registry))

    async def check_affordable(
        self,
        plan: MixtureSpec,
        request: Request,
        *,
        max_cost: float | None = None,
        caps: Sequence[SpendingCap] = (),
    ) -> str:
        """
        What an answer would leave out under the caps of ``build_runnable``; no model is needed.

        Raises BudgetExceededError where it would be refused, ConfigError for an unknown price.
        """
        outline = self.builder.build_outline(plan)
        capped = self._caps.apply_caps(
            outline, plan, self.usage_cost, max_cost=max_cost, more_caps=caps
        )
        return await capped.check_caps(request) if isinstance(capped, BudgetedPerRun) else ""


def _open_run_store(config: Config, keep: bool | None) -> RunStore:
    """Where runs are kept; *keep*: whether they are, None for what the files say."""
    table = config.settings.runs
    return RunStore(
        config.open_store(BACKGROUND_LOCK_TIMEOUT),
        keep=table.keep if keep is None else keep,
        days=table.days,
        megabytes=table.megabytes,
        hidden=config.redactor,
        shared=isinstance(config.settings.store_address, str),
    )


def _open_response_store(config: Config, keep: bool | None) -> ResponseStore:
    """Where the server keeps responses; *keep* False: nothing at all is kept."""
    table = config.serve.responses
    return ResponseStore(
        config.open_store(BACKGROUND_LOCK_TIMEOUT),
        keep=config.runs.keeps if table.keep is None or keep is False else table.keep,
        days=table.days,
        megabytes=table.megabytes,
        hidden=config.redactor,
    )


def load(
    file: str | None,
    *,
    environ: Environment,
    folder: Path,
    home: Path | None = None,
    cache: bool | None = None,
    keep: bool | None = None,
    keep_answers: AnswerKeeper | None = None,
    waits_for_all: bool = False,
    file_option: str = "--config",
) -> Config:
    """
    The presets, and the user's file over them.

    *file*, else ``MIXTURA_CONFIG``, else ``mixtura.toml`` in *folder*, else the one in the
    user's configuration folder. *cache*, *keep*: whether answers, and runs, are kept, whatever
    the file says. *keep_answers* takes the place of the cache. *waits_for_all*: mixtures whose
    table says nothing of patience wait for all proposers, so that no answer depends on a
    machine's load. *file_option*: what *file* is called in a message.
    Raises ConfigError with the file and the line.
    """
    documents = [read_presets()]
    if path := find_config_file(
        file, environ=environ, folder=folder, home=home, option=file_option
    ):
        documents.append(TomlDocument(_read_text_file(path), str(path)))
    saved_file = saved_mixtures_file(path, environ=environ, home=home)
    if saved := read_saved_mixtures(saved_file, documents):
        documents.append(saved)
    return Config(
        documents,
        environ=environ,
        models_folder=models_folder(environ, home),
        store_folder=state_folder(environ, home),
        cache=cache,
        keep=keep,
        keep_answers=keep_answers,
        waits_for_all=waits_for_all,
        keys_file=config_folder(environ, home) / KEYS_FILE,
        saved_file=saved_file,
    )


def read_presets() -> TomlDocument:
    """The mixtures that come with the package."""
    text = (resources.files("mixtura") / "presets" / "mixtures.toml").read_text("utf-8")
    return TomlDocument(text, PRESETS_SOURCE, packaged=True)


def _read_text_file(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors begin with a mark
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        said = "this is not UTF-8 text: save the file as UTF-8"
        raise ConfigError(f"{path}:{line}: {said}", line=line) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        said = "a NUL character stands here: save the file as UTF-8 text, not as UTF-16"
        raise ConfigError(f"{path}:{line}: {said}", line=line)
    return text


def _default_is_ours(registry: NameRegistry) -> bool:
    """Whether no one made a mixture of the name `default`."""
    own = registry.mixtures.get(DEFAULT)
    return own is None or own.where is None or own.where.source == PRESETS_SOURCE


def _model_name(registry: NameRegistry, name: str) -> str:
    """What its maker calls the model *name*."""
    table = registry.model_tables().get(name)
    return (table.model or name) if table else name


def _provider_name(registry: NameRegistry, model: str) -> str:
    """Who provides a model, as telemetry says it; an address of one's own speaks OpenAI's."""
    table = registry.model_tables().get(model)
    named = table.provider if table else model.partition("/")[0] if "/" in model else None
    return provider_name(named) if named else "openai" if table else "mixtura"
