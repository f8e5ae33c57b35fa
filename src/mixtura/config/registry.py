"""What each name means: a configured model, a mixture, a provider's model, a file, or nothing."""

from __future__ import annotations

import difflib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import msgspec

from mixtura.catalog import downloads, local_models, providers
from mixtura.catalog.command_tools import command_tools, split_command_name
from mixtura.catalog.user_files import expand_home
from mixtura.config import toml_document
from mixtura.config.auto_defaults import (
    AutoDefaults,
    detect_defaults,
    find_provider_keys,
    reaches_auto,
    use_default_mixture,
)
from mixtura.config.local_council import NOT_LOOKED, find_council
from mixtura.config.mistakes import Mistakes
from mixtura.config.mixture_plans import MixturePlans
from mixtura.config.mixture_tables import KeyPath, check_quorum, expand_auto, read_mixture_spec
from mixtura.config.model_table_checks import find_model_mistakes, find_value_mistakes
from mixtura.config.name_advice import describe_hosted_name, with_naming_advice
from mixtura.config.pattern_settings import check_draws, check_shape
from mixtura.config.plan import (
    AUTO,
    AUTO_TEAM,
    INLINE_MARKS,
    Environment,
    MemberSpec,
    MixtureSpec,
    PatternChoice,
    check_name,
    parse_inline,
)
from mixtura.config.provider_keys import collect_secrets, list_key_variables
from mixtura.config.schema import ConfigFile, ModelTable, find_redact_files
from mixtura.core.credentials import looks_like_key
from mixtura.core.errors import ConfigError
from mixtura.core.redaction import Redactor
from mixtura.core.text import unknown_name_message as unknown_name

PRESETS_SOURCE = "the presets"
"""What errors call the mixtures that come with the package."""
USE_COMMANDS = "MIXTURA_USE_COMMANDS"
"""The variable that says whether `auto` may use command-line tools."""
DEFAULT = "default"
"""The mixture that is asked where no one says which."""


class ConfiguredModel(NamedTuple):
    """A model's table, and the file that it stands in."""

    document: toml_document.TomlDocument
    table: ModelTable


def _read_use_commands(environ: Environment) -> bool | None:
    said = environ.get(USE_COMMANDS, "").strip().lower()
    return said not in ("0", "no", "false") if said else None


def _detect_auto(
    environ: Environment, models_folder: Path, use_commands: bool | None
) -> AutoDefaults:
    """What `auto` stands for; servers are looked for only where no key decides."""
    keys = find_provider_keys(environ)
    found = NOT_LOOKED if keys else find_council(environ, bool(use_commands))
    starter = local_models.model_groups()["starter"]
    pulled = [name for name in starter if downloads.cached_path(name, models_folder)]
    return detect_defaults(environ, found.team, pulled, is_ollama_silent=found.is_ollama_silent)


def _read_preset(name: str, document: toml_document.TomlDocument) -> MixtureSpec:
    mistakes = Mistakes()
    plan = read_mixture_spec(name, document, mistakes)
    mistakes.raise_if_any()
    return plan


def _is_preset(plan: MixtureSpec) -> bool:
    return plan.where is not None and plan.where.source == PRESETS_SOURCE


def _default_mixture(default: str, mixtures: MixturePlans) -> MixtureSpec | None:
    """The mixture or model *default*, if someone chose it and named its models without `auto`."""
    own = mixtures.get(DEFAULT)
    plan = own if own is not None and not _is_preset(own) else None
    if plan is None and default not in (DEFAULT, AUTO):
        plan = mixtures.get(default) or MixtureSpec(default, (), default)
    return plan if plan and not reaches_auto(plan, mixtures) else None


