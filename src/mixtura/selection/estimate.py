"""What a selection takes at most, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mixtura.budget import Expected, forecast, priced
from mixtura.config import Config
from mixtura.evals import pairwise, run
from mixtura.evals.forecast import question
from mixtura.selection import search
from mixtura.selection.measuring import Terms, written
from mixtura.selection.prompts import Sizes, sizes
from mixtura.selection.run import check
from mixtura.selection.search import FIXED, Measured, Search, Team, ladder
from mixtura.types import ask


class Estimate(NamedTuple):
    """About how many calls, and the most dollars; None where a price is unknown."""

    prompts: int
    held_out: int
    calls: int
    max_cost_usd: float | None
    unknown_prices: tuple[str, ...]


class _Count(NamedTuple):
    """How many answers of each candidate and of teams, and how many pairs before a judge."""

    each: float
    teams: int
    pairs: int


def estimate(config: Config, names: Sequence[str], terms: Terms) -> Estimate:
    """Raises ConfigError for what cannot be selected from. Asks no model."""
    check(config, names, terms)
    manner = terms.manner
    asked = terms.asked(terms.data, manner)
    ready = run.prepare(config, config.plan(names[0]), asked, fresh=True)
    whole = [question(sample) for sample in ready.task.dataset]
    prompts = sizes(terms.data, len(whole[: terms.limit]), terms.held_out)
    count = _counted(names, terms, prompts, judged=manner == "win rate")
    dollars, missing = 0.0, dict[str, None]()
    for expected, times in _calls(config, names, terms, count, max(whole, key=len)):
        amount, unknown = priced(expected, config.price)
        dollars += amount.dollars * times
        missing |= dict.fromkeys(unknown)
    calls = round(count.each * len(names)) + count.teams + len(pairwise.BOTH) * count.pairs
    return Estimate(*prompts, calls, None if missing else dollars, tuple(missing))


def _counted(names: Sequence[str], terms: Terms, prompts: Sizes, *, judged: bool) -> _Count:
    searched, held = prompts
    own = terms.size * searched + 2 * held  # without each member; the winner and its rival
    teams = _rehearsed(names, terms, searched) + own
    each = terms.most_draws * (searched + (1 + terms.size) * held / len(names))
    return _Count(each, teams, teams + len(names) * searched if judged else 0)


def _rehearsed(names: Sequence[str], terms: Terms, prompts: int) -> int:
    """The answers of teams that a search takes when all are as good as each other."""
    slices = ladder(prompts)
    state = search.begin(
        Search(
            models=tuple(names),
            size=terms.size,
            slices=slices,
            aggregator=terms.aggregator,
            beam=terms.beam,
        )
    )
    while trials := search.ask(state):
        state = search.tell(state, {t.team: Measured((0.0,) * slices[t.slice]) for t in trials})
    return state.answers


def _calls(
    config: Config, names: Sequence[str], terms: Terms, count: _Count, question: str
) -> Iterator[tuple[list[Expected], float]]:
    """Calls, and how often each is made; answers of teams as if the dearest always wrote them."""

    def expected(name: str) -> list[Expected]:
        return forecast(config.outline(config.plan(name)), ask(question))

    for name in names:
        yield expected(name), count.each
    drafts = tuple(names[: max(FIXED, terms.size)])
    writers = [terms.aggregator] if terms.aggregator else names
    last = [expected(written(Team(drafts, name)))[-1:] for name in writers]
    yield max(last, key=lambda calls: priced(calls, config.price)[0]), count.teams
    if terms.judge and terms.manner == "win rate":
        yield expected(terms.judge), len(pairwise.BOTH) * count.pairs
