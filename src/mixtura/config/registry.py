"""What each name means: a configured model, a mixture, a provider's model, a file, or nothing."""

from __future__ import annotations

import difflib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from mixtura.catalog import downloads, local_models, providers
from mixtura.config import toml_document
from mixtura.config.api_keys import collect_secrets, list_key_variables
from mixtura.config.mixture_tables import KeyPath, check_quorum, expand_auto, read_mixture_spec
from mixtura.config.model_table_checks import check_model_table
from mixtura.config.ollama import ollama_models
from mixtura.config.plan import (
    AUTO,
    AUTO_TEAM,
    INLINE_MARKS,
    AutoDefaults,
    Environment,
    MemberSpec,
    MixtureSpec,
    check_name,
    detect_defaults,
    parse_inline,
)
from mixtura.config.schema import ConfigFile, ModelTable
from mixtura.core.credentials import looks_like_key
from mixtura.core.errors import ConfigError
from mixtura.core.redaction import Redactor
from mixtura.core.text import unknown_name_message

_NAMING_ADVICE = (
    "A model goes by its own name, as `provider/model`, such as openai/gpt-5.4, or by the path of a"
    " .gguf file."
)


class ConfiguredModel(NamedTuple):
    """A model's table, and the file that it stands in."""

    document: toml_document.TomlDocument
    table: ModelTable


