"""What is known of one model object: its window, whether it sees images, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from mixtura.core.arguments import check_optional, check_text
from mixtura.core.types import Usage

UsagePrice = Callable[[Usage], float | None]
"""Dollars for a call's usage; ``None`` where no one knows. A ``Price`` is one."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """
    What holds for one model, as it is configured and as it has shown itself by now.

    The catalogue knows what models of a name usually have; this is what counts for the object
    that gives it as its ``info``. None is: not known. Raises ValueError and TypeError for
    what makes no sense.

    *name*: what its charges are booked under. *context_window*: tokens that it takes in, prompt
    and answer; drafts are cut to fit. *max_answer_tokens*: of its longest answer.
    *supports_images*: where False, it is shown a line of text in place of each image.
    *refused_parameters*: what it cannot follow, by OpenAI's names (``logprobs``, say). *price*:
    dollars for a call's usage, such as ``Price(input=0.25, output=2)``.
    """

    name: str
    context_window: int | None = None
    max_answer_tokens: int | None = None
    supports_images: bool | None = None
    refused_parameters: frozenset[str] = frozenset()
    price: UsagePrice | None = None

    def __post_init__(self) -> None:
        check_text("name", self.name)
        sizes = {
            "context_window": self.context_window,
            "max_answer_tokens": self.max_answer_tokens,
        }
        for field, size in sizes.items():
            if size is not None and (type(size) is not int or size < 1):
                raise ValueError(f"{field}: a whole number of tokens, or None, not {size!r}")
        check_optional("supports_images", self.supports_images, bool, "True, False or None")
        _check_names(self.refused_parameters)
        object.__setattr__(self, "refused_parameters", frozenset(self.refused_parameters))
        if self.price is not None and not callable(self.price):
            raise ValueError(f"price: a Price, as in Price(input=1, output=2), not {self.price!r}")


def _check_names(names: object) -> None:
    if isinstance(names, str) or not isinstance(names, Collection):  # a text's letters would pass
        raise ValueError(f"refused_parameters: a set of names, as in {{'seed'}}, not {names!r}")


class DescribedModel:
    """A model that has its name and its info in ``_name`` and ``_info``."""

    _name: str
    _info: ModelInfo

    @property
    def name(self) -> str:
        return self._name

    @property
    def info(self) -> ModelInfo:
        """What is known of it by now: as given, and as it has shown itself."""
        return self._info
