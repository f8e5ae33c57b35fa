"""`python -m bench.proof`: draws, scores and tells what mixtures of small models are worth."""

from __future__ import annotations

import argparse
import asyncio
import json
import lzma
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from bench.proof.arms import Arm, arms_of
from bench.proof.draw import draw_all, draw_arms
from bench.proof.evaluations import evaluations_of
from bench.proof.kept import KeptAnswers, KeptModel
from bench.proof.labels import SETS as LABELS
from bench.proof.members import LARGE, MEMBERS, SMALL, kept_model, live_model
from bench.proof.page import FOLDER, LOOKS, PAGE, build_page, read_looks, results_file
from bench.proof.programs import ProgramRuns
from bench.proof.questions import SETS, Item
from bench.proof.results import read_outcomes, run_arms, write_outcomes
from bench.proof.server import ServerGoneError

from mixtura import ConfigError, MixturaError
from mixtura.evals.log_reader import LoggedEvaluation
from mixtura.reports.runs import group_by_task

EPILOG = """
  draw SET --member large --draws 0,1   the member's own answers, what is kept left out
  draw SET --arms rank-4,self-4         the further calls of these arms
  score SET                             runs every pattern over what is kept: results, and the
                                        answers themselves as a compressed log
  look SET                              notes that the results are looked at, before they are
  table                                 writes docs/explanation/proof.md
  report --out report                   the same results as a page of `mixtura report`, with figures

A draw can be ended at any time and started again. Nothing is drawn twice: what bench/proof/draws/
holds was drawn already, and is unpacked first. A server that loads or is away is waited for.
"""


def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    given = _parser().parse_args(words)
    try:
        _take_step(given)
    except ConfigError as error:
        raise SystemExit(str(error)) from None


