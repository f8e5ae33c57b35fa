"""What usage of a model costs, by the model's name or its table."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial

from mixtura.billing.price import FREE_PRICE, Price
from mixtura.catalog import local_models, providers
from mixtura.catalog.batch_terms import find_batch_terms
from mixtura.catalog.command_tools import is_command_provider
from mixtura.catalog.web_search import find_web_search_terms
from mixtura.config.registry import NameRegistry
from mixtura.config.schema import ModelTable, SearchToolTable
from mixtura.core.model_info import UsagePrice
from mixtura.core.types import SEARCH_CHARGE, Usage


def usage_cost(
    registry: NameRegistry, name: str, usage: Usage, search: SearchToolTable | None = None
) -> float | None:
    """
    Dollars for *usage* of the model called *name*, or of the tool *search*; None where its price is
    unknown.
    """
    if name == SEARCH_CHARGE:
        thousand = search.price if search else None
        return None if thousand is None else thousand * usage.searches / 1000
    price = _named_price(registry, name)
    dollars = price(usage) if price else None
    if price is None or dollars is None or not usage.batched:
        return dollars
    share = batch_price_share(registry, name)
    # Only tokens are cheaper in a batch: a search costs what it costs elsewhere.
    tokens = price(replace(usage, searches=0))
    return None if share is None or tokens is None else dollars - (1 - share) * tokens


def batch_price_share(registry: NameRegistry, name: str) -> float | None:
    """The share of its price that a model costs in its provider's batches; None without such."""
    if name in registry.models:
        table = registry.models[name].table
        provider = None if table.command is not None else table.provider
    else:
        found = providers.split_model_name(name)
        provider = found[0] if found else None
    terms = find_batch_terms(provider)
    return terms.price if terms else None


def _named_price(registry: NameRegistry, name: str) -> UsagePrice | None:
    if name in registry.models:
        return table_price(registry.models[name].table)
    if found := providers.split_model_name(name):
        provider, model = found
        return table_price(ModelTable(provider=provider, model=model))
    is_local = name in local_models.known_models() or name.lower().endswith(".gguf")
    return FREE_PRICE if is_local else None


@lru_cache(maxsize=1000)
def _given_price(
    price: float, output: float, cached: float | None, cache_write: float | None
) -> Price:
    """The same object for the same prices: they are asked for at every call."""
    return Price(input=price, output=output, cached=cached, cache_write=cache_write)


def table_price(table: ModelTable) -> UsagePrice | None:
    """
    The price of the model of a table: its own, its provider's, or none on this machine; with that
    of its provider's searches, where it may search.
    """
    price = _token_price(table)
    terms = find_web_search_terms(table.provider, table.model or "") if table.search else None
    return price if price is None or terms is None else partial(_search_price, price, terms.price)


def _search_price(price: UsagePrice, search: float | None, usage: Usage) -> float | None:
    dollars = price(usage)
    if not usage.searches or dollars is None:
        return dollars
    return None if search is None else dollars + usage.searches * search / 1000


def _token_price(table: ModelTable) -> UsagePrice | None:
    if (given := table.price) is not None:
        return _given_price(given.input, given.output, given.cached, given.cache_write)
    if table.command is not None or is_command_provider(table.provider):
        return None  # a subscription's share of a call, no one knows
    if table.provider is not None:
        return partial(providers.list_price, table.provider, table.model or "")
    return None if table.base_url is not None else FREE_PRICE
