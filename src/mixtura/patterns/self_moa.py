"""Self-MoA: several draws of one model, which then merges them."""

from __future__ import annotations

from mixtura.core.model import Model
from mixtura.core.roles import Aggregator, Layer, Proposer, check_draws
from mixtura.core.types import Sampling
from mixtura.engine.mixture import Mixture


def self_moa(
    model: Model,
    draws: int = 6,
    *,
    aggregator: Model | None = None,
    temperature: float | None = 0.7,
    name: str = "self",
) -> Mixture:
    """
    A Mixture of *draws* of one model; *aggregator*, by default the same model, merges them.

    Li et al. 2025 (arXiv 2502.00674, section 3): six draws and one call more, as many as the
    mixture of six models of two layers that it is compared with; the single-proposer setting
    of Wang et al. 2024 (arXiv 2406.04692, section 3.3). Raises ValueError for fewer draws than 1,
    TypeError for what is no model or no number.
    """
    drawn = Proposer(model, Sampling(temperature=temperature), check_draws(draws))
    last = Aggregator(model if aggregator is None else aggregator)
    return Mixture(layers=(Layer((drawn,)),), aggregator=last, name=name)
