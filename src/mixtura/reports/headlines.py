"""What one sees in each analysis, in a sentence: the title of its figure."""

from __future__ import annotations

from collections.abc import Sequence

from mixtura.core.text import pluralize_count
from mixtura.reports.rows import Row
from mixtura.reports.run_costs import price_axis


def _format_percent(value: float) -> str:
    return f"{100 * value:.0f}\u00a0%"  # not to be parted at the end of a line


def best_model_headline(rows: Sequence[Row]) -> str:
    """How many mixtures are shown to be better than the best model alone, and how many worse."""
    better = sum((row["gain_low"] or 0) > 0 for row in rows)
    worse = sum((row["gain_high"] or 0) < 0 for row in rows)
    of = f"{better} of {pluralize_count(len(rows), 'mixture')}"
    return (
        f"Shown to be better than {rows[0]['best']} alone: {of}; worse: {worse};"
        f" undecided: {len(rows) - better - worse}"
    )


def collaborativeness_headline(rows: Sequence[Row]) -> str:
    """How many models gain by reading others, and whether by reading worse ones alone."""
    # A model may have read several sets of others; one sentence is about the largest.
    widest: dict[str, Row] = {}
    for row in rows:
        known = widest.get(row["model"])
        if known is None or row["others"].count(",") > known["others"].count(","):
            widest[row["model"]] = row
    better = sum(row["gain"] > 0 for row in widest.values())
    sure = sum((row["gain_low"] or 0) > 0 for row in widest.values())
    models = pluralize_count(len(widest), "model")
    summary = f"{better} of {models} answered better after reading the others"
    worse = [row for row in rows if row["others_are"] == "all worse"]
    helped = sum(row["gain"] > 0 for row in worse)
    cases = pluralize_count(len(worse), "case")
    tail = f"; from only worse models, in {helped} of {cases}" if worse else ""
    return f"{summary} ({sure} of them beyond doubt){tail}"


def confidence_headline(rows: Sequence[Row]) -> str:
    """Whose support tells right from wrong best, and how far its confidence is off."""
    known = [row for row in rows if row["auroc"] is not None]
    if not known:
        return "All answers with a confidence are right, or all are wrong"
    best = max(known, key=lambda row: row["auroc"])
    off = ""
    if best["error"] is not None:
        off = f", its confidence off by {_format_percent(best['error'])} on average"
    sure = (best["auroc_low"] or 0.0) > 0.5
    tells = "tells right answers from wrong ones" if sure else "may not tell right from wrong"
    return f"Support {tells} with an AUROC of {best['auroc']:.2f} at best{off}"


def layers_headline(rows: Sequence[Row]) -> str:
    """Who writes best, and how its score grows layer by layer."""
    written = [row for row in rows if not row["picks"]]
    deepest = max(row["layer"] for row in written)
    last = [row for row in written if row["layer"] == deepest]
    leaders = _leader_names(last, "score", "aggregator")
    steps = [row for row in written if leaders and row["aggregator"] == leaders[0]]
    scores = ", ".join(map(_score_at_layer, steps or last[:1]))
    picked = [row for row in rows if row["picks"]]
    tail = ""
    if picked:
        chosen = max(picked, key=lambda row: row["layer"])
        tail = f"; picking one gets {_score_at_layer(chosen)}"
    if not leaders:
        return f"All aggregators are equally good: {scores}{tail}"
    best = f"Best {_pluralize_noun('aggregator', leaders)}: {' and '.join(leaders)}"
    return f"{best}, with {scores}{tail}"


def _pluralize_noun(noun: str, leaders: Sequence[str]) -> str:
    return noun if len(leaders) == 1 else f"{noun}s"


def _score_at_layer(row: Row) -> str:
    return f"{_format_percent(row['score'])} at {pluralize_count(row['layer'], 'layer')}"


def _leader_names(rows: Sequence[Row], column: str, name: str) -> list[str]:
    """Who has the most; nobody, where all have the same."""
    most = max(row[column] for row in rows)
    names = [str(row[name]) for row in rows if row[column] == most]
    return [] if 1 < len(names) == len(rows) else names


def influence_headline(rows: Sequence[Row]) -> str:
    """Whether the answer follows the better proposals more than an answer that read none."""
    # One measure for the sentence; the figure has all of them.
    one = next((row for row in rows if row["measure"] == "tfidf"), rows[0])
    difference, low, high = (one[f"difference{end}"] for end in ("", "_low", "_high"))
    if difference is None or low is None:
        return "Too few prompts to tell whether the answer follows the better proposals"
    beside = f"{one['rho']:+.2f} against {one['control_rho']:+.2f}"
    if low > 0:
        return f"The answer follows the better proposals more than the control does: {beside}"
    if high < 0:
        return f"The answer follows the better proposals less than the control does: {beside}"
    return f"The answer follows the better proposals no more than the control does: {beside}"


