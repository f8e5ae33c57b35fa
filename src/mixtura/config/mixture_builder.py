"""MixtureBuilder: from names to models and mixtures that can be called; keeps what it built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from mixtura.catalog import providers
from mixtura.catalog.command_tools import is_command_provider, split_command_name
from mixtura.catalog.model_strength import find_strongest
from mixtura.config import pattern_settings
from mixtura.config.mixture_tables import KeyPath
from mixtura.config.model_builder import ModelBuilder, ModelEndpoint
from mixtura.config.plan import AUTO, MemberSpec, MixtureSpec
from mixtura.config.registry import ConfiguredModel, NameRegistry, add_location
from mixtura.config.schema import ModelTable
from mixtura.core.errors import ConfigError
from mixtura.core.model import Model
from mixtura.core.roles import Layer, Proposer
from mixtura.core.straggler_patience import LearnedPatience, ResponseTimes
from mixtura.engine.pattern import Pattern
from mixtura.models.fake import echo
from mixtura.models.wrappers.rate_limit import RateLimiter

T = TypeVar("T")

MAX_BUILT = 1000
"""Models, and mixtures, that are kept for the next call: clients may name any number."""

MemberBuilder = Callable[[MixtureSpec, KeyPath, str], Model]
"""Builds the model called so at a place of a mixture."""


PatienceBuilder = Callable[[MixtureSpec, Sequence[MemberSpec]], LearnedPatience | None]
"""How long a layer of these members of a mixture waits for stragglers, if it is learned."""


class HostedAddress(NamedTuple):
    """Where a hosted model is served, and as what."""

    endpoint: ModelEndpoint
    model: str
    """What the endpoint calls it."""
    headers: Mapping[str, str] = {}


class MixtureBuilder:
    """Builds each model and each mixture once, and keeps the latest."""

    def __init__(
        self, registry: NameRegistry, model_builder: ModelBuilder, *, learns_patience: bool = True
    ) -> None:
        self._registry = registry
        self._model_builder = model_builder
        self.built_models: dict[str, Model] = {}
        self.built_mixtures: dict[str, tuple[MixtureSpec, Pattern]] = {}
        self._models_being_built: list[str] = []
        self._times = ResponseTimes()
        self._learns_patience = learns_patience

    def forget_built(self) -> None:
        """Build all anew from now on; runs under way keep what they have."""
        self.built_models.clear()
        self.built_mixtures.clear()

    def rate_limiters(self) -> dict[str, RateLimiter]:
        """Those of the endpoints in use, by names that are the same in every process."""
        return self._model_builder.rate_limiters()

    def model(self, name: str) -> Model:
        """A model by name, the same object each time. Raises ConfigError."""
        if name not in self.built_models:
            _put_bounded(self.built_models, name, self._build_model(name))
        return self.built_models[name]

    def build_mixture(self, plan: MixtureSpec) -> Pattern:
        """
        A mixture with its models, the same object each time for the same plan.

        Raises ConfigError before any call is made.
        """
        built_from, mixture = self.built_mixtures.get(plan.name, (None, None))
        if mixture is None or built_from is not plan:
            mixture = _assemble_mixture(plan, self._build_member, self._learn_patience)
            _put_bounded(self.built_mixtures, plan.name, (plan, mixture))
        return mixture

    def build_outline(self, plan: MixtureSpec) -> Pattern:
        """The same mixture of echoes, for counting calls: it needs no key and calls no model."""

        def echo_member(_plan: MixtureSpec, _path: KeyPath, name: str) -> Model:
            return self.outline_member(name)

        return _assemble_mixture(plan, echo_member, lambda _plan, _members: None)

    def outline_member(self, name: str) -> Model:
        """An echo in place of the model, or the outline of the mixture, that is called so."""
        if name in self._registry.mixtures:
            return self.build_outline(self._registry.mixture_spec(name))
        return echo(name)

    def hosted_address(self, name: str) -> HostedAddress | None:
        """Where a model is served over HTTP; None where it is not, or its key is missing."""
        table = self._registry.models[name].table if name in self._registry.models else None
        if table is None and (found := providers.split_model_name(name)):
            table = ModelTable(provider=found[0], model=found[1])
        hosted = table is not None and (table.provider is not None or table.base_url is not None)
        if table is None or not hosted or not _has_address(table):
            return None
        try:
            endpoint = self._model_builder.resolve_endpoint(table)
        except ConfigError:
            return None
        model = endpoint.upstream_model_name(table.model or "")
        return HostedAddress(endpoint, model, table.headers)

    def _learn_patience(
        self, plan: MixtureSpec, members: Sequence[MemberSpec]
    ) -> LearnedPatience | None:
        """How long a layer of *members* waits for stragglers; None where the plan says it."""
        learns = plan.learns_patience
        if not (self._learns_patience if learns is None else learns):
            return None
        served = {member.model: self._served_name(member.model) for member in members}
        strongest = find_strongest(served, plan.aggregator if plan.has_final_model else None)
        return LearnedPatience(
            self._times,
            strongest,
            # A second call of a model that works on this machine would slow down the first.
            asks_again=strongest is not None and self._is_hosted(strongest),
        )

    def _served_name(self, name: str) -> str:
        entry = self._registry.models.get(name)
        return entry.table.model or name if entry else name

    def _is_hosted(self, name: str) -> bool:
        if entry := self._registry.models.get(name):
            served = entry.table.provider is not None or entry.table.base_url is not None
            return served and not is_command_provider(entry.table.provider)
        return name not in self._registry.mixtures and bool(providers.split_model_name(name))

    def _build_member(self, plan: MixtureSpec, path: KeyPath, name: str) -> Model:
        with plan.add_location(path):
            return self.model(name)

    def _build_model(self, name: str) -> Model:
        if name in self._registry.models:
            return self._build_configured(name, self._registry.models[name])
        if name in self._registry.mixtures or name == AUTO:
            return self.build_mixture(self._registry.mixture_spec(name))
        if found := split_command_name(name):
            tool, model = found
            return self._model_builder.build_command(name, ModelTable(model=model, provider=tool))
        if found := providers.split_model_name(name):
            provider, model = found
            return self._model_builder.build_hosted(
                name, ModelTable(model=model, provider=provider)
            )
        return self._model_builder.build_local(name, name, ModelTable())

    def _build_configured(self, name: str, entry: ConfiguredModel) -> Model:
        table = entry.table
        with add_location(entry.document, "models", name):
            if table.command is not None or is_command_provider(table.provider):
                return self._model_builder.build_command(name, table)
            if table.provider is None and table.base_url is None:
                return self._model_builder.build_local(name, table.model or name, table)
            elsewhere = table.hedge.elsewhere if table.hedge else None
            if elsewhere in self._models_being_built:
                said = f"hedge: {elsewhere} leads back to the model itself: name another one"
                raise ConfigError(said, key="hedge")
            self._models_being_built.append(name)
            try:
                other = self.model(elsewhere) if elsewhere and elsewhere != name else None
            finally:
                self._models_being_built.remove(name)
            headers = entry.document.line_number(["models", name, "headers"])
            return self._model_builder.build_hosted(
                name, table, other, headers_at=f"{entry.document.source}:{headers}"
            )


def _assemble_mixture(
    plan: MixtureSpec, build_member: MemberBuilder, learn_patience: PatienceBuilder
) -> Pattern:
    layers = tuple(
        replace(_assemble_layer(plan, layer, build_member), learned=learn_patience(plan, layer))
        for layer in plan.layers
    )
    fallbacks = tuple(
        build_member(plan, ("fallbacks", i), name) for i, name in enumerate(plan.fallbacks)
    )
    path = plan.final_model_path
    last = build_member(plan, path, plan.aggregator) if plan.has_final_model else None
    named = {key: build_member(plan, (key,), name) for key, name in plan.setting_models().items()}
    return pattern_settings.build_pattern(plan, layers, last, fallbacks, named)


def _assemble_layer(
    plan: MixtureSpec, members: Sequence[MemberSpec], build_member: MemberBuilder
) -> Layer:
    proposers = tuple(
        Proposer(
            build_member(plan, member.path, member.model),
            member.sampling.with_defaults(plan.sampling),
            samples,
            persona,
        )
        for member in members
        for persona, samples in member.draws()
    )
    return Layer(proposers, plan.quorum, plan.patience, plan.deadline)


def _has_address(table: ModelTable) -> bool:
    """Whether a provider's models are at an address of ours: not through a library or a program."""
    return not (providers.bridge_provider(table.provider) or is_command_provider(table.provider))


def _put_bounded(table: dict[str, T], name: str, built: T) -> None:
    if len(table) >= MAX_BUILT:
        del table[next(iter(table))]
    table[name] = built
