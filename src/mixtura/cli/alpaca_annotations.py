"""mixtura eval alpaca-eval, of annotations that are there: what its leaderboard says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from mixtura.cli.common import create_console, echo_json, require_extra
from mixtura.core.text import to_one_line

if TYPE_CHECKING:
    from mixtura.evals.alpaca_leaderboard import Annotation, LeaderboardRow
    from mixtura.evals.statistics.length_control import ControlledWinRate


class AnnotationOptions(NamedTuple):
    """What was said on the command line."""

    annotations: Path | None
    difficulty: Path | None
    weights: Path | None
    gamed: Path | None
    as_json: bool


def print_scores(given: AnnotationOptions) -> None:
    """Print the figures of *given*."""
    if given.weights and given.gamed:
        raise click.UsageError("--weights are taken, --gamed fits them: give one of the two.")
    if given.weights and not given.difficulty:
        raise click.UsageError("--weights goes with --difficulty.")
    if not (given.annotations or given.weights):
        raise click.UsageError(
            "alpaca-eval needs --annotations FILE, or --model NAME and --judge NAME."
        )
    with require_extra("eval", "evaluation"):
        from mixtura.evals import alpaca_leaderboard
    weights = alpaca_leaderboard.read_weights(given.weights) if given.weights else None
    difficulties = (
        alpaca_leaderboard.read_difficulties(given.difficulty) if given.difficulty else None
    )
    gamed = None
    if given.gamed:
        gamed, known = alpaca_leaderboard.read_regularization_set(given.gamed)
        difficulties = difficulties or known
    if given.annotations is None:
        assert weights
        assert difficulties
        _print_leaderboard(
            alpaca_leaderboard.published_rates(weights, difficulties), as_json=given.as_json
        )
        return
    rows = alpaca_leaderboard.read_annotations(given.annotations)
    score = alpaca_leaderboard.score_annotations(
        rows,
        difficulties=difficulties,
        weights=weights,
        gamed=gamed,
        source=str(given.annotations),
    )
    if given.as_json:
        import msgspec

        echo_json(msgspec.to_builtins(score))
    else:
        _print_score(score, rows[0])


def _print_score(score: LeaderboardRow, row: Annotation) -> None:
    from rich import box
    from rich.table import Table

    from mixtura.evals.statistics import length_control
    from mixtura.terminal import print_line

    shown = create_console()
    who = f"{to_one_line(row.generator_2)} against {to_one_line(row.generator_1)}"
    print_line(shown, f"{who}, {score.n_total:,} prompts", "bold")
    table = Table(box=box.SIMPLE, show_header=False, show_edge=False, pad_edge=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_column(justify="left")
    raw, controlled = score.win_rate, score.length_controlled_winrate
    table.add_row("win rate", f"{raw:.1f}", _format_error(score.standard_error))
    table.add_row("length-controlled", f"{controlled:.1f}", _format_error(score.lc_standard_error))
    table.add_row("discrete win rate", f"{score.discrete_win_rate:.1f}")
    table.add_row("wins, draws", f"{score.n_wins:,}, {score.n_draws:,}")
    table.add_row("wins of the baseline", f"{score.n_wins_base:,}")
    table.add_row("mean length", f"{score.avg_length:,}", "characters")
    shown.print(table)
    print_line(
        shown, f"\nLength-controlled: {length_control.METHOD_NOTES[score.lc_method]}.", "dim"
    )
    if length_control.is_extreme_shift(raw, controlled):
        said = "The length-controlled win rate is far from the raw one: look at the answers."
        print_line(create_console(aside=True), said, "yellow")


def _format_error(error: float | None) -> str:
    return "" if error is None else f"± {error:.1f} (standard error)"


def _print_leaderboard(models: dict[str, ControlledWinRate], *, as_json: bool) -> None:
    ranked = sorted(models.items(), key=lambda item: -item[1].win_rate)
    if as_json:
        rows = {
            name: {
                "length_controlled_winrate": found.win_rate,
                "lc_standard_error": found.standard_error,
            }
            for name, found in ranked
        }
        echo_json({"lc_method": "published-weights", "models": rows})
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("model")
    table.add_column("length-controlled", justify="right")
    for name, found in ranked:
        table.add_row(to_one_line(name), f"{found.win_rate:.1f}")
    create_console().print(table)
