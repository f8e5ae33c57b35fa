"""What came of a tuning, as data, and as a preset with its proof in comments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from mixtura.config.plan import MixtureSpec
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.evals.statistics.repeated_looks import ALPHA
from mixtura.selection import preset
from mixtura.selection.counting import CountingMixture, Table
from mixtura.selection.pick import mean_interval
from mixtura.selection.preset import PROPOSER_SAMPLING
from mixtura.selection.proof import LOWEST_BOUND, Proof
from mixtura.selection.search import Measurement, Team


@dataclass(frozen=True, slots=True)
class Contender:
    """A mixture that may be chosen: its score on each prompt, and what an answer takes."""

    plan: MixtureSpec
    scores: Table
    dollars: float | None
    seconds: float | None
    counting: CountingMixture | None = None
    """How it is scored out of draws that are there; None where it has calls of its own."""
    team: Team | None = None

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def members(self) -> set[str]:
        return self.plan.member_names()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRole:
    """A member, what it may do, and how well it does alone on the prompts that chose."""

    model: str
    role: str
    score: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneResult:
    """
    What was chosen and how sure that is. *best_score* is the best member's on the proof's prompts;
    *tried*: by mixture, its score on the prompts that chose.
    """

    chosen: MixtureSpec
    members: tuple[str, ...]
    best_member: str
    best_score: float | None
    proof: Proof
    price_ratio: float | None
    """Of an answer to one of the best member's; None where a price is unknown, or that is 0."""
    best_dollars: float | None
    dollars: float | None
    seconds: float | None
    choosing: int
    roles: tuple[MemberRole, ...]
    tried: Mapping[str, float]
    calls: int
    spent_usd: float | None
    capped: bool
    """Whether the cap ended the search before it had tried everything."""
    warnings: tuple[str, ...]
    day: date

    @property
    def is_mixture(self) -> bool:
        """Whether the mixture is what is to be written, and not the best member."""
        return self.proof.holds

    @property
    def plan_to_write(self) -> MixtureSpec:
        """The mixture where its proof holds, else the best member alone."""
        if self.is_mixture:
            return self.chosen
        return MixtureSpec(self.best_member, (), self.best_member, sampling=PROPOSER_SAMPLING)

    @property
    def models_to_write(self) -> list[str]:
        """The models that the preset names."""
        return sorted(self.plan_to_write.member_names())

    def proof_lines(self) -> list[str]:
        """What was found, a sentence a line."""
        proof, best = self.proof, to_one_line(self.best_member)
        seen = (
            f"{to_one_line(self.chosen.name)} against {best}:"
            f" {_format_points(proof.difference)} points"
            f" ({_format_points(proof.low)} to {_format_points(proof.high)},"
            f" {100 * proof.look.confidence:.4g} % interval)"
            f" on {pluralize_count(proof.n, 'prompt')} that had no part in the choice"
        )
        lines = [seen, *self.missing_lines(), self._cost_line(), *self._look_lines()]
        if proof.look.is_spent:
            lines.append(f"so the single model {best} was written")
        elif self.is_mixture:
            if proof.low <= 0:
                lines.append("the lower bound shows that the mixture is at most 1 point worse; that"
                             " it is better is not proved")  # fmt: skip
        else:
            lines.append(f"the lower bound is below {_format_points(LOWEST_BOUND)} point, so the"
                         f" single model {best} was written")  # fmt: skip
            lines.append(self.power_line())
        return lines

    def missing_lines(self) -> list[str]:
        """Which prompts of the test say nothing, since an answer or its score is missing."""
        proof = self.proof
        if not proof.missing:
            return []
        ours, theirs = proof.unscored
        said = (
            f"{pluralize_count(proof.missing, 'further prompt')} of the test left out: the mixture"
            f" has no score on {ours:,}, {to_one_line(self.best_member)} on {theirs:,}"
        )
        return [said]

    def _look_lines(self) -> list[str]:
        """What it costs that these prompts are looked at more than once."""
        look = self.proof.look
        if look.is_spent:
            said = (
                f"this is look {look.number} at these prompts, and the {100 * ALPHA:g} % error"
                " probability that all looks share is used up: the interval proves nothing. Use"
                " prompts that no tuning has used; plan further looks before the first one, with"
                " --looks"
            )
            return [said]
        if look.number == look.planned == 1:
            return []
        said = (
            f"look {look.number} of {max(look.planned, look.number)} at these prompts: its interval"
            f" has {look.alpha:.4f} of the error probability of {ALPHA:g} that all looks share (Lan"
            " and DeMets, in the form of Pocock)"
        )
        return [said]

    def power_line(self) -> str:
        """How many prompts would do."""
        if self.proof.needed is None:
            return (
                "if the difference is as seen, more prompts would not help: then the mixture is"
                " worse by 1 point or more"
            )
        return (
            f"with this difference, a lower bound above {_format_points(LOWEST_BOUND)} point needs"
            f" about {_round_up(self.proof.needed):,} prompts for the test (power 80 %)"
        )

    def _cost_line(self) -> str:
        parts = ["price unknown"]
        if self.price_ratio is not None:
            parts = [f"{self.price_ratio:.2f} times the price"]
        elif self.dollars is not None and self.best_dollars is not None:
            parts = [f"{to_one_line(self.best_member)} costs nothing"]
        if self.dollars is not None:
            parts.append(f"${self.dollars:.6f} an answer")
        if self.seconds is not None:
            parts.append(f"{self.seconds:.1f} seconds")
        parts.append(
            f"chosen from {len(self.tried):,} on {pluralize_count(self.choosing, 'prompt')}"
        )
        parts.append(self.day.isoformat())
        return "; ".join(parts)

    def preset_table(self, name: str) -> str:
        """The table for a configuration file."""
        kind = "a mixture" if self.is_mixture else "the single model"
        return preset.plan_table(name, self.plan_to_write, [kind, *self.proof_lines()])

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        proof = self.proof
        return {
            "written": self.plan_to_write.name,
            "is_mixture": self.is_mixture,
            "best_member": self.best_member,
            "difference": proof.difference,
            "low": proof.low,
            "high": proof.high,
            "n": proof.n,
            "missing": proof.missing,
            "price_ratio": self.price_ratio,
            "proof": "\n".join(self.proof_lines()),
            "needed_prompts": proof.needed,
            "look": proof.look._asdict(),
            "chosen": self.chosen.name,
            "pattern": self.chosen.pattern.kind,
            "members": list(self.members),
            "best_score": self.best_score,
            "cost_usd": self.dollars,
            "seconds": self.seconds,
            "roles": {
                one.model: {"role": one.role, "score": one.score, "low": one.low, "high": one.high}
                for one in self.roles
            },
            "tried": dict(self.tried),
            "calls": self.calls,
            "spent_usd": self.spent_usd,
            "capped": self.capped,
            "warnings": list(self.warnings),
        }


