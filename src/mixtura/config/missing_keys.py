"""Which variables with API keys a mixture's models need and lack."""

from __future__ import annotations

from collections.abc import Iterator

from mixtura.catalog import providers
from mixtura.config.plan import MixtureSpec
from mixtura.config.registry import NameRegistry
from mixtura.config.schema import ModelTable


def missing_key_variables(registry: NameRegistry, plan: MixtureSpec) -> list[str]:
    """
    The variables that would have to be set, each once, in the order of the members.

    Of a provider that reads several, the first. Local servers and programs need none.
    """
    found = (_missing_variable(registry, name) for name in _model_names(registry, plan, set()))
    return list(dict.fromkeys(name for name in found if name))


def _model_names(registry: NameRegistry, plan: MixtureSpec, seen: set[str]) -> Iterator[str]:
    """The single models of a plan, those of mixtures inside it too."""
    names = [member.model for layer in plan.layers for member in layer]
    names += [*plan.fallbacks, *plan.setting_models().values()]
    for name in [*names, plan.aggregator] if plan.has_final_model else names:
        if name in seen:
            continue
        seen.add(name)
        if name in registry.mixtures:
            yield from _model_names(registry, registry.mixture_spec(name), seen)
        else:
            yield name


def _missing_variable(registry: NameRegistry, name: str) -> str | None:
    configured = registry.models.get(name)
    split = providers.split_model_name(name)
    if configured is None and split is None:
        return None
    table = configured.table if configured else ModelTable(provider=split[0] if split else None)
    if table.api_key_env:
        return None if registry.environ.get(table.api_key_env) else table.api_key_env
    provider = providers.providers().get(table.provider or "")
    if provider is None or provider.local or not provider.keys:
        return None
    return None if any(map(registry.environ.get, provider.keys)) else provider.keys[0]
