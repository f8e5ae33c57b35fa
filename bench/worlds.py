"""How often `mixtura tune` writes a mixture that is truly worse, and how much of the gain it finds.

    python -m bench.worlds [--worlds 200] [--profile usual] [--file bench/worlds.toml]

Members whose accuracy and correlation of errors are known (a Gaussian copula) answer prompts to
choose by and prompts to prove by; the true worth of a mixture is known from many more prompts. What
is tried, chosen and proved is the code of `mixtura tune`. A world's gain counts where its best
mixture gains at least 3 points over its best member. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bench.simulated_members import SimulatedMembers

from mixtura.selection.combining import learn_combiners
from mixtura.selection.counting import CountingMixture, DrawTable, counting_mixtures
from mixtura.selection.proof import admit_members, choose_mixture, prove_gain

HERE = Path(__file__).parent
COUNTED_GAIN = 0.03
"""Worlds whose best mixture gains less are not counted for the gain."""
TOLERANCE = 0.01
"""So much worse than the best member a written mixture may be."""
BLOCK = 1000
"""True prompts held at once."""


class WorldOutcome(NamedTuple):
    """
    What came of a world: the true gains over the truly best member. *best_gain*: of the best
    mixture of those that were tried; *gain*: of what was written.
    """

    is_mixture: bool
    gain: float
    best_gain: float
    pattern: str


def random_world(profile: dict[str, Any], rng: np.random.Generator) -> SimulatedMembers:
    def draw(key: str) -> float:
        return float(rng.uniform(*profile[key]))

    least, most = profile["members"]
    count = int(rng.integers(least, most + 1))
    return SimulatedMembers(
        accuracy=tuple(draw("accuracy") for _ in range(count)),
        correlation=draw("correlation"),
        consistency=draw("consistency"),
        shared_error=draw("shared_error"),
        stubbornness=draw("stubbornness"),
    )


def tune_world(profile: dict[str, Any], seed: int) -> WorldOutcome:
    rng = np.random.default_rng(seed)
    world = random_world(profile, rng)
    draws = profile["draws"]
    choosing = world.draw_table(profile["choosing"], draws, rng)
    proving = world.draw_table(profile["proving"], draws, rng)
    scores = choosing.mean_scores()
    roles = admit_members(scores)
    tried = {one.name: one for one in counting_mixtures(list(roles), scores, draws)}
    own = {name: one.score_prompts(choosing) for name, one in tried.items()}
    for combiner in learn_combiners(list(roles), scores, choosing, {}):
        tried[combiner.mixture.name] = combiner.mixture
        own[combiner.mixture.name] = combiner.scores
    best = next(iter(roles))
    chosen = choose_mixture(own, choosing.solo_scores(best))
    # As in mixtura tune: of those who answered both parts, the best on all prompts.
    asked = {best, *tried[chosen].members}
    best = max(asked, key=lambda n: both_means(n, choosing, proving))
    proof = prove_gain(tried[chosen].score_prompts(proving), proving.solo_scores(best))
    alone = dict(zip(choosing.names, world.accuracy, strict=True))
    top = max(alone, key=alone.__getitem__)
    gains = true_gains(world, list(tried.values()), top, profile["true_prompts"], draws, rng)
    known = profile["true_prompts_written"]
    gains |= true_gains(world, [tried[chosen]], top, known, draws, rng)
    gain = gains[chosen] if proof.holds else alone[best] - alone[top]
    return WorldOutcome(proof.holds, gain, max(gains.values()), tried[chosen].pattern)


def both_means(name: str, choosing: DrawTable, proving: DrawTable) -> float:
    return float(np.concatenate([choosing.solo_scores(name), proving.solo_scores(name)]).mean())


def true_gains(
    world: SimulatedMembers,
    mixtures: list[CountingMixture],
    best: str,
    prompts: int,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    """How much better each mixture is than the member *best*, on so many prompts."""
    sums = dict.fromkeys((one.name for one in mixtures), 0.0)
    blocks = prompts // BLOCK
    for _ in range(blocks):
        table = world.draw_table(BLOCK, draws, rng)
        alone = table.solo_scores(best)
        for one in mixtures:
            sums[one.name] += float((one.score_prompts(table) - alone).mean())
    return {name: total / blocks for name, total in sums.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--profile", default="usual")
    parser.add_argument("--file", type=Path, default=HERE / "worlds.toml")
    given = parser.parse_args()
    profile = tomllib.loads(given.file.read_text())[given.profile]
    seeds = range(given.first_seed, given.first_seed + given.worlds)
    with ProcessPoolExecutor(given.workers) as pool:
        rows = list(pool.map(partial(tune_world, profile), seeds))
    report(rows, given.profile)


def report(rows: list[WorldOutcome], profile: str) -> None:
    counted = [row for row in rows if row.best_gain >= COUNTED_GAIN]
    worse = sum(row.is_mixture and row.gain < -TOLERANCE for row in rows)
    there = sum(row.best_gain for row in counted)
    found = sum(row.gain for row in counted)
    told = {
        "profile": profile,
        "worlds": len(rows),
        "mixtures_written": sum(row.is_mixture for row in rows),
        "truly_worse": worse,
        "never_worse_share": 1 - worse / len(rows),
        "worlds_with_gain": len(counted),
        "mean_gain_there": there / len(counted) if counted else None,
        "gain_found_share": found / there if counted else None,
        "least_gain_written": min((row.gain for row in rows if row.is_mixture), default=None),
        "patterns": {
            kind: sum(row.pattern == kind and row.is_mixture for row in rows)
            for kind in ("vote", "mux", "switch", "combine")
        },
    }
    print(f"{len(rows)} worlds of the profile '{profile}'; a mixture is written in"
          f" {told['mixtures_written']}")  # fmt: skip
    print(f"truly worse than the best member by more than 1 point: {worse}"
          f" ({told['never_worse_share']:.1%} are not)")  # fmt: skip
    if counted:
        mean, share = 100 * there / len(counted), found / there
        print(f"worlds with a gain of 3 points or more: {len(counted)}, mean {mean:.1f} points;"
              f" found {share:.1%}")  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    main()