class NameRegistry:
    """The models and mixtures that are configured, and the meaning of every other name."""

    def __init__(self, environ: Environment, models_folder: Path) -> None:
        self.environ = environ
        self.models_folder = models_folder
        self.models: dict[str, ConfiguredModel] = {}
        self.mixtures = MixturePlans()
        self.redactor = Redactor(self.known_secrets())
        """Knows keys in the environment, and what ``learn_secrets`` found in the tables."""
        self.default = DEFAULT  # what the configuration names as its default
        self._auto: AutoDefaults | None = None
        self.use_commands = _read_use_commands(environ)
        """Whether `auto` may use command-line tools; None where nobody said."""
        self._misplaced: set[str] = set()
        self._circles: set[frozenset[str]] = set()
        """Mixtures that are members of each other, once it was said."""

    def add_tables(
        self, document: toml_document.TomlDocument, file: ConfigFile, mistakes: Mistakes
    ) -> None:
        """
        Add the models and mixtures of a file; they replace earlier ones of the same name. What is
        wrong goes into *mistakes*, and a name whose table cannot be read is known all the same.
        """
        self._note_misplaced_tables(document, file)
        for name in file.models:
            with mistakes.collect():
                if name in file.mixtures:
                    problem = f"'{name}' is the name of a model too: a name stands for one thing"
                    raise document.error_at(["mixtures", name], problem)
            self._add_model(name, document, mistakes)
        if document.packaged:  # no one's mistakes to be told
            for name in file.mixtures:
                self.mixtures.read_when_used(name, partial(_read_preset, name, document))
            return
        for name in file.mixtures:
            plan = read_mixture_spec(name, document, mistakes)
            with mistakes.collect(), add_location(document, "mixtures", name):
                check_name(name)
            self.models.pop(name, None)
            self.mixtures[name] = plan
        for name in file.mixtures:
            self._check_members(self.mixtures[name], mistakes)

    def _add_model(
        self, name: str, document: toml_document.TomlDocument, mistakes: Mistakes
    ) -> None:
        before = len(mistakes)
        table = document.convert_valid_part(["models", name], ModelTable, mistakes)
        with mistakes.collect(), add_location(document, "models", name):
            check_name(name)
        # Of a table with a wrong key, what is left could be taken for another kind of model.
        if table is not None:
            find = find_model_mistakes if len(mistakes) == before else find_value_mistakes
            for error in find(table):
                with mistakes.collect(), add_location(document, "models", name):
                    raise error
        self.mixtures.pop(name, None)
        table = _with_found_files(table or ModelTable(), document)
        self.models[name] = ConfiguredModel(document, table)

    def _note_misplaced_tables(
        self, document: toml_document.TomlDocument, file: ConfigFile
    ) -> None:
        """Know the names in `[mixture.x]` and the like: that they are unknown is one mistake."""
        for key, table in document.data.items():
            if isinstance(table, dict) and difflib.get_close_matches(key, ("models", "mixtures")):
                self._misplaced.update(cast("dict[str, object]", table))
        self._misplaced -= {*file.models, *file.mixtures}

    def learn_secrets(self) -> None:
        """Let the redactor know the secrets in the tables that were added."""
        self.redactor = Redactor(self.known_secrets())

    # ---- which names there are

    def known_names(self) -> list[str]:
        """Every name that can be listed: of models, mixtures, presets, command-line tools."""
        return [*self.models, *self.mixtures, *local_models.known_models(), *command_tools()]

    def model_tables(self) -> Mapping[str, ModelTable]:
        """The settings of every configured model."""
        return {name: entry.table for name, entry in self.models.items()}

    def raw_table(self, name: str) -> Mapping[str, object] | None:
        """A model's table as it stands in its file; None for a model of no file."""
        entry = self.models.get(name)
        return entry.document.data["models"][name] if entry else None

    def key_variables(self) -> list[str]:
        """The environment variables that may hold an API key."""
        return list_key_variables(self.model_tables().values())

    def known_secrets(self) -> set[str]:
        """Values in the environment and in the models' tables that must never be shown."""
        return collect_secrets(self.model_tables().values(), self.environ)

    def name_exists(self, name: str) -> bool:
        """Whether *name* is one model, one mixture, ``auto`` or ``auto-team``; not ``a,b>c``."""
        return not looks_like_key(name) and (
            name in self.models
            or name in self.mixtures
            or name in (AUTO, AUTO_TEAM)
            or name in self._misplaced
            or name in local_models.known_models()
            or name.lower().endswith(".gguf")
            or split_command_name(name) is not None
            or (
                providers.split_model_name(name) is not None
                and not any(mark in name for mark in INLINE_MARKS)
            )
        )

    def is_known_name(self, name: str) -> bool:
        """Whether *name* is a model or a mixture, ``a,b>c`` included. Raises ConfigError."""
        return self.name_exists(name) or parse_inline(name) is not None

    def is_model_path(self, name: str) -> bool:
        """Whether *name* is a file on this machine and nothing that is configured or served."""
        known = (
            name in self.models
            or name in self.mixtures
            or providers.split_model_name(name) is not None
        )
        return ".gguf" in name.lower() and not known

    def unservable_reason(self, name: str) -> str | None:
        """Why no client of the server could ever ask for *name*; None where one can."""
        if name in self.models or name in self.mixtures:
            return None
        if name == AUTO_TEAM:
            return f"'{AUTO_TEAM}' is several models: write '{AUTO}' for one"
        try:
            if plan := parse_inline(name):
                self._check_inline(plan)
                return None
        except ConfigError as error:
            return str(error)
        if self.is_model_path(name):
            return f"'{name}' is a file: give it a name under [models]"
        return None if self.name_exists(name) else self.unknown_name_message(name)

    def unknown_name_message(self, name: str) -> str:
        """The error message for a name that means nothing; shows no secret."""
        if looks_like_key(name) or self.redactor.redact_text(name) != name:
            said = "this is an API key or a login, not the name of a model"
            return f"{said}: keys go into the environment"
        if problem := describe_hosted_name(name):
            return problem
        if served := providers.find_served_names(name):
            hosts = " or ".join(f"'{each}'" for each in served)
            return f"'{name}' needs its provider before it: write {hosts}"
        names = self.mixtures.list_own_first(self.models)
        return with_naming_advice(unknown_name("model or mixture", name, self.known_names(), names))

    # ---- mixtures

    def mixture_spec(self, name: str) -> MixtureSpec:
        """
        A mixture by name, with `auto` resolved; a model's name is a mixture of one layer.

        Raises ConfigError where the name means nothing.
        """
        if name in self.mixtures:
            return self._resolve_auto(self.mixtures[name])
        if name == AUTO and (auto := self.auto_defaults()):
            return MixtureSpec(name, (), auto.aggregator, answer=auto.answer)
        if name == AUTO_TEAM:
            raise ConfigError(f"'{AUTO_TEAM}' is several models, for the layers of a mixture")
        if plan := parse_inline(name):
            self._check_inline(plan)
            return self._resolve_auto(plan)
        if self.name_exists(name):
            return MixtureSpec(name, (), name)
        raise ConfigError(self.unknown_name_message(name))

    def auto_defaults(self) -> AutoDefaults:
        """The models that `auto` stands for, and why: of the default mixture, or detected once."""
        if (plan := _default_mixture(self.default, self.mixtures)) is not None:
            return use_default_mixture(plan)
        if self._auto is None:
            self._auto = _detect_auto(self.environ, self.models_folder, self.use_commands)
        return self._auto

    def allow_commands(self, allowed: bool | None) -> None:
        """Say whether `auto` may use command-line tools, and look again what it stands for."""
        self.use_commands, self._auto = allowed, None

    def _resolve_auto(self, plan: MixtureSpec) -> MixtureSpec:
        if not plan.member_names() & {AUTO, AUTO_TEAM}:
            return plan
        auto = self.auto_defaults()
        layers = tuple(expand_auto(layer, auto) for layer in plan.layers)
        aggregator = auto.aggregator if plan.aggregator == AUTO else plan.aggregator
        fallbacks = tuple(auto.aggregator if n == AUTO else n for n in plan.fallbacks)
        answer = plan.answer.with_defaults(auto.answer) if plan.aggregator == AUTO else plan.answer
        named = {key: auto.aggregator for key, n in plan.setting_models().items() if n == AUTO}
        settings = msgspec.structs.replace(plan.pattern.settings, **named)
        filled = replace(
            plan, layers=layers, aggregator=aggregator, fallbacks=fallbacks, answer=answer,
            pattern=replace(plan.pattern, settings=settings),
        )  # fmt: skip
        if auto.pattern and _is_preset(plan) and plan.name == DEFAULT:
            choice = PatternChoice.of(auto.pattern)
            filled = replace(
                filled, aggregator=choice.kind, pattern=choice, pattern_with_aggregator=plan.pattern
            )
        check_quorum(filled)
        return filled

    def _check_members(self, plan: MixtureSpec, mistakes: Mistakes) -> None:
        """Note, with its line, each member that means nothing or is misplaced."""
        for name, path in plan.member_locations():
            part = _mixture_part(path)
            if not self.name_exists(name):
                said = f"{part}: {self.unknown_name_message(name)}"
                mistakes.add(plan.error_at(path, said))
            elif name == AUTO_TEAM and part != "layers":
                said = f"{part}: '{AUTO_TEAM}' is several models: write '{AUTO}' for one"
                mistakes.add(plan.error_at(path, said))
        for layer in plan.layers:
            for seat in layer:
                if seat.model == AUTO_TEAM and seat != MemberSpec(AUTO_TEAM):
                    said = f"layers: '{AUTO_TEAM}' takes no number and no settings"
                    mistakes.add(plan.error_at(seat.path, said))
        with mistakes.collect():
            self._check_no_cycle(plan, (plan.name,))
        with mistakes.collect():
            check_draws(plan)
            check_shape(plan)

    def _check_inline(self, plan: MixtureSpec) -> None:
        """Raises ConfigError for members of ``a,b>c`` that mean nothing or are misplaced."""
        mistakes = Mistakes()
        self._check_members(plan, mistakes)
        mistakes.raise_if_any()

    def _check_no_cycle(self, plan: MixtureSpec, above: tuple[str, ...]) -> None:
        for name, path in plan.member_locations():
            if name in above:
                around = frozenset(above[above.index(name) :])
                if around in self._circles:
                    continue
                self._circles.add(around)
                circle = " in ".join((name, *reversed(above)))
                said = f"{_mixture_part(path)}: a mixture cannot be a member of itself: {circle}"
                raise plan.error_at(path, said)
            if name in self.mixtures:
                self._check_no_cycle(self.mixtures[name], (*above, name))


def _with_found_files(table: ModelTable, document: toml_document.TomlDocument) -> ModelTable:
    """The table with its certificate's files beside the configuration, where a path is relative."""
    folder = Path(document.source).parent

    def find_file(path: str | None) -> str | None:
        return None if path is None else str(folder / expand_home(path))

    return msgspec.structs.replace(
        table,
        client_certificate=find_file(table.client_certificate),
        client_key=find_file(table.client_key),
        redact=find_redact_files(table.redact, folder),
    )


@contextmanager
def add_location(
    document: toml_document.TomlDocument, kind: str, name: str
) -> Generator[None, None, None]:
    """Add the file and the line to a ConfigError about a model or a mixture."""
    try:
        yield
    except ConfigError as error:
        if error.has_location:
            raise
        path = [kind, name, *([error.key] if error.key else [])]
        with document.add_location(path, f"{kind}.{name}: "):
            raise


def _mixture_part(path: KeyPath) -> toml_document.Key:
    """The part of a mixture's table that *path* is in; a proposer of ``a,b>c`` has no path."""
    return path[0] if path else "layers"
