"""The one seam: anything that can complete a request is a Model."""

from typing import Protocol, runtime_checkable
from weakref import ref

from mixtura.core.events import Emit
from mixtura.core.types import Completion, Request


@runtime_checkable
class Model(Protocol):
    """Answers requests. A Mixture is one, a hosted model is one, a wrapper around one is one."""

    @property
    def name(self) -> str: ...

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """
        Answer *request*, or raise ModelError.

        Given *emit*, also report what happens on the way; without it no one is
        watching and there is no need to stream.
        """
        ...


class Wrapper:
    """A Model around a Model: adds one behaviour, keeps the name and the window."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def inner_model(self) -> Model:
        return self._model

    @property
    def fallback_models(self) -> tuple[Model, ...]:
        """Other models that it may ask in place of this one."""
        return ()

    @property
    def context_window(self) -> int | None:
        return context_window(self._model)

    @property
    def supports_images(self) -> bool | None:
        return supports_images(self._model)

    @property
    def logprobs(self) -> bool | None:
        return logprobs(self._model)


def unwrap_model(model: Model) -> Model:
    """The model inside its wrappers."""
    while isinstance(model, Wrapper):
        model = model.inner_model
    return model


def context_window(model: Model) -> int | None:
    """Tokens that *model* takes in, prompt and answer; None where no one says."""
    own: int | None = getattr(model, "context_window", None)
    return own if own is not None else _LISTED_WINDOWS.get(id(model), (None, None))[1]


def record_listed_window(model: Model, size: int) -> None:
    """
    Note that *model* takes in *size* tokens, as its endpoint lists it. What it says itself, by its
    configuration, its name or what it was refused, counts before that; a later list replaces it.
    """
    inner = unwrap_model(model)
    key = id(inner)
    _LISTED_WINDOWS[key] = (ref(inner, lambda _: _LISTED_WINDOWS.pop(key, None)), size)


_LISTED_WINDOWS: dict[int, tuple[object, int | None]] = {}
"""What endpoints list, by model, for as long as that is there."""


def logprobs(model: Model) -> bool | None:
    """Whether *model* gives log-probabilities; None where no one knows yet."""
    return getattr(model, "logprobs", None)


def supports_images(model: Model) -> bool | None:
    """Whether *model* can look at pictures; None where it does not say."""
    return getattr(model, "supports_images", None)
