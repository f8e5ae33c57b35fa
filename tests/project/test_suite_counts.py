"""The suite's own counts, whatever else stands in a log."""

import runpy

import pytest

from tests.support.paths import ROOT


@pytest.mark.parametrize("after", ["", "Exception ignored in atexit callback\n  No such file: 'x'"])
def test_the_counts_of_a_part_are_read_though_a_package_prints_as_it_exits(tmp_path, after):
    read_counts = runpy.run_path(str(ROOT / "scripts" / "run_tests.py"))["read_counts"]
    log = tmp_path / "part.log"
    log.write_text(f"....  [100%]\n1435 passed, 3 skipped in 676.26s (0:11:16)\n{after}")

    assert read_counts(log) == {"passed": 1435, "skipped": 3}