def _take_step(given: argparse.Namespace) -> None:
    match given.step:
        case "draw":
            _draw(given)
        case "score":
            _score(given)
        case "look":
            _look(given.set)
        case "report":
            _report(given.out)
        case _:
            PAGE.write_text(build_page(), "utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.proof", description=__doc__.split(": ")[1], epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    draw, score = steps.add_parser("draw"), steps.add_parser("score")
    look = steps.add_parser("look")
    steps.add_parser("table")
    steps.add_parser("report").add_argument(
        "--out", type=Path, default=Path("report"), help="folder of the page (default: report)"
    )
    for step in (draw, score, look):
        step.add_argument("set", choices=SETS)
    for step in (draw, score):
        step.add_argument(
            "--folder", type=Path, default=Path("build/proof"), help="where the answers are kept"
        )
        step.add_argument("--skip", type=_number, default=0, help="not the first so many items")
        step.add_argument("--items", type=_count, help="only so many items")
    kind = draw.add_mutually_exclusive_group(required=True)
    kind.add_argument("--member", choices=MEMBERS)
    kind.add_argument("--arms", type=_names, help="names of arms, with commas between")
    draw.add_argument("--draws", type=_numbers, default=[0, 1, 2, 3])
    for name, member in MEMBERS.items():
        draw.add_argument(
            f"--{name}", default="models", metavar="PLACE",
            help=f"the folder with {member.file}, or the address of a server that has it",
        )  # fmt: skip
    draw.add_argument("--at-once", type=_count, default=8)
    draw.add_argument(
        "--wait", type=_seconds, default=600.0, metavar="SECONDS",
        help="how long a server that does not answer is tried again (default: 600)",
    )  # fmt: skip
    return parser


def _names(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [_number(one) for one in text.split(",")]


def _number(text: str) -> int:
    if not text.strip().isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 on")
    return int(text)


def _count(text: str) -> int:
    if not (found := _number(text)):
        raise argparse.ArgumentTypeError("it has to be at least 1")
    return found


def _seconds(text: str) -> float:
    return float(_number(text))


def unpack_draws(folder: Path) -> None:
    """Put the answers that are in the repository into *folder*, where it has none of that name."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"--folder {folder}: {error.strerror}") from None
    for packed in sorted((FOLDER / "draws").glob("*.jsonl.xz")):
        if not (file := folder / packed.stem).exists():
            file.write_bytes(lzma.decompress(packed.read_bytes()))


def _draw(given: argparse.Namespace) -> None:
    unpack_draws(given.folder)
    mine = given.folder / f"{given.set}-{given.member or 'arms'}.jsonl"
    answers = KeptAnswers(mine, *sorted(given.folder.glob("*.jsonl")))
    items = _chosen_items(given)
    if given.member:
        place = getattr(given, given.member)
        model = live_model(MEMBERS[given.member], place, answers, given.wait)
        _run_draw(draw_all(model, items, given.draws, given.at_once), mine)
        return
    large, small = (
        live_model(member, getattr(given, name), answers, given.wait)
        for name, member in MEMBERS.items()
    )
    runs = ProgramRuns(_runs_file(given.folder, given.set))
    arms = _chosen_arms(arms_of(given.set, large, small, runs), given.arms)
    _run_draw(draw_arms(arms, items, given.at_once), mine)


def _run_draw(work: Coroutine[Any, Any, list[str]], file: Path) -> None:
    """Raises SystemExit, with a line on what ended it and on what is kept."""
    kept = f"what is drawn is kept in {file}: the same command continues from there"
    try:
        failed = asyncio.run(work)
    except KeyboardInterrupt:
        print(f"interrupted; {kept}", file=sys.stderr)
        raise SystemExit(130) from None
    except BaseExceptionGroup as errors:
        if errors.split((ServerGoneError, MixturaError))[1] is not None:
            raise
        reason = " ".join(str(_first_leaf(errors)).split())
        raise SystemExit(f"{reason}; {kept}") from None
    if failed:
        raise SystemExit(f"{len(failed)} items have no answer; {kept}")


def _first_leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _chosen_items(given: argparse.Namespace) -> list[Item]:
    items = SETS[given.set]()[given.skip :]
    return items[: given.items]


def _chosen_arms(arms: Sequence[Arm], names: Sequence[str]) -> list[Arm]:
    known = {arm.name: arm for arm in arms}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"no arm is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names]


def _score(given: argparse.Namespace) -> None:
    logs = sorted(given.folder.glob("*.jsonl"))
    if not logs:
        raise SystemExit(f"no answers are kept in {given.folder}: `draw` comes first")
    answers = KeptAnswers(given.folder / "unused.jsonl", *logs)
    large, small = (kept_model(member, answers) for member in (LARGE, SMALL))
    runs = ProgramRuns(_runs_file(given.folder, given.set))
    items = _chosen_items(given)
    arms = arms_of(given.set, large, small, runs)
    outcomes = asyncio.run(run_arms(given.set, arms, items, runs, at_once=2))
    write_outcomes(results_file(given.set), outcomes)
    _publish_log(given.set, [large, small], given.folder)


def _publish_log(name: str, models: Sequence[KeptModel], folder: Path) -> None:
    """The answers that the results rest on, compressed: a set's log in the repository."""
    used = {kept.key: kept for model in models for kept in model.used}
    lines = "".join(json.dumps(kept._asdict(), ensure_ascii=False) + "\n" for kept in used.values())
    file = FOLDER / f"{name}.jsonl.xz"
    file.write_bytes(lzma.compress(lines.encode(), preset=9))
    runs = _runs_file(folder, name)
    if runs.exists():
        (FOLDER / f"{name}.runs.jsonl.xz").write_bytes(lzma.compress(runs.read_bytes(), preset=9))
    print(f"{file}: {len(used)} answers, {file.stat().st_size:,} bytes", file=sys.stderr)


def _runs_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.runs"


def _look(name: str) -> None:
    labels = LABELS[name]
    if labels.main is None:
        raise SystemExit(f"{name} is a probe, without a comparison: no look is counted")
    if not results_file(name).exists():
        raise SystemExit(f"no results of {name} are there: `score {name}` comes first")
    done = sum(one.arm == labels.main for one in read_outcomes(results_file(name)))
    fraction = min(1.0, done / labels.planned)
    looks = read_looks()
    mine = looks.setdefault(name, [])
    if mine and mine[-1].fraction >= fraction:
        print("nothing is new since the last look: it is not counted twice", file=sys.stderr)
        return
    rows = {key: [list(look) for look in looks[key]] for key in looks}
    rows[name].append([round(fraction, 4), time.strftime("%Y-%m-%d", time.gmtime())])
    LOOKS.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def _report(out: Path) -> None:
    from mixtura.reports.page import write_report  # draws figures, which nothing else needs

    found: list[LoggedEvaluation] = []
    for name in LABELS:
        if results_file(name).exists():
            found += evaluations_of(name, read_outcomes(results_file(name)), out)
    try:
        print(write_report(group_by_task(found), out).file, file=sys.stderr)
    except OSError as error:
        raise SystemExit(f"--out {out}: {error.strerror}") from None


if __name__ == "__main__":
    main()
