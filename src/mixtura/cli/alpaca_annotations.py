"""mixtura eval alpaca-eval of annotations that are there: the scores that its leaderboard has."""

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
    """The options of the command that say which files to score."""

    annotations: Path | None
    difficulty: Path | None
    weights: Path | None
    gamed: Path | None
    as_json: bool


def print_scores(options: AnnotationOptions) -> None:
    """Print the figures of *options*.

    Raises click.UsageError for options that do not go together, ConfigError for files that cannot
    be read.
    """
    if options.weights and options.gamed:
        raise click.UsageError(
            "--weights gives the weights, --gamed fits them: give one of the two."
        )
    if options.weights and not options.difficulty:
        raise click.UsageError("--weights goes with --difficulty.")
    if not (options.annotations or options.weights):
        raise click.UsageError(
            "alpaca-eval needs --annotations FILE, or --model NAME and --judge NAME."
        )
    with require_extra("eval", "evaluation"):
        from mixtura.evals import alpaca_leaderboard
    weights = alpaca_leaderboard.read_weights(options.weights) if options.weights else None
    difficulties = (
        alpaca_leaderboard.read_difficulties(options.difficulty) if options.difficulty else None
    )
    gamed = None
    if options.gamed:
        gamed, known = alpaca_leaderboard.read_regularization_set(options.gamed)
        # The set brings the difficulties that it was fitted with; those of --difficulty win.
        difficulties = difficulties or known
    if options.annotations is None:
        assert weights
        assert difficulties
        _print_leaderboard(
            alpaca_leaderboard.published_rates(weights, difficulties), as_json=options.as_json
        )
        return
    rows = alpaca_leaderboard.read_annotations(options.annotations)
    score = alpaca_leaderboard.score_annotations(
        rows,
        difficulties=difficulties,
        weights=weights,
        gamed=gamed,
        source=str(options.annotations),
    )
    if options.as_json:
        import msgspec

        echo_json(msgspec.to_builtins(score))
    else:
        _print_score(score, rows[0])


def _print_score(score: LeaderboardRow, row: Annotation) -> None:
    from rich import box
    from rich.table import Table

    from mixtura.evals.statistics import length_control
    from mixtura.terminal import print_line

    console = create_console()
    who = f"{to_one_line(row.generator_2)} against {to_one_line(row.generator_1)}"
    print_line(console, f"{who}, {score.n_total:,} prompts", "bold")
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
    console.print(table)
    print_line(
        console, f"\nLength-controlled: {length_control.METHOD_NOTES[score.lc_method]}.", "dim"
    )
    # Answers can be made for the metric: one without content reached 86.5 % here, 76.9 % raw (Zheng
    # et al. 2024, arXiv 2410.07137).
    if length_control.is_extreme_shift(raw, controlled):
        warning = "The length-controlled win rate is far from the raw one: look at the answers."
        print_line(create_console(stderr=True), warning, "yellow")


def _format_error(error: float | None) -> str:
    return "" if error is None else f"± {error:.1f} (standard error)"


def _print_leaderboard(models: dict[str, ControlledWinRate], *, as_json: bool) -> None:
    ranked = sorted(models.items(), key=lambda item: -item[1].win_rate)
    if as_json:
        rows = {
            name: {
                "length_controlled_winrate": rate.win_rate,
                "lc_standard_error": rate.standard_error,
            }
            for name, rate in ranked
        }
        echo_json({"lc_method": "published-weights", "models": rows})
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("model")
    table.add_column("length-controlled", justify="right")
    for name, rate in ranked:
        table.add_row(to_one_line(name), f"{rate.win_rate:.1f}")
    create_console().print(table)
