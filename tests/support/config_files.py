"""Configurations of one file, read and built, and what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mixtura import ConfigError, Mixture
from mixtura.config.config import Config, load

NOTHING: Mapping[str, str] = {}


def model_tables(**models: str) -> str:
    """Tables of *models*, by name, at an address where nobody listens."""
    return "".join(
        f'\n[models.{name}]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "{model}"\n'
        for name, model in models.items()
    )


MODELS = model_tables(quick="quick-1", steady="steady-1")


@pytest.fixture
def folder(tmp_path):
    """A working folder with nothing in it."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def read(text: str, folder: Path, environ: Mapping[str, str] = NOTHING) -> Config:
    (folder / "mixtura.toml").write_text(text, encoding="utf-8")
    return load(None, environ=environ, folder=folder, home=folder / "home")


def built(text: str, folder: Path, environ: Mapping[str, str] = NOTHING) -> Mixture:
    """The mixture that `mixtura ask` would use with this file."""
    config = read(text, folder, environ)
    return config.build_mixture(config.mixture_spec(config.default))


def refused(text: str, folder: Path, environ: Mapping[str, str] = NOTHING) -> str:
    """What is said of a wrong file, without the file's own name; it ends before any call."""
    with pytest.raises(ConfigError) as caught:
        built(text, folder, environ)
    said = str(caught.value)
    assert said.startswith(str(folder / "mixtura.toml")), said
    return said.removeprefix(str(folder / "mixtura.toml"))


def marked(text: str) -> int:
    """The line with the mark."""
    return next(n for n, line in enumerate(text.splitlines(), 1) if "# <-" in line)


def top(body: str) -> str:
    """A file with two models, and *body*."""
    return f'default = "team"\n{MODELS}\n{body}\n'


def team(body: str) -> str:
    """A file with two models and one mixture, of which *body* is all."""
    return top(f"[mixtures.team]\n{body}")


def priced_model(name: str, address: str = "{url}") -> str:
    """The table of a model with a price, for a text that `str.format` completes."""
    return (
        f'[models.{name}]\nbase_url = "{address}"\nmodel = "{name}"\n'
        "price = {{ input = 1.0, output = 2.0 }}\nretries = 0\n"
    )
