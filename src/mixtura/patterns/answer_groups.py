"""Proposals grouped by the answer that they give: what is counted when models agree or differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mixtura.core.json_text import read_json_text
from mixtura.core.similarity import cosine_similarity, tfidf_vectors
from mixtura.core.types import Completion
from mixtura.patterns.choosing import finished_positions, with_tool_calls_as_text
from mixtura.patterns.final_answer import EXTRACTORS, Extract

SAME_TEXT_SIMILARITY = 0.6
"""Two open texts give the same answer where their words are so alike (TF-IDF, cosine)."""

AnswerReader = Callable[[str], str | None]
"""From a proposal's text to what is counted; None where no answer is in it."""


class AnswerGroup(NamedTuple):
    """An answer, and the positions of the proposals that give it, in their order."""

    answer: str
    positions: tuple[int, ...]


def group_by_answer(
    proposals: Sequence[Completion], extract: Extract | AnswerReader
) -> list[AnswerGroup]:
    """
    The groups of proposals with the same answer, in the order of their first proposals.

    *extract* names the kind of answer, or reads it; ``text`` groups whole texts that are alike.
    What calls tools has its calls as its answer, whatever stands in them. A proposal without an
    answer is in no group, and one that was cut off only where all were. Raises what a function
    *extract* raises.
    """
    places = finished_positions(proposals)
    if extract == "text":
        return _group_alike({i: with_tool_calls_as_text(proposals[i]).text for i in places})
    read = EXTRACTORS[extract] if isinstance(extract, str) else extract
    groups: dict[str, list[int]] = {}
    for i in places:
        answer = write_calls_alike(proposals[i]) or read(proposals[i].text)
        if answer is not None:
            groups.setdefault(answer, []).append(i)
    return [AnswerGroup(answer, tuple(positions)) for answer, positions in groups.items()]


def write_calls_alike(proposal: Completion) -> str:
    """
    The tool calls of a proposal, the same for the same arguments however they are spaced and
    ordered; empty where it calls none.
    """
    lines: list[str] = []
    for call in proposal.message.tool_calls:
        try:
            written = json.dumps(read_json_text(call.arguments), sort_keys=True)
        except ValueError:
            written = call.arguments
        lines.append(f"calls {call.name} with {written}")
    return "\n".join(lines)


def _group_alike(texts: dict[int, str]) -> list[AnswerGroup]:
    """A text joins the first group whose first text it is like."""
    vectors = dict(zip(texts, tfidf_vectors(list(texts.values())), strict=True))
    groups: list[list[int]] = []
    for i in texts:
        for group in groups:
            first = group[0]
            same = texts[i] == texts[first]
            if same or cosine_similarity(vectors[i], vectors[first]) >= SAME_TEXT_SIMILARITY:
                group.append(i)
                break
        else:
            groups.append([i])
    return [AnswerGroup(texts[group[0]], tuple(group)) for group in groups]


def largest_group(groups: Sequence[AnswerGroup]) -> AnswerGroup:
    """The group of most proposals, the first of equals. Raises ValueError without groups."""
    return max(groups, key=lambda group: len(group.positions))
