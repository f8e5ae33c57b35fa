"""Cheaper variants of a mixture, for when a budget does not allow all of it."""

from __future__ import annotations

from dataclasses import replace

from mixtura.core.roles import Composite, Layer


def cheaper_variants(mixture: Composite) -> list[tuple[Composite, str]]:
    """Cheaper variants of a mixture, the most expensive first, each with what it leaves out."""
    forms: list[tuple[Composite, str]] = []
    widest = max((layer.call_count for layer in mixture.layers), default=0)
    for width in range(widest - 1, 0, -1):
        narrow = _narrow_mixture(mixture, width)
        notice = f"the budget: at most {width} of {widest} proposals a layer"
        forms += [(narrow, notice)] if narrow else []
    alone = mixture.without_proposers() if mixture.layers else None
    if alone and mixture.sole_answerer:
        notice = f"the budget: no proposers, {mixture.sole_answerer.name} alone"
        forms.append((alone, notice))
    return forms


def _narrow_mixture(mixture: Composite, width: int) -> Composite | None:
    """*mixture* with at most *width* calls a layer; None where it needs more."""
    *before, last = mixture.layers
    layers = [_narrow_layer(layer, width) for layer in before]
    try:
        return mixture.with_layers((*layers, _narrow_layer(last, width, mixture.needed_proposer)))
    except ValueError:
        return None


def _narrow_layer(layer: Layer, width: int, needed: str = "") -> Layer:
    # Cut call by call: a proposer of six samples loses samples, not all of its drafts.
    kept = list(layer.proposer_calls[:width])
    if needed and all(call.model.name != needed for call in kept):
        # Behind all others, where it stood.
        kept[-1:] = [call for call in layer.proposer_calls if call.model.name == needed][:1]
    singles = tuple(replace(call, samples=1) for call in kept)
    return replace(layer, proposers=singles, quorum=min(layer.quorum, len(singles)))
