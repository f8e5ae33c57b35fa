"""The presets as a person runs them first: on the embedded model, without a key."""

import json

import pytest

from tests.support.command_line import desk  # noqa: F401 - a fixture

PRESETS = (
    "mux", "switch", "analyse", "gate", "checked", "weighted", "recursive", "knockout", "guard",
    "robust",
)  # fmt: skip
QUESTION = "Write a Python function `add(a, b)`. Example:\n>>> add(1, 2)\n3"


@pytest.mark.soak
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_answers_on_the_embedded_model(desk, embedded, preset):  # noqa: F811
    desk.write("")
    process = desk.start(
        "ask", "-m", preset, "--json", "--max-tokens", "48", "--seed", "1", QUESTION,
        env={**desk.env, "XDG_CACHE_HOME": str(embedded.parents[2])},
    )  # fmt: skip
    out, err = process.communicate(timeout=900)

    assert process.returncode == 0, err.decode()
    said = json.loads(out)
    assert said["answer"].strip()
    assert said["confidence"] is None, "nothing is calibrated"
