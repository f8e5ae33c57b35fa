"""AlpacaEval 2.0: its files as published, and the score of a model from a judge's annotations."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from mixtura.core.errors import ConfigError
from mixtura.evals.rows import convert_row, read_rows
from mixtura.evals.statistics import length_control
from mixtura.evals.statistics.length_control import (
    ControlledWinRate,
    GlmWeights,
    Method,
    RegularizationSet,
    Vector,
)

DRAW_PREFERENCE = 1.5
"""A preference is 1 where the baseline won, 2 where the model did; 0 is an old word for a draw."""


class OutputRow(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A row of ``model_outputs.json``: an instruction and what a model answered."""

    instruction: str
    dataset: str | None = None
    output: str
    generator: str


class Annotation(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A row of ``annotations.json``: the baseline's answer, the model's, and what a judge says."""

    instruction: str
    dataset: str | None = None
    output_1: str | None
    generator_1: str
    output_2: str | None
    generator_2: str
    annotator: str | None = None
    preference: float | None
    """None where the judge gave no verdict: such a row counts nowhere."""
    index: int | None = None
    """The instruction's number from 0, needed where only a part of them was judged."""


class LeaderboardRow(msgspec.Struct, frozen=True):
    """A row of the leaderboard, under its own names; rates and errors in percent."""

    win_rate: float
    standard_error: float | None
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    discrete_win_rate: float
    avg_length: int
    length_controlled_winrate: float
    lc_standard_error: float | None
    lc_method: Method


# ---- the score


def score_annotations(
    annotations: Sequence[Annotation],
    *,
    difficulties: Mapping[int, float] | None = None,
    weights: Mapping[str, GlmWeights] | None = None,
    gamed: RegularizationSet | None = None,
    source: str = "annotations",
) -> LeaderboardRow:
    """
    The leaderboard's figures for the model that *annotations* are about.

    The length-controlled win rate comes from *weights* where they are given, else from a fit,
    as good as *difficulties* and *gamed* allow. Raises ConfigError, which names *source*, for rows
    that are no annotations of one model, and for weights or difficulties that do not fit them.
    """
    _check_annotations(annotations, source)
    preferences = _preference_values(annotations)
    judged = preferences[~np.isnan(preferences)]
    if not len(judged):
        raise ConfigError(f"{source}: no row has a preference")
    count = len(judged)
    wins, draws = int((judged > 0.5).sum()), int((judged == 0.5).sum())
    lengths = _text_lengths([row.output_2 for row in annotations])
    controlled = length_controlled_rate(
        annotations, difficulties=difficulties, weights=weights, gamed=gamed, source=source
    )
    return LeaderboardRow(
        win_rate=100 * float(judged.mean()),
        standard_error=(100 * float(judged.std(ddof=1)) / math.sqrt(count) if count > 1 else None),
        n_wins=wins,
        n_wins_base=count - wins - draws,
        n_draws=draws,
        n_total=count,
        discrete_win_rate=100 * (wins + draws / 2) / count,
        avg_length=0 if np.isnan(lengths).all() else int(np.nanmean(lengths)),
        length_controlled_winrate=controlled.win_rate,
        lc_standard_error=controlled.standard_error,
        lc_method=controlled.method,
    )


def length_controlled_rate(
    annotations: Sequence[Annotation],
    *,
    difficulties: Mapping[int, float] | None = None,
    weights: Mapping[str, GlmWeights] | None = None,
    gamed: RegularizationSet | None = None,
    source: str = "annotations",
) -> ControlledWinRate:
    """The length-controlled win rate, by the best way that what is given allows.

    Raises ConfigError, which names *source*, for weights or difficulties that do not fit.
    """
    first = annotations[0]
    # A model beside itself: nothing varies that a fit could go by.
    if first.generator_1 == first.generator_2:
        return ControlledWinRate(50.0, 0.0, "baseline", GlmWeights(0.0, 0.0, 0.0))
    if weights is not None:
        if difficulties is None:
            raise ConfigError(
                "weights need the difficulties of the instructions, which are missing"
            )
        if first.generator_2 not in weights:
            raise ConfigError(
                f"{source}: there are no weights for {first.generator_2}; leave the weights out to"
                " have them fitted"
            )
        return length_control.published_win_rate(
            weights[first.generator_2], _ordered_difficulties(difficulties)
        )
    preferences = _preference_values(annotations)
    lengths = length_control.length_differences(
        _text_lengths([row.output_1 for row in annotations]),
        _text_lengths([row.output_2 for row in annotations]),
    )
    if difficulties is None:
        return length_control.average_fit(preferences, lengths)
    hardness = _row_difficulties(annotations, difficulties, source)
    if gamed is None:
        return length_control.prior_fit(preferences, lengths, hardness)
    return length_control.official_fit(preferences, lengths, hardness, gamed)


def published_rates(
    weights: Mapping[str, GlmWeights], difficulties: Mapping[int, float]
) -> dict[str, ControlledWinRate]:
    """The length-controlled win rate of every model whose weights are known."""
    hardness = _ordered_difficulties(difficulties)
    return {
        name: length_control.published_win_rate(known, hardness) for name, known in weights.items()
    }


def _check_annotations(
    annotations: Sequence[Annotation], source: str, lines: Sequence[int] = ()
) -> None:
    """Raises ConfigError; it names the *lines* of the rows, where they are known."""
    if not annotations:
        raise ConfigError(f"{source} has no rows")
    places = [f"line {line} (row {number})" for number, line in enumerate(lines, 1)] or [
        f"row {number}" for number in range(1, len(annotations) + 1)
    ]
    first = annotations[0]
    seen: dict[object, str] = {}
    for place, row in zip(places, annotations, strict=True):
        preference = row.preference
        if preference is not None and preference != 0 and not 1 <= preference <= 2:
            raise ConfigError(
                f"{source}, {place}: preference is {preference}, but must be from 1 (the baseline"
                " is better) to 2 (the model is better), 0 (a draw) or null (no verdict)"
            )
        for field in ("generator_1", "generator_2"):
            name, usual = getattr(row, field), getattr(first, field)
            if name != usual:
                raise ConfigError(
                    f"{source}, {place}: {field} is '{name}', but '{usual}' in {places[0]}: a file"
                    " must be about one model and one baseline"
                )
        which = (row.dataset, row.instruction) if row.index is None else row.index
        if lines and (before := seen.setdefault(which, place)) != place:
            what = "instruction" if row.index is None else f"index {row.index}"
            raise ConfigError(
                f"{source}, {place}: the {what} is that of {before}: remove one of the two rows,"
                " or the instruction counts twice"
            )


def _preference_values(annotations: Sequence[Annotation]) -> Vector:
    """From 0 to 1, not a number where the judge gave no verdict."""
    preferences = [row.preference for row in annotations]
    return np.array([math.nan if p is None else (p or DRAW_PREFERENCE) - 1 for p in preferences])


def _text_lengths(texts: Sequence[str | None]) -> Vector:
    return np.array([math.nan if text is None else len(text) for text in texts], dtype=float)


def _ordered_difficulties(difficulties: Mapping[int, float]) -> Vector:
    return np.array([difficulties[index] for index in sorted(difficulties)])


def _row_difficulties(
    annotations: Sequence[Annotation], difficulties: Mapping[int, float], source: str
) -> Vector:
    whole = len(annotations) == len(difficulties)
    values: list[float] = []
    for number, row in enumerate(annotations):
        index = number if row.index is None and whole else row.index
        if index is None:
            raise ConfigError(
                f"{source}, row {number + 1}: there are {len(annotations)} rows and"
                f" {len(difficulties)} difficulties: give each row its `index`"
            )
        if index not in difficulties:
            raise ConfigError(f"{source}, row {number + 1}: no difficulty has the index {index}")
        values.append(difficulties[index])
    return np.array(values)


# ---- JSON, as the leaderboard's own files


def read_outputs(path: Path) -> list[OutputRow]:
    """A ``model_outputs.json``. Raises ConfigError, which names the file and the row."""
    return [convert_row(str(path), placed, OutputRow) for placed in read_rows(str(path))]


def write_outputs(path: Path, outputs: Sequence[OutputRow]) -> None:
    """Write a ``model_outputs.json``. Raises ConfigError where it cannot be written."""
    _write_json(path, outputs)


def read_annotations(path: Path) -> list[Annotation]:
    """An ``annotations.json``. Raises ConfigError, which names the file and the row."""
    placed = read_rows(str(path))
    rows = [convert_row(str(path), one, Annotation) for one in placed]
    _check_annotations(rows, str(path), [one.line for one in placed])
    return rows


def write_annotations(path: Path, annotations: Sequence[Annotation]) -> None:
    """Write an ``annotations.json``.

    Raises ConfigError for what `read_annotations` would refuse, and where it cannot be written.
    """
    _check_annotations(annotations, str(path))
    _write_json(path, annotations)


def _write_json(path: Path, rows: Sequence[OutputRow] | Sequence[Annotation]) -> None:
    whole = msgspec.json.format(msgspec.json.encode(list(rows)), indent=2) + b"\n"
    # In one step: whoever stops us finds the old file or the new one, not half of it.
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(whole)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(f"{path}: {error.strerror}") from None


# ---- CSV, as the leaderboard's own files

WEIGHT_COLUMNS = (
    "np.tanh(std_delta_len)",
    "instruction_difficulty",
    "not_gamed_baseline.astype(float)",
)
GAMED_COLUMNS = ("index", "preference", "std_delta_len", "instruction_difficulty")


def read_weights(path: Path) -> dict[str, GlmWeights]:
    """The weights of every model on the leaderboard: a name, then φ, ψ, θ.

    Raises ConfigError, which names the file and the line.
    """
    heading, rows = _read_table(path)
    weights: dict[str, GlmWeights] = {}
    for line, row in rows:
        values = [_parse_number(path, line, row, name) for name in WEIGHT_COLUMNS]
        if row[heading[0]] in weights:
            raise ConfigError(f"{path}, line {line}: {row[heading[0]]} already has weights")
        weights[row[heading[0]]] = GlmWeights(*values)
    return weights


def read_difficulties(path: Path) -> dict[int, float]:
    """The difficulty of every instruction: its index, then ``instruction_difficulty``.

    Raises ConfigError, which names the file and the line.
    """
    heading, rows = _read_table(path)
    difficulties: dict[int, float] = {}
    lines: dict[int, int] = {}
    for line, row in rows:
        index = _parse_index(path, line, row, heading[0])
        if index in lines:
            problem = f"the index {index} already has a difficulty, in line {lines[index]}"
            raise ConfigError(f"{path}, line {line}: {problem}")
        difficulties[index], lines[index] = _parse_number(path, line, row, WEIGHT_COLUMNS[1]), line
    return difficulties


def read_regularization_set(path: Path) -> tuple[RegularizationSet, dict[int, float]]:
    """The regularisation set (``df_gamed.csv``), and the difficulties that stand in it.

    Raises ConfigError, which names the file and the line.
    """
    _, rows = _read_table(path)
    difficulties: dict[int, float] = {}
    values: list[list[float]] = []
    for line, row in rows:
        # An empty cell is a row that the judge gave no verdict on.
        there = {**row, "preference": row.get("preference") or "nan"}
        preference, length, hardness = [
            _parse_number(path, line, there, name) for name in GAMED_COLUMNS[1:]
        ]
        index = _parse_index(path, line, row, GAMED_COLUMNS[0])
        # A difficulty stands in each row of its instruction: printed floats may differ in the last
        # digit.
        if not math.isclose(difficulties.setdefault(index, hardness), hardness, abs_tol=1e-9):
            problem = f"the index {index} has another difficulty above, {difficulties[index]:g}"
            raise ConfigError(f"{path}, line {line}: {problem}")
        if not (math.isnan(preference) or 0 <= preference <= 1):
            raise ConfigError(f"{path}, line {line}: preference is {preference}, not from 0 to 1")
        values.append([preference, length, hardness])
    table = np.array(values)
    return RegularizationSet(table[:, 0], table[:, 1], table[:, 2]), difficulties


def _read_table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The heading, and every row with its line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="", strict=True)
            rows = [(reader.line_num, row) for row in reader]
            heading = list(reader.fieldnames or ())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a table (CSV): {error}") from None
    if not rows:
        raise ConfigError(f"{path} has no rows")
    return heading, rows


def _parse_index(path: Path, line: int, row: Mapping[str, str], name: str) -> int:
    value = _parse_number(path, line, row, name)
    if not (value >= 0 and value.is_integer()):
        raise ConfigError(f"{path}, line {line}: '{row[name]}' is not an index")
    return int(value)


def _parse_number(path: Path, line: int, row: Mapping[str, str], name: str) -> float:
    if name not in row:
        raise ConfigError(f"{path} has no column '{name}'")
    try:
        value = float(row[name])
    except ValueError:
        raise ConfigError(f"{path}, line {line}: {name}: '{row[name]}' is not a number") from None
    if math.isnan(value) and name == WEIGHT_COLUMNS[1]:
        raise ConfigError(f"{path}, line {line}: {name} is empty")
    return value
