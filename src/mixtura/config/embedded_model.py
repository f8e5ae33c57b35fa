"""How the model that comes along is asked: the settings of presets/embedded.toml."""

from __future__ import annotations

import functools
import importlib.resources

import msgspec

from mixtura.core.types import Sampling


class EmbeddedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in presets/embedded.toml."""

    model: str
    repeat_penalty: float
    pattern: str
    """How `default` makes an answer of the drafts."""
    samples: int
    persona: str
    draft: Sampling
    answer: Sampling
    """Where it answers alone, or from drafts."""


@functools.cache
def embedded_settings() -> EmbeddedSettings:
    """The settings, read once."""
    file = importlib.resources.files("mixtura") / "presets" / "embedded.toml"
    return msgspec.toml.decode(file.read_text("utf-8"), type=EmbeddedSettings)
