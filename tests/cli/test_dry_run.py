"""What --dry-run says beyond the price: what the run lacks here, and the cap it would pass."""

from __future__ import annotations

import pytest

from tests.support import shell

desk, shell = shell.desk, shell.shell

# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = "".join(f'{{"question": "{n} + {n}?", "target": "{2 * n}"}}\n' for n in range(3, 9))
ON_ROWS = {
    "eval": ("eval", "jsonl", "--data", "rows.jsonl", "--model"),
    "compare": ("compare", "--on", "rows.jsonl"),
}
WITHOUT_KEY = '[mixtures.keyed]\nlayers = [["locked", "ann"]]\naggregator = "ann"\n'


@pytest.fixture
def here(shell):
    """A folder with rows, and a team of which one model lacks its key."""
    file = shell.desk.folder / "mixtura.toml"
    locked = shell.desk.model(
        "locked", 'api_key_env = "SPARE_API_KEY"\nprice = { input = 1, output = 10 }'
    )
    file.write_text(f"{file.read_text()}{locked}{WITHOUT_KEY}")
    shell.desk.write(ROWS, "rows.jsonl")
    return shell


def test_a_question_that_a_cap_would_refuse_ends_as_the_run_would(here):
    dry = here.run("ask", "--dry-run", "--max-cost", "0.01", "Why?")
    real = here.run("ask", "--max-cost", "0.01", "Why?")
    ample = here.run("ask", "--dry-run", "--max-cost", "1", "Why?")

    assert (dry.code, real.code, ample.code) == (4, 4, 0)
    assert dry.out.startswith("3 calls, at most")
    assert "Over the cap: this run could cost up to $0.1492, over its cap of $0.01." in dry.err
    assert ample.err == ""
    assert here.desk.server.requests == []


def test_the_file_s_own_cap_counts_in_a_dry_run_and_nothing_is_set_aside_for_it(here):
    file = here.desk.folder / "mixtura.toml"
    file.write_text(f"{file.read_text()}[budget]\nday_usd = 0.2\n")

    codes = [here.run("ask", "--dry-run", "Why?").code for _ in range(3)]
    assert codes == [0, 0, 0]
    assert here.run("ask", "--dry-run", "-m", "ann,ben,ann>chief", "Why?").code == 4


def test_a_smaller_variant_that_would_answer_is_told_in_a_dry_run(here):
    file = here.desk.folder / "mixtura.toml"
    file.write_text(f'{file.read_text()}[budget]\nrun_usd = 0.11\nat_the_cap = "degrade"\n')
    ran = here.run("ask", "--dry-run", "Why?")

    assert ran.code == 0
    assert "The answer would lack something: the budget: at most 1 of 2 proposals" in ran.err


def test_a_missing_key_is_told_by_a_dry_run_with_its_variable(here):
    dry = here.run("ask", "--dry-run", "-m", "keyed", "Why?")
    data = here.run("ask", "--dry-run", "--json", "-m", "keyed", "Why?")
    real = here.run("ask", "-m", "keyed", "Why?")

    assert (dry.code, data.code, real.code) == (2, 2, 2)
    assert dry.err.startswith("Cannot run: ")
    assert "set SPARE_API_KEY in the environment" in dry.err
    assert data.err == ""
    assert ["SPARE_API_KEY" in one for one in data.json["missing"]] == [True]
    assert here.run("ask", "--dry-run", "-m", "keyed", "Why?", SPARE_API_KEY="x" * 20).code == 0


@pytest.mark.parametrize("command", ON_ROWS)
def test_dry_runs_of_evaluations_end_as_the_run_would(command, here):
    words = ON_ROWS[command]

    assert here.run(*words, "team", "--dry-run").code == 0
    capped = here.run(*words, "team", "--dry-run", "--max-cost", "0.01")
    assert capped.code == 4
    assert "and would stop at --max-cost 0.01." in capped.err
    keyless = here.run(*words, "keyed", "--dry-run", "--json")
    assert (keyless.code, len(keyless.json["missing"]), keyless.json["over_cap"]) == (2, 1, None)
    assert here.desk.server.requests == []


def test_a_dry_run_of_a_selection_ends_as_the_run_would(here):
    words = ("select", "--on", "rows.jsonl", "--dry-run", "--models", "ann", "ben")

    assert here.run(*words).code == 0
    assert here.run(*words, "--max-cost", "0.01").code == 4
    keyless = here.run(*words, "locked")
    assert keyless.code == 2
    assert "Cannot run: " in keyless.err


def test_a_comparison_that_its_cap_stopped_says_so_with_exit_code_4(here):
    ran = here.run(*ON_ROWS["compare"], "team", "--max-cost", "0.151", "--json")

    assert ran.code == 4
    assert ran.json["capped"] > 0


def test_a_selection_that_its_cap_stopped_before_the_first_team_says_so_with_exit_code_4(here):
    ran = here.run(
        "select", "--on", "rows.jsonl", "--models", "ann", "ben", "--max-cost", "0.05"
    )  # fmt: skip

    assert ran.code == 4
    assert "continue with a higher --max-cost" in ran.err


def test_every_file_that_is_written_is_named_aside(here):
    asked = here.run("ask", "--output", "a.md", "Why?")
    data = here.run("ask", "--json", "--output", "a.json", "Why?")
    page = here.run("show", "last", "--html", "run.html")
    compared = here.run(*ON_ROWS["compare"], "team", "--html", "team.html", "--json")

    for ran, file in (
        (asked, "a.md"),
        (data, "a.json"),
        (page, "run.html"),
        (compared, "team.html"),
    ):
        assert "Written to " in ran.err, file
        assert file in ran.err
        assert (here.desk.folder / file).stat().st_size
    assert "Written" not in here.run("ask", "--quiet", "--output", "b.md", "Why?").err