def proposers_headline(rows: Sequence[Row]) -> str:
    """The score with the most proposals, of several models and of one."""
    known = [row for row in rows if row["score"] is not None]
    most: dict[str, Row] = {}
    for row in sorted(known, key=lambda row: row["proposals"]):
        most[row["kind"]] = row
    parts = [
        f"{pluralize_count(row['proposals'], 'proposal')}"
        f"{f' of {kind}' if row['proposals'] > 1 else ''}: {_format_percent(row['score'])}"
        for kind, row in most.items()
    ]
    return "; ".join(parts)


def roles_headline(rows: Sequence[Row]) -> str:
    """Who writes best, and who proposes best."""
    parts: list[str] = []
    for role, noun in (("as_aggregator", "aggregator"), ("as_proposer", "proposer")):
        known = [row for row in rows if row[role] is not None]
        if known:
            most = _format_percent(max(row[role] for row in known))
            leaders = _leader_names(known, role, "model")
            summary = (
                f"best {_pluralize_noun(noun, leaders)}: {' and '.join(leaders)}"
                if leaders
                else f"all {noun}s are equally good"
            )
            parts.append(f"{summary} ({most})")
    whole = "; ".join(parts)
    return whole[0].upper() + whole[1:]


def cost_headline(rows: Sequence[Row]) -> str:
    """What the best costs, and what the next cheaper one on the front reaches."""
    axis = price_axis(rows)
    front = sorted((row for row in rows if row["front"]), key=lambda row: row[axis])
    best = front[-1]
    summary = f"Best is {best['who']} with {_format_percent(best['score'])}"
    if len(front) == 1:
        return f"{summary}, and nothing is cheaper"
    cheap = max(front[:-1], key=lambda row: row["score"])
    # A local model costs nothing, and no price is a multiple of that.
    if not cheap[axis]:
        return f"{summary}; {cheap['who']} gets {_format_percent(cheap['score'])} at no cost"
    times = best[axis] / cheap[axis]
    unit = "the price" if axis == "cost_usd" else "the tokens"
    reached = f"{cheap['who']} gets {_format_percent(cheap['score'])}"
    return f"{summary}; {reached} at 1/{times:.2g} of {unit}"


def work_headline(rows: Sequence[Row]) -> str:
    """How much of the work is reading, which the paper does not count."""
    known = [row for row in rows if row["tflops_paper"]]
    most = max(known, key=lambda row: row["tflops_with_prefill"] / row["tflops_paper"])
    times = most["tflops_with_prefill"] / most["tflops_paper"]
    return f"Reading is most of the work: up to {times:.0f} times what is counted for writing alone"


def tokens_headline(rows: Sequence[Row]) -> str:
    """Which layer takes the largest share of a mixture's tokens."""
    totals: dict[str, float] = {}
    for row in rows:
        totals[row["who"]] = totals.get(row["who"], 0.0) + row["read"] + row["written"]
    most = max(rows, key=lambda row: row["read"] + row["written"])
    share = (most["read"] + most["written"]) / totals[most["who"]]
    return f"Layer {most['layer']} of {most['who']} takes {_format_percent(share)} of its tokens"


def skills_headline(rows: Sequence[Row]) -> str:
    """Who is ahead on average, and in how many skills."""
    who = list(dict.fromkeys(row["who"] for row in rows))
    means = {
        one: [row["score"] for row in rows if row["who"] == one and row["score"] is not None]
        for one in who
    }
    best = max(who, key=lambda one: sum(means[one]) / len(means[one]))
    firsts = 0
    names = list(dict.fromkeys(row["skill"] for row in rows))
    for name in names:
        here = [row for row in rows if row["skill"] == name]
        firsts += max(here, key=lambda row: row["score"])["who"] == best
    return f"{best} is ahead in {firsts} of {pluralize_count(len(names), 'skill')}"


def latency_headline(rows: Sequence[Row]) -> str:
    """Who takes longest, and for whom it waits."""
    totals: dict[str, float] = {}
    for row in rows:
        totals[row["who"]] = totals.get(row["who"], 0.0) + row["seconds"]
    slow = max(totals, key=lambda who: totals[who])
    own = [row for row in rows if row["who"] == slow]
    waited = sum(row["straggler"] or 0.0 for row in own)
    summary = f"{slow} takes longest, {totals[slow]:.1f} s"
    if not waited:
        return summary
    last = max(own, key=lambda row: row["straggler"] or 0.0)["slowest"]
    return (
        f"{summary}; {_format_percent(waited / totals[slow])} of it is waiting, mostly for {last}"
    )
