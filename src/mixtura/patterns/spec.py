"""The description of a pattern, by which configuration files, the page and the docs know it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import msgspec

from mixtura.core.errors import ConfigError
from mixtura.core.model import Model
from mixtura.core.roles import Aggregator, Layer
from mixtura.core.text import unknown_name_message
from mixtura.core.types import Sampling
from mixtura.engine.pattern import Pattern
from mixtura.patterns.choosing import Chooser, Chosen
from mixtura.prompts.synthesis import Synthesis

AnyPattern = TypeVar("AnyPattern", bound=Pattern)


class NoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a pattern that has none of its own."""


class FinalModel(NamedTuple):
    """The setting that names the model of the last step."""

    key: str
    why: str
    """What that model does, for the message when it is left out."""
    sampling: Sampling = Sampling()
    """Its sampling where the file says nothing."""


class PatternParts(NamedTuple):
    """What a pattern is built from: its table in a file, with models in place of names."""

    name: str
    layers: tuple[Layer, ...]
    settings: Any
    """A struct of the pattern's own settings."""
    synthesis: Synthesis
    final_model: Model | None
    sampling: Sampling
    """Of the last step's model."""
    fallbacks: tuple[Model, ...]
    models: Mapping[str, Model] = MappingProxyType({})
    """Those that settings name, under the settings' keys."""

    def aggregator(self) -> Aggregator:
        """The last step's model where it writes the answer. Raises ConfigError without one."""
        if self.final_model is None:
            raise ConfigError(f"{self.name}: nobody writes its answer")
        return Aggregator(self.final_model, self.sampling, self.fallbacks)

    def build_kind(self, kind: Callable[..., AnyPattern], **settings: Any) -> AnyPattern:
        """A pattern of *kind*, with these parts and the *settings* of its own."""
        usual = {"layers": self.layers, "name": self.name, "synthesis": self.synthesis}
        return kind(**usual | settings)

    def build_aggregated(self, kind: Callable[..., AnyPattern], **settings: Any) -> AnyPattern:
        """The same of a *kind* whose aggregator writes the answer. Raises ConfigError without."""
        return self.build_kind(kind, aggregator=self.aggregator(), **settings)


LayerCheck = Callable[[str, int], None]
"""
Called with a pattern's name and the number of its proposer layers. Raises ConfigError where it
cannot have so many.
"""


def require_proposers(why: str) -> LayerCheck:
    """The check of a pattern that needs a layer of proposers; *why*: what it does with them."""

    def check_count(pattern: str, layers: int) -> None:
        if not layers:
            raise ConfigError(f"layers: '{pattern}' needs proposers: {why}", key="layers")

    return check_count


def require_two_layers(pattern: str, layers: int) -> None:
    """The check of a pattern that compares layers. Raises ConfigError below two."""
    if layers < 2:
        problem = f"'{pattern}' needs two layers or more, not {layers}: it compares them"
        raise ConfigError(f"layers: {problem}", key="layers")


def require_one_layer(what: str) -> LayerCheck:
    """The check of a pattern that has one layer; *what*: of which members."""

    def check_count(pattern: str, layers: int) -> None:
        if layers != 1:
            problem = f"'{pattern}' has one layer, {what}, not {layers}"
            raise ConfigError(f"layers: {problem}", key="layers")

    return check_count


def check_name(key: str, what: str, name: str, known: Iterable[str]) -> None:
    """Raises ConfigError where *name*, in the setting *key*, is no *what* of those *known*."""
    if name not in (names := tuple(known)):
        raise ConfigError(f"{key}: {unknown_name_message(what, name, names)}", key=key)


def _accept_layers(pattern: str, layers: int) -> None:
    """Any number of layers."""


