"""The interface of every model: anything that can complete a request is a Model."""

from typing import Protocol, runtime_checkable

from mixtura.core.events import Emit
from mixtura.core.model_info import ModelInfo
from mixtura.core.types import Completion, Request


@runtime_checkable
class Model(Protocol):
    """
    Answers requests. A Mixture is one, a hosted model is one, a wrapper around one is one.

    It may also have an ``info``, a `ModelInfo`: see `get_model_info`.
    """

    @property
    def name(self) -> str: ...

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """
        Answer *request*. Raises ModelError when the call fails.

        With *emit*, also report what happens on the way; without it no one is watching and there
        is no need to stream.
        """
        ...


class Wrapper:
    """A Model around a Model: adds one behaviour, keeps the name and the info."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def info(self) -> ModelInfo:
        """What is known of the model inside."""
        return get_model_info(self._model)

    @property
    def inner_model(self) -> Model:
        return self._model

    @property
    def fallback_models(self) -> tuple[Model, ...]:
        """Other models that it may ask in place of this one."""
        return ()


def unwrap_model(model: Model) -> Model:
    """The model inside its wrappers."""
    while isinstance(model, Wrapper):
        model = model.inner_model
    return model


def get_model_info(model: Model) -> ModelInfo:
    """
    What is known of *model*: its ``info``, where it has one, else only its name.

    Raises TypeError for an ``info`` that is something else.
    """
    info = getattr(model, "info", None)  # no part of Model: a name and `complete` are enough
    if info is None:
        return ModelInfo(model.name)
    if not isinstance(info, ModelInfo):
        raise TypeError(
            f"the `info` of the model {model.name} is a ModelInfo or None,"
            f" not {type(info).__name__}: info = ModelInfo({model.name!r}, context_window=…)"
        )
    return info
