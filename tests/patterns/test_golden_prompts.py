"""Every call of every pattern sends what its golden file says, message by message."""

from __future__ import annotations

import pytest

from tests.support.golden_prompts import COMMAND, FOLDER, golden_names, play
from tests.support.pattern_teams import NAMES


@pytest.mark.parametrize("name", golden_names())
def test_every_call_is_sent_in_order_as_its_golden_file_has_it(name):
    file = FOLDER / f"{name}.txt"
    assert file.is_file(), f"{file.name} is missing: run `{COMMAND}`, then read what it wrote"

    said = f"other prompts than in {file.name}: if they are meant, run `{COMMAND}`"
    assert play(name) == file.read_text("utf-8"), said


def test_no_golden_file_is_left_of_a_pattern_that_is_gone():
    assert {file.stem for file in FOLDER.glob("*.txt")} == set(golden_names()), COMMAND


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_needs_them_all_makes_the_calls_that_were_planned(name):
    head = (FOLDER / f"{name}.txt").read_text("utf-8").split("\n")[0]
    made, most = head.removesuffix(".").split(" calls; at most ")

    assert int(made) == int(most)
