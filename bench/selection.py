"""How often a selection finds the true best team, on candidates whose worth is known.

    python -m bench.selection [--seeds 200] [--prompts 1000] [--lead 2] [--size 3]

12 candidates under a fixed aggregator, and every team of different models or of one model: 232 of
three. A world counts where its best team truly leads by LEAD points: where several are as good as
each other, no one can say which is the best (--lead 0 takes every world). Exhaustive search and
the rules of thumb have the same drafts and the same noise. Calls are drafts, which all ways of
searching share, and answers of aggregators. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import NamedTuple

from bench.simulated_search import (
    PromptSample,
    SimulatedWorld,
    draft_accuracies,
    most_accurate,
    most_diverse,
    run_search,
)

from mixtura.selection import search
from mixtura.selection.search import Team

WAYS = ("mixtura", "exhaustive", "most accurate", "most diverse", "best model alone, drawn")


class Found(NamedTuple):
    """What a way of searching chose: what it misses of the best, and the calls it took."""

    missed: float
    calls: int


def trial(
    world: SimulatedWorld, seed: int, prompts: int, size: int, aggregator: int
) -> dict[str, Found]:
    sample = PromptSample.draw_sample(world, prompts, size, seed)
    names = world.candidate_names()
    teams = world.all_teams(size, aggregator)
    worth = {team: world.team_accuracy(team) for team in teams}
    best = max(worth.values())
    drafts = world.candidate_count * size * prompts

    def found(team: Team, answers: int) -> Found:
        return Found(best - worth[team], drafts + answers)

    def of(numbers: list[int]) -> Team:
        return Team(tuple(names[number] for number in numbers), names[aggregator])

    state = run_search(sample, size, names[aggregator])
    ours = search.leading_teams(state, size)[0]
    ours = Team(tuple(sorted(ours.members)), ours.aggregator)
    measured = {team: sample.measure_team(team, 0, prompts).score or 0.0 for team in teams}
    alone = int(draft_accuracies(sample.rights).argmax())
    return {
        "mixtura": found(ours, state.answer_count),
        "exhaustive": found(max(teams, key=measured.__getitem__), len(teams) * prompts),
        "most accurate": found(of(list(most_accurate(sample.rights, size))), 0),
        "most diverse": found(of(list(most_diverse(sample.rights, size))), 0),
        "best model alone, drawn": found(of([alone] * size), 0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--lead", type=float, default=2.0, help="points")
    parser.add_argument("--size", type=int, default=3)
    given = parser.parse_args()
    rows: dict[str, list[Found]] = {way: [] for way in WAYS}
    single: list[bool] = []
    drawn = 0
    while len(rows["mixtura"]) < given.seeds:
        world = SimulatedWorld.random_world(drawn)
        drawn += 1
        worth = sorted((world.team_accuracy(team), team) for team in world.all_teams(given.size, 0))
        if worth[-1][0] - worth[-2][0] < given.lead / 100:
            continue
        single.append(worth[-1][1].is_single_proposer)
        for way, found in trial(world, drawn, given.prompts, given.size, 0).items():
            rows[way].append(found)
    report(rows, drawn, single, given)


def report(
    rows: dict[str, list[Found]], drawn: int, single: list[bool], given: argparse.Namespace
) -> None:
    count = given.seeds
    print(f"{count} worlds of {drawn} drawn: the best team leads by {given.lead} points or more")
    print(f"{given.prompts} prompts; in {sum(single)} worlds the best team is draws of one model\n")
    print(
        f"{'':24}{'found':>8}{'within 1 point':>16}{'missed, points':>16}{'calls':>12}{'share':>8}"
    )
    whole = math.fsum(found.calls for found in rows["exhaustive"])
    told: dict[str, dict[str, float]] = {}
    for way, found in rows.items():
        exact = sum(one.missed == 0 for one in found) / count
        near = sum(one.missed <= 0.01 for one in found) / count
        missed = 100 * math.fsum(one.missed for one in found) / count
        calls = math.fsum(one.calls for one in found)
        share = calls / whole
        print(f"{way:24}{exact:8.1%}{near:16.1%}{missed:16.2f}{calls / count:12,.0f}{share:8.2f}")
        told[way] = {"found": exact, "near": near, "missed_points": missed, "calls_share": share}
    most = max(
        ours.calls / theirs.calls
        for ours, theirs in zip(rows["mixtura"], rows["exhaustive"], strict=True)
    )
    mixed = [
        one.missed == 0 for one, alone in zip(rows["mixtura"], single, strict=True) if not alone
    ]
    share = sum(mixed) / len(mixed)
    print(f"\nthe most calls in any world: {most:.2f} of exhaustive search's")
    print(f"where the best team is of different models: found in {share:.1%} of {len(mixed)}\n")
    print(
        json.dumps({"seeds": count, "found_mixed": share, "most_calls_share": most, "ways": told})
    )


if __name__ == "__main__":
    main()
