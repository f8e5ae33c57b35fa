"""How the model that comes along is asked: the settings of presets/embedded.toml."""

from __future__ import annotations

import functools
import importlib.resources
from typing import TypedDict

import msgspec

from mixtura.core.types import Sampling


class EmbeddedArguments(TypedDict, total=False):
    """How it differs from other local models."""

    repeat_penalty: float
    answer_tokens: int


class EmbeddedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in presets/embedded.toml."""

    model: str
    repeat_penalty: float
    answer_tokens: int
    """The most that it writes where a request does not say: a verdict, a report."""
    pattern: str
    """How `default` makes an answer of the drafts."""
    samples: int
    persona: str
    draft: Sampling
    answer: Sampling
    """Where it answers alone, or from drafts."""

    def model_settings(self) -> EmbeddedArguments:
        """Arguments of `Local` that it has in place of the usual ones."""
        return {"repeat_penalty": self.repeat_penalty, "answer_tokens": self.answer_tokens}


@functools.cache
def embedded_settings() -> EmbeddedSettings:
    """The settings, read once."""
    file = importlib.resources.files("mixtura") / "presets" / "embedded.toml"
    return msgspec.toml.decode(file.read_text("utf-8"), type=EmbeddedSettings)
