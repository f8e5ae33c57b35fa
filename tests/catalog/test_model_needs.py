"""What local models take is told beforehand: disk, memory, time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mixtura.catalog.local_models import known_models, model_groups
from mixtura.catalog.model_needs import (
    bytes_to_download,
    check_disk_space,
    estimate_answer_needs,
)
from mixtura.core.errors import ConfigError

MODELS = known_models()
STARTER = [MODELS[name] for name in model_groups()["starter"]]


@pytest.mark.parametrize(
    ("name", "variable"), [("qwen2.5-0.5b", "HF_HOME"), ("smollm2-135m", "MIXTURA_CACHE")]
)
def test_a_model_that_does_not_fit_on_the_disk_is_refused_with_what_would_help(
    name: str, variable: str, tmp_path: Path
):
    large = replace(MODELS[name], size=10**18)

    with pytest.raises(ConfigError, match="needs 1000000000") as refused:
        check_disk_space([large], tmp_path / "not" / "there" / "yet")

    assert variable in str(refused.value)


def test_what_is_here_needs_no_room(tmp_path: Path):
    large = replace(MODELS["smollm2-135m"], size=10**18)
    (tmp_path / large.file_name).write_bytes(b"GGUF")

    assert bytes_to_download(large, tmp_path) == 0
    assert check_disk_space([large], tmp_path) > 0


def test_memory_is_that_of_the_weights_and_of_the_context():
    """The embedded model's process had 543 MB, measured with 16,384 tokens."""
    needs = estimate_answer_needs([MODELS["smollm2-135m"]], 16_384, cores=2)

    assert needs.memory == pytest.approx(543e6, rel=0.1)


def test_a_team_takes_longer_than_its_first_model_and_less_time_on_more_cores():
    alone = estimate_answer_needs(STARTER[:1], 16_384, cores=8)
    team = estimate_answer_needs(STARTER, 16_384, cores=8)
    slow = estimate_answer_needs(STARTER, 16_384, cores=2)

    assert alone.seconds[0] < alone.seconds[1] < team.seconds[1]
    assert team.seconds[0] * 4 == pytest.approx(slow.seconds[0])
    assert team.memory > sum(model.size for model in STARTER)
