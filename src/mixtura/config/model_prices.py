"""What usage of a model costs, by the model's name."""

from __future__ import annotations

from mixtura.billing.price import FREE_PRICE, Price
from mixtura.catalog import local_models, providers
from mixtura.config.registry import NameRegistry
from mixtura.config.schema import ModelTable
from mixtura.core.types import Usage


def usage_cost(registry: NameRegistry, name: str, usage: Usage) -> float | None:
    """Dollars for *usage* of the model called *name*; None where its price is unknown."""
    if name in registry.models:
        return _configured_cost(registry.models[name].table, usage)
    if found := providers.split_model_name(name):
        return providers.list_price(*found, usage)
    is_local = name in local_models.known_models() or name.lower().endswith(".gguf")
    return FREE_PRICE(usage) if is_local else None


def _configured_cost(table: ModelTable, usage: Usage) -> float | None:
    if (given := table.price) is not None:
        price = Price(
            input=given.input,
            output=given.output,
            cached=given.cached,
            cache_write=given.cache_write,
        )
        return price(usage)
    if table.provider is not None:
        return providers.list_price(table.provider, table.model or "", usage)
    if table.base_url is not None:
        return None
    return FREE_PRICE(usage)
