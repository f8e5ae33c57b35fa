"""The interface of every model: anything that can complete a request is a Model."""

import inspect
from functools import lru_cache
from types import CoroutineType
from typing import Protocol, runtime_checkable

from mixtura.core.arguments import check_text, quote_text, wrong_kind
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


def check_model(place: str, value: object, wanted: str = "a model") -> None:
    """Raises TypeError, which names the *place* of the argument, for what is no model."""
    if not _is_model_class(type(value)):
        rule = "a model has a `name` and an `async complete(request, emit=None)`"
        if isinstance(value, str):
            made = f"`mixtura.model({quote_text(value)})` is the model that is called so"
            raise TypeError(f"{place}: {wanted}, not its name: {made}")
        if isinstance(value, type) or not isinstance(value, Model):
            raise TypeError(f"{wrong_kind(place, wanted, value)}: {rule}")
        if _is_generator(value.complete):
            raise TypeError(
                f"{place}: `complete` of the model {value.name} returns a Completion; with `yield`"
                " it is a generator. To stream, call `emit(Token(text))`"
            )
    check_text(f"{place}: the `name` of a model", getattr(value, "name", None))


@lru_cache(maxsize=256)
def _is_model_class(kind: type) -> bool:
    """Whether objects of a class are models: wrappers are made for each call of a run."""
    complete = getattr(kind, "complete", None)
    return hasattr(kind, "name") and callable(complete) and not _is_generator(complete)


def _is_generator(function: object) -> bool:
    return inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)


async def ask_model(model: Model, request: Request, emit: Emit | None = None) -> Completion:
    """
    The answer of *model*, which may be anyone's. Raises what it raises, and TypeError in words
    where its ``complete`` is not async, or gives no Completion.
    """
    answering = model.complete(request, emit)
    if type(answering) is not CoroutineType and not inspect.isawaitable(answering):
        raise TypeError(
            f"`complete` of the model {model.name} must be an `async def` that returns a"
            f" Completion: it gave {_describe_result(answering)} without `await`"
        )
    answer = await answering
    if not isinstance(answer, Completion):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"`complete` of the model {model.name} must return a Completion, as in"
            ' `Completion(Message("assistant", text), self.name)`:'
            f" it returned {_describe_result(answer)}"
        )
    return answer


def _describe_result(value: object) -> str:
    return "None" if value is None else f"a value of the class {type(value).__name__}"


class Wrapper:
    """
    A Model around a Model: adds one behaviour, keeps the name and the info. Raises TypeError for
    what is no model.
    """

    def __init__(self, model: Model) -> None:
        check_model("model", model)
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

    Raises TypeError for an ``info`` that is something else, and for what is no model.
    """
    info = getattr(model, "info", None)  # no part of Model: a name and `complete` are enough
    if info is None:
        check_model("model", model)
        return ModelInfo(model.name)
    if not isinstance(info, ModelInfo):
        raise TypeError(
            f"the `info` of the model {model.name} is a ModelInfo or None,"
            f" not {type(info).__name__}: info = ModelInfo({model.name!r}, context_window=…)"
        )
    return info
