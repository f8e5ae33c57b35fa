"""Over a hundred wrong inputs: each is told what is wrong and what would be right."""

from __future__ import annotations

import pytest

from tests.support.wrong_inputs import EVALUATIONS, ROWS, check_row


@pytest.mark.parametrize("name", ROWS)
def test_a_wrong_input_is_told_what_is_wrong_and_what_would_be_right(
    name, tmp_path, monkeypatch, capsys
):
    check_row(ROWS[name], tmp_path, monkeypatch, capsys)


def test_the_tables_have_at_least_120_rows():
    assert len(ROWS) + len(EVALUATIONS) >= 120
