"""What an answer cost, by the prices that its models state in their ``info``."""

from __future__ import annotations

from mixtura.billing.price import Pricer, total_cost
from mixtura.core.arguments import check_kind
from mixtura.core.model import Model, check_model, get_model_info, unwrap_model
from mixtura.core.model_info import UsagePrice
from mixtura.core.roles import Composite, iterate_models
from mixtura.core.types import Completion, Usage


def answer_cost(answer: Completion, model: Model) -> float | None:
    """
    Dollars of an *answer* that *model* gave, with all that stood behind it.

    None where the price of a model that was asked is not known: see `ModelInfo`. Raises TypeError
    for what is no answer or no model.
    """
    check_kind("answer", answer, Completion, "a Completion")
    check_model("model", model)
    return total_cost(answer.charges, price_models(model))


def price_models(model: Model) -> Pricer:
    """
    What usage of *model*, or of a model inside it, costs: by its name, as its ``info`` says.

    None for other names, and for two models of one name with two prices.
    """
    prices: dict[str, list[UsagePrice | None]] = {}
    for one in iterate_models(model):
        if isinstance(unwrap_model(one), Composite):
            continue  # only its members are charged for
        info = get_model_info(one)
        for name in {one.name, info.name}:  # a wrapper may call it something else
            prices.setdefault(name, []).append(info.price)

    def price_usage(name: str, usage: Usage) -> float | None:
        found = {price(usage) if price else None for price in prices.get(name, ())}
        return found.pop() if len(found) == 1 else None

    return price_usage