def describe_result(
    *,
    chosen: Contender,
    best: str,
    best_alone: Measurement,
    proof: Proof,
    roles: Mapping[str, str],
    alone: Mapping[str, Measurement],
    contenders: Sequence[Contender],
    counts: tuple[int, int],
    calls: int,
    spent_usd: float | None,
    capped: bool,
    warnings: tuple[str, ...],
) -> TuneResult:
    """The result, with its figures named."""
    theirs = best_alone.dollars
    ratio = chosen.dollars / theirs if chosen.dollars is not None and theirs else None
    means = {one.name: Measurement(_replace_missing_scores(one.scores)).score for one in contenders}
    return TuneResult(
        chosen=chosen.plan,
        members=tuple(name for name in roles if name in chosen.members),
        best_member=best,
        best_score=best_alone.score,
        proof=proof,
        price_ratio=ratio,
        best_dollars=theirs,
        dollars=chosen.dollars,
        seconds=chosen.seconds,
        choosing=counts[0],
        roles=tuple(_member_role(name, role, alone[name]) for name, role in roles.items()),
        tried={name: mean for name, mean in means.items() if mean is not None},
        calls=calls,
        spent_usd=spent_usd,
        capped=capped,
        warnings=warnings,
        day=datetime.now(UTC).date(),
    )


def _member_role(name: str, role: str, alone: Measurement) -> MemberRole:
    sure = mean_interval(alone.scores)
    return MemberRole(
        model=name,
        role=role,
        score=alone.score or 0.0,
        low=sure.low if sure else None,
        high=sure.high if sure else None,
    )


def _replace_missing_scores(scores: Table) -> tuple[float | None, ...]:
    return tuple(None if score != score else score for score in scores.tolist())


def _format_points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _round_up(count: int) -> int:
    step = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step
