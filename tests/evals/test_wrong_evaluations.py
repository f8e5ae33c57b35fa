"""Wrong words for commands that evaluate: what is wrong is told, and what would be right."""

from __future__ import annotations

import pytest

from tests.support.wrong_inputs import EVALUATIONS, check_row


@pytest.mark.parametrize("name", EVALUATIONS)
def test_a_wrong_evaluation_is_told_what_is_wrong_and_what_would_be_right(
    name, tmp_path, monkeypatch, capsys
):
    check_row(EVALUATIONS[name], tmp_path, monkeypatch, capsys)
