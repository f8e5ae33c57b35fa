"""Cheaper variants of a mixture, for when a budget does not allow all of it."""

from __future__ import annotations

from dataclasses import replace

from mixtura.core.roles import Composite, Layer


def cheaper_variants(mixture: Composite) -> list[tuple[Composite, str]]:
    """Cheaper variants of a mixture, the most expensive first, each with what it leaves out."""
    forms: list[tuple[Composite, str]] = []
    widest = max((layer.call_count for layer in mixture.layers), default=0)
    for width in range(widest - 1, 0, -1):
        layers = tuple(_narrow_layer(layer, width) for layer in mixture.layers)
        notice = f"the budget: at most {width} of {widest} proposals a layer"
        forms.append((mixture.with_layers(layers), notice))
    if mixture.layers and mixture.sole_answerer:
        notice = f"the budget: no proposers, {mixture.sole_answerer.name} alone"
        forms.append((mixture.with_layers(()), notice))
    return forms


def _narrow_layer(layer: Layer, width: int) -> Layer:
    # Cut call by call: a proposer of six samples loses samples, not all of its drafts.
    singles = tuple(replace(call, samples=1) for call in layer.proposer_calls[:width])
    return replace(layer, proposers=singles, quorum=min(layer.quorum, len(singles)))