def _accept_draws(settings: Any, draws: Mapping[str, int]) -> None:
    """Any settings go with any members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternSpec:
    """
    A pattern, for configuration files, `mixtura show`, the page and the docs.

    Another package adds one by an entry point of the group `mixtura.patterns` that names it. Raises
    TypeError without a name.
    """

    name: str = ""
    """The value of `pattern =` in a file; by default the `name` that *kind* has by default."""
    help: str
    """One line on what the answer is."""
    kind: type[Pattern] = Chosen
    chooser: Callable[..., Chooser] | None = None
    """
    Which chooser a `Chosen` has: it is called with the settings by name and, where there is a final
    model, with that as the first argument and its `sampling`.
    """
    build: Callable[[PatternParts], Pattern] | None = None
    """
    None: *kind*'s arguments are called as the settings; a final model is its aggregator. A
    ValueError is told with the line of the key that its words begin with, such as ``layers:``.
    """
    settings: type[msgspec.Struct] = NoSettings
    """
    The keys of its own that a mixture's table may have. Its `__post_init__` may raise ConfigError,
    with the *key* that is wrong.
    """
    aggregator: str = ""
    """
    What its aggregator does, for the message when a file leaves it out: short for a final model of
    the key `aggregator` that takes fallbacks.
    """
    final_model: FinalModel | None = None
    """The key that names the last step's model; None where it calls no model."""
    model_settings: tuple[str, ...] = ()
    """The keys of its own whose values are names of models; an empty one names none."""
    takes_fallbacks: bool = False
    """Whether `fallbacks` may be named for the last step's model."""
    final_step: str = "the aggregator"
    """What the last step does, for `mixtura show`; ``{window}`` is the setting of that name."""
    describe_final_step: Callable[[Any], str] | None = None
    """The same of these settings, where the words differ from setting to setting."""
    role: str = ""
    """
    A word or two for the last step's model, on the page; by default the first word of `action`, and
    "aggregator" where that is "writes".
    """
    action: str = "writes the answer"
    """What the last step's model does, behind its name."""
    check_layers: LayerCheck = _accept_layers
    """How many proposer layers it can have; called with its name and their number."""
    check_draws: Callable[[Any, Mapping[str, int]], None] = _accept_draws
    """
    Called with the settings and how often each member of the last layer is asked, by name. Raises
    ConfigError, with the *key* that is wrong, where they do not go together.
    """
    final_layer_count: int | Callable[[Any, int], int] = 1
    """
    Layers after the proposers'; a function of the settings and the number of proposals where it
    differs.
    """
    asks_in_turn: bool = False
    """Whether the members of its one layer in a file are asked one after another: each a layer."""
    may_stop_early: bool | Callable[[Any], bool] = False
    """
    Whether an answer may take fewer calls than are planned where nothing fails; a function of the
    settings where it differs from setting to setting.
    """

    def __post_init__(self) -> None:
        verb = self.action.partition(" ")[0]
        name = self.name or next(one.default for one in fields(self.kind) if one.name == "name")
        if not isinstance(name, str):
            raise TypeError(f"a pattern needs a name, and {self.kind.__name__} has none by default")
        usual: dict[str, Any] = {
            "name": name,
            "role": self.role or ("aggregator" if verb == "writes" else verb),
        }
        if self.aggregator:
            final_model = FinalModel("aggregator", self.aggregator)
            usual |= {"final_model": final_model, "takes_fallbacks": True}
        for key, value in usual.items():
            object.__setattr__(self, key, value)

    def stops_early(self, settings: Any) -> bool:
        """`may_stop_early` of these settings."""
        early = self.may_stop_early
        return early if isinstance(early, bool) else early(settings)

    def count_final_layers(self, settings: Any, proposals: int) -> int:
        """`final_layer_count` of these settings, for so many proposals."""
        count = self.final_layer_count
        return count if isinstance(count, int) else count(settings, proposals)

    def build_pattern(self, parts: PatternParts) -> Pattern:
        """The pattern of *parts*. Raises ConfigError for parts that it cannot have."""
        if self.final_model is None and parts.final_model is not None:
            problem = f"{self.name} has no aggregator: it {self.action}"
            raise ConfigError(f"{parts.name}: {problem}")
        try:
            return self.build(parts) if self.build else self._build_by_settings(parts)
        except ValueError as error:
            key = str(error).partition(":")[0]
            known = key == "layers" or key in self.settings.__struct_fields__
            problem = f"{parts.name}: {error}"
            raise ConfigError(problem, key=key if known else None) from None

    def _build_by_settings(self, parts: PatternParts) -> Pattern:
        own: dict[str, Any] = msgspec.structs.asdict(parts.settings)
        own |= {key: parts.models.get(key) for key in self.model_settings}
        if self.chooser is None:
            build = parts.build_aggregated if self.final_model else parts.build_kind
            return build(self.kind, **own)
        if parts.final_model is None:
            chooser = self.chooser(**own)
        else:
            chooser = self.chooser(parts.final_model, sampling=parts.sampling, **own)
        return parts.build_kind(self.kind, chooser=chooser)
