"""Limits that refusals state in their words: read whoever says them, and from nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura.core.stated_limits import StatedLimits, parse_stated_limits
from tests.support import paths

CASES = paths.CASES / "refusals"


def cases(name):
    lines = (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [pytest.param(row := json.loads(line), id=row["said"][:60]) for line in lines]


@pytest.mark.parametrize("row", cases("output"))
def test_an_output_limit_is_read_whoever_states_it(row):
    assert parse_stated_limits(row["said"]) == StatedLimits(output=row["output"])


@pytest.mark.parametrize("row", cases("window"))
def test_a_window_is_read_whoever_states_it_and_what_it_leaves(row):
    assert parse_stated_limits(row["said"]) == StatedLimits(window=row["window"], room=row["room"])


@pytest.mark.parametrize("row", cases("affordable"))
def test_what_an_account_can_afford_is_read(row):
    assert parse_stated_limits(row["said"]) == StatedLimits(affordable=row["affordable"])


@pytest.mark.parametrize("row", cases("nothing"))
def test_a_number_in_any_other_refusal_is_no_limit(row):
    assert parse_stated_limits(row["said"]) == StatedLimits()


SAID = st.sampled_from(
    [
        ("output", "max_tokens must be at most {}."),
        ("output", "the valid range of max_tokens is [1, {}]"),
        ("output", "This model supports at most {} completion tokens"),
        (
            "output",
            "max_tokens: 9999999 > {}, which is the maximum allowed number of output tokens",
        ),
        ("window", "This model's maximum context length is {} tokens."),
        ("window", "prompt is too long: 9999999 tokens > {} maximum"),
        ("window", "the model's context length is only {} tokens"),
        ("affordable", "you can only afford {}."),
    ]
)
STYLES = st.sampled_from(["{:d}", "{:,d}", "{:_d}", "`{:d}`", "'{:,d}'", "{:d}.0", "({:d})"])


@settings(deadline=None)
@given(SAID, st.integers(1000, 999_999), STYLES, st.sampled_from(["", " Please.", "\n\nSee docs."]))
def test_a_number_is_read_in_any_style(said, number, style, after):
    name, text = said
    told = text.format(style.format(number)) + after

    assert getattr(parse_stated_limits(told), name) == number


@settings(deadline=None)
@given(st.text(st.sampled_from("max_tokens window context [],.>=<0123456789 length"), max_size=200))
def test_no_text_ends_in_an_error_or_a_limit_beyond_sense(text):
    found = parse_stated_limits(text)

    assert all(value is None or 0 <= value <= 10_000_000 for value in found)
