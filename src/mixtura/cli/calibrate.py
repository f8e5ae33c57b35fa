"""The command mixtura calibrate: confidences from evaluations whose outcomes are known."""

from __future__ import annotations

from typing import Any

import click

from mixtura import cli
from mixtura.catalog.user_files import expand_home, path_kind
from mixtura.cli.common import (
    config_option,
    create_console,
    echo_json,
    name_option,
    read_config,
    require_extra,
)
from mixtura.cli.evaluation_options import json_option
from mixtura.cli.help_layout import MixturaCommand
from mixtura.config.calibrations import (
    CalibrationFile,
    iterate_calibrations,
    write_calibration,
)
from mixtura.config.config import Config
from mixtura.core.calibration import CalibrationMethod
from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count, to_one_line


@click.command(
    name="calibrate",
    cls=MixturaCommand,
    examples=(
        "mixtura eval gsm8k --model mux --limit 200",
        "mixtura calibrate --from logs",
        "mixtura calibrate",
    ),
)
@name_option(
    "--from", "RUNS", "Folder of evaluations, as `mixtura eval` writes them.", "evaluations"
)  # fmt: skip
@name_option(
    "-m", "NAME", "Only this mixture; repeatable.", "--mixture", "mixtures", multiple=True
)  # fmt: skip
@click.option(
    "--method", type=click.Choice(["isotonic", "platt"]), default="isotonic", show_default=True,
    help="Any rising curve, or Platt's sigmoid, which needs fewer answers.",
)  # fmt: skip
@json_option
@config_option
def command(
    evaluations: str | None,
    mixtures: tuple[str, ...],
    method: CalibrationMethod,
    as_json: bool,
    config_file: str | None,
) -> None:
    """Learn from evaluations how likely an answer is to be right; without --from, list the results.

    The share of a vote, a weight or an agreement number says how well an answer is supported, not
    how likely it is to be right. From answers whose outcome is known, this command fits a curve
    for each mixture and keeps it beside the store. From then on, `confidence` in `--json`, in the
    server's answers and on the page is that probability. It holds only for the same members.
    """
    config = read_config(config_file)
    if evaluations is None:
        if mixtures:
            raise click.UsageError("-m goes with --from RUNS.")
        _list_calibrations(config, as_json)
        return
    folder = expand_home(evaluations)
    if path_kind(folder) != "folder":
        raise ConfigError(f"--from: there is no folder {to_one_line(evaluations)}")
    with require_extra("eval", "calibration"):
        from mixtura.evals.log_reader import read_logs
        from mixtura.reports.calibrations import fit_calibrations

        try:
            found, left_out = fit_calibrations(config, read_logs(folder), mixtures, method)
        except ConfigError as error:
            raise ConfigError(f"{evaluations}: {error}") from None
    for problem in left_out:
        click.echo(f"Left out: {to_one_line(problem)}.", err=True)
    for one, _ in found:
        try:
            write_calibration(config.calibration_folder, one)
        except OSError as error:
            raise cli.OutputLostError(error) from None
    if as_json:
        echo_json({"calibrations": [_calibration_json(one) | more for one, more in found]})
        return
    for one, more in found:
        _print_fitted(one, more)


def _list_calibrations(config: Config, as_json: bool) -> None:
    from mixtura.terminal import print_line, print_table

    every = list(iterate_calibrations(config.calibration_folder))
    if as_json:
        echo_json({"calibrations": list(map(_calibration_json, every))})
    elif every:
        rows = [
            [to_one_line(one.mixture), source, str(curve.answers),
             f"{curve.right / curve.answers:.0%}", curve.method, one.date]
            for one in every for source, curve in one.curves.items()
        ]  # fmt: skip
        headings = ("mixture", "share of", "answers", "right", "method", "date")
        print_table(create_console(), headings, rows, right=("answers", "right"))
    else:
        hint = "No mixture is calibrated yet: mixtura calibrate --from logs"
        print_line(create_console(stderr=True), hint)


def _calibration_json(one: CalibrationFile) -> dict[str, Any]:
    curves = {
        source: {"method": curve.method, "answers": curve.answers, "right": curve.right}
        for source, curve in one.curves.items()
    }
    return {"mixture": one.mixture, "date": one.date, "logs": list(one.logs), "curves": curves}


def _print_fitted(one: CalibrationFile, more: dict[str, Any]) -> None:
    for source, row in more["figures"].items():
        answers = pluralize_count(row["answers"], "answer")
        parts = [
            f"{to_one_line(one.mixture)}: {answers}, {row['right']:.0%} right",
            _format_figure("AUROC", row, "auroc", ".2f"),
            _format_figure("confidence off by", row, "error", ".0%"),
        ]
        click.echo("; ".join(filter(None, parts)) + f" (share of {source}).")


def _format_figure(name: str, row: dict[str, Any], key: str, form: str) -> str:
    if row[key] is None:
        return ""
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    span = "" if low is None else f" ({low:{form}} to {high:{form}})"
    return f"{name} {row[key]:{form}}{span}"
