"""What the rules of thumb advise against in a team: by known strengths only, no model is asked.

The rules, with their sources, are in docs/guides/tune.md. Strengths are rough: list prices of
hosted models, parameters of local ones. They are compared among hosted models or among local ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mixtura.catalog import local_models
from mixtura.catalog.model_strength import FAR_WEAKER, find_strength
from mixtura.config.plan import MixtureSpec
from mixtura.core.text import to_one_line

SMALL_PARAMETERS = 9.0
"""Billions: 14 to 35 gain by synthesis, 8 do not (public experiments of mesh-llm)."""

Resolve = Callable[[str], str]
"""From a member's name in a file to the name of its model."""


class _Strength(NamedTuple):
    value: float
    unit: str

    def ratio_to(self, other: _Strength) -> float | None:
        """This one over the other; None where they cannot be compared."""
        return self.value / other.value if self.unit == other.unit else None


def find_team_problems(plan: MixtureSpec, resolve: Resolve = str) -> list[str]:
    """A sentence for each rule that the team breaks; none where too little is known."""
    final = plan.pattern.spec.final_model
    if not plan.layers or final is None or final.key != "aggregator":
        return []  # whoever only counts or judges reads no draft into an answer
    aggregator = to_one_line(plan.aggregator)
    proposers = dict.fromkeys(seat.model for layer in plan.layers for seat in layer)
    known = {name: found for name in proposers if (found := _find_strength(resolve(name)))}
    last = _find_strength(resolve(plan.aggregator))
    problems: list[str] = []
    if last is not None:
        over = {name: found.ratio_to(last) for name, found in known.items()}
        stronger = [name for name, by in over.items() if by is not None and by > 1]
        weaker = [name for name, by in over.items() if by is not None and by < FAR_WEAKER]
        if stronger:
            best = max(stronger, key=lambda name: known[name].value)
            problems.append(
                f"{aggregator} writes the answer, and {to_one_line(best)} is likely stronger"
                f" (by {last.unit}): a weak aggregator spoils strong drafts."
                f" Let {to_one_line(best)} aggregate"
            )
        # The gate's proposers are scouts already.
        if weaker and plan.pattern.kind != "gate":
            problems.append(
                f"{_list_names(weaker)}: likely more than ten points weaker than {aggregator} (by"
                f' {last.unit}), and such drafts hurt. Use them as scouts: pattern = "gate"'
            )
    if _all_small([*proposers, plan.aggregator], resolve) and plan.pattern.kind == "mixture":
        problems.append(
            "all members are small models, which gain little from a synthesis: count or choose"
            ' instead, with pattern = "mux", "vote" or "checked"'
        )
    return problems


def _find_strength(model: str) -> _Strength | None:
    if (local := local_models.known_models().get(model)) is not None:
        return _Strength(local.parameters, "parameters")
    if (hosted := find_strength(model)) is not None:
        return _Strength(hosted.strength, "list price")
    return None


def _all_small(names: Sequence[str], resolve: Resolve) -> bool:
    local = [local_models.known_models().get(resolve(name)) for name in names]
    return all(one is not None and one.parameters < SMALL_PARAMETERS for one in local)


def _list_names(names: Sequence[str]) -> str:
    return ", ".join(map(to_one_line, names))