class NameRegistry:
    """The models and mixtures that are configured, and the meaning of every other name."""

    def __init__(self, environ: Environment, models_folder: Path) -> None:
        self.environ = environ
        self.models_folder = models_folder
        self.models: dict[str, ConfiguredModel] = {}
        self.mixtures: dict[str, MixtureSpec] = {}
        self.redactor = Redactor(self.known_secrets())
        """Knows keys in the environment, and what ``learn_secrets`` found in the tables."""
        self._auto: AutoDefaults | None = None

    def add_tables(self, document: toml_document.TomlDocument, file: ConfigFile) -> None:
        """
        Add the models and mixtures of a file; they replace earlier ones of the same name.

        Raises ConfigError with the file and the line.
        """
        for name in file.models:
            if name in file.mixtures:
                problem = f"'{name}' is a model here and a mixture: one name, one thing"
                raise document.error_at(["mixtures", name], problem)
            table = document.convert_part(["models", name], ModelTable)
            with add_location(document, "models", name):
                check_name(name)
                check_model_table(table)
            self.mixtures.pop(name, None)
            self.models[name] = ConfiguredModel(document, _with_found_files(table, document))
        for name in file.mixtures:
            plan = read_mixture_spec(name, document)
            with add_location(document, "mixtures", name):
                check_name(name)
            self.models.pop(name, None)
            self.mixtures[name] = plan
        for name in file.mixtures:
            self._check_members(self.mixtures[name])

    def learn_secrets(self) -> None:
        """Let the redactor know the secrets in the tables that were added."""
        self.redactor = Redactor(self.known_secrets())

    # ---- which names there are

    def known_names(self) -> list[str]:
        """Every name that can be listed: configured models and mixtures, presets, local models."""
        return [*self.models, *self.mixtures, *local_models.known_models()]

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
            or name in local_models.known_models()
            or name.lower().endswith(".gguf")
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
                self._check_members(plan)
                return None
        except ConfigError as error:
            return str(error)
        if self.is_model_path(name):
            return f"'{name}' is a file: give it a name under [models]"
        return None if self.name_exists(name) else self._unknown_name_message(name)

    def _unknown_name_message(self, name: str) -> str:
        """The error message for a name that means nothing; shows no secret."""
        if looks_like_key(name) or self.redactor.redact_text(name) != name:
            return "a key or a login is no model's name: keys belong into the environment"
        provider, slash, model = name.partition("/")
        known = providers.providers()
        if slash and provider in known:
            marks = " ".join(INLINE_MARKS)
            said = f"'{name}': one model stands here, and no name holds any of {marks}"
        elif slash:
            if near := difflib.get_close_matches(provider, known, n=1):
                return f"unknown model '{name}': did you mean '{near[0]}/{model}'?"
            unknown = unknown_name_message("provider", provider, known)
            said = f"'{name}': {unknown}"
        else:
            said = unknown_name_message("model", name, self.known_names())
        return f"{said}{'' if said.endswith('?') else '.'} {_NAMING_ADVICE}"

    # ---- mixtures

    def mixture_spec(self, name: str) -> MixtureSpec:
        """
        A mixture by name, with `auto` resolved; a model's name is a mixture of one layer.

        Raises ConfigError where the name means nothing.
        """
        if name in self.mixtures:
            return self._resolve_auto(self.mixtures[name])
        if name == AUTO:
            auto = self.auto_defaults()
            return MixtureSpec(name, (), auto.aggregator, answer=auto.answer)
        if name == AUTO_TEAM:
            raise ConfigError(f"'{AUTO_TEAM}' is several models, for the layers of a mixture")
        if plan := parse_inline(name):
            self._check_members(plan)
            return self._resolve_auto(plan)
        if self.name_exists(name):
            return MixtureSpec(name, (), name)
        raise ConfigError(self._unknown_name_message(name))

    def auto_defaults(self) -> AutoDefaults:
        """The models that `auto` stands for on this machine, and why; detected once."""
        if self._auto is None:
            starter = local_models.model_groups()["starter"]
            pulled = [name for name in starter if downloads.cached_path(name, self.models_folder)]
            self._auto = detect_defaults(self.environ, ollama_models(self.environ), pulled)
        return self._auto

    def _resolve_auto(self, plan: MixtureSpec) -> MixtureSpec:
        if not plan.member_names() & {AUTO, AUTO_TEAM}:
            return plan
        auto = self.auto_defaults()
        layers = tuple(expand_auto(layer, auto) for layer in plan.layers)
        aggregator = auto.aggregator if plan.aggregator == AUTO else plan.aggregator
        fallbacks = tuple(auto.aggregator if n == AUTO else n for n in plan.fallbacks)
        answer = plan.answer.with_defaults(auto.answer) if plan.aggregator == AUTO else plan.answer
        filled = replace(
            plan, layers=layers, aggregator=aggregator, fallbacks=fallbacks, answer=answer
        )
        check_quorum(filled)
        return filled

    def _check_members(self, plan: MixtureSpec) -> None:
        """Raises ConfigError, with its line, for a member that means nothing or is misplaced."""
        for name, path in plan.member_locations():
            part = _mixture_part(path)
            if not self.name_exists(name):
                raise plan.error_at(path, f"{part}: {self._unknown_name_message(name)}")
            if name == AUTO_TEAM and part != "layers":
                said = f"{part}: '{AUTO_TEAM}' is several models: write '{AUTO}' for one"
                raise plan.error_at(path, said)
        for layer in plan.layers:
            for seat in layer:
                if seat.model == AUTO_TEAM and seat != MemberSpec(AUTO_TEAM):
                    said = f"layers: '{AUTO_TEAM}' stands alone, without a number or settings"
                    raise plan.error_at(seat.path, said)
        self._check_no_cycle(plan, (plan.name,))

    def _check_no_cycle(self, plan: MixtureSpec, above: tuple[str, ...]) -> None:
        for name, path in plan.member_locations():
            if name in above:
                circle = " in ".join((name, *reversed(above)))
                said = f"{_mixture_part(path)}: a mixture cannot be a member of itself: {circle}"
                raise plan.error_at(path, said)
            if name in self.mixtures:
                self._check_no_cycle(self.mixtures[name], (*above, name))


def _with_found_files(table: ModelTable, document: toml_document.TomlDocument) -> ModelTable:
    """The table with its certificate's files beside the configuration, where a path is relative."""
    folder = Path(document.source).parent

    def find_file(path: str | None) -> str | None:
        return None if path is None else str(folder / Path(path).expanduser())

    return msgspec.structs.replace(
        table,
        client_certificate=find_file(table.client_certificate),
        client_key=find_file(table.client_key),
    )


@contextmanager
def add_location(
    document: toml_document.TomlDocument, kind: str, name: str
) -> Generator[None, None, None]:
    """Add the file and the line to a ConfigError about a model or a mixture."""
    try:
        yield
    except ConfigError as error:
        if error.located:
            raise
        path = [kind, name, *([error.key] if error.key else [])]
        raise document.error_at(path, f"{kind}.{name}: {error}") from None


def _mixture_part(path: KeyPath) -> toml_document.Key:
    """The part of a mixture's table that *path* is in; a proposer of ``a,b>c`` has no path."""
    return path[0] if path else "layers"
