"""How often tunings have looked at the prompts of a proof, and what is left for one more look.

Who tries patterns, seeds or members until one passes chooses on the proof. All looks at the same
prompts, by tunings that share a member, together have 5 %: each is kept beside the answers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from mixtura.catalog.user_files import write_whole
from mixtura.core.errors import ConfigError
from mixtura.evals.statistics.repeated_looks import ALPHA, spent_alpha

FILE_NAME = "tune-looks.jsonl"


class LookTerms(NamedTuple):
    """Which look at its prompts a proof is, of how many *planned* ones, and what it may spend."""

    number: int = 1
    planned: int = 1
    alpha: float = ALPHA

    @property
    def is_spent(self) -> bool:
        """Whether earlier looks have left nothing that could prove anything."""
        return self.alpha <= 0

    @property
    def confidence(self) -> float:
        """Of the interval: 95 % where there is one look, and where nothing is left at all."""
        return 1 - (ALPHA if self.is_spent else self.alpha)


class ProofLook(NamedTuple):
    """One look: what was compared on which prompts, by their digests, and what it spent."""

    day: str
    mixture: str
    against: str
    members: tuple[str, ...]
    difference: float
    alpha: float
    prompts: tuple[str, ...]


def read_looks(logs: Path, members: Sequence[str], asked: Sequence[str]) -> list[ProofLook]:
    """
    Earlier looks at any of the prompts *asked* by tunings of any of *members*, the first one first.
    Raises ConfigError for a file that is damaged.
    """
    names, prompts = set(members), set(_prompt_digests(asked))
    return [
        look for look in _read_file(logs / FILE_NAME)
        if names & set(look.members) and prompts & set(look.prompts)
    ]  # fmt: skip


def record_look(
    logs: Path,
    members: Sequence[str],
    asked: Sequence[str],
    *,
    mixture: str,
    against: str,
    difference: float,
    planned: int,
) -> LookTerms:
    """
    The terms of this look, which is kept; the same comparison with the same outcome is no new one.
    Raises ConfigError where the file cannot be read or written.
    """
    earlier = read_looks(logs, members, asked)
    now = ProofLook(
        datetime.now(UTC).date().isoformat(), mixture, against, tuple(members), difference, 0.0,
        tuple(_prompt_digests(asked)),
    )  # fmt: skip
    for number, look in enumerate(earlier, start=1):
        if _is_same_look(look, now):
            return LookTerms(number, max(planned, number), look.alpha)
    terms = next_look(earlier, planned)
    _write_file(logs / FILE_NAME, now._replace(alpha=terms.alpha))
    return terms


def next_look(earlier: Sequence[ProofLook], planned: int) -> LookTerms:
    """The terms of one look more, after *earlier* ones."""
    number = len(earlier) + 1
    spent = sum(look.alpha for look in earlier)
    left = max(0.0, spent_alpha(min(1.0, number / planned)) - spent)
    # What rounding leaves over is nothing.
    return LookTerms(number, planned, left if left > 1e-9 else 0.0)


def _is_same_look(one: ProofLook, other: ProofLook) -> bool:
    return (
        (one.mixture, one.against, set(one.prompts))
        == (other.mixture, other.against, set(other.prompts))
    ) and abs(one.difference - other.difference) < 1e-9  # fmt: skip


def _prompt_digests(asked: Sequence[str]) -> list[str]:
    # Of what is asked alone: a row with a new id, or a mended target, is the same prompt.
    return [hashlib.blake2b(text.encode(), digest_size=5).hexdigest() for text in asked]


def _read_file(file: Path) -> list[ProofLook]:
    looks: list[ProofLook] = []
    try:
        lines = file.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        try:
            row: dict[str, Any] = json.loads(line)
            row |= {name: tuple(row[name]) for name in ("members", "prompts")}
            look = ProofLook(**row)
            looks.append(look._replace(alpha=float(look.alpha), difference=float(look.difference)))
        except (ValueError, TypeError, KeyError):
            raise ConfigError(
                f"{file}, line {number}: this is not the record of a test of tuned mixtures."
                " Restore the file; without it, tune with prompts that no tuning has used"
            ) from None
    return looks


def _write_file(file: Path, look: ProofLook) -> None:
    rows = [*_read_file(file), look]
    text = "".join(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in rows)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text.encode())
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
